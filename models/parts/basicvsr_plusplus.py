"""The features of BasicVSR++: second-order grid propagation with flow-guided deformable alignment.

Source: Chan et al., "BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and
Alignment", CVPR 2022, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.parts.blocks import ConvResidualBlocks, count_blocks, in_parts
from models.parts.deform import PREDICTED, SecondOrderDeformAlignment
from models.parts.recurrent import RecurrentFeatures
from models.parts.registry import positive
from models.parts.warp import flow_warp

BRANCHES = ("backward_1", "forward_1", "backward_2", "forward_2")
"""In the order in which features are propagated; each sees those before it."""


class BasicVSRPlusPlusFeatures(RecurrentFeatures):
    """Features that go through the clip four times, aligned with the two frames before.

    The published code refuses frames below 64 pixels, on which flow is poor; here they are taken like all
    others, as BasicVSR does.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per branch.
        outer_blocks: residual blocks of the feature extraction and of the reconstruction.
        groups: of the deformable convolutions, an even number that divides twice the channels.
        extraction_blocks: residual blocks of the feature extraction where it has not as many as the reconstruction.
        flow: see `RecurrentFeatures.add_flow`.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self, channels: int, blocks: int, outer_blocks: int, groups: int, flow: str, extraction_blocks: int | None = None
    ) -> None:
        super().__init__()
        extraction = outer_blocks if extraction_blocks is None else extraction_blocks
        positive("basicvsr_plusplus", channels=channels, blocks=blocks, outer_blocks=outer_blocks, groups=groups)
        positive("basicvsr_plusplus", extraction_blocks=extraction)
        self.channels = channels
        self.add_flow(flow)
        self.feat_extract = ConvResidualBlocks(3, channels, extraction)
        self.deform_align = nn.ModuleDict({branch: SecondOrderDeformAlignment(channels, groups) for branch in BRANCHES})
        self.backbone = nn.ModuleDict(
            {branch: ConvResidualBlocks((2 + seen) * channels, channels, blocks) for seen, branch in enumerate(BRANCHES)}
        )
        self.reconstruction = ConvResidualBlocks(5 * channels, channels, outer_blocks)

    def features(self, clip: Tensor, to_next: Tensor, to_previous: Tensor) -> Iterator[Tensor]:
        spatial = in_parts(self.feat_extract, clip.flatten(0, 1)).unflatten(0, clip.shape[:2])
        # Per frame, what is known of it so far.
        known = [[frame] for frame in spatial.unbind(dim=1)]
        for branch in BRANCHES[:-1]:
            flows = to_next if branch.startswith("backward") else to_previous
            for t, state in self._propagate(branch, known, flows):
                known[t].append(state)
        for t, state in self._propagate(BRANCHES[-1], known, to_previous):
            yield self.reconstruction(torch.cat([*known[t], state], dim=1))
            # Features of restored frames are freed where no gradient needs them.
            known[t].clear()

    def _propagate(self, branch: str, known: list[list[Tensor]], flows: Tensor) -> Iterator[tuple[int, Tensor]]:
        """The features that a branch gives every frame, in its order (Eq. 1 to 3).

        Args:
            branch: one of `BRANCHES`.
            known: per frame, its own features and those of earlier branches, (N, channels, H, W) each.
            flows: (N, T-1, 2, H, W) in pixels, between neighbours, from the frame that comes later in
                the branch's order to the one before it.

        Yields:
            The frame's index and its features, (N, channels, H, W).
        """
        backward = branch.startswith("backward")
        frames = len(known)
        none = torch.zeros_like(known[0][0])
        before, before_that = none, none
        for step, t in enumerate(reversed(range(frames)) if backward else range(frames)):
            state = none
            if step > 0:
                flow1 = flows[:, t] if backward else flows[:, t - 1]
                warped1 = flow_warp(before, flow1)
                flow2, warped2 = torch.zeros_like(flow1), none
                if step > 1:
                    onward = flows[:, t + 1] if backward else flows[:, t - 2]
                    flow2 = flow1 + flow_warp(onward, flow1)
                    warped2 = flow_warp(before_that, flow2)
                condition = torch.cat([warped1, known[t][0], warped2], dim=1)
                state = self.deform_align[branch](torch.cat([before, before_that], dim=1), condition, flow1, flow2)
            state = state + self.backbone[branch](torch.cat([*known[t], state], dim=1))
            yield t, state
            before, before_that = state, before


def feature_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of `BasicVSRPlusPlusFeatures` whose parameters have these names and shapes.

    Raises:
        KeyError: they are not of it.
    """
    return {
        "channels": state["feat_extract.main.0.weight"].shape[0],
        "blocks": count_blocks(state, "backbone.backward_1.main.2."),
        "outer_blocks": count_blocks(state, "reconstruction.main.2."),
        "groups": state["deform_align.backward_1.conv_offset.6.weight"].shape[0] // PREDICTED,
    }

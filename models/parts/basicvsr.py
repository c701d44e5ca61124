"""The features of BasicVSR: bidirectional recurrent propagation along optical flow.

Source: Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.parts.blocks import ConvResidualBlocks, count_blocks, leaky_relu
from models.parts.recurrent import RecurrentFeatures
from models.parts.registry import positive
from models.parts.warp import flow_warp

Step = Callable[[str, int, Tensor], tuple[Tensor, Tensor]]
"""What is done in a direction ("backward" or "forward") at a frame, by its index: from the frame and the features aligned
with it, (N, 3 + channels, H, W), the features that are carried on and those that are fused, (N, channels, H, W) each."""


class BasicVSRFeatures(RecurrentFeatures):
    """Features that see the clip from both of its ends.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        flow: see `RecurrentFeatures.add_flow`.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int, blocks: int, flow: str) -> None:
        super().__init__()
        positive("basicvsr", channels=channels, blocks=blocks)
        self.channels = channels
        self.add_flow(flow)
        self.backward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.forward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)

    def features(self, clip: Tensor, to_next: Tensor, to_previous: Tensor) -> Iterator[Tensor]:
        return self.propagate(clip, to_next, to_previous, self.step)

    def step(self, direction: str, t: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        """See `Step`."""
        state = self.trunk(direction)(seen)
        return state, state

    def trunk(self, direction: str) -> ConvResidualBlocks:
        """Of "backward" or "forward"."""
        return self.backward_trunk if direction == "backward" else self.forward_trunk

    def propagate(self, clip: Tensor, to_next: Tensor, to_previous: Tensor, step: Step) -> Iterator[Tensor]:
        """`features`, with what happens at a frame left to `step`."""
        frames = clip.shape[1]
        state = clip.new_zeros(clip.shape[0], self.channels, *clip.shape[-2:])
        following: list[Tensor] = []
        for t in reversed(range(frames)):
            if t < frames - 1:
                state = flow_warp(state, to_next[:, t])
            state, found = step("backward", t, torch.cat([clip[:, t], state], dim=1))
            following.append(found)
        state = torch.zeros_like(state)
        for t in range(frames):
            if t > 0:
                state = flow_warp(state, to_previous[:, t - 1])
            state, found = step("forward", t, torch.cat([clip[:, t], state], dim=1))
            # Taken off the list, so that features of restored frames are freed where no gradient needs them.
            yield leaky_relu(self.fusion(torch.cat([following.pop(), found], dim=1)))


def feature_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options of `BasicVSRFeatures` whose parameters have these names and shapes.

    Raises:
        KeyError: they are not of it.
    """
    # IconVSR has the same trunks but no fusion of this name.
    channels = state["fusion.weight"].shape[0]
    if state["backward_trunk.main.0.weight"].shape[0] != channels:
        raise KeyError("backward_trunk")
    return {"channels": channels, "blocks": count_blocks(state, "backward_trunk.main.2.")}

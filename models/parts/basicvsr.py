"""The features of BasicVSR: bidirectional recurrent propagation along optical flow.

Source: Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.parts.blocks import ConvResidualBlocks, count_blocks, leaky_relu
from models.parts.recurrent import RecurrentFeatures
from models.parts.registry import positive
from models.parts.warp import flow_warp
from models.spynet import SPyNet


class BasicVSRFeatures(RecurrentFeatures):
    """Features that see the clip from both of its ends.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        positive("basicvsr", channels=channels, blocks=blocks)
        self.channels = channels
        self.spynet = SPyNet()
        self.backward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.forward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)

    def features(self, clip: Tensor, to_next: Tensor, to_previous: Tensor) -> Iterator[Tensor]:
        frames = clip.shape[1]
        state = clip.new_zeros(clip.shape[0], self.channels, *clip.shape[-2:])
        following: list[Tensor] = []
        for t in reversed(range(frames)):
            if t < frames - 1:
                state = flow_warp(state, to_next[:, t])
            state = self.backward_trunk(torch.cat([clip[:, t], state], dim=1))
            following.append(state)
        state = torch.zeros_like(state)
        for t in range(frames):
            if t > 0:
                state = flow_warp(state, to_previous[:, t - 1])
            state = self.forward_trunk(torch.cat([clip[:, t], state], dim=1))
            # Taken off the list, so that features of restored frames are freed where no gradient needs them.
            yield leaky_relu(self.fusion(torch.cat([following.pop(), state], dim=1)))


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

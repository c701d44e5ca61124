"""BasicVSR: bidirectional recurrent propagation with flow-aligned features.

Source: Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.blocks import ConvResidualBlocks, RecurrentNetwork, count_blocks, leaky_relu
from models.registry import positive, register
from models.spynet import SPyNet
from models.warp import flow_warp


@register("basicvsr")
class BasicVSR(RecurrentNetwork):
    """Super-resolution by four of whole clips of any length and frame size.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int = 64, blocks: int = 30, upsample_channels: int = 64, base: str = "bilinear") -> None:
        super().__init__()
        positive(self.name, channels=channels, blocks=blocks)
        self.channels = channels
        self.spynet = SPyNet()
        self.backward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.forward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)
        self.add_upsampler(channels, upsample_channels, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        stem = state.get("backward_trunk.main.0.weight")
        head = state.get("conv_hr.weight")
        # IconVSR has the same trunks but no fusion of this name.
        if stem is None or head is None or "fusion.weight" not in state:
            return None
        blocks = count_blocks(state, "backward_trunk.main.2.")
        return {"channels": stem.shape[0], "blocks": blocks, "upsample_channels": head.shape[0]}

    def features(self, clip: Tensor) -> Iterator[Tensor]:
        frames = clip.shape[1]
        to_next, to_previous = self.flows(clip)
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

"""BasicVSR: bidirectional recurrent propagation with flow-aligned features.

Source: Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.blocks import ConvResidualBlocks, leaky_relu, upsample_x2
from models.registry import Network, misspelt, positive, register
from models.resize import imresize
from models.spynet import SPyNet
from models.warp import flow_warp

FLOW_PIXELS = 2**19
"""Pixels of frame pairs that the flow network sees at once: enough to keep it busy, small enough that the
flows of a long clip do not fill the memory with its activations."""

BASES = ("bilinear", "bicubic")


@register("basicvsr")
class BasicVSR(Network):
    """Super-resolution by four of whole clips of any length and frame size.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    scale = 4

    def __init__(self, channels: int = 64, blocks: int = 30, upsample_channels: int = 64, base: str = "bilinear") -> None:
        super().__init__()
        positive("basicvsr", channels=channels, blocks=blocks, upsample_channels=upsample_channels)
        if base not in BASES:
            raise ValueError(misspelt("base of basicvsr", str(base), BASES))
        self.channels = channels
        self.base = base
        self.spynet = SPyNet()
        self.backward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.forward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.fusion = nn.Conv2d(2 * channels, channels, 1)
        self.upconv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.upconv2 = nn.Conv2d(channels, 4 * upsample_channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(upsample_channels, upsample_channels, 3, padding=1)
        self.conv_last = nn.Conv2d(upsample_channels, 3, 3, padding=1)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        stem = state.get("backward_trunk.main.0.weight")
        head = state.get("conv_hr.weight")
        # IconVSR has the same trunks but no fusion of this name.
        if stem is None or head is None or "fusion.weight" not in state:
            return None
        blocks = sum(key.startswith("backward_trunk.main.2.") and key.endswith(".conv1.weight") for key in state)
        return {"channels": stem.shape[0], "blocks": blocks, "upsample_channels": head.shape[0]}

    def forward(self, clip: Tensor) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].

        Returns:
            (N, T, 3, 4H, 4W), unclipped.
        """
        frames = clip.shape[1]
        to_next, to_previous = self.flows(clip)
        state = clip.new_zeros(clip.shape[0], self.channels, *clip.shape[-2:])
        following: list[Tensor] = []
        for t in reversed(range(frames)):
            if t < frames - 1:
                state = flow_warp(state, to_next[:, t])
            state = self.backward_trunk(torch.cat([clip[:, t], state], dim=1))
            following.append(state)
        state = torch.zeros_like(following[-1])
        restored = []
        for t in range(frames):
            if t > 0:
                state = flow_warp(state, to_previous[:, t - 1])
            state = self.forward_trunk(torch.cat([clip[:, t], state], dim=1))
            # Taken off the list, so that features of restored frames are freed where no gradient needs them.
            restored.append(self._reconstruct(clip[:, t], following.pop(), state))
        return torch.stack(restored, dim=1)

    def flows(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The flow from every frame to the next and from every frame but the first to its predecessor.

        Args:
            clip: (N, T, 3, H, W).

        Returns:
            Two of (N, T-1, 2, H, W) in pixels: entry t of the first aligns frame t+1 with t, entry t of
            the second aligns frame t with t+1.
        """
        count, frames, _, height, width = clip.shape
        if frames == 1:
            none = clip.new_zeros(count, 0, 2, height, width)
            return none, none
        earlier, later = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
        refs, supps = torch.cat([earlier, later]), torch.cat([later, earlier])
        pairs = max(1, FLOW_PIXELS // (height * width))
        found = torch.cat([self.spynet(*both) for both in zip(refs.split(pairs), supps.split(pairs), strict=True)])
        to_next, to_previous = found.view(2, count, frames - 1, 2, height, width)
        return to_next, to_previous

    def _reconstruct(self, frame: Tensor, following: Tensor, preceding: Tensor) -> Tensor:
        """The frame at four times the size from the features of both directions."""
        x = leaky_relu(self.fusion(torch.cat([following, preceding], dim=1)))
        x = upsample_x2(x, self.upconv1)
        x = upsample_x2(x, self.upconv2)
        return self.conv_last(leaky_relu(self.conv_hr(x))) + self._enlarge(frame)

    def _enlarge(self, frame: Tensor) -> Tensor:
        if self.base == "bicubic":
            return imresize(frame, self.scale)
        return F.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False)

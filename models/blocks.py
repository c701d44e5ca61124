"""Layers that restoration networks share."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RESIDUAL_GAIN = 0.1
"""Residual blocks start near the identity: their initial weights are He's times this (ESRGAN, Sec. 3.1)."""

LEAK = 0.1
"""The slope of leaky rectifiers on negative values."""


class ResidualBlockNoBN(nn.Module):
    """Convolution, ReLU, convolution, added to the input; no normalisation (EDSR, Fig. 2c).

    Args:
        channels: of the input and output, (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(RESIDUAL_GAIN)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class ConvResidualBlocks(nn.Module):
    """A convolution to `outputs` channels, a leaky ReLU and a chain of residual blocks.

    Args:
        inputs: channels of the input, (N, inputs, H, W).
        outputs: channels of the output, (N, outputs, H, W).
        blocks: how many residual blocks.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Sequential(*(ResidualBlockNoBN(outputs) for _ in range(blocks))),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


def leaky_relu(x: Tensor) -> Tensor:
    """The leaky ReLU of BasicVSR, in place."""
    return F.leaky_relu(x, LEAK, inplace=True)


def upsample_x2(x: Tensor, conv: nn.Module) -> Tensor:
    """Sub-pixel convolution: `conv` to four times the channels wanted, pixel shuffle, leaky ReLU.

    Args:
        x: (N, C, H, W).
        conv: gives (N, 4 * D, H, W).

    Returns:
        (N, D, 2H, 2W). Source: Shi et al., CVPR 2016, Sec. 3.2.
    """
    return leaky_relu(F.pixel_shuffle(conv(x), 2))


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off."""
    # The device without memory, on which operations are counted, has no autocast to turn off.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)

"""The blocks of ESRGAN: dense blocks within residual ones.

Source: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCVW 2018, Sec. 3.1; the names of its published
parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.blocks import RESIDUAL_GAIN

LEAK = 0.2
"""The slope of leaky rectifiers on negative values."""

SHARE = 0.2
"""Of a residual that is added."""


class ResidualInResidual(nn.Module):
    """Three dense blocks, a share of whose output is added to the input, (N, C, h, w)."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return x + SHARE * self.rdb3(self.rdb2(self.rdb1(x)))


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the input and what those before made; a share of the last is added to the input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        for index in range(5):
            conv = nn.Conv2d(channels + index * growth, channels if index == 4 else growth, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(RESIDUAL_GAIN)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
            self.add_module(f"conv{index + 1}", conv)

    def forward(self, x: Tensor) -> Tensor:
        *convs, last = self.children()
        seen = [x]
        for conv in convs:
            seen.append(leaky(conv(torch.cat(seen, dim=1))))
        return x + SHARE * last(torch.cat(seen, dim=1))


def leaky(x: Tensor) -> Tensor:
    """The leaky ReLU of ESRGAN, in place."""
    return F.leaky_relu(x, LEAK, inplace=True)

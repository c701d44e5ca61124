"""The reduced control encoder of SDATC: what the condition says at every level of the denoiser.

SDATC (arXiv:2502.07381, Sec. III-B) trains a copy of the denoiser's encoder as ControlNet does (Zhang et al., ICCV 2023). Of Stable
Diffusion 2.1 that has some 364 M parameters, and the paper's 135.1 M learn in all: here it has the form of StableSR's (IJCV 2024),
narrower and without attention. It ends in convolutions that begin as nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.prompts import zero


def sinusoids(times: Tensor, channels: int) -> Tensor:
    """Times (N,) as cosines and sines of falling frequencies, (N, channels) (Vaswani et al., NeurIPS 2017, Sec. 3.5)."""
    half = channels // 2
    rates = torch.exp(-math.log(10000) * torch.arange(half, device=times.device) / half)
    angles = times[:, None].float() * rates
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class TimedBlock(nn.Module):
    """A residual block that knows the time, (N, inputs, H, W) to (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, known: int, groups: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(math.gcd(width, groups), width) for width in (inputs, outputs))
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(known, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, known: Tensor) -> Tensor:
        inner = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(known))[..., None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(inner)))


class ControlEncoder(nn.Module):
    """Features for every level of a denoiser, and for its middle, from noisy latents and the condition side by side.

    Args:
        latents: channels of each.
        channels: of the first level; of those that follow as many times that as `multiples` say.
        multiples: one for each level of the denoiser.
        blocks: residual blocks of a level.
        outputs: channels of the denoiser's levels.
        groups: of the normalisations, where they divide the channels.
    """

    def __init__(
        self, latents: int, channels: int, multiples: tuple[int, ...], blocks: int, outputs: tuple[int, ...], groups: int
    ) -> None:
        super().__init__()
        self.channels, known = channels, 4 * channels
        self.time = nn.Sequential(nn.Linear(channels, known), nn.SiLU(), nn.Linear(known, known))
        self.conv_in = nn.Conv2d(2 * latents, channels, 3, padding=1)
        self.levels, self.halve, self.out = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        inputs = channels
        for level, (multiple, output) in enumerate(zip(multiples, outputs, strict=True)):
            width = channels * multiple
            self.levels.append(nn.ModuleList(TimedBlock(inputs if not n else width, width, known, groups) for n in range(blocks)))
            self.out.append(zero(nn.Conv2d(width, output, 1)))
            if level < len(multiples) - 1:
                self.halve.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
            inputs = width
        self.out.append(zero(nn.Conv2d(inputs, outputs[-1], 1)))

    def forward(self, noisy: Tensor, condition: Tensor, times: Tensor) -> list[Tensor]:
        """Latents (N, C, h, w) each and times (N,) to features of every level from the finest, then those of the middle."""
        known = self.time(sinusoids(times, self.channels).to(noisy.dtype))
        x = self.conv_in(torch.cat([noisy, condition], dim=1))
        found = []
        for level, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(x, known)
            found.append(self.out[level](x))
            if level < len(self.halve):
                x = self.halve[level](x)
        return [*found, self.out[-1](x)]

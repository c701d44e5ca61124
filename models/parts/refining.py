"""What SDATC puts into the decoder of the autoencoder: attention over time, and features of the encoder. All of it begins as nothing.

Sources: SDATC (arXiv:2502.07381), Sec. III-D; Wang et al., "Exploiting Diffusion Prior for Real-World Image Super-Resolution"
(StableSR), IJCV 2024, for controllable feature warping.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.prompts import zero


class TemporalAttention(nn.Module):
    """Self-attention among the frames at every pixel, after a normalisation; (N, T, channels, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = math.gcd(channels, 8)
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.permute(0, 3, 4, 1, 2))
        query, key, value = self.qkv(tokens).flatten(0, 2).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(tokens.shape)
        return self.proj(found).permute(0, 3, 4, 1, 2)


class SpatioTemporalAttention(nn.Module):
    """The spatio-temporal attention module, which follows a residual block (Eq. 8 to 10): a convolution over time and attention over
    time, weighed by `alpha` and `beta`, which are 0 at first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
        self.tab = TemporalAttention(channels)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor, frames: int) -> Tensor:
        """Frames (N * T, channels, H, W), with T their number in a clip, to the same."""
        clip = features.unflatten(0, (-1, frames))
        mixed = self.conv3d(clip.transpose(1, 2)).transpose(1, 2)
        blended = self.alpha * mixed + (1 - self.alpha) * clip
        return (blended + self.beta * self.tab(blended)).flatten(0, 1)


class ResidualBlock(nn.Module):
    """Twice normalisation, SiLU and a convolution, added to the input; (N, inputs, H, W) to (N, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(math.gcd(inputs, groups), inputs),
            nn.SiLU(),
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(math.gcd(outputs, groups), outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.layers(x)


class ResidualDense(nn.Module):
    """Convolutions that see all before them, the last added to the input (ESRGAN, ECCVW 2018, Sec. 3.1)."""

    def __init__(self, channels: int, growth: int = 32) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels + index * growth, growth, 3, padding=1) for index in range(4))
        self.last = nn.Conv2d(channels + 4 * growth, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for conv in self.convs:
            seen = torch.cat([seen, F.leaky_relu(conv(seen), 0.2)], dim=1)
        return x + 0.2 * self.last(seen)


class FeatureWarping(nn.Module):
    """Controllable feature warping: features of the decoder, corrected by those of the encoder as far as `fidelity` says (Eq. 11;
    StableSR, Eq. 3). The correction ends in a convolution that begins as nothing."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.correct = nn.Sequential(
            ResidualBlock(2 * channels, channels, groups),
            ResidualDense(channels),
            ResidualDense(channels),
            ResidualBlock(channels, channels, groups),
            zero(nn.Conv2d(channels, channels, 1)),
        )

    def forward(self, decoded: Tensor, encoded: Tensor, fidelity: float) -> Tensor:
        """(N, channels, H, W) each, to the same."""
        return decoded + fidelity * self.correct(torch.cat([encoded, decoded], dim=1))

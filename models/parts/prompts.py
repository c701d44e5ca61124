"""SDATC's compression-aware prompts (arXiv:2502.07381, Sec. III-C), which begin as what they are put into.

The Transformer block is Restormer's (Zamir et al., CVPR 2022, Sec. 3.1 and 3.2), as in PromptIR (Potlapalli et al., NeurIPS 2023).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """A convolution that begins as nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of every pixel; (N, channels, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelAttention(nn.Module):
    """Self-attention among channels: every one is a token of its values at all pixels, of unit length (Restormer, Eq. 1)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.qkv_dwconv = nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False)
        self.project_out = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = len(self.temperature)
        query, key, value = self.qkv_dwconv(self.qkv(x)).flatten(2).unflatten(1, (3, heads, -1)).unbind(1)
        likeness = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
        found = (likeness * self.temperature).softmax(-1) @ value
        return self.project_out(found.reshape_as(x))


class GatedFeedForward(nn.Module):
    """Two paths, one of which gates the other by a GELU (Restormer, Eq. 2)."""

    def __init__(self, channels: int, factor: float) -> None:
        super().__init__()
        hidden = round(channels * factor)
        self.project_in = nn.Conv2d(channels, 2 * hidden, 1, bias=False)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False)
        self.project_out = nn.Conv2d(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.dwconv(self.project_in(x)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * value)


class TransformerBlock(nn.Module):
    """Attention among channels and a gated network, each after a normalisation and added to its input; (N, channels, H, W)."""

    def __init__(self, channels: int, factor: float = 2.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = ChannelNorm(channels), ChannelNorm(channels)
        self.attn = ChannelAttention(channels, math.gcd(channels, 4))
        self.ffn = GatedFeedForward(channels, factor)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class CompressionPrompts(nn.Module):
    """The compression-aware prompt module: learnt prompts, weighed by what an encoder sees of the features, refine them (Eq. 6, 7).

    The weights have no softmax (Table V). Where the text is silent: the encoder and the prompts have a quarter of the channels, the
    features and the prompt are brought to half of them before the Transformer block, and what it gives begins as nothing.

    Args:
        channels: of the features.
        prompts: how many there are.
        size: side of the prompts in pixels.
    """

    def __init__(self, channels: int, prompts: int = 5, size: int = 16) -> None:
        super().__init__()
        narrow, width = max(1, channels // 4), max(1, channels // 2)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, narrow, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(narrow, narrow, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.weigh = nn.Linear(narrow, prompts)
        self.prompts = nn.Parameter(torch.rand(prompts, narrow, size, size))
        self.conv = nn.Conv2d(narrow, narrow, 3, padding=1, bias=False)
        self.join = nn.Conv2d(channels + narrow, width, 1, bias=False)
        self.block = TransformerBlock(width)
        self.project = zero(nn.Conv2d(width, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(N, channels, H, W) to the same."""
        weights = self.weigh(self.encoder(features))
        prompt = torch.einsum("np,pchw->nchw", weights, self.prompts)
        size = (features.shape[-2], features.shape[-1])
        prompt = self.conv(F.interpolate(prompt, size=size, mode="bilinear", align_corners=False))
        return features + self.project(self.block(self.join(torch.cat([features, prompt], dim=1))))

"""STAR's local information enhancement: gates before attention.

Source: Xie et al., "STAR: Spatial-Temporal Augmentation with Text-to-Video Models for Real-World Video Super-Resolution", arXiv:2501.02976,
Sec. 3.2, after the spatial gates of CBAM (Woo et al., ECCV 2018, Eq. 3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FORMS = ("none", "released", "paper")
"""Without gates; as published, before a normalisation that takes gates away again, but for those near 0; and after it."""


def _strongest_and_mean(x: Tensor, dim: int) -> Tensor:
    return torch.cat([x.amax(dim, keepdim=True), x.mean(dim, keepdim=True)], dim)


class SpatialGate(nn.Module):
    """A gate for every pixel, from the largest and the mean of its channels and of those around it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Pixels (N, H * W, channels) of frames of that size to gates (N, H * W, 1) in (0, 1)."""
        frames = tokens.transpose(1, 2).unflatten(2, size)
        return self.conv1(_strongest_and_mean(frames, 1)).sigmoid().flatten(2).transpose(1, 2)


class TemporalGate(nn.Module):
    """A gate for every frame at a pixel, from the largest and the mean of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Linear(2, 1, bias=False)

    def forward(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """Frames (N, T, channels) of one pixel each to gates (N, T, 1) in (0, 1)."""
        return self.conv1(_strongest_and_mean(tokens, -1)).sigmoid()


def gated(form: str, gate: nn.Module | None, norm: nn.Module, tokens: Tensor, size: tuple[int, int]) -> Tensor:
    """What attention sees of tokens: normalised, and gated before or after as the form says."""
    if gate is None:
        return norm(tokens)
    open_ = gate(tokens, size)
    return norm(open_ * tokens) if form == "released" else open_ * norm(tokens)

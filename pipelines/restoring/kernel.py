"""The blur of an LR clip, estimated from the clip alone.

The spectrum of footage falls by a power of the frequency (Field, "Relations between the Statistics of Natural Images and the Response Properties of
Cortical Cells", JOSA A 1987), and blur by a Gaussian makes it fall by another law: the logarithm of the power of an LR clip is

    log P(f) = c - a log |f| - 4 pi^2 f' S f

with the covariance S of the kernel, linear in what is not known. So the kernel is found by least squares, as a Gaussian of any two axes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pipelines.degradations import filtering
from pipelines.degradations.noise import LUMA

BAND = (0.04, 0.4)
"""Frequencies that are looked at, in cycles per LR pixel: below it few, above it what decimation folded down."""

FOLDED = 0.07
"""By how much what decimation folds down makes the variance of a kernel look smaller, in squared LR pixels: found on Gaussians of 1.6 to 3.5 HR
pixels, four clips of parallax and two of Vid4."""

SIDE = 21
SIGMAS = (0.2, 5.0)
"""The side of the kernel and the standard deviations that it may have, in HR pixels at a scale of 4."""


def estimated(clip: Tensor, scale: int) -> dict[str, Any]:
    """The degradation by which an LR clip was made, as `pipelines.degradations.draw.draw` has it.

    Args:
        clip: (T, 3, h, w) RGB in [0, 1].
        scale: by which it was reduced.

    Returns:
        `scale` and `steps`, one anisotropic Gaussian with its `sigma_x` and `sigma_y` in HR pixels, `theta` and `kernel`.
    """
    variances, axes = torch.linalg.eigh(scale**2 * (covariance(clip) + FOLDED * torch.eye(2, dtype=torch.float64)))
    low, high = (sigma * scale / 4 for sigma in SIGMAS)
    sigma_y, sigma_x = (float(min(max(math.sqrt(max(variance, 0.0)), low), high)) for variance in variances.tolist())
    theta = math.atan2(float(axes[1, 1]), float(axes[0, 1]))
    size = (SIDE - 1) * scale // 8 * 2 + 1
    shape = filtering.block_kernel(size, sigma_x, sigma_y, theta, scale)
    entry = {"op": "anisotropic", "size": size, "scale": scale, "sigma_x": sigma_x, "sigma_y": sigma_y, "theta": theta}
    return {"scale": [scale, scale], "steps": [{**entry, "kernel": shape.tolist()}]}


def covariance(clip: Tensor) -> Tensor:
    """S of this module's formula, (2, 2) float64 in squared LR pixels, x before y; of a clip (T, 3, h, w) RGB in [0, 1]."""
    light = 255 * (clip.double().cpu() * torch.tensor(LUMA, dtype=torch.float64).view(3, 1, 1)).sum(-3)
    height, width = light.shape[-2:]
    window = torch.hann_window(height, periodic=False, dtype=torch.float64)[:, None] * torch.hann_window(
        width, periodic=False, dtype=torch.float64
    )
    power = torch.fft.fft2((light - light.mean((-2, -1), keepdim=True)) * window).abs().square().mean(0)
    y = torch.fft.fftfreq(height, dtype=torch.float64)[:, None].expand(height, width)
    x = torch.fft.fftfreq(width, dtype=torch.float64).expand(height, width)
    radius = torch.hypot(x, y)
    rounding = window.square().sum() / 12  # of 8-bit levels; below a few times that nothing is seen of the clip
    seen = (radius > BAND[0]) & (radius < BAND[1]) & (power > 4 * rounding)
    if seen.sum() < 5:  # a clip without detail
        return torch.zeros(2, 2, dtype=torch.float64)
    x, y, radius = x[seen], y[seen], radius[seen]
    falls = [torch.ones_like(x), -radius.log(), *(-4 * math.pi**2 * part for part in (x * x, y * y, 2 * x * y))]
    _, _, xx, yy, xy = torch.linalg.lstsq(torch.stack(falls, 1), power[seen].log()[:, None]).solution[:, 0]
    return torch.stack([torch.stack([xx, xy]), torch.stack([xy, yy])])

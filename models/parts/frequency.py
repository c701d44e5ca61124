"""STAR's dynamic frequency loss: low frequencies first, high ones when there is little noise left.

Source: Xie et al., STAR, arXiv:2501.02976, Sec. 3.3, and its released training code.
"""

from __future__ import annotations

import torch
from torch import Tensor

FORMS = ("none", "released", "paper")
"""Without; as released; as the paper says."""

EXPONENT = 2.0
"""How late the weight passes from low frequencies to high ones."""

CUTOFF = 0.25
"""The share of the highest frequency below which one is low."""

STEEPNESS = 40.0
"""Of the border between the two."""

SMALL, SHARP = 0.8, 10.0
"""In the release: the share of coefficients that are taken for low, and the steepness of that border."""


def dynamic_frequency(found: Tensor, truth: Tensor, time: Tensor, form: str) -> Tensor:
    """The difference of low and of high frequencies, weighed by the time, of every clip.

    `paper` takes those for low that lie near the middle of the spectrum, the same in both clips. `released` takes the small
    coefficients, of each clip by its own measure, and has no gradient; its quantile is of all coefficients here, there of a sample.

    Args:
        found, truth: (N, T, C, H, W).
        time: of the noise that `found` was made from, (N,) in [0, 1], 1 for the most.
        form: "released" or "paper".

    Returns:
        (N,), means over the coefficients.
    """
    one, other = (torch.view_as_real(torch.fft.rfft2(clip.float(), norm="ortho")) for clip in (found, truth))
    if form == "released":
        one, other = one.detach(), other.detach()
        low, lower = _small(one), _small(other)
    else:
        low = lower = _near(found.shape[-2], found.shape[-1], found.device)[..., None]
    slow = (low * one - lower * other).abs().flatten(1).mean(1)
    fast = ((1 - low) * one - (1 - lower) * other).abs().flatten(1).mean(1)
    weight = time.float().pow(EXPONENT)
    return weight * slow + (1 - weight) * fast


def _near(height: int, width: int, device: torch.device) -> Tensor:
    """1 for low frequencies of `rfft2` and 0 for high ones, (H, W // 2 + 1)."""
    rows, columns = torch.fft.fftfreq(height, device=device), torch.fft.rfftfreq(width, device=device)
    radius = 2 * (rows[:, None].square() + columns.square()).sqrt()  # 1 at the highest along an axis
    return torch.sigmoid(STEEPNESS * (CUTOFF - radius))


def _small(spectrum: Tensor) -> Tensor:
    """1 for small coefficients and 0 for large ones."""
    size = spectrum.abs()
    rank = max(1, round(SMALL * size.numel()))
    return torch.sigmoid(SHARP * (size.flatten().kthvalue(rank).values - size))

"""Unsharp masking of HR, as Real-ESRGAN sharpens what it trains on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Rows or columns that one product makes: enough of them to be fast, and few enough to leave out most zeros.
TILE = 128


def unsharp(clip: Tensor, weight: float, radius: int, threshold: float) -> Tensor:
    """Sharpen where frames differ from their blur by more than a threshold, with a soft border.

    With the blur B of a frame x, r = x - B and M the blur of [|r| > threshold], the result is M * k + (1 - M) * x with
    k = x + weight * r clipped to [0, 255]. Computed in float64, in every channel by itself.

    Args:
        clip: (F, C, H, W) in levels.
        weight: of the residual.
        radius: the odd side of the Gaussian, in pixels (51 as published). Its sigma is 0.15 * radius + 0.35, the rule of
            OpenCV, and borders are mirrored without repeating the edge, as often as a short side takes.
        threshold: in levels.

    Returns:
        (F, C, H, W) of the clip's type.

    Raises:
        ValueError: the radius is not odd and above 0.
    """
    if radius < 1 or radius % 2 == 0:
        raise ValueError(f"the radius of unsharp masking is {radius}: it is the side of a kernel, an odd number from 1.")
    down, across = (_bands(length, radius, clip.device) for length in clip.shape[-2:])

    def blur(frame: Tensor) -> Tensor:
        frame = torch.cat([band @ frame[:, near] for near, band in down], -2)
        return torch.cat([frame[..., near] @ band.T for near, band in across], -1)

    def sharpened(frame: Tensor) -> Tensor:
        residual = frame - blur(frame)
        soft = blur((residual.abs() > threshold).double())
        sharp = (frame + weight * residual).clamp_(0, 255)
        return soft * sharp + (1 - soft) * frame

    # One frame at a time, in memory of its own: the last bits of a product may depend on its size and alignment.
    frames = (frame.double().clone(memory_format=torch.contiguous_format) for frame in clip)
    return torch.stack([sharpened(frame).to(clip.dtype) for frame in frames])


def _bands(length: int, side: int, device: torch.device) -> list[tuple[slice, Tensor]]:
    """A Gaussian along an axis as a matrix, (length, length), in which what lies beyond the ends is mirrored.

    Returns:
        For each `TILE` rows of it, the columns that are not all 0, and those rows and columns.
    """
    reach = side // 2
    offsets = np.arange(-reach, reach + 1)
    sigma = 0.15 * side + 0.35
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel /= kernel.sum()
    period = max(2 * (length - 1), 1)
    bands = []
    for start in range(0, length, TILE):
        stop = min(start + TILE, length)
        first, last = max(start - reach, 0), min(stop + reach, length)
        places = (np.arange(start, stop)[:, None] + offsets) % period
        places = np.minimum(places, period - places) if length > 1 else np.zeros_like(places)
        band = np.zeros((stop - start, last - first))
        np.add.at(band, (np.arange(stop - start)[:, None], places - first), kernel)
        bands.append((slice(first, last), torch.from_numpy(band).to(device)))
    return bands

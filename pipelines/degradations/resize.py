"""MATLAB's antialiased bicubic reduction of 8-bit frames, in float64: exact up to the last rounding.

The kernel, its widening and its mirrored borders are those of `models/resize.py`. Weights of an integer
scale that is a power of two are dyadic fractions, so that every sum here is exact and even ties round as
they do on paper.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch

from models.resize import resize_columns, resize_rows
from pipelines.errors import VSRError


def lr_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """The (height, width) of LR frames: `floor(HR / scale)`.

    Raises:
        VSRError: the scale is not a positive number, or less than one pixel would be left.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise VSRError(f"the scale of a degradation is {scale}: give a number above 0, e.g. 4.")
    # A quotient such as 3.3 / 1.1 may come out just below the integer that it is.
    height, width = (math.floor(side / scale + 1e-9) for side in size)
    if min(height, width) < 1:
        raise VSRError(f"frames of {size[1]}x{size[0]} cannot be reduced by {scale:g}: use a smaller scale or larger frames.")
    return height, width


def bicubic(frame: np.ndarray, scale: float) -> np.ndarray:
    """One frame, reduced by `scale`.

    HR is first cropped at the right and bottom to `round(LR * scale)` pixels, `LR = floor(HR / scale)`,
    which for an integer scale is the largest multiple of it. Values are rounded half away from zero and
    clipped, as MATLAB converts to uint8, once and after both axes.

    Args:
        frame: (H, W, 3) uint8.
        scale: the size of HR over that of LR; below 1 it enlarges.

    Returns:
        (floor(H / scale), floor(W / scale), 3) uint8.

    Raises:
        VSRError: see `lr_size`.
    """
    height, width = lr_size((frame.shape[0], frame.shape[1]), scale)
    used_height, used_width = round(height * scale), round(width * scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a store's frames are read-only, and so are they here
        pixels = torch.from_numpy(frame)
    lines = pixels[:used_height].reshape(used_height, -1)[:, : 3 * used_width]
    # Rows first, on pixels as they lie in memory; what is left to bring into planes is smaller by `scale`.
    rows = resize_rows(lines[None], 1 / scale, torch.float64)[0, :height]
    planes = rows.view(height, used_width, 3).transpose(1, 2).reshape(-1, used_width)
    out = resize_columns(planes, 1 / scale)[:, :width].add_(0.5).floor_().clamp_(0, 255).to(torch.uint8)
    return out.view(height, 3, width).transpose(1, 2).contiguous().numpy()

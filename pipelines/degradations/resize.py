"""MATLAB's antialiased bicubic reduction of 8-bit frames, in float64: exact up to the last rounding.

The kernel, its widening and its mirrored borders are those of `models/resize.py`. Weights of an integer
scale that is a power of two are dyadic fractions, so that every sum here is exact and even ties round as
they do on paper.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from models.resize import weight_matrix
from pipelines.errors import VSRError

_BLOCK = 8  # outputs per matrix product: few enough that most of the band's bounding box is band


class _Block(NamedTuple):
    """Outputs `first:last` depend on inputs `start:stop` alone, through `weights`."""

    first: int
    last: int
    start: int
    stop: int
    weights: torch.Tensor


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
    cropped_height, cropped_width = round(height * scale), round(width * scale)
    writable = frame if frame.flags.writeable else frame.copy()  # torch warns of read-only memory, as of a store's
    lines = torch.from_numpy(writable).reshape(frame.shape[0], -1)[:, : 3 * cropped_width]
    rows = torch.empty(height, 3 * cropped_width, dtype=torch.float64)
    for block in _blocks(cropped_height, height, scale, 1):
        torch.mm(block.weights, lines[block.start : block.stop].double(), out=rows[block.first : block.last])
    out = torch.empty(height, 3 * width, dtype=torch.float64)
    for block in _blocks(cropped_width, width, scale, 3):
        torch.mm(rows[:, block.start : block.stop], block.weights.T, out=out[:, block.first : block.last])
    return out.add_(0.5).floor_().clamp_(0, 255).to(torch.uint8).view(height, width, 3).numpy()


@lru_cache(maxsize=64)
def _blocks(inputs: int, outputs: int, scale: float, channels: int) -> tuple[_Block, ...]:
    """The banded weight matrix of one axis cut into dense blocks, each value `channels` interleaved numbers."""
    matrix = weight_matrix(inputs, 1 / scale)[:outputs]
    found = []
    for first in range(0, outputs, _BLOCK):
        rows = matrix[first : first + _BLOCK]
        columns = np.flatnonzero(rows.any(axis=0))
        start, stop = int(columns[0]), int(columns[-1]) + 1
        weights = torch.from_numpy(np.kron(rows[:, start:stop], np.eye(channels)))
        found.append(_Block(channels * first, channels * (first + len(rows)), channels * start, channels * stop, weights))
    return tuple(found)

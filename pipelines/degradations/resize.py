"""MATLAB's antialiased bicubic reduction, exact up to the last rounding.

The kernel, its widening and its mirrored borders are those of `models/parts/resize.py`. In float64, weights of an integer
scale that is a power of two are dyadic fractions, so that every sum here is exact and even ties round as they do on paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from models.parts.resize import resize_columns, resize_rows
from pipelines.errors import VSRError


def lr_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """The (height, width) of LR frames: `floor(HR / scale)`.

    Raises:
        VSRError: less than one pixel would be left.
    """
    height, width = (_floor(side / factor) for side, factor in zip(size, scale, strict=True))
    return _checked((height, width), size, scale)


def reduced_size(size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """The (height, width) that frames of any size are reduced to: n where the side is `round(n * scale)`, as HR that was
    cropped is, else `floor(side / scale)`.

    Raises:
        VSRError: see `lr_size`.
    """
    sides = []
    for side, factor in zip(size, scale, strict=True):
        near = round(side / factor)
        sides.append(near if abs(near * factor - side) <= 0.5 else _floor(side / factor))
    height, width = sides
    return _checked((height, width), size, scale)


def _floor(quotient: float) -> int:
    return math.floor(quotient + 1e-9)  # one such as 3.3 / 1.1 may come out just below the integer that it is


def _checked(found: tuple[int, int], size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    if min(found) < 1:
        raise VSRError(
            f"frames of {size[1]}x{size[0]} cannot be reduced by {max(scale):g}: use a smaller scale or larger frames."
        )
    return found


def bicubic(clip: Tensor, scale: tuple[float, float]) -> Tensor:
    """Frames reduced by `scale`, the size of HR over that of LR as (height, width), each 1 or above.

    Args:
        clip: (F, C, H, W) in 8-bit levels; what lies beyond `round(LR * scale)` at the right and bottom is not used. 8-bit
            frames are computed in float64.

    Returns:
        (F, C, h, w) of the size that `reduced_size` says and the clip's floating type, neither rounded nor clipped.

    Raises:
        VSRError: less than one pixel would be left.
    """
    frames, channels, rows, columns = clip.shape
    height, width = reduced_size((rows, columns), scale)
    rows, columns = min(rows, round(height * scale[0])), min(columns, round(width * scale[1]))
    dtype = clip.dtype if clip.is_floating_point() else torch.float64
    # Rows first, on pixels as they lie in a store, channels last; what is left to bring into planes is smaller by the scale.
    lines = clip[..., :rows, :columns].permute(0, 2, 3, 1).reshape(frames, rows, columns * channels)
    # The scale of what was cropped, as `imresize` takes it from the two sizes: nominal scales such as 3.5 would shift the frame
    # against its HR by up to half a pixel at the far edges.
    fewer = resize_rows(lines, height / rows, dtype, height)
    planes = fewer.view(frames, height, columns, channels).permute(0, 3, 1, 2).reshape(-1, columns)
    return resize_columns(planes, width / columns, width).view(frames, channels, height, width)

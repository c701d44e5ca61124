"""Resizing without antialiasing, in the modes that real-world degradation draws from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import unknown

MODES = "area", "bilinear", "bicubic"


def interpolate(clip: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Every frame at another size, as PyTorch resizes with aligned outer edges (`align_corners=False`).

    `area` is the mean of all pixels that a new one touches, whole pixels only; `bilinear` and `bicubic` (a = -0.75)
    take the nearest 2x2 and 4x4 pixels however much they reduce, and so alias. The ratio of the sizes is the scale;
    borders are repeated. Computed in float64; bicubic values may leave [0, 255].

    Args:
        clip: (F, C, H, W).
        height, width: of the result.
        mode: one of `MODES`.

    Returns:
        (F, C, height, width) of the clip's type.

    Raises:
        VSRError: the mode is unknown.
    """
    if mode not in MODES:
        raise unknown("mode of resizing", mode, MODES)
    corners = None if mode == "area" else False

    def resized(frame: Tensor) -> Tensor:
        return functional.interpolate(frame[None], (height, width), mode=mode, align_corners=corners)[0]

    # One frame at a time, laid out alike: both decide how work is split, and with it the last bits.
    return torch.stack([resized(frame.double().contiguous()).to(clip.dtype) for frame in clip])

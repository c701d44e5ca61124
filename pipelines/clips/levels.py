"""Pixels as numbers: frames of 8-bit levels (H, W, C) to and from tensors (C, H, W)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def rounded(levels: Tensor) -> Tensor:
    """Levels 0 to 255 as uint8, of the same shape: rounded half up and clipped, as MATLAB converts to uint8."""
    return levels if levels.dtype == torch.uint8 else levels.add(0.5).floor_().clamp_(0, 255).to(torch.uint8)


def quantise(levels: Tensor) -> np.ndarray:
    """(C, H, W) levels, 0 to 255, as an 8-bit frame (H, W, C)."""
    return rounded(levels).permute(1, 2, 0).contiguous().cpu().numpy()


def to_frame(image: Tensor, deep: bool = False) -> np.ndarray:
    """(C, H, W) in [0, 1], unclipped, as an 8-bit frame (H, W, C): what is scored, shown and saved is 8-bit, but for footage of
    more bits, which is `deep` and becomes uint16 of full scale."""
    if deep:
        levels = (image.double() * 65535).add_(0.5).floor_().clamp_(0, 65535).to(torch.int32)
        return levels.permute(1, 2, 0).contiguous().cpu().numpy().astype(np.uint16)
    return quantise(image * 255)


def to_planes(frames: np.ndarray) -> Tensor:
    """(..., H, W, C) to (..., C, H, W), of the same type."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, -3)))


def to_tensor(frames: np.ndarray | Sequence[np.ndarray]) -> Tensor:
    """(..., H, W, C), or a list of T frames (H, W, C), to float32 (..., C, H, W); 8 and 16 bits become [0, 1]."""
    frames = np.asarray(frames)
    if frames.dtype == np.uint16:  # which tensors hardly know
        return to_planes(frames.astype(np.float32)) / 65535
    planes = to_planes(frames)
    return planes.float() / 255 if frames.dtype == np.uint8 else planes.float()

"""Compression as a degradation: H.264 by x264 at a constant rate factor, over the whole clip.

This is the test protocol of compressed video super-resolution, `ffmpeg -c:v libx264 -crf {15,25,35} -preset medium
-pix_fmt yuv420p` on the LR frames at the clip's own rate. Published tables leave group of pictures and matrix
open; here they are x264's defaults and BT.601 limited, and stand with the exact arguments in every clip's parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import numpy as np

from pipelines import params
from pipelines.clips import video
from pipelines.errors import VSRError


def check_size(size: tuple[int, int]) -> None:
    """Make sure that 4:2:0 can take frames of this (height, width).

    Raises:
        VSRError: a side is odd.
    """
    if size[0] % 2 or size[1] % 2:
        raise VSRError(
            f"x264 cannot take LR frames of {size[1]}x{size[0]}, both sides must be even (4:2:0): "
            "crop HR to an even multiple of the scale, or use a recipe without x264."
        )


def compress(
    step: params.X264, frames: Iterable[np.ndarray], fps: Fraction | float
) -> AbstractContextManager[tuple[Iterator[np.ndarray], dict[str, Any]]]:
    """Code and decode a clip: a context of its frames, (H, W, 3) uint8 RGB, and of what was done, see `video.x264`.

    All of `frames` is read on entering; memory holds one frame at a time.
    """
    return video.x264(frames, fps, step.crf, step.preset)

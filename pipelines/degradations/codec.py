"""Compression as a degradation: a clip is coded, as a whole, and decoded again.

Two protocols of compressed video super-resolution are made of it. Test sets are `ffmpeg -c:v libx264 -crf {15,25,35} -preset
medium -pix_fmt yuv420p` on the LR frames at the clip's own rate. Training sets have a bit rate of 10,000 to 100,000 at one
frame per second, which is so many bits for every frame (Chan et al., "Investigating Tradeoffs in Real-World Video
Super-Resolution", CVPR 2022). Papers leave group of pictures and matrix open; here they are the encoder's defaults and
BT.601 limited, and stand with the exact arguments in every clip's parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from pipelines.clips import video
from pipelines.clips.video.frames import CHROMA

ENCODERS: dict[str, video.Encoder] = {"x264": "libx264", "mpeg4": "mpeg4"}
"""ffmpeg's encoder for each step that codes."""


def check(ops: Iterable[str]) -> None:
    """Make sure that this machine has the encoders of these steps; others need none.

    Raises:
        VSRError: one is missing; says what to run.
    """
    for op in sorted(ENCODERS.keys() & set(ops)):
        video.check_encoder(ENCODERS[op])


@contextmanager
def compress(
    step: Mapping[str, Any], frames: Iterable[np.ndarray], fps: Fraction | float
) -> Iterator[tuple[Iterator[np.ndarray], dict[str, Any]]]:
    """Code and decode a clip. Where a side is odd along which the pixel format halves chroma, the last row or column is coded twice.

    Args:
        step: a drawn entry: `op`, `x264` or `mpeg4`, and what of `crf`, `bit_rate`, `preset`, `gop`, `pixel_format` and `fps` it
            sets, see `video.coded`; what it measures has other names than these.
        frames: (H, W, 3) uint8 RGB. All are read on entering; memory holds one at a time.
        fps: frames per second of the clip, which the encoder is told unless the entry has `fps`.

    Returns:
        A context of the decoded frames, (H, W, 3) uint8 RGB, and of what was done, see `video.coded`.
    """
    given = {name: step.get(name) for name in ("crf", "bit_rate", "preset", "gop")}
    pixel_format: video.PixelFormat = step.get("pixel_format") or "yuv420p"
    given_frames = iter(frames)
    first = next(given_frames, None)
    all_frames = given_frames if first is None else chain([first], given_frames)
    height, width = (0, 0) if first is None else first.shape[:2]
    down, across = CHROMA[pixel_format]
    below, right = -height % down, -width % across
    if below or right:
        all_frames = (np.pad(frame, ((0, below), (0, right), (0, 0)), mode="edge") for frame in all_frames)
    with video.coded(all_frames, step.get("fps") or fps, ENCODERS[step["op"]], **given, pixel_format=pixel_format) as (
        coded,
        info,
    ):
        yield (frame[:height, :width] for frame in coded) if below or right else coded, info

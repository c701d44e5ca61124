"""One pass over the frames of a clip: what the estimators look at, in memory that does not grow with the frames' number but by their
signatures."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.degradations.noise import LUMA
from pipelines.errors import VSRError
from pipelines.restoring.scenes import signature

KEPT = 6
"""Frames that are kept whole, evenly spaced over the clip."""

DARK = 24
"""Levels of luma below which a border is black."""

MOVING = 12
"""Levels of luma between two frames from which a pixel moves."""


@dataclass(frozen=True)
class Look:
    """What was seen.

    `kept` are whole frames, (H, W, 3) uint8 RGB; `signatures` as of `pipelines.restoring.scenes`; `steps` the mean difference of luma from
    the frame before, in levels, -1 of the first frame and 0 of one that is the same in every pixel; `combs` how much more
    neighbouring lines differ than lines two apart, where the picture moves, NaN where it does not; `levels` the counts of the levels of
    luma; `rows` and `columns` the largest luma that was seen in each, leaving out its brightest hundredth.
    """

    kept: tuple[np.ndarray, ...]
    signatures: tuple[np.ndarray, ...]
    steps: np.ndarray
    combs: np.ndarray
    levels: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def luma(frame: np.ndarray) -> np.ndarray:
    """(H, W) float32 luma of BT.601 in levels, of (H, W, 3) RGB."""
    return frame.astype(np.float32) @ np.array(LUMA, np.float32)


def eight(frame: np.ndarray) -> np.ndarray:
    """A frame of 8 bits, of one of 8 or, of full scale, 16."""
    return ((frame.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8) if frame.dtype == np.uint16 else frame


def look(frames: Iterable[np.ndarray], count: int, name: str) -> Look:
    """Look at a clip.

    Args:
        frames: (H, W, 3) uint8 RGB, all of one size.
        count: how many they are.
        name: what the clip is called, for errors.

    Raises:
        VSRError: it has one frame, or its frames are black.
    """
    if count < 2:
        raise VSRError(
            f"{name} has a single frame: give a clip of two frames or more, since coding and noise show between frames."
        )
    wanted = {round((index + 0.5) * count / KEPT - 0.5) for index in range(KEPT)}
    kept, signatures, steps, combs = [], [], [], []
    levels = np.zeros(256, np.int64)
    rows = columns = before = None
    for index, frame in enumerate(frames):
        light = luma(frame)
        if index in wanted:
            kept.append(frame)
            levels += np.bincount(light.astype(np.uint8).ravel(), minlength=256)
        signatures.append(signature(frame))
        across, down = np.percentile(light[:, ::4], 99, axis=1), np.percentile(light[::4], 99, axis=0)
        rows = across if rows is None else np.maximum(rows, across)
        columns = down if columns is None else np.maximum(columns, down)
        step = -1.0 if before is None else float(np.abs(light - before).mean())
        steps.append(step)
        combs.append(np.nan if before is None else _comb(light, before))
        before = light
    assert rows is not None and columns is not None
    if levels[DARK:].sum() < 1e-3 * levels.sum():
        raise VSRError(f"{name} is black: give a clip in which something is seen.")
    return Look(tuple(kept), tuple(signatures), np.array(steps), np.array(combs), levels, rows, columns)


def _comb(light: np.ndarray, before: np.ndarray) -> float:
    """The mean difference of lines next to each other over that of lines two apart, at pixels that move."""
    moving = np.abs(light - before)[1:-1] > MOVING
    if moving.sum() < 200:
        return float("nan")
    near = (np.abs(light[1:-1] - light[:-2]) + np.abs(light[1:-1] - light[2:]))[moving].sum() / 2
    far = np.abs(light[2:] - light[:-2])[moving].sum()
    return float(near / max(far, 1.0))

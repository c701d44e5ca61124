"""Temporal profiles: one row of a clip, followed through time. What flickers is ragged there, what moves evenly is straight."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from pipelines.errors import VSRError


def temporal_profile(frames: Iterable[np.ndarray], row: int) -> np.ndarray:
    """The x-t slice of a clip; one frame is held at a time.

    Args:
        frames: (H, W, 3) uint8 RGB, one size.
        row: which one, from the top.

    Returns:
        (T, W, 3) uint8: row t is that of frame t.

    Raises:
        VSRError: there are no frames, they differ in size, or have no such row.
    """
    rows: list[np.ndarray] = []
    for index, frame in enumerate(frames):
        if not 0 <= row < len(frame):
            raise VSRError(
                f"frame {index} has {len(frame)} rows and no row {row}: choose one of its own for the temporal profile."
            )
        if rows and frame.shape[1] != len(rows[0]):
            raise VSRError(f"frame {index} is {frame.shape[1]} wide but the first is {len(rows[0])}: give frames of one size.")
        rows.append(frame[row].copy())
    if not rows:
        raise VSRError("there are no frames to take a temporal profile of: check the clip's source.")
    return np.stack(rows)


def most_active_row(frames: Iterable[np.ndarray]) -> int:
    """The row that changes most from frame to frame: of the largest sum of absolute differences, the upper of two equal ones.

    Chosen on the true frames, it is the same row for every method. Two frames are held at a time.

    Args:
        frames: (H, W, 3) uint8 RGB, one size.

    Raises:
        VSRError: there are no frames, or they differ in size.
    """
    before: np.ndarray | None = None
    change: np.ndarray | None = None
    for index, frame in enumerate(frames):
        now = frame.astype(np.int16)
        if before is None or change is None:
            change = np.zeros(len(now), np.int64)
        elif now.shape != before.shape:
            raise VSRError(
                f"frame {index} is {now.shape[1]}x{now.shape[0]} but those before it are {before.shape[1]}x{before.shape[0]}: "
                "give frames of one size."
            )
        else:
            change += np.abs(now - before).sum((1, 2), dtype=np.int64)
        before = now
    if change is None:
        raise VSRError("there are no frames to choose a row of: check the clip's source.")
    return int(change.argmax())

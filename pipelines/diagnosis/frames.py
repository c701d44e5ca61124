"""What frames are to one another: cuts, frames that are there twice, fields, borders and clipped levels."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.diagnosis.estimate import Unknown
from pipelines.diagnosis.look import DARK, Look
from pipelines.restoring.scenes import cuts_of

AROUND = 4
"""Frames to each side whose steps say how much the clip moves."""

ALIKE = 0.3
"""The share of the usual step below which a frame is the one before once more, and the noise of coding."""

STILL = 0.25
"""Levels of the usual step below which nothing moves, and a frame that is coded again is not told from one that stands."""

COMB = 1.05
"""What the comb is at least in a frame of two fields; progressive frames, whose lines two apart differ more, have 0.5 to 0.9."""


def cuts(seen: Look) -> list[int]:
    """The first frames of all scenes but the first."""
    return cuts_of(seen.signatures)


def doubled(seen: Look) -> list[int] | Unknown:
    """The frames that show the one before once more: the same in every pixel, or all but the same where the clip moves."""
    steps = seen.steps
    if np.median(steps[1:]) < STILL and (steps[1:] > 0).any():
        still = "hardly anything moves, so that a frame that is there twice looks like the next one"
        return Unknown(still) if not (steps[1:] == 0).any() else [int(index) for index in np.flatnonzero(steps == 0)]
    found = []
    for index in range(1, len(steps)):
        around = np.concatenate([steps[max(1, index - AROUND) : index], steps[index + 1 : index + 1 + AROUND]])
        usual = float(np.quantile(around, 0.6)) if len(around) else 0.0
        if steps[index] == 0 or (usual > STILL and steps[index] < ALIKE * usual):
            found.append(index)
    return found


def fields(seen: Look) -> dict[str, Any] | Unknown:
    """Whether frames are two fields of different times: `interlaced`, `telecine` (two or three of every five frames), or neither."""
    told = np.isfinite(seen.combs)
    if told.sum() < 2:
        return Unknown("too little moves to show fields")
    combed = seen.combs > COMB
    share = float(combed[told].mean())
    kind = "progressive"
    if share > 0.2:
        kind = "interlaced"
        places = np.flatnonzero(combed)
        phases = np.bincount(places % 5, minlength=5) / max(1, len(seen.combs) / 5)
        if len(seen.combs) >= 15 and share < 0.65 and (np.sort(phases)[:2] < 0.2).all() and np.sort(phases)[-2:].min() > 0.6:
            kind = "telecine"
    return {"kind": kind, "share": round(share, 3)}


def letterbox(seen: Look) -> dict[str, int]:
    """How many rows and columns at each side are black in all frames."""

    def sides(lines: np.ndarray) -> tuple[int, int]:
        lit = np.flatnonzero(lines >= DARK)
        return int(lit[0]), int(len(lines) - 1 - lit[-1])

    (top, bottom), (left, right) = sides(seen.rows), sides(seen.columns)
    found = {"top": top, "bottom": bottom, "left": left, "right": right}
    return {side: width if width > 1 else 0 for side, width in found.items()}


def levels(seen: Look) -> dict[str, float]:
    """The least and the largest level of luma, leaving out a ten-thousandth each, and the shares at black and white."""
    total = seen.levels.sum()
    below = np.cumsum(seen.levels) / total
    low, high = int(np.searchsorted(below, 1e-4)), int(np.searchsorted(below, 1 - 1e-4))
    return {
        "low": low,
        "high": min(high, 255),
        "black": round(float(seen.levels[:2].sum() / total), 5),
        "white": round(float(seen.levels[254:].sum() / total), 5),
    }

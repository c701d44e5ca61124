"""Restored frames degraded again as LR was made, for the metric `consistency` and its map."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np


def degraded(parameters: Mapping[str, Any], restored: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Restored frames, (H, W, 3) uint8 RGB, degraded by what was drawn for their LR clip: (h, w, 3) uint8 RGB."""
    from pipelines.degradations import recipes  # importing torch takes seconds

    # What coders measure is written into the entries.
    return recipes.remake(copy.deepcopy(dict(parameters)), restored)


def invented(degraded: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """How far a restored frame, degraded again, is from its LR frame: (h, w, 3) uint8, in every channel the mean absolute
    difference of the three in 8-bit levels."""
    difference = np.abs(degraded.astype(np.float64) - lr).mean(-1, keepdims=True)
    return np.rint(difference).astype(np.uint8).repeat(3, -1)

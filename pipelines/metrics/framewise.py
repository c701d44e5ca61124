"""A measure whose clip is the mean of its frames."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class Framewise:
    """Measures each frame by itself with a function of (restored, truth)."""

    def __init__(self, value: Callable[[np.ndarray, np.ndarray], float]) -> None:
        self._value = value

    def add(self, restored: np.ndarray, truth: np.ndarray) -> float:
        """The frame's value."""
        return self._value(restored, truth)

    def finish(self) -> None:
        """Nothing: the mean of the frames stands for the clip."""

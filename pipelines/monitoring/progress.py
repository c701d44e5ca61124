"""What a training run says of itself: lines for people, curves for a tracker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np

from pipelines.monitoring import Images, Metrics

_EVERY = 5.0
_POINTS = 200
_FAR = 50.0
"""Pixels; BasicSR warns of the same."""


class Tracker(Protocol):
    """Keeps curves and images of a run; must be picklable, for it travels to the worker that calls it."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Values after `step` steps, by name."""
        ...

    def images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """Images after `step` steps, by name: (H, W, 3) uint8 RGB."""
        ...


class TrainingLog:
    """Callbacks for `fit` that print a line every few seconds and feed a tracker some 200 points of each curve, of losses
    their means over the steps since the last one.

    Args:
        iterations: steps of the whole run.
        say: takes the lines.
        tracker: takes metrics and images, if given.
    """

    def __init__(self, iterations: int, say: Callable[[str], None], tracker: Tracker | None = None) -> None:
        self._iterations, self._say, self._tracker = iterations, say, tracker
        self._interval = max(1, iterations // _POINTS)
        self._losses: dict[str, list[float]] = {}
        self._validated: Metrics = {}
        self._steps = 0
        self._warned = False
        self._seconds = 0.0
        self._mark = self._said = time.monotonic()

    def log(self, step: int, metrics: Metrics) -> None:
        """`on_log` of rank 0."""
        now = time.monotonic()
        self._seconds += now - self._mark
        self._mark = now
        self._steps += 1
        for name, value in metrics.items():
            if "loss" in name.split("/"):
                self._losses.setdefault(name, []).append(value)
        if metrics.get("offset", 0.0) > _FAR and not self._warned:
            self._warned = True
            self._say(
                f"warning: at step {step} a deformable convolution samples {metrics['offset']:.0f} pixels away on average, which seldom "
                "ends well: lower `rate` or set `clip_gradients`."
            )
        if step % self._interval == 0 or step == self._iterations:
            means = {name: sum(values) / len(values) for name, values in self._losses.items()}
            self._losses.clear()
            if self._tracker is not None:
                self._tracker.metrics(step, {**metrics, **means, "steps_per_second": self._steps / self._seconds})
        if now - self._said >= _EVERY or step == self._iterations:
            self._said = now
            self._say(self._line(step, metrics))

    def validated(self, step: int, metrics: Metrics, images: Images) -> None:
        """`on_validate`; the time that validation took is not counted to the steps."""
        self._validated = metrics
        if self._tracker is not None:
            self._tracker.metrics(step, {f"validation/{name}": value for name, value in metrics.items()})
            if images:
                self._tracker.images(step, images)
        self._mark = time.monotonic()

    def _line(self, step: int, metrics: Metrics) -> str:
        speed = self._steps / self._seconds
        left = int((self._iterations - step) / speed)
        values = "  ".join(f"{name} {value:.3f}" for name, value in self._validated.items())
        return f"step {step}/{self._iterations}  loss {metrics['loss']:.5f}  {values}  {speed:.1f} steps/s  {left // 60}:{left % 60:02d} left"

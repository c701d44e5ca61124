"""Curves and images on their way to MLflow: what it cannot be told now waits in a folder and is sent when it answers."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.errors import VSRError
from pipelines.monitoring.progress import Tracker

Kind = Literal["metrics", "images"]
PAUSE = 60.0
"""Seconds after which a server that did not answer is asked again, or ten times as long as it took not to: a training does not
wait for it."""


@dataclass
class Outbox:
    """A tracker in front of another, which may not answer. One process at a time uses a folder.

    Args:
        tracker: what is told.
        folder: where that waits which it could not be told, in order.
        say: takes a line when it stops answering, and when it answers again.
    """

    tracker: Tracker
    folder: Path
    say: Callable[[str], None] = print
    _silent_until: float | None = None

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """See `Tracker`."""
        self._send("metrics", step, values)

    def images(self, step: int, images: dict[str, np.ndarray]) -> None:
        """See `Tracker`."""
        self._send("images", step, images)

    def empty(self) -> None:
        """Send what waits.

        Raises:
            VSRError: it still cannot be sent.
        """
        waiting = len(self._waiting())
        try:
            self._send_waiting()
        except VSRError as error:
            left = len(self._waiting())
            raise VSRError(f"{left} curve points and images wait in {self.folder}: {error}") from error
        if waiting:
            self.say(f"MLflow answers again: {waiting} curve points and images were sent late")

    def _send(self, kind: Kind, step: int, what: dict[str, Any]) -> None:
        began = time.monotonic()
        if self._silent_until is not None and began < self._silent_until:
            return self._keep(kind, step, what)
        try:
            self.empty()
            getattr(self.tracker, kind)(step, what)
            self._silent_until = None
        except VSRError as error:
            if self._silent_until is None:
                self.say(f"curves and images are kept until MLflow answers: {error}")
            asked = time.monotonic()
            self._silent_until = asked + max(PAUSE, 10 * (asked - began))
            self._keep(kind, step, what)

    def _send_waiting(self) -> None:
        for path in self._waiting():
            kind, step, what = pickle.loads(path.read_bytes())
            getattr(self.tracker, kind)(step, what)
            path.unlink()

    def _keep(self, kind: Kind, step: int, what: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = self._waiting()
        number = int(waiting[-1].stem) + 1 if waiting else 0
        partial = self.folder / f"{number:08}.partial"
        partial.write_bytes(pickle.dumps((kind, step, what)))
        partial.rename(partial.with_suffix(".pkl"))

    def _waiting(self) -> list[Path]:
        return sorted(self.folder.glob("*.pkl"))

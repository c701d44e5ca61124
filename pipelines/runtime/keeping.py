"""From clip jobs to small results, so that an interrupted stage goes on where it stopped."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

from pipelines.atomic import file_name

T = TypeVar("T")


class Kept(Generic[T]):
    """Takes one result per clip from a pool and keeps it in the stage's work folder.

    Args:
        folder: of this run's own, see `lineage.Stage.work`; what it holds has been done before.
        frames: how many frames a result is of.
    """

    def __init__(self, folder: Path, frames: Callable[[T], int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._frames = folder, frames
        self._received: dict[str, T] = {}

    def has(self, clip: str) -> bool:
        """Whether a clip is finished."""
        return self._path(clip).exists()

    def results(self, clips: Iterable[str]) -> list[T]:
        """The results of those of the clips that are finished, in their order."""
        return [pickle.loads(self._path(clip).read_bytes()) for clip in clips if self.has(clip)]

    def receive(self, clip: str, value: T) -> int:
        """See `pool.Sink`."""
        self._received[clip] = value
        return self._frames(value)

    def done(self, clip: str) -> None:
        """See `pool.Sink`."""
        path = self._path(clip)
        partial = path.with_suffix(".partial")
        partial.write_bytes(pickle.dumps(self._received.pop(clip)))
        os.replace(partial, path)

    def drop(self, clip: str) -> None:
        """See `pool.Sink`."""
        self._received.pop(clip, None)

    def _path(self, clip: str) -> Path:
        return self._folder / f"{file_name(clip)}.pickle"

"""Progress lines: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

Item = TypeVar("Item")

_EVERY = 5.0


class Progress:
    """Counts the clips and frames of one piece of work while its block runs.

    Args:
        label: what is being done, e.g. `degrade parallax bi_x4`.
        clips: how many clips there are.
    """

    def __init__(self, label: str, clips: int) -> None:
        self._label, self._clips = label, clips
        self._done = self._frames = 0
        self._start = self._said = time.monotonic()
        # A label may hold a file's name, and with it brackets that rich would take for its markup.
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("clips"))
        tail = (TextColumn("{task.fields[frames]} frames"), TimeElapsedColumn())
        self._bar = Bar(*columns, *tail, console=Console(file=sys.stderr)) if sys.stderr.isatty() else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=self._clips, frames=0)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()
        elif error is None:
            self._say()

    def clip(self) -> None:
        """One more clip is done."""
        self._done += 1
        if self._bar:
            self._bar.advance(self._task)

    def frames(self, count: int) -> None:
        """That many more frames are done."""
        self._frames += count
        if self._bar:
            self._bar.update(self._task, frames=self._frames)

    def counted(self, items: Iterable[Item]) -> Iterator[Item]:
        """Hand on frames, counting them."""
        for item in items:
            yield item
            self.frames(1)
            self.tick()

    def note(self, text: str) -> None:
        """Say something that is worth a line of its own."""
        if self._bar:
            self._bar.console.print(f"{self._label}: {text}", markup=False, highlight=False)
        else:
            print(f"{self._label}: {text}", file=sys.stderr, flush=True)

    def tick(self) -> None:
        """Say something if nothing was said for a while."""
        if not self._bar and time.monotonic() - self._said > _EVERY:
            self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        seconds = self._said - self._start
        print(
            f"{self._label}: {self._done}/{self._clips} clips, {self._frames} frames, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )

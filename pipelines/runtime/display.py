"""What `vsr repro` shows while stages run: on a terminal a table that is redrawn, else a line now and then.

A stage says how far it is in the lines that it prints (`progress.py`, `monitoring/progress.py`). The last of them is shown while
it runs, and the last line of all when it has ended: what came out. All others are printed as they come.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipelines.runtime.plan import Graph, Times, duration, spoken

MINUTE = 60.0
CACHED = " is cached - skipping run"
"""What DVC says of a stage whose outputs it has from an earlier run: what that takes is not the stage's time."""
_FAR = re.compile(r"(?:^|: )(?:step )?(\d+)/(\d+)(?: clips,|  loss)")
_LEFT = re.compile(r"  (\d+):(\d\d) left$")


def share(line: str) -> float | None:
    """How far a stage is, 0 to 1, by one of its lines of progress; None of any other line."""
    found = _FAR.search(line)
    return int(found[1]) / max(1, int(found[2])) if found else None


@dataclass
class Running:
    """A stage that runs: since when, how far it is, when it ends by its own words, and the last line that it said."""

    began: float
    share: float | None = None
    ends: float | None = None
    said: str = ""

    def heard(self, line: str, now: float) -> None:
        """Take in a line that it says."""
        self.said = line
        if (found := share(line)) is not None:
            self.share = found
        if left := _LEFT.search(line):
            self.ends = now + 60 * int(left[1]) + int(left[2])

    def left(self, now: float, expected: float | None) -> float | None:
        """Seconds that it takes yet: by its own words or its own pace once it has one, else by what is expected of it."""
        gone = now - self.began
        if self.ends is not None:
            return max(0.0, self.ends - now)
        if self.share:
            return gone * (1 - self.share) / self.share
        return None if expected is None else max(0.0, expected - gone)


class Lines:
    """A line when a stage starts, when it ends, and every minute for what runs.

    Args:
        graph: all stages.
        todo: those that will run.
        times: their last times, which new ones are added to.
        jobs: how many run side by side.
        out: where to print, by default what is standard output then.
        clock: seconds.
    """

    def __init__(
        self,
        graph: Graph,
        todo: set[str],
        times: Times,
        jobs: int,
        out: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph, self._times, self._jobs, self._out, self._clock = graph, times, jobs, out, clock
        self._waiting, self._count, self._failed = set(todo), len(todo), 0
        self._expected = times.expected(todo)
        self._running: dict[str, Running] = {}
        self._lock = threading.Lock()  # stages are heard by threads of their own
        self._minute = clock()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def start(self, stage: str) -> None:
        """A stage starts."""
        with self._lock:
            self._waiting.discard(stage)
            self._running[stage] = Running(self._clock())
            self._started(stage)

    def say(self, stage: str, line: str) -> None:
        """A running stage has said something."""
        with self._lock:
            self._print_held(stage)
            self._running[stage].heard(line, self._clock())

    def end(self, stage: str, well: bool) -> None:
        """A stage has ended, well or not."""
        with self._lock:
            row = self._running[stage]
            took = self._clock() - row.began
            if well and CACHED not in row.said:
                self._times.took(stage, took)
            if not well:
                self._print_held(stage)
                self._failed += 1
            del self._running[stage]
            self._ended(stage, well, took, row.said if well else "")

    def tick(self) -> None:
        """Called every second or so."""
        if self._clock() - self._minute >= MINUTE:
            with self._lock:
                self._minute = self._clock()
                rows = [f"{stage} ({_brief(stage, row.said) or 'no word yet'})" for stage, row in self._running.items()]
                self._print(f"{self._standing()}; running: {', '.join(rows)}")

    def _print_held(self, stage: str) -> None:
        """Print the last line of a stage, as another follows, unless it is one of progress."""
        said = self._running[stage].said
        if said and share(said) is None:
            self._print(f"[{stage}] {said}")

    def _started(self, stage: str) -> None:
        self._print(f"[{stage}] started")

    def _ended(self, stage: str, well: bool, took: float, said: str) -> None:
        result = f": {_brief(stage, said)}" if said else ""
        self._print(f"[{stage}] {'done' if well else 'failed'} in {_clock(took)} ({self._done} of {self._count}){result}")

    def _print(self, line: str) -> None:
        print(line, file=self._out, flush=True)

    @property
    def _done(self) -> int:
        """How many have ended, well or not."""
        return self._count - len(self._waiting) - len(self._running)

    def _standing(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._done} of {self._count} done{failed}, {len(self._waiting)} waiting{self._left()}"

    def _left(self) -> str:
        """The time that the whole run takes yet."""
        now = self._clock()
        lefts = {stage: row.left(now, self._expected.get(stage)) for stage, row in self._running.items()}
        known = {stage: left for stage, left in lefts.items() if left is not None}
        known |= {stage: self._expected[stage] for stage in self._waiting if stage in self._expected}
        left = duration(self._graph, known, self._jobs) if known else 0.0
        if round(left) == 0:  # of those that wait nothing is known
            return ""
        more = "" if len(known) == len(self._waiting) + len(self._running) else "more than "
        return f", {more or 'about '}{spoken(left)} left"


class Screen(Lines):
    """A table of the stages that run, redrawn in its place; those that end leave a line each above it."""

    def __init__(
        self,
        graph: Graph,
        todo: set[str],
        times: Times,
        jobs: int,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(graph, todo, times, jobs, clock=clock)
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Lines:
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._live.stop()

    def tick(self) -> None:
        """Draw the table anew."""
        with self._lock:
            self._live.update(self._table(), refresh=True)

    def _started(self, stage: str) -> None:
        self._live.update(self._table(), refresh=True)

    def _ended(self, stage: str, well: bool, took: float, said: str) -> None:
        line = Text.assemble(("✓ ", "green") if well else ("✗ ", "bold red"), f"{stage}  ", (_clock(took), "cyan"))
        room = self._console.width - line.cell_len - 2
        brief = Text(_brief(stage, said), style="dim")
        if brief.cell_len > room > 20:
            brief.truncate(room, overflow="ellipsis")
        self._console.print(line.append("  ").append(brief) if room > 20 else line, no_wrap=True, overflow="ignore", crop=False)
        self._live.update(self._table(), refresh=True)

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Group:
        now = self._clock()
        drawn: list[RenderableType] = []
        for stage, row in self._running.items():
            left = row.left(now, self._expected.get(stage))
            times = _clock(now - row.began) + ("" if left is None else f", {_clock(left)} left")
            gap = self._console.width - len(stage) - len(times)
            below = Table.grid(padding=(0, 1))
            below.add_column(width=20)
            below.add_column(no_wrap=True, overflow="ellipsis")
            bar = ProgressBar(total=1, completed=row.share or 0, pulse=row.share is None, width=20, animation_time=now)
            below.add_row(bar, Text(_brief(stage, row.said), style="dim"))
            drawn += [Text.assemble((stage, "bold"), " " * max(1, gap), times, no_wrap=True), below]
        return Group(*drawn, Text(self._standing(), style="bold", no_wrap=True, overflow="ellipsis"))


def display(graph: Graph, todo: set[str], times: Times, jobs: int) -> Lines:
    """What fits standard output."""
    console = Console()
    plain = not console.is_terminal or console.is_dumb_terminal or not sys.stdout.isatty()
    return Lines(graph, todo, times, jobs) if plain else Screen(graph, todo, times, jobs, console)


_CLIPS = re.compile(r"(\d+/\d+ clips), (\d+) frames, (\d+) s$")


def _brief(stage: str, said: str) -> str:
    """What a stage said without what its name says already."""
    label, colon, rest = said.partition(": ")
    known = re.split(r"[@_-]", stage)
    text = rest if colon and set(re.split(r"[ _]", label)) <= set(known) else said
    counted = _CLIPS.search(text)
    if counted:
        clips, frames, seconds = counted[1], int(counted[2]), int(counted[3])
        return f"{clips}, {frames} frames" + (f", {frames / seconds:.1f} frames/s" if frames and seconds else "")
    return " ".join(text.split())


def _clock(seconds: float) -> str:
    """0:09, 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

"""What a reproduction has to do and how long it takes, by the times that its stages took last."""

from __future__ import annotations

import json
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

Graph = Mapping[str, set[str]]
"""The stages that each stage depends on."""

MEASURE = "measure"
"""What the names of stages begin with that have the machine to themselves."""


def kind(stage: str) -> str:
    """What a stage does, e.g. `restore` of `restore_baseline@bicubic-parallax-bi_x4`."""
    return stage.partition("@")[0].removesuffix("_baseline")


class Times:
    """How many seconds stages took when they last ran, in the file `path` of the workspace.

    Nothing but what people are told depends on it: a file that is not there or cannot be read is one without times.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            found = json.loads(path.read_text())
            self._seconds = {str(stage): float(seconds) for stage, seconds in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._seconds = {}

    def took(self, stage: str, seconds: float) -> None:
        """Keep how long a stage took."""
        self._seconds[stage] = round(seconds, 1)
        self._path.parent.mkdir(exist_ok=True)
        part = self._path.with_name(f".{self._path.name}.partial")
        part.write_text(json.dumps(self._seconds, indent=0, sort_keys=True) + "\n")
        os.replace(part, self._path)

    def known(self, stage: str) -> bool:
        """Whether it ran here."""
        return stage in self._seconds

    def expected(self, stages: Iterable[str]) -> dict[str, float]:
        """The seconds of each of the stages: its last ones or, if it has not run here, the median of its kind's. Stages of a kind
        that has not run here are left out."""
        kinds: dict[str, list[float]] = {}
        for stage, seconds in self._seconds.items():
            kinds.setdefault(kind(stage), []).append(seconds)
        medians = {name: statistics.median(found) for name, found in kinds.items()}
        guessed = {stage: self._seconds.get(stage, medians.get(kind(stage))) for stage in stages}
        return {stage: seconds for stage, seconds in guessed.items() if seconds is not None}


def duration(graph: Graph, seconds: Mapping[str, float], jobs: int) -> float:
    """About how long stages take, `jobs` side by side: their time shared evenly, but those of `MEASURE` one after another, and
    not less than the longest chain of them (Graham, "Bounds on Multiprocessing Timing Anomalies", SIAM J. Appl. Math. 17, 1969)."""
    alone = sum(each for stage, each in seconds.items() if stage.startswith(MEASURE))
    chain: dict[str, float] = {}
    for stage in TopologicalSorter(graph).static_order():
        chain[stage] = seconds.get(stage, 0.0) + max((chain[need] for need in graph[stage]), default=0.0)
    return max(alone + (sum(seconds.values()) - alone) / jobs, max(chain.values(), default=0.0))


def spoken(seconds: float) -> str:
    """A time as one says it: 40 s, 25 min, 1 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def announced(graph: Graph, todo: set[str], times: Times, jobs: int) -> list[str]:
    """What is said before the stages `todo` run: how many they are, which methods they make, how long it takes."""
    counts = Counter(map(kind, sorted(todo)))
    order = [kind(stage) for stage in TopologicalSorter(graph).static_order()]
    shown = [f"{counts[name]} {name}" for name in sorted(counts, key=order.index)]
    plural = "stage is" if len(todo) == 1 else "stages are"
    lines = [f"{len(todo)} {plural} stale: {', '.join(shown)}."]
    trained = _methods(todo, ("train",))
    tested = [name for name in _methods(todo, ("adopt", "restore", "score", MEASURE)) if name not in trained]
    lines += [f"Trained and tested: {', '.join(trained)}."] if trained else []
    lines += [f"Tested: {', '.join(tested)}."] if tested else []
    return [*lines, _how_long(graph, todo, times, jobs)]


def _methods(todo: set[str], kinds: tuple[str, ...]) -> list[str]:
    """The methods that the stages of these kinds make, by the names of the stages: `train@NAME`, `restore@NAME-…`."""
    return sorted({stage.partition("@")[2].partition("-")[0] for stage in todo if kind(stage) in kinds})


def _how_long(graph: Graph, todo: set[str], times: Times, jobs: int) -> str:
    seconds = times.expected(todo)
    if not seconds:
        return "How long it takes is not known: no such stage ran here yet."
    new, guessed = len(todo) - len(seconds), sum(not times.known(stage) for stage in seconds)
    said = f"{'More than' if new else 'About'} {spoken(duration(graph, seconds, jobs))} by the last times"
    said += f"; not run here yet, so taken as others of their kind: {guessed}" if guessed else ""
    return said + (f"; of a kind that never ran here, so not counted: {new}." if new else ".")

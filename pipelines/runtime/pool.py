"""Clip-parallel work: a pool of Ray actors that stream what they make back to the driver.

One exact account per clip: a clip ends finished or failed with its reason, the others go on. Work in
flight is bounded twice, by one clip per actor and by a few results per clip, so that memory is bounded
whatever the length of a clip.

An actor that dies is replaced, whatever killed it, and its clip is tried again. Where Ray killed it for want of
memory, fewer go on side by side.
"""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError, RayTaskError

from pipelines.errors import VSRError
from pipelines.runtime.driver import Driver
from pipelines.runtime.progress import Progress

Worker = Callable[[Any], Iterator[Any]]
"""Makes one clip: takes its job, yields results as they come."""

_TRIES = 3
"""How often a clip is tried whose actor dies, or an actor is started; being killed for memory beside other actors does not count."""

_PAUSE = 2.0
"""Seconds before the next try where an actor alone was killed for memory: others may need it for a while. Doubles each time."""

_IN_FLIGHT = 4

_DOUBLING = 3.0
"""Seconds of work after which there may be twice as many actors: one takes seconds to start, and short work is done sooner."""


class Sink(Protocol):
    """Takes what the workers make, on the driver."""

    def receive(self, clip: str, value: Any) -> int:
        """One result of a clip; returns the number of frames in it."""
        ...

    def done(self, clip: str) -> None:
        """The clip came to its end."""
        ...

    def drop(self, clip: str) -> None:
        """The clip failed or starts again: forget what was received of it."""
        ...


class _Actor:
    """One worker, built once, on its first clip, so that its error is told like any other."""

    def __init__(self, factory: Callable[[], Worker], driver: Driver) -> None:
        import cv2  # not on the driver, where importing these would take most of the time of short work
        import torch

        # One thread whatever the machine: sums are formed in one order, so results do not depend on it.
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
        driver.join()
        self._factory = factory
        self._worker: Worker | None = None

    def started(self) -> None:
        """Returns once the actor has its resources."""

    def make(self, job: Any) -> Iterator[Any]:
        if self._worker is None:
            self._worker = self._factory()
        yield from self._worker(job)


def run(jobs: Mapping[str, Any], factory: Callable[[], Worker], sink: Sink, *, label: str, gpus: float = 0.0) -> None:
    """Make every clip of `jobs`.

    Args:
        jobs: what each clip's worker is called with; small, it travels.
        factory: builds a worker inside an actor, e.g. loads its weights; must be picklable.
        sink: takes the results, in order within a clip.
        label: what the progress lines call the work.
        gpus: the share of a GPU that each worker takes; 0 for none.

    Raises:
        VSRError: some clips failed; says which and why, after all others are done.
    """
    if not jobs:
        return
    size = _pool_size(len(jobs), gpus)
    with Progress(label, len(jobs)) as progress:
        pool = _Pool(jobs, factory, sink, progress, size, gpus)
        while pool.running or pool.waiting:
            pool.start_actors()
            ready, _ = ray.wait([*pool.starting, *pool.running], num_returns=1, timeout=1.0, fetch_local=True)
            progress.tick()
            for each in ready:
                if each in pool.starting:
                    pool.started(each)
                else:
                    pool.take(each)
    if pool.failures:
        raise _failed(label, pool.failures, len(jobs))


@dataclass
class _Try:
    """A clip that an actor makes; `alone` while no other actor of the pool was beside it."""

    clip: str
    actor: Any
    alone: bool


class _Pool:
    """Which clips wait, which actors start, and which make what.

    A clip is assigned to an actor that runs: one that waits for a core held by other work keeps none waiting.
    """

    def __init__(
        self, jobs: Mapping[str, Any], factory: Callable[[], Worker], sink: Sink, progress: Progress, size: int, gpus: float
    ) -> None:
        self.waiting = deque(jobs)
        self.starting: dict[Any, Any] = {}
        self.running: dict[Any, _Try] = {}
        self.failures: dict[str, str] = {}
        self._jobs, self._factory, self._sink, self._progress = jobs, factory, sink, progress
        self._actor_class = ray.remote(_Actor).options(num_cpus=1, num_gpus=gpus, max_restarts=0)
        self._driver = Driver.this()
        self._size = size  # actors side by side
        self._began: float | None = None  # when the first of them ran
        self._short = False  # of memory
        self._deaths: Counter[str] = Counter()
        self._kills: Counter[str] = Counter()
        self._failed_starts = 0

    def start_actors(self) -> None:
        """As many as there are clips for, and as may be side by side: one at first, then twice as many again and again."""
        worked = 0.0 if self._began is None else time.monotonic() - self._began
        most = min(self._size, 2 ** min(int(worked / _DOUBLING), 20))
        while len(self.starting) < len(self.waiting) and self._actors() < most:
            self._start_actor()

    def started(self, start: Any) -> None:
        """An actor that was starting runs, or has failed to."""
        actor = self.starting.pop(start)
        try:
            ray.get(start)
        except RayError as error:
            ray.kill(actor)
            self._failed_to_start(error)
        else:
            self._failed_starts = 0
            self._began = self._began or time.monotonic()
            self._assign(actor)

    def take(self, stream: Any) -> None:
        """The next result of a clip, its end, or what went wrong with it."""
        attempt = self.running.pop(stream)
        clip = attempt.clip
        try:
            value = ray.get(next(stream))
            self._progress.frames(self._sink.receive(clip, value))
        except StopIteration:
            self._sink.done(clip)
            self._progress.clip()
            self._assign(attempt.actor)
        except RayError as error:
            self._sink.drop(clip)
            if _is_of_the_job(error):
                self.failures[clip] = _reason(error)
                self._assign(attempt.actor)
            else:
                ray.kill(attempt.actor)
                self._died(attempt, error)
        except VSRError as error:
            # The sink refused it: the worker, still making the clip, has to be stopped.
            self._sink.drop(clip)
            self.failures[clip] = str(error)
            ray.kill(attempt.actor)
        else:
            self.running[stream] = attempt

    def _actors(self) -> int:
        return len(self.starting) + len(self.running)

    def _start_actor(self) -> None:
        for attempt in self.running.values():
            attempt.alone = False
        actor: Any = self._actor_class.remote(self._factory, self._driver)
        self.starting[actor.started.remote()] = actor

    def _assign(self, actor: Any) -> None:
        """Give the next clip to an actor; one that there is none for, or no room, ends with its handle."""
        if self.waiting and self._actors() < self._size:
            clip = self.waiting.popleft()
            make = actor.make.options(num_returns="streaming", _generator_backpressure_num_objects=_IN_FLIGHT)
            alone = not self._actors()
            self.running[make.remote(self._jobs[clip])] = _Try(clip, actor, alone)

    def _died(self, attempt: _Try, error: RayError) -> None:
        """Try the clip of a dead actor again, or no more."""
        clip = attempt.clip
        memory = _of(error, OutOfMemoryError)
        if memory:
            self._go_on_with_fewer()
            if attempt.alone:
                self._kills[clip] += 1
        else:
            self._deaths[clip] += 1
        if self._deaths[clip] == _TRIES:
            self.failures[clip] = f"its worker died {_TRIES} times, at last by {_what(error)}; is there enough memory?"
        elif self._kills[clip] == _TRIES:
            self.failures[clip] = _too_little(str(memory))
        else:
            self.waiting.append(clip)
            if memory and attempt.alone:
                time.sleep(_PAUSE * 2 ** (self._kills[clip] - 1))

    def _failed_to_start(self, error: RayError) -> None:
        """Let an actor be started again, or fail all clips that wait if none can be."""
        memory, alone = _of(error, OutOfMemoryError), not self._actors()
        if memory:
            self._go_on_with_fewer()
        if alone or not memory:
            self._failed_starts += 1
        if self._failed_starts < _TRIES:
            if memory and alone:
                time.sleep(_PAUSE * 2 ** (self._failed_starts - 1))
        elif alone:
            reason = _too_little(str(memory)) if memory else f"no worker starts, {_TRIES} did not, at last by {_what(error)}"
            self.failures |= dict.fromkeys(self.waiting, reason)
            self.waiting.clear()
        else:
            self._size = self._actors()

    def _go_on_with_fewer(self) -> None:
        before, self._size = self._size, max(1, self._actors())
        if not self._short and self._size < before:
            self._progress.note(f"memory is short: {self._size} instead of {before} workers go on side by side")
            self._short = True


def _pool_size(jobs: int, gpus: float) -> int:
    resources = ray.cluster_resources()
    size = min(jobs, int(resources.get("CPU", 0)))
    if gpus:
        size = min(size, int(resources.get("GPU", 0) / gpus))
    if size < 1:
        raise VSRError(f"the Ray cluster has no room for a worker of 1 CPU and {gpus:g} GPU: add a node or lower the share.")
    return size


def _is_of_the_job(error: RayError) -> bool:
    """Whether the worker raised it on this job, and not Ray because the worker, its node or its results are lost."""
    return isinstance(error, RayTaskError) and not isinstance(error.cause, RayError)


def _of(error: RayError, kind: type[RayError]) -> RayError | None:
    """The error of that kind that this one is, or that a task passed on."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    return cause if isinstance(cause, kind) else None


def _what(error: RayError) -> str:
    """Ray's error in a few words: its name, and what an actor raised while it was built."""
    died = _of(error, ActorDiedError)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if isinstance(died, ActorDiedError) and died.actor_init_failed else type(error).__name__


def _too_little(message: str) -> str:
    """What is said of a clip that does not fit into memory; Ray's message holds how much there is."""
    found = re.search(r"was ([\d.]+) ?GB used / ([\d.]+) ?GB limit", message)
    room = f" ({found[1]} of {found[2]} GB were used)" if found else ""
    return (
        f"its worker was killed for want of memory {_TRIES} times with no other beside it{room}: "
        "end other programs, run fewer stages side by side, or make it of smaller windows, tiles or frames."
    )


def _reason(error: RayError) -> str:
    """The worker's own words out of Ray's wrapping."""
    cause = error.cause if isinstance(error, RayTaskError) and isinstance(error.cause, Exception) else error
    return str(cause) if isinstance(cause, VSRError) else f"{type(cause).__name__}: {' '.join(str(cause).split())}"


def _failed(label: str, failures: Mapping[str, str], total: int) -> VSRError:
    if len(set(failures.values())) == 1:
        clip, reason = next(iter(failures.items()))
        which = f"clip {clip!r}" if len(failures) == 1 else f"{len(failures)} of {total} clips"
        return VSRError(f"{label}: {which} failed ({total - len(failures)} others are done): {reason}")
    reasons = "\n".join(f"  {clip}: {reason}" for clip, reason in sorted(failures.items()))
    return VSRError(f"{label}: {len(failures)} of {total} clips failed ({total - len(failures)} others are done):\n{reasons}")

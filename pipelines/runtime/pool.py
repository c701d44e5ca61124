"""Clip-parallel work: a pool of Ray actors that stream what they make back to the driver.

One exact account per clip: a clip ends finished or failed with its reason, the others go on. Work in
flight is bounded twice, by one clip per actor and by a few results per clip, so that memory is bounded
whatever the length of a clip.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import cv2
import ray
import torch
from ray.exceptions import ActorDiedError, ActorUnavailableError, ObjectLostError, RayError, RayTaskError

from pipelines.errors import VSRError
from pipelines.runtime.progress import Progress

Worker = Callable[[Any], Iterator[Any]]
"""Makes one clip: takes its job, yields results as they come."""

_RETRIES = 2
_IN_FLIGHT = 4


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

    def __init__(self, factory: Callable[[], Worker]) -> None:
        # One thread whatever the machine: sums are formed in one order, so results do not depend on it.
        torch.set_num_threads(1)
        cv2.setNumThreads(1)
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
    options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0}
    actor_class = ray.remote(_Actor)
    waiting = deque((clip, _RETRIES) for clip in jobs)
    starting: dict[Any, Any] = {}
    running: dict[Any, tuple[str, int, Any]] = {}
    failures: dict[str, str] = {}

    def hire() -> None:
        actor: Any = actor_class.options(**options).remote(factory)
        starting[actor.started.remote()] = actor

    def give(actor: Any) -> None:
        if waiting:
            clip, retries = waiting.popleft()
            make = actor.make.options(num_returns="streaming", _generator_backpressure_num_objects=_IN_FLIGHT)
            running[make.remote(jobs[clip])] = (clip, retries, actor)

    with Progress(label, len(jobs)) as progress:
        for _ in range(size):
            hire()
        # A clip is given to an actor that runs: one that waits for a core held by other work keeps none waiting.
        while running or waiting:
            ready, _ = ray.wait([*starting, *running], num_returns=1, timeout=1.0, fetch_local=True)
            progress.tick()
            stream: Any
            for stream in ready:
                if stream in starting:
                    give(starting.pop(stream))
                    continue
                clip, retries, actor = running.pop(stream)
                try:
                    value = ray.get(next(stream))
                    progress.frames(sink.receive(clip, value))
                    running[stream] = clip, retries, actor
                except StopIteration:
                    sink.done(clip)
                    progress.clip()
                    give(actor)
                except (ActorDiedError, ActorUnavailableError, ObjectLostError) as error:
                    # Ours to mend: a lost process or node takes nothing but its clip's time.
                    sink.drop(clip)
                    hire()
                    if retries:
                        waiting.append((clip, retries - 1))
                    else:
                        failures[clip] = f"its worker died {_RETRIES + 1} times ({type(error).__name__}); is there enough memory?"
                except RayError as error:
                    sink.drop(clip)
                    failures[clip] = _reason(error)
                    give(actor)
                except VSRError as error:
                    # The sink refused it: the worker, still making the clip, has to be stopped.
                    sink.drop(clip)
                    failures[clip] = str(error)
                    ray.kill(actor)
                    hire()
    if failures:
        raise _failed(label, failures, len(jobs))


def _pool_size(jobs: int, gpus: float) -> int:
    resources = ray.cluster_resources()
    size = min(jobs, int(resources.get("CPU", 0)))
    if gpus:
        size = min(size, int(resources.get("GPU", 0) / gpus))
    if size < 1:
        raise VSRError(f"the Ray cluster has no room for a worker of 1 CPU and {gpus:g} GPU: add a node or lower the share.")
    return size


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

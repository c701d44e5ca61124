"""A training run on Ray Train: any number of workers, resumed from its last checkpoint whatever killed it.

The run's name is its identity: whoever calls again with it goes on with that run. A worker that dies
is replaced a few times; an error that its user has to mend ends the run at once, and is raised here as
the one sentence it is.

A checkpoint is a file in the run's folder and not one of Ray's, which only counts once the controller has asked for it, seconds
later: a run that is killed or ends with an error in between would lose it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch
from ray._raylet import PlacementGroupID
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchTrainer
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group

from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics
from pipelines.monitoring.progress import Tracker, TrainingLog
from pipelines.params import Schedule
from pipelines.runtime.driver import Driver
from pipelines.runtime.outbox import Outbox
from pipelines.training.loop import Task, fit
from pipelines.training.state import State, load, newest, packed, put, save

_ATTEMPTS = 3
_LAST = "last.pt"
_FINAL = "final.pt"
_LINES = "progress.log"
UNSENT = "unsent"
"""The folder of a run in which that waits which its tracker could not be told, see `pipelines.runtime.outbox`."""


@dataclass(frozen=True)
class Workers:
    """How many processes train, and what each has: `cpus` cores, and a GPU if `gpu`."""

    count: int
    cpus: int
    gpu: bool

    @staticmethod
    def from_environment(batch: int) -> Workers:
        """`VSR_TRAIN_WORKERS`, else one per GPU of the cluster as far as they share `batch` evenly, or one;
        each with `VSR_TRAIN_CPUS` cores, else its share of a node's.

        Raises:
            VSRError: a variable is not a whole number, or the cluster has less.
        """
        gpus = int(ray.cluster_resources().get("GPU", 0))
        count = _whole("VSR_TRAIN_WORKERS") or max(count for count in range(1, max(1, gpus) + 1) if batch % count == 0)
        nodes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
        cpus = _whole("VSR_TRAIN_CPUS") or max(1, max(nodes) // count)
        if gpus and count > gpus:
            raise VSRError(f"VSR_TRAIN_WORKERS is {count} and the cluster has {gpus} GPUs: lower it.")
        if cpus > max(nodes):
            raise VSRError(f"VSR_TRAIN_CPUS is {cpus} and no node of the cluster has more than {max(nodes)}: lower it.")
        room = sum(node // cpus for node in nodes)
        if count > room:  # Ray would wait for more
            raise VSRError(
                f"a training of {count} workers with {cpus} CPU each does not fit into the cluster, which has room for {room}: "
                "lower VSR_TRAIN_WORKERS or VSR_TRAIN_CPUS, or add nodes."
            )
        return Workers(count, cpus, gpus > 0)


def run(
    build: Callable[[], Task],
    schedule: Schedule,
    *,
    name: str,
    storage: Path,
    workers: Workers | None = None,
    tracker: Tracker | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train to the end of `schedule`, going on where an earlier call with this `name` stopped.

    Ray has to be connected.

    Args:
        build: makes the task inside each worker; picklable.
        name: the run's identity: a hash of all that its result depends on.
        storage: the folder under which the run keeps its checkpoints; none but the driver's node has to see it.
        workers: by default `Workers.from_environment(schedule.batch)`.
        tracker: takes curves and images, in the worker of rank 0; what it cannot be told stays in `UNSENT` of the run's folder.
        say: takes the progress lines, here.

    Returns:
        The final state, for `pipelines.training.state`.

    Raises:
        VSRError: what a worker raised, or the workers died `3` times without getting further.
    """
    folder = storage.resolve() / name
    last, final = folder / _LAST, folder / _FINAL
    if final.is_file():
        return final
    folder.mkdir(parents=True, exist_ok=True)
    workers = workers or Workers.from_environment(schedule.batch)
    # Another stage may hold the cores for long: waiting for them is no fault.
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "86400")
    if len(ray.nodes()) == 1:  # nothing goes on where the only node is taken away
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    config = {
        "driver": Driver.this(),
        "build": build,
        "schedule": schedule,
        "tracker": tracker,
        "threads": workers.cpus,
        "lines": folder / _LINES,
        "last": last,
    }
    with _followed(folder / _LINES, say):
        failures, before = 0, None
        while (failure := _attempt(config, workers, name, storage)) is not None:
            _remove_reservations()
            reached = last.stat().st_mtime_ns if last.is_file() else None
            failures, before = 1 if reached != before else failures + 1, reached
            if failures == _ATTEMPTS:
                raise VSRError(
                    f"the training {name} failed {failures} times without getting further, at last with: {_last_line(failure)} "
                    "Run again to go on from its last checkpoint."
                ) from failure
            say(f"a training worker failed ({_last_line(failure)}): going on from the last checkpoint")
    done = load(last)["step"] if last.is_file() else 0
    if done < schedule.iterations:  # stopped by Ctrl-C, which Ray takes for an end
        raise VSRError(f"the training {name} was stopped at step {done}: run again to go on.")
    os.replace(last, final)
    return final


def _attempt(
    config: dict[str, Any], workers: Workers, name: str, storage: Path
) -> TrainingFailedError | RayActorError | OutOfMemoryError | None:
    """Train on Ray until the end, or until something fails that may pass.

    Raises:
        VSRError: what a worker raised.
    """
    resources = {"CPU": float(workers.cpus)} | ({"GPU": 1.0} if workers.gpu else {})
    trainer = TorchTrainer(
        _work,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=workers.count, use_gpu=workers.gpu, resources_per_worker=resources),
        # Tried again here and not by Ray, which would try a user's error again too.
        run_config=RunConfig(name=name, storage_path=str(storage.resolve()), failure_config=FailureConfig(max_failures=0)),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        _raise_own(error)
        return error
    except (RayActorError, OutOfMemoryError) as error:  # Ray's controller of the training is dead
        return error
    return None


def _remove_reservations() -> None:
    """Give back what a dead controller has reserved, and end its ranks: what of Ray's should do so asks the dashboard whether the
    controller lives, and waits for ever where there is none."""
    job = ray.get_runtime_context().get_job_id()
    for group, found in placement_group_table().items():
        if group.endswith(job) and found["state"] != "REMOVED":  # the name of a group ends with that of its job
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(group))))


def _work(config: dict[str, Any]) -> None:
    """The training of one rank."""
    torch.set_num_threads(config["threads"])
    driver: Driver = config["driver"]
    driver.join()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    schedule: Schedule = config["schedule"]
    # Convolutions on a GPU have ten bits for fractions by default.
    torch.backends.cudnn.allow_tf32 = schedule.precision != "float32"
    last: Path = config["last"]
    add = partial(_append, config["lines"])
    say = partial(driver.call, add)
    outbox = Outbox(config["tracker"], last.with_name(UNSENT), add) if config["tracker"] else None
    progress = TrainingLog(schedule.iterations, say, _Tracked(driver, outbox) if outbox else None)

    def keep(step: int, state: State) -> None:
        if driver.here:
            save(state, last)
        else:
            driver.call(put, packed(state), last)

    state = driver.call(newest, last, add if rank == 0 else _ignore)
    if state is not None and rank == 0:
        say(f"going on from step {state['step']}/{schedule.iterations}")
    fit(
        config["build"](),
        schedule,
        rank=rank,
        world=world,
        device=ray.train.torch.get_device(),
        resume=state,
        on_log=progress.log if rank == 0 else None,
        on_validate=progress.validated,
        on_checkpoint=keep if rank == 0 else None,
    )


@dataclass
class _Tracked:
    """A tracker whose outbox, and what it tells, are on the driver's node."""

    driver: Driver
    outbox: Outbox

    def metrics(self, step: int, values: Metrics) -> None:
        """See `Tracker`."""
        self.outbox = self.driver.call(_told, self.outbox, "metrics", step, values)

    def images(self, step: int, images: Images) -> None:
        """See `Tracker`."""
        self.outbox = self.driver.call(_told, self.outbox, "images", step, images)


def _told(outbox: Outbox, kind: str, step: int, what: Any) -> Outbox:
    """An outbox that has been told something, and with it what it knows of who it tells."""
    getattr(outbox, kind)(step, what)
    return outbox


def _ignore(line: str) -> None:
    """What other ranks say of what rank 0 says."""


def _append(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")


@contextmanager
def _followed(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hand on the lines that are added to a file during the block."""
    path.touch()
    stopped = threading.Event()

    def follow() -> None:
        with path.open() as file:
            file.seek(0, os.SEEK_END)
            last = False
            while not last:
                last = stopped.wait(0.5)
                for line in file:
                    say(line.rstrip("\n"))

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield
    finally:
        stopped.set()
        follower.join()


def _raise_own(error: TrainingFailedError) -> None:
    """Raise the sentence that a worker raised, if it did."""
    if isinstance(error, WorkerGroupError):
        for failure in error.worker_failures.values():
            if isinstance(failure, VSRError):
                raise failure from None


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") + "." if lines else type(error).__name__


def _whole(variable: str) -> int | None:
    """The variable's value, None where it is not set."""
    value = os.environ.get(variable)
    if not value:
        return None
    if not value.isdigit() or int(value) < 1:
        raise VSRError(f"{variable} is {value!r}: give a whole number, at least 1.")
    return int(value)

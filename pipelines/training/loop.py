"""The training loop: plain PyTorch, in one process or as one rank of several.

What is trained is a `Task`; how long and how fast is a `Schedule`. The loop knows nothing of files,
trackers or clusters: it calls back with metrics, images and states. A run that was interrupted and
resumed from a state ends with the very weights of an undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics
from pipelines.params import Precision, Schedule
from pipelines.training.crops import Batch
from pipelines.training.learners import Learner
from pipelines.training.state import State

_AUTOCAST: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_PATIENCE = timedelta(days=7)
"""How long a rank waits for the others at the end of a validation."""


class Task(Protocol):
    """Networks, the data they learn from, and what learning means."""

    @property
    def learners(self) -> Sequence[Learner]:
        """What learns, in the order in which it does so in every step. The first is what the training is for: it is validated,
        and its weights are left in the end."""
        ...

    @property
    def frozen(self) -> Mapping[str, str]:
        """The sha256 of every file with parameters that are used and do not learn, by name."""
        ...

    @property
    def views(self) -> Sequence[Any]:
        """What is validated, one after the other."""
        ...

    def batch(self, step: int, indices: Iterable[int], device: torch.device) -> Batch:
        """The samples `indices` of the global batch of `step` on a device, stacked along the first axis.

        They depend on the seed, the step and their index alone: neither on how many workers share the batch, nor on an
        interruption. The batch of the next step is made while one is learnt from, in another thread.
        """
        ...

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        """The loss of a learner on a batch as named terms, float32 scalars whose means over ranks are those of the global batch.

        The networks of the others have no gradients then. What a learner puts into the batch, the next one finds there: a
        discriminator the frames that were restored.
        """
        ...

    def validate(self, network: nn.Module, view: Any, device: torch.device) -> Any:
        """What is to be known of one of `views`; `network` is that of the first learner, or its average. Picklable."""
        ...

    def summary(self, found: list[Any], step: int) -> tuple[Metrics, Images]:
        """Metrics after `step` steps, and frames to look at, from what `validate` gave for all `views`, in their order."""
        ...


def fit(
    task: Task,
    schedule: Schedule,
    *,
    rank: int = 0,
    world: int = 1,
    device: torch.device | str = "cpu",
    resume: State | None = None,
    on_log: Callable[[int, Metrics], None] | None = None,
    on_validate: Callable[[int, Metrics, Images], None] | None = None,
    on_checkpoint: Callable[[int, State], None] | None = None,
) -> State:
    """Train the learners of `task` along `schedule`.

    A step sees `schedule.batch` samples over all ranks, each rank an equal share. With `world` > 1 the
    default process group has to be up. What networks draw at random in a step depends on the seed, the step and the rank.

    Args:
        resume: the state of an earlier call with the same task and schedule.
        on_log: called on every rank after each step with what `Learner.update` says, that of all but the first learner with
            its name and `/` in front.
        on_validate: called on rank 0 before the first step and every `schedule.validate_every` steps; given on all ranks or
            none, for they share the work.
        on_checkpoint: called on every rank at the same steps as `on_validate` except the first; the
            state holds references, to be written before the call returns.

    Returns:
        The state at the end, equal to that of the last checkpoint; see `pipelines.training.state`.

    Raises:
        VSRError: the batch cannot be shared evenly, the state is of another run, or a loss or gradient is not finite.
    """
    device, indices = torch.device(device), _share(schedule.batch, rank, world)
    for learner in task.learners:
        learner.begin(schedule, device)
    start = _restore(task, resume) if resume is not None else 0
    meeting = distributed.new_group(backend="gloo", timeout=_PATIENCE) if world > 1 else None

    def validate(step: int) -> None:
        if on_validate is not None:
            found = _validated(task, rank, world, device, meeting)
            if rank == 0:
                on_validate(step, *task.summary(found, step))

    if resume is None:
        validate(0)
    turns = _Turns(task, schedule.precision, device, world)
    for step, batch in _prefetched(task, range(start, schedule.iterations), indices, device):
        torch.manual_seed(int(np.random.SeedSequence([schedule.seed % 2**64, step, rank]).generate_state(1)[0]))
        metrics = turns.take(step, batch)
        if on_log is not None:
            on_log(step + 1, metrics)
        if (step + 1) % schedule.validate_every == 0 or step + 1 == schedule.iterations:
            validate(step + 1)
            if on_checkpoint is not None:
                on_checkpoint(step + 1, _state(task, step + 1))
    return _state(task, schedule.iterations)


class _Loss(nn.Module):
    """The loss of a learner as a module, so that gradients are exchanged for all that it does with the network: calls it
    several times, or with other parameters."""

    def __init__(self, task: Task, learner: Learner) -> None:
        super().__init__()
        self.network = learner.network
        self._loss, self._name = task.loss, learner.name

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self._loss(self._name, batch)


class _Turns:
    """The learners of a task, each learning in turn."""

    def __init__(self, task: Task, precision: Precision, device: torch.device, world: int) -> None:
        self._task, self._world = task, world
        self._losses: dict[str, nn.Module] = {}
        dtype = _AUTOCAST.get(precision)
        self._autocast = partial(torch.autocast, device.type, dtype, enabled=dtype is not None)

    def take(self, step: int, batch: Batch) -> Metrics:
        """One step of every learner; what it says, see `fit`."""
        metrics: Metrics = {}
        for learner in self._task.learners:
            for each in self._task.learners:
                each.rest()
            learner.take_turn(step)
            if learner.name not in self._losses or learner.thaws(step):
                self._losses[learner.name] = self._loss(learner)
            with self._autocast():
                terms = self._losses[learner.name](batch)
            prefix = "" if learner is self._task.learners[0] else f"{learner.name}/"
            metrics |= {prefix + name: value for name, value in learner.update(terms, step).items()}
        return metrics

    def _loss(self, learner: Learner) -> nn.Module:
        # Gradients are exchanged for what learns when this is made, so it is made anew at each thaw.
        loss = _Loss(self._task, learner)
        return DistributedDataParallel(loss, broadcast_buffers=False) if self._world > 1 else loss


def _share(batch: int, rank: int, world: int) -> range:
    """The indices of a rank's part of the global batch."""
    if batch % world:
        raise VSRError(f"a batch of {batch} cannot be shared evenly by {world} workers: set `batch` to a multiple of {world}.")
    share = batch // world
    return range(rank * share, (rank + 1) * share)


@torch.no_grad()
def _validated(task: Task, rank: int, world: int, device: torch.device, meeting: distributed.ProcessGroup | None) -> list[Any]:
    """What `validate` gives for all views, each looked at by one rank."""
    network = task.learners[0].final
    network.eval()
    found = [task.validate(network, view, device) for view in task.views[rank::world]]
    if meeting is None:
        return found
    # All wait here for the slowest, however long it takes, and nowhere else.
    of_ranks: list[Any] = [None] * world
    distributed.all_gather_object(of_ranks, found, group=meeting)
    return [of_ranks[index % world][index // world] for index in range(len(task.views))]


def mean_over_ranks(value: Tensor) -> Tensor:
    """A number of every rank, averaged over them, without a gradient."""
    mean = value.detach().clone()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(mean)
        mean /= distributed.get_world_size()
    return mean


def _state(task: Task, step: int) -> State:
    learners = {learner.name: learner.state() for learner in task.learners}
    return {"step": step, "frozen": dict(task.frozen), "learners": learners}


def _restore(task: Task, state: State) -> int:
    """Put a state in place; returns the steps done."""
    for name, sha256 in task.frozen.items():
        before = state["frozen"].get(name)
        if before is not None and before != sha256:
            raise VSRError(
                f"the training began with a file of {name} whose sha256 begins with {before[:12]}, not {sha256[:12]}: put that file "
                "back, or remove the training state to start over."
            )
    names = {learner.name for learner in task.learners}
    if set(state["learners"]) != names or set(state["frozen"]) != set(task.frozen):
        raise VSRError("the training state is of another network: remove it to start over.")
    for learner in task.learners:
        learner.restore(state["learners"][learner.name])
    return int(state["step"])


def _prefetched(task: Task, steps: range, indices: range, device: torch.device) -> Iterator[tuple[int, Batch]]:
    """The batches of `steps`, each made while the one before is learnt from."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(task.batch, steps.start, indices, device) if steps else None
        for step in steps:
            assert coming is not None
            batch = coming.result()
            coming = pool.submit(task.batch, step + 1, indices, device) if step + 1 in steps else None
            yield step, batch

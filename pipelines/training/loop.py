"""The training loop: plain PyTorch, in one process or as one rank of several.

What is trained is a `Task`; how long and how fast is a `Schedule`. The loop knows nothing of files,
trackers or clusters: it calls back with metrics, images and states. A run that was interrupted and
resumed from a state ends with the very weights of an undisturbed one.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from models.parts.deform import GuidedDeformConv
from pipelines.errors import VSRError
from pipelines.params import Schedule
from pipelines.training.crops import Batch
from pipelines.training.schedules import rate

State = dict[str, Any]
"""What a run goes on from: `step` (steps done), `network`, `optimiser` and `average` (state dicts)."""

Metrics = dict[str, float]
Images = dict[str, np.ndarray]
"""Frames to look at by name, (H, W, 3) uint8 RGB."""


@dataclass(frozen=True)
class Group:
    """Parameters that learn at `factor` times the rate, once `frozen` steps are over."""

    parameters: list[nn.Parameter]
    factor: float = 1.0
    frozen: int = 0


class Task(Protocol):
    """A network, the data it learns from, and what learning means."""

    ema: float | None
    """Decay of the averaged weights that are validated and kept; None keeps the plain ones."""

    @property
    def network(self) -> nn.Module:
        """What learns, the same whenever it is asked for."""
        ...

    def groups(self) -> list[Group]:
        """All parameters of the network, each in one group."""
        ...

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        """The samples `indices` of the global batch of `step`, on the CPU, stacked along the first axis."""
        ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The loss of a batch, a float32 scalar whose mean over ranks is that of the global batch. `network` may
        be wrapped for several ranks."""
        ...

    def validate(self, network: nn.Module, device: torch.device, step: int) -> tuple[Metrics, Images]:
        """Metrics on the validation split after `step` steps, and frames to look at."""
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
    """Train `task` along `schedule` with Adam(0.9, 0.99) and the rate of `schedules.rate`.

    A step sees `schedule.batch` samples over all ranks, each rank an equal share. With `world` > 1 the
    default process group has to be up. On CUDA, forward passes run under bfloat16 autocast.

    Args:
        resume: the state of an earlier call with the same task and schedule.
        on_log: called on every rank after each step with its `loss`, the `rate`, the `gradient` norm and, for networks with
            deformable convolutions whose samples may go anywhere, the largest mean `offset` of one in pixels.
        on_validate: called on rank 0 before the first step and every `schedule.validate_every` steps.
        on_checkpoint: called on every rank at the same steps as `on_validate` except the first; the
            state holds references, to be written before the call returns.

    Returns:
        The state at the end, equal to that of the last checkpoint; see `kept`.

    Raises:
        VSRError: the batch cannot be shared evenly, the state is of another run, or the loss or its
            gradient is not finite.
    """
    if schedule.batch % world:
        raise VSRError(
            f"a batch of {schedule.batch} cannot be shared evenly by {world} workers: set `batch` to a multiple of {world}."
        )
    share = schedule.batch // world
    indices = range(rank * share, (rank + 1) * share)
    device = torch.device(device)
    network = task.network.to(device)
    groups = task.groups()
    optimiser = torch.optim.Adam([{"params": group.parameters} for group in groups], betas=(0.9, 0.99))
    average = copy.deepcopy(network).requires_grad_(False) if task.ema is not None else None
    start = _restore(resume, network, optimiser, average) if resume is not None else 0
    parameters = [parameter for group in groups for parameter in group.parameters]
    unbounded = [module for module in network.modules() if isinstance(module, GuidedDeformConv)]

    def validate(step: int) -> None:
        if rank == 0 and on_validate is not None:
            kept_network = network if average is None else average
            kept_network.eval()
            with torch.no_grad():
                on_validate(step, *task.validate(kept_network, device, step))

    def state(step: int) -> State:
        return {
            "step": step,
            "network": network.state_dict(),
            "optimiser": optimiser.state_dict(),
            "average": average.state_dict() if average is not None else None,
        }

    if resume is None:
        validate(0)
    replica: nn.Module | None = None
    for step, batch in _prefetched(task, range(start, schedule.iterations), indices, pin=device.type == "cuda"):
        if replica is None or any(group.frozen == step for group in groups):
            for group in groups:
                for parameter in group.parameters:
                    parameter.requires_grad_(step >= group.frozen)
            # Gradients are exchanged for what learns when the replica is made, so it is made anew at each thaw.
            replica = DistributedDataParallel(network, broadcast_buffers=False) if world > 1 else network
        for group, options in zip(groups, optimiser.param_groups, strict=True):
            options["lr"] = rate(schedule, step, group.factor)
        network.train()
        optimiser.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = task.loss(replica, {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()})
        loss.backward()
        # The norm is the same on every rank, so all stop together.
        norm = nn.utils.clip_grad_norm_(parameters, schedule.clip_gradients or float("inf"))
        if not torch.isfinite(norm):
            raise VSRError(
                f"the loss is {loss.item():g} and its gradient {norm.item():g} at step {step} with the rate {rate(schedule, step):g}: "
                "lower `rate` or set `clip_gradients`."
            )
        optimiser.step()
        if average is not None:
            assert task.ema is not None
            torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - task.ema)
        if on_log is not None:
            on_log(step + 1, {"loss": loss.item(), "rate": rate(schedule, step), "gradient": norm.item(), **_offset(unbounded)})
        if (step + 1) % schedule.validate_every == 0 or step + 1 == schedule.iterations:
            validate(step + 1)
            if on_checkpoint is not None:
                on_checkpoint(step + 1, state(step + 1))
    return state(schedule.iterations)


def _offset(convs: Iterable[GuidedDeformConv]) -> Metrics:
    moved = [conv.moved for conv in convs if conv.moved is not None]
    return {"offset": torch.stack(moved).max().item()} if moved else {}


def mean_over_ranks(value: Tensor) -> Tensor:
    """A number of every rank, averaged over them, without a gradient."""
    mean = value.detach().clone()
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(mean)
        mean /= distributed.get_world_size()
    return mean


def kept(state: State) -> dict[str, Tensor]:
    """The weights that a run is for: the averaged ones if it kept any, else the plain ones."""
    return state["network"] if state["average"] is None else state["average"]


def save(state: State, path: Path) -> None:
    """Write a state so that `path` is either whole or as it was."""
    partial = path.with_name(path.name + ".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> State:
    """Read a state onto the CPU.

    Raises:
        VSRError: it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for each kind of damage
        raise VSRError(
            f"the training state {path} cannot be read ({' '.join(str(error).split())[:200]}): remove it to start over."
        ) from error


def _restore(state: State, network: nn.Module, optimiser: torch.optim.Optimizer, average: nn.Module | None) -> int:
    """Put a state in place; returns the steps done."""
    if (state["average"] is None) != (average is None):
        raise VSRError("the training state and the recipe disagree on `ema`: remove the state to start over.")
    try:
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        if average is not None:
            average.load_state_dict(state["average"])
    except (RuntimeError, ValueError) as error:
        raise VSRError("the training state is of another network: remove it to start over.") from error
    return int(state["step"])


def _prefetched(task: Task, steps: range, indices: range, pin: bool) -> Iterator[tuple[int, Batch]]:
    """The batches of `steps`, each made while the one before is learnt from."""

    def make(step: int) -> Batch:
        batch = task.batch(step, indices)
        return {name: tensor.pin_memory() for name, tensor in batch.items()} if pin else batch

    with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
        coming = pool.submit(make, steps.start) if steps else None
        for step in steps:
            assert coming is not None
            batch = coming.result()
            coming = pool.submit(make, step + 1) if step + 1 in steps else None
            yield step, batch

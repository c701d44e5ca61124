"""Training runs on Ray Train: killed, resumed, finished and failed ones."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
import torch
from torch import Tensor, nn

from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics
from pipelines.params import Optimiser, Schedule
from pipelines.runtime import trainer
from pipelines.training import loop
from pipelines.training.crops import Batch
from pipelines.training.learners import Learner
from pipelines.training.state import final_weights, load

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not have the tests on their path


@dataclass
class Line:
    """Fits a line to points; on its way it can be killed once, or find something wrong."""

    folder: Path
    kill_at: int | None = None
    wrong_at: int | None = None
    kill_controller_at: int | None = None
    network: nn.Module = field(default_factory=lambda: nn.Linear(1, 1))
    frozen: dict[str, str] = field(default_factory=dict)
    views: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        self.learners = [Learner("line", self.network, SCHEDULE)]

    def batch(self, step: int, indices: Iterable[int], device: torch.device) -> Batch:
        rank = int(os.environ.get("RANK", 0))
        with (self.folder / f"steps-{rank}").open("a") as file:
            file.write(f"{step}\n")
        if step == self.wrong_at:
            raise VSRError("the clip 'x' is damaged: make it again.")
        x = torch.tensor([[float(step * 4 + index)] for index in indices]) / 20
        return {"x": x, "y": 3 * x + 1}

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        return {"square": (self.network(batch["x"]) - batch["y"]).square().mean()}

    def validate(self, network: nn.Module, view: int, device: torch.device) -> float:
        return float(network.weight)  # type: ignore[arg-type]

    def summary(self, found: list[float], step: int) -> tuple[Metrics, Images]:
        if step == self.kill_at and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.kill_controller_at and not (self.folder / "controller_killed").exists():
            (self.folder / "controller_killed").touch()
            beside = psutil.Process().parent().children()  # type: ignore[union-attr]
            next(process for process in beside if "TrainController" in process.cmdline()[0]).kill()
            time.sleep(1000)
        return {"slope": found[0]}, {"dot": np.zeros((1, 1, 3), np.uint8)}


@dataclass
class FileTracker:
    """Writes what it is given to a file."""

    path: Path

    def metrics(self, step: int, values: dict[str, float]) -> None:
        with self.path.open("a") as file:
            file.write(f"{step} {','.join(sorted(values))}\n")

    def images(self, step: int, images: dict[str, np.ndarray]) -> None:
        with self.path.open("a") as file:
            file.write(f"{step} image {','.join(images)}\n")


SCHEDULE = Schedule(
    iterations=12,
    batch=4,
    crop=8,
    clip_length=2,
    rate=0.1,
    final_rate=0.01,
    optimiser=Optimiser(kind="adam", betas=(0.9, 0.99), decay=0),
    precision="float32",
    clip_gradients=None,
    ema=None,
    validate_every=4,
    seed=0,
)


def make(folder: Path, **options: int) -> Line:
    torch.manual_seed(0)
    return Line(folder, **options)  # type: ignore[arg-type]


def test_a_run_goes_on_whatever_stops_it(cluster: None, tmp_path: Path) -> None:
    """One of two workers is killed before the checkpoint of step 8 is written, then step 10 finds a damaged
    clip; one worker alone brings the run to its end."""
    said: list[str] = []
    arguments = {"name": "line", "storage": tmp_path / "store", "say": said.append}

    def steps() -> list[int]:
        return [int(line) for line in (tmp_path / "steps-0").read_text().split()]

    with pytest.raises(VSRError, match=r"^the clip 'x' is damaged: make it again\.$"):
        trainer.run(partial(make, tmp_path, kill_at=8, wrong_at=10), SCHEDULE, workers=trainer.Workers(2, 1, False), **arguments)  # type: ignore[arg-type]
    # The batch of the step after is prepared while the one before is learnt from.
    assert steps() == [*range(9), *range(4, 11)] and "going on from step 4/12" in said
    tracker = FileTracker(tmp_path / "tracked")
    alone = trainer.Workers(1, 1, False)
    final = trainer.run(partial(make, tmp_path), SCHEDULE, workers=alone, tracker=tracker, **arguments)  # type: ignore[arg-type]
    assert steps()[16:] == list(range(8, 12)) and "going on from step 8/12" in said and said[-1].startswith("step 12/12")
    tracked = (tmp_path / "tracked").read_text().splitlines()
    assert {"12 gradient,loss,rate,steps_per_second", "12 validation/slope", "12 image dot"} <= set(tracked)
    state = load(final)
    undisturbed = loop.fit(make(tmp_path), SCHEDULE)
    assert state["step"] == 12
    for key, value in final_weights(undisturbed).items():
        torch.testing.assert_close(final_weights(state)[key], value, rtol=1e-4, atol=1e-5)
    # A finished run is not touched again: nothing could be built now.
    (tmp_path / "steps-0").unlink()
    assert trainer.run(partial(make, tmp_path), SCHEDULE, **arguments) == final  # type: ignore[arg-type]
    assert not (tmp_path / "steps-0").exists()


def test_a_training_whose_controller_is_killed_does_not_wait_for_ever(cluster: None, tmp_path: Path) -> None:
    """Its ranks have all cores, until they are ended as well."""
    said: list[str] = []
    build, workers = partial(make, tmp_path, kill_controller_at=8), trainer.Workers(2, 1, False)
    final = trainer.run(build, SCHEDULE, name="line", storage=tmp_path / "store", workers=workers, say=said.append)
    assert (tmp_path / "controller_killed").exists() and load(final)["step"] == 12
    assert "going on from step 4/12" in said and any(line.startswith("a training worker failed (") for line in said)


def test_workers_from_the_environment(cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("VSR_TRAIN_WORKERS", "VSR_TRAIN_CPUS"):
        monkeypatch.delenv(variable, raising=False)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    for found, batch, count in ((0, 4, 1), (1, 4, 1), (2, 4, 2), (3, 4, 2), (8, 4, 4), (8, 1, 1), (5, 15, 5)):
        with monkeypatch.context() as patched:
            patched.setattr(ray, "cluster_resources", lambda found=found: {"GPU": float(found)})
            patched.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 16.0}}])
            workers = trainer.Workers.from_environment(batch)
            assert (workers.count, workers.gpu) == (count, found > 0)
    if not gpus:
        monkeypatch.setenv("VSR_TRAIN_WORKERS", "2")
        assert trainer.Workers.from_environment(4) == trainer.Workers(2, 1, False)
        monkeypatch.setenv("VSR_TRAIN_WORKERS", "3")
        with pytest.raises(
            VSRError, match="3 workers with 1 CPU each does not fit into the cluster, which has room for 2: lower"
        ):
            trainer.Workers.from_environment(3)
        monkeypatch.setenv("VSR_TRAIN_WORKERS", "2")
    monkeypatch.setenv("VSR_TRAIN_CPUS", "1")
    assert trainer.Workers.from_environment(4).cpus == 1
    monkeypatch.setenv("VSR_TRAIN_CPUS", "4096")
    with pytest.raises(VSRError, match="no node of the cluster has more than"):
        trainer.Workers.from_environment(4)
    monkeypatch.setenv("VSR_TRAIN_CPUS", "two")
    with pytest.raises(VSRError, match="VSR_TRAIN_CPUS is 'two'"):
        trainer.Workers.from_environment(4)

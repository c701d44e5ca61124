"""How long workers take to start on an own Ray cluster, forked and not: actors with torch, and a training of no steps."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext

import ray
import ray.train.torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from benchmarks.timing import table
from pipelines.runtime.fork_server import forked_workers

ACTORS = 4


class Actor:
    """Has what a worker of clips has."""

    def __init__(self) -> None:
        import cv2
        import torch

        cv2.setNumThreads(torch.get_num_threads())

    def there(self) -> bool:
        return True


def main() -> None:
    """Print seconds and ratios; the start of the cluster is not among them, nor the server's."""
    actors, trainings = {}, {}
    for name, workers in {"forked": forked_workers, "started by Ray": nullcontext}.items():
        with workers():
            ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
            _actors(2)  # once the server has imported the libraries, and Ray its first workers
            actors[name] = _seconds(lambda: _actors(ACTORS))
            trainings[name] = _seconds(_training)
            ray.shutdown()
    table(actors, "started by Ray", ACTORS, of="actor")
    table(trainings, "started by Ray", of="training")


def _seconds(call: Callable[[], None]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _actors(count: int) -> None:
    actors = [ray.remote(Actor).options(num_cpus=0).remote() for _ in range(count)]
    ray.get([actor.there.remote() for actor in actors])


def _training() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = RunConfig(name="nothing", storage_path=folder)
        TorchTrainer(_nothing, scaling_config=ScalingConfig(num_workers=1), run_config=run).fit()


def _nothing() -> None:
    """A training of no steps."""
    assert "torch" in sys.modules

"""The demo's training in this process, without Ray: what its minutes on one core gain over bicubic.

Needs the data of the demo (`dvc repro degrade`). `python -m benchmarks.train_small [experiment …]`
"""

from __future__ import annotations

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

import models
from models import Network
from pipelines import networks, params
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.evaluation.metrics import luma, psnr
from pipelines.evaluation.restore import restore
from pipelines.params import Params, Schedule
from pipelines.training import loop
from pipelines.training.flow import flow_task
from pipelines.training.loop import Task
from pipelines.training.progress import Progress
from pipelines.training.restoration import restoration_task

DATA = params.ROOT / "data"


def main(names: list[str]) -> None:
    """Train the start and each experiment on one thread, and print PSNR on Y of the test clips."""
    torch.set_num_threads(1)
    loaded = params.load()
    with tempfile.TemporaryDirectory() as folder:
        for name in names or list(loaded.experiments):
            experiment = params.entry("experiment", loaded.experiments, name)
            start = Path(folder) / f"{experiment.start}.safetensors"
            if not start.exists():
                models.save(_start(loaded, experiment.start), start)
            _table(loaded, name, _experiment(loaded, name, start))


def _start(loaded: Params, name: str) -> Network:
    start = loaded.starts[name]
    if start.training is None:
        raise VSRError(f"the start {name} is not trained here: name an experiment whose start is.")
    task = flow_task(start.network, start.options, start.training, DATA / "hr" / start.corpus, DATA / "truth" / start.corpus)
    network = networks.create(start.network, **start.options)
    network.load_state_dict(_fit(name, task, start.training))
    return network


def _experiment(loaded: Params, name: str, start: Path) -> Network:
    experiment = loaded.experiments[name]
    profile = loaded.methods[experiment.method][experiment.profile]
    if profile.training is None:
        raise VSRError(f"the profile {experiment.profile} of {experiment.method} has no training: name another experiment.")
    hr, lr = DATA / "hr" / experiment.corpus, DATA / "lr" / experiment.corpus / experiment.degradation
    task = restoration_task(experiment.method, profile.options, profile.training, hr, lr, start)
    network = networks.create(experiment.method, **profile.options)
    network.load_state_dict(_fit(name, task, profile.training))
    return network


def _fit(name: str, task: Task, schedule: Schedule) -> dict[str, torch.Tensor]:
    progress = Progress(schedule.iterations, partial(print, f"{name}:", flush=True))
    began, used = time.monotonic(), time.process_time()
    state = loop.fit(task, schedule, on_log=progress.log, on_validate=progress.validated)
    print(f"{name}: {time.monotonic() - began:.0f} s, of which on the processor {time.process_time() - used:.0f} s")
    return loop.kept(state)


def _table(loaded: Params, name: str, network: Network) -> None:
    experiment = loaded.experiments[name]
    test = params.entry("tested corpus", loaded.tests.corpora, experiment.corpus)
    hr, lr = Store(DATA / "hr" / experiment.corpus), Store(DATA / "lr" / experiment.corpus / experiment.degradation)
    bicubic = models.create("bicubic", scale=network.scale)
    rows = []
    for clip in hr.split(test.split):
        row = []
        for restorer in (bicubic, network):
            restored = restore(restorer, lr.frames(clip.name), window=test.window, overlap=test.overlap)
            row.append(np.mean([psnr(luma(ours), luma(true)) for ours, true in zip(restored, hr.frames(clip.name), strict=True)]))
        rows.append(row)
        print(f"{clip.name:24} {row[0]:7.3f} {row[1]:7.3f} {row[1] - row[0]:+7.3f}")
    mean = np.mean(rows, axis=0)
    print(f"{name:24} {mean[0]:7.3f} {mean[1]:7.3f} {mean[1] - mean[0]:+7.3f}  (PSNR on Y: bicubic, trained, gain)\n")


if __name__ == "__main__":
    main(sys.argv[1:])

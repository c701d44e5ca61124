"""The demo's training in this process, without Ray: what its minutes on one core gain over bicubic.

Needs the data of the demo (`dvc repro degrade masks`). What a method starts from is trained first.
`python -m benchmarks.train_small [method …]`
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from models import Network
from pipelines import networks, params
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.metrics import luma, psnr
from pipelines.monitoring.progress import TrainingLog
from pipelines.params import Experiment, Params, Schedule
from pipelines.params.references import IN_STEP, NO_PRIOR, SCRATCH
from pipelines.priors import kinds
from pipelines.restoring.restore import restore
from pipelines.training import loop, product
from pipelines.training.flow import flow_task
from pipelines.training.loop import Task
from pipelines.training.state import final_weights
from stages.common import prior_store
from stages.train import task_of

DATA = params.ROOT / "data"


def main(names: list[str]) -> None:
    """Train each method, and what it starts from, on one thread, and print PSNR on Y of the test clips."""
    torch.set_num_threads(1)
    loaded = params.load()
    with tempfile.TemporaryDirectory() as folder:
        for name in names or list(loaded.experiments):
            params.entry("experiment", loaded.experiments, name)
            _make(loaded, name, Path(folder))
            _table(loaded, name, networks.load(Path(folder) / name / product.WEIGHTS))


def _make(loaded: Params, name: str, folder: Path) -> None:
    """Leave a network in `folder/<name>`, as its stage does in data/trained, unless it is there."""
    if (folder / name).exists():
        return
    task: Task
    if name in loaded.starts:
        start = loaded.starts[name]
        if start.training is None:
            raise VSRError(f"the start {name} is not trained here: name a method whose start is.")
        schedule: Schedule = start.training
        task = flow_task(start.network, start.options, schedule, DATA / "hr" / start.corpus, DATA / "truth" / start.corpus)
        network = networks.create(start.network, **start.options)
    elif name in loaded.experiments:
        chosen = loaded.experiments[name]
        profile = loaded.methods[chosen.method][chosen.profile]
        training = chosen.training(profile)
        if training is None:
            raise VSRError(f"the profile {chosen.profile} of {chosen.method} has no training: name another method.")
        if chosen.start == SCRATCH:
            (folder / SCRATCH).mkdir(exist_ok=True)
            (folder / SCRATCH / product.RECORD).write_text('{"name": "scratch", "notes": [], "parts": []}')
        else:
            _make(loaded, chosen.start, folder)
        schedule = training
        task = task_of(loaded, chosen, profile, training, folder / chosen.start)[0]()
        network = networks.create(chosen.method, **profile.options)
    else:
        raise VSRError(f"{name} is not trained here: name a method whose start is.")
    network.load_state_dict(_fit(name, task, schedule))
    product.write(folder / name, network, {"name": name, "notes": ["trained by this benchmark"]})


def _fit(name: str, task: Task, schedule: Schedule) -> dict[str, torch.Tensor]:
    progress = TrainingLog(schedule.iterations, partial(print, f"{name}:", flush=True))
    began, used = time.monotonic(), time.process_time()
    state = loop.fit(task, schedule, on_log=progress.log, on_validate=progress.validated)
    print(f"{name}: {time.monotonic() - began:.0f} s, of which on the processor {time.process_time() - used:.0f} s")
    return final_weights(state)


def _table(loaded: Params, name: str, network: Network) -> None:
    """Of each test clip: at the degradation learnt, or at all that are tested and made where it is drawn in the step."""
    chosen = loaded.experiments[name]
    test = params.entry("tested corpus", loaded.tests.corpora, chosen.corpus)
    hr = Store(DATA / "hr" / chosen.corpus)
    degradations = loaded.tests.degradations if chosen.degradation == IN_STEP else [chosen.degradation]
    for degradation in degradations:
        path = DATA / "lr" / chosen.corpus / degradation
        if not path.exists():
            print(f"{degradation}: no LR clips, left out")
            continue
        lr = Store(path)
        rows = []
        for clip in hr.split(test.split):
            height, width = lr.clips[clip.name].attributes.parameters["crop"]
            truth = [frame[:height, :width] for frame in hr.frames(clip.name)]
            priors = _priors(network, chosen, clip.name) if chosen.prior != NO_PRIOR else {}
            row = []
            for restorer, seen in ((networks.create("bicubic"), {}), (network, priors)):
                size = (height, width) if restorer.any_scale else None
                restored = restore(
                    restorer, lr.frames(clip.name), window=test.passes.window, overlap=test.passes.overlap, priors=seen, size=size
                )
                row.append(np.mean([psnr(luma(ours), luma(true)) for ours, true in zip(restored, truth, strict=True)]))
            rows.append(row)
            print(f"{clip.name:24} {row[0]:7.3f} {row[1]:7.3f} {row[1] - row[0]:+7.3f}")
        mean = np.mean(rows, axis=0)
        print(
            f"{name} {degradation:12} {mean[0]:7.3f} {mean[1]:7.3f} {mean[1] - mean[0]:+7.3f}  (PSNR on Y: bicubic, trained, gain)\n"
        )


def _priors(network: Network, chosen: Experiment, clip: str) -> dict[str, Iterator[np.ndarray]]:
    store = Store(prior_store(chosen.prior, f"lr/{chosen.corpus}/{chosen.degradation}"))
    return {name: kinds.clip_planes(kinds.get(name), store, clip) for name in network.priors}


if __name__ == "__main__":
    main(sys.argv[1:])

"""The degrade stage's work with 2 workers against 1.

A worker of `bi_x4` computes on one core. One of `crf25_x4` keeps ffmpeg busy beside it, so that on two cores its second
worker has less than a core left to gain.
"""

from __future__ import annotations

import logging
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import ray

from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.degradations import recipes
from pipelines.params import X264, Bicubic
from pipelines.runtime import storing

CLIPS, FRAMES, HEIGHT, WIDTH = 8, 300, 720, 1280
BICUBIC = Bicubic(op="bicubic", scale=4)
RECIPES = {"bi_x4": [BICUBIC], "crf25_x4": [BICUBIC, X264(op="x264", crf=25, preset="medium")]}


def main() -> None:
    """Print seconds, the start of the workers included, and the efficiency T1 / (2 T2)."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        hr = _clip(root)
        jobs = {f"copy{index}": recipes.ClipJob(hr.path, "clip") for index in range(CLIPS)}
        seconds: dict[tuple[str, int], float] = {}
        for workers in (1, 2):
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
            for name, recipe in RECIPES.items():
                start = time.perf_counter()
                made, work = root / f"{name}{workers}", root / f"work-{name}{workers}"
                storing.build(jobs, partial(recipes.Degrade, recipe, name), {"lr": (made, None)}, work, label=name)
                seconds[name, workers] = time.perf_counter() - start
            ray.shutdown()
    for name in RECIPES:
        one, two = seconds[name, 1], seconds[name, 2]
        print(f"  {name:<10} 1 worker {one:6.1f} s   2 workers {two:6.1f} s   efficiency {one / (2 * two):.2f}")


def _clip(root: Path) -> Store:
    """A clip of noise that scrolls, read into the page cache."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT + FRAMES, WIDTH, 3), np.uint8)
    with ClipWriter(root / "parts", "clip") as writer:
        for frame in range(FRAMES):
            writer.append({"rgb": noise[frame : frame + HEIGHT]})
        writer.finish(ClipAttributes("train", 25, HEIGHT, WIDTH))
    assemble(root / "parts", ["clip"], root / "hr")
    store = Store(root / "hr")
    assert sum(int(frame[0, 0, 0]) for frame in store.frames("clip")) >= 0
    return store

"""The degrade stage's work with 2 workers against 1."""

from __future__ import annotations

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

CLIPS, FRAMES, HEIGHT, WIDTH = 4, 60, 720, 1280


def main() -> None:
    """Print seconds and the efficiency T1 / (2 T2), workers already started."""
    recipe = [Bicubic(op="bicubic", scale=4), X264(op="x264", crf=25, preset="medium")]
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        noise = random.integers(0, 256, (HEIGHT + FRAMES, WIDTH, 3), np.uint8)
        for index in range(CLIPS):
            with ClipWriter(root / "parts", f"clip{index}") as writer:
                for frame in range(FRAMES):
                    writer.append({"rgb": noise[frame : frame + HEIGHT]})
                writer.finish(ClipAttributes("train", 25, HEIGHT, WIDTH))
        assemble(root / "parts", [f"clip{index}" for index in range(CLIPS)], root / "hr")
        hr = Store(root / "hr")
        jobs = {clip: recipes.ClipJob(hr.path, clip) for clip in hr.clips}
        seconds: dict[int, float] = {}
        for workers in (1, 2):
            ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
            for turn in range(2):
                start = time.perf_counter()
                out = root / f"lr{workers}{turn}"
                storing.build(
                    jobs,
                    partial(recipes.Degrade, recipe, "crf25_x4"),
                    {"lr": (out, None)},
                    root / f"work{workers}{turn}",
                    label="degrade",
                )
                seconds[workers] = time.perf_counter() - start
            ray.shutdown()
    for workers, value in seconds.items():
        print(f"  {workers} worker(s) {value:6.1f} s")
    print(f"  efficiency {seconds[1] / (2 * seconds[2]):.2f}")

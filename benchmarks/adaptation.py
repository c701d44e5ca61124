"""Internal learning of Ada-VSR: what a few steps on a clip gain, for networks that were trained to be adapted and for those that were not.

`python -m benchmarks.adaptation NAME=FOLDER … [--hr data/hr/parallax] [--split test]`; a folder is one of `data/trained`, and networks whose names
end in `_1`, `_2`, … are the same with other seeds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from models import Network
from pipelines import networks, params
from pipelines.clips.store import Store
from pipelines.degradations import recipes
from pipelines.metrics import luma, psnr, ssim
from pipelines.params import Adaptation
from pipelines.restoring.adapting import adapted
from pipelines.restoring.restore import restore
from pipelines.training import product

DEGRADATIONS = tuple(f"{kernel}_x4_{time}" for time in ("t2", "t2_mean") for kernel in ("bi", "iso16", "iso24", "aniso"))
STEPS = (0, 1, 5, 10, 20)
FRAMES, SIDE = 10, 128
"""Of a clip: its first HR frames, and the middle of them, in pixels a side."""

Value = tuple[float, float, float]
"""PSNR in dB and SSIM on Y, and seconds of one core per restored frame."""


def main(
    chosen: Mapping[str, Path],
    hr: Path,
    split: str,
    rate: float,
    optimiser: str,
    kernel: str,
    degradations: Sequence[str],
    steps: Sequence[int],
) -> None:
    """Print a row for each network, degradation and number of steps."""
    torch.set_num_threads(1)
    store = Store(hr)
    clips = [clip.name for clip in store.split(split)]
    print(
        f"| network | degradation | steps | PSNR | SSIM | core s per frame |\n|---|---|--:|--:|--:|--:|\n  {len(clips)} clips, {optimiser} {rate:g}, {kernel}"
    )
    for name, folder in chosen.items():
        network = networks.load(folder / product.WEIGHTS)
        for degradation in degradations:
            for count in steps:
                how = Adaptation(steps=count, rate=rate, optimiser=optimiser, kernel=kernel) if count else None  # type: ignore[arg-type]
                found = np.mean([_clip(network, store, clip, degradation, how) for clip in clips], axis=0)
                print(f"| {name} | {degradation} | {count} | {found[0]:.3f} | {found[1]:.4f} | {found[2]:.4f} |", flush=True)


def _clip(network: Network, store: Store, clip: str, degradation: str, how: Adaptation | None) -> Value:
    """A clip degraded, learnt from and restored."""
    frames = list(_frames(store, clip))
    recipe = params.load().recipes[degradation]
    size = frames[0].shape[0], frames[0].shape[1]
    made, drawn = recipes.degrade(recipe, iter(frames), degradation=degradation, clip=clip, count=len(frames), size=size, fps=25)
    lr, seen = list(made), recipes.kept(drawn)
    began = time.process_time()
    learnt = adapted(network, lr, how, drawn=drawn) if how else network
    restored = list(restore(learnt, lr, window=len(lr), overlap=0))
    seconds = (time.process_time() - began) / len(restored)
    pairs = [(luma(one), luma(frames[t])) for one, t in zip(restored, range(seen[0], seen[-1] + 1), strict=True)]
    return float(np.mean([psnr(*pair) for pair in pairs])), float(np.mean([ssim(*pair) for pair in pairs])), seconds


def _frames(store: Store, clip: str) -> Iterator[np.ndarray]:
    """The middle of a clip's first frames."""
    for frame in islice(store.frames(clip), FRAMES):
        top, left = ((side - SIDE) // 2 for side in frame.shape[:2])
        yield frame[top : top + SIDE, left : left + SIDE]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--hr", type=Path, default=Path("data/hr/parallax"))
    parser.add_argument("--split", default="test")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--optimiser", default="adam")
    parser.add_argument("--kernel", default="estimated")
    parser.add_argument("--degradations", nargs="+", default=DEGRADATIONS)
    parser.add_argument("--steps", nargs="+", type=int, default=STEPS)
    given = parser.parse_args()
    named = {name: Path(folder) for name, _, folder in (one.partition("=") for one in given.networks)}
    main(named, given.hr, given.split, given.rate, given.optimiser, given.kernel, given.degradations, given.steps)

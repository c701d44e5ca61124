"""bfloat16 and torch.compile, each and together: latency against plain float32, and what they change.

`python -m benchmarks.acceleration [--weights basicvsr=FILE …] [--lr 64x112] [--frames 5] [--device cuda] [--ways bfloat16 …]`; networks without a
file have random parameters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks import restoring, timing
from pipelines.restoring.restore import restore
from pipelines.restoring.speed import Speed

NETWORKS = ("basicvsr", "basicvsr_plusplus", "edvr_m")
THREADS = 2
ROUNDS = 3
WAYS = {
    "float32": Speed(),
    "bfloat16": Speed(precision="bfloat16"),
    "compiled": Speed(compile=True),
    "bfloat16, compiled": Speed(compile=True, precision="bfloat16"),
}


def main(
    weights: Mapping[str, Path] | None = None,
    lr: tuple[int, int] = (64, 112),
    frames: int = 5,
    device: str = "cpu",
    names: Sequence[str] = NETWORKS,
    chosen: Sequence[str] = (),
) -> None:
    """Print the table, of `float32` and the chosen ways, or all."""
    ways = {way: speed for way, speed in WAYS.items() if not chosen or way in ("float32", *chosen)}
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    clip = restoring.clip(frames, *lr)
    print(
        f"  {frames} frames of {lr[1]}x{lr[0]} LR on {device}, {THREADS} threads; differences of 8-bit frames from those of float32"
    )
    print(f"  {'':<36}{'s/frame':>9}{'ratio':>8}{'PSNR dB':>10}{'largest':>9}{'first call s':>14}")
    for name in names:
        file = (weights or {}).get(name)
        print(f"  {name}, {'weights of ' + file.name if file else 'random parameters'}")
        calls = {way: partial(_restored, restoring.network(name, file), clip, speed, device) for way, speed in ways.items()}
        first, made = {}, {}
        for way, call in calls.items():
            start = time.perf_counter()
            made[way] = call()
            first[way] = time.perf_counter() - start
        seconds = timing.best(calls, ROUNDS)
        for way, value in seconds.items():
            psnr, most = restoring.difference(made[way], made["float32"])
            told = f"{'equal':>10}{'':>9}" if most == 0 else f"{psnr:>10.1f}{most:>9}"
            print(f"    {way:<34}{value / frames:>9.3f}{value / seconds['float32']:>8.2f}{told}{first[way]:>14.1f}", flush=True)
    torch.set_num_threads(threads)


def _restored(network: torch.nn.Module, clip: list[np.ndarray], speed: Speed, device: str) -> np.ndarray:
    return np.stack(list(restore(network, clip, window=len(clip), overlap=0, device=device, speed=speed)))  # type: ignore[arg-type]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", action="append", default=[], metavar="NETWORK=FILE")
    parser.add_argument("--lr", default="64x112", metavar="HxW")
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--ways", nargs="+", default=(), choices=list(WAYS))
    options = parser.parse_args()
    files = {name: Path(path) for name, _, path in (item.partition("=") for item in options.weights)}
    height, _, width = options.lr.partition("x")
    main(files, (int(height), int(width)), options.frames, options.device, options.networks, options.ways)

"""Peak memory of restoring a clip by BasicVSR++: whole, in windows of time, in tiles; and what the cuts change.

`python -m benchmarks.memory [--frames 100] [--lr 180x320] [--tile 96] [--weights FILE] [--fast] [--cases whole windows …]`. Every case
runs in a process of its own; `--fast` is bfloat16. Without a file the network has random parameters, whose flow is none: what windows change is then no guide.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

NETWORK = "basicvsr_plusplus"
THREADS = 2
SCALE = 4


def cases(frames: int, tile: int) -> dict[str, dict[str, Any]]:
    """How each case restores a clip of so many frames."""
    window = max(3, min(30, frames // 3))
    overlap = max(1, min(5, window // 4))
    whole = {"window": frames, "overlap": 0}
    windows = {"window": window, "overlap": overlap}
    tiles = {"tile": tile, "tile_overlap": tile // 6}
    return {
        "half": {"window": frames, "overlap": 0, "first": frames // 2},
        "whole": whole,
        "windows": windows,
        "tiles": {**whole, **tiles},
        "tiles, half the overlap": {**whole, **tiles, "tile_overlap": tile // 12},
        "windows and tiles": {**windows, **tiles},
    }


def main(
    frames: int = 8,
    lr: tuple[int, int] = (90, 160),
    tile: int = 64,
    weights: Path | None = None,
    fast: bool = False,
    only: Sequence[str] = (),
) -> None:
    """Print the table."""
    found = {name: case for name, case in cases(frames, tile).items() if not only or name in only}
    print(
        f"  {NETWORK}, {frames} frames of {lr[1]}x{lr[0]} LR, {THREADS} threads, {weights or 'random parameters'}{', fast' if fast else ''}"
    )
    print(f"  {'':<74}{'peak GB':>9}{'above start':>13}{'s/frame':>9}   against whole: PSNR dB, largest")
    with tempfile.TemporaryDirectory() as folder:
        given = weights or Path(folder) / "random.safetensors"
        if not weights:
            _apart({"make": str(given)})
        for number, (name, case) in enumerate(found.items()):
            out = Path(folder) / f"{number}.raw"
            measured = _apart({"frames": frames, "lr": lr, "weights": str(given), "fast": fast, "case": case, "out": str(out)})
            if name == "whole":
                whole = out
            compared = _compared(out, whole, lr) if name != "whole" and not case.get("first") and "whole" in found else ""
            label = f"{name} ({', '.join(f'{key} {value}' for key, value in case.items())})"
            peak, start = measured["peak"] / 2**30, measured["start"] / 2**30
            print(f"    {label:<72}{peak:>9.2f}{peak - start:>13.2f}{measured['seconds']:>9.1f}   {compared}", flush=True)


def _compared(ours: Path, theirs: Path, lr: tuple[int, int]) -> str:
    """The PSNR of the clips, over all of their pixels, and the largest difference in levels."""
    from benchmarks.restoring import difference

    shape = (-1, SCALE * lr[0], SCALE * lr[1], 3)
    pairs = zip(*(np.memmap(path, np.uint8, "r").reshape(shape) for path in (ours, theirs)), strict=True)
    found = [difference(one, other) for one, other in pairs]
    error = np.mean([10 ** (-psnr / 10) for psnr, _ in found])
    return f"{-10 * np.log10(error):.1f}, {max(most for _, most in found)}" if error else "equal"


def _apart(job: dict[str, Any]) -> Any:
    """What a process of its own tells of a job."""
    command = [sys.executable, "-m", "benchmarks.memory", "--job", json.dumps(job)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _run(job: dict[str, Any]) -> None:
    """Restore a clip as one case says and print what it took, or make the random network, which takes memory too."""
    import torch

    import models
    from benchmarks import restoring
    from pipelines.restoring.restore import restore
    from pipelines.restoring.speed import PLAIN, Speed

    torch.set_num_threads(THREADS)
    if "make" in job:
        models.save(restoring.network(NETWORK), Path(job["make"]))
        return print("null")
    speed = Speed(precision="bfloat16") if job["fast"] else PLAIN
    case, count = dict(job["case"]), job["frames"]
    count = case.pop("first", count)
    clip = restoring.clip(job["frames"], *job["lr"])[:count]
    network = restoring.network(NETWORK, Path(job["weights"]))
    start = _resident("VmRSS")
    began = time.perf_counter()
    with Path(job["out"]).open("wb") as out:
        for frame in restore(network, clip, **case, speed=speed):
            out.write(frame)
    seconds = (time.perf_counter() - began) / count
    print(json.dumps({"peak": _resident("VmHWM"), "start": start, "seconds": seconds}))


def _resident(which: str) -> int:
    """Bytes in memory, now or at most. `ru_maxrss` would count what the process was before it became this program."""
    found = re.search(rf"{which}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--lr", default="90x160", metavar="HxW")
    parser.add_argument("--tile", type=int, default=64)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--cases", nargs="+", default=(), choices=list(cases(8, 64)))
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        _run(json.loads(options.job))
    else:
        height, _, width = options.lr.partition("x")
        main(options.frames, (int(height), int(width)), options.tile, options.weights, options.fast, options.cases)

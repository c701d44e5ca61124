"""Latency of BasicVSR++ with each upsampler at x4: backbone, upsampler alone and both, against pixel shuffle.

`python -m benchmarks.upsamplers [--lr 180x320] [--rounds 3] [--threads 2] [--device cuda] [--heads dcgu liif …]`; parameters are
random. A clip's first frame, for which what all share is made ready, is not measured.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from unittest.mock import patch

import torch
from torch import Tensor

import models
from models.heads import dcgu

BACKBONE = "basicvsr_plusplus"
SHUFFLE, EVERYWHERE = "pixel shuffle", "dcgu, filters at every point"
HEADS = (SHUFFLE, "metasr", "liif", "lte", "dcgu", EVERYWHERE)
FRAMES = 3
SCALE = 4


def main(
    lr: tuple[int, int] = (180, 320), rounds: int = 2, threads: int = 2, device: str = "cpu", heads: Sequence[str] = HEADS
) -> None:
    """Print the table."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    clip = torch.rand(1, FRAMES, 3, *lr).to(device)
    network = models.create(BACKBONE).to(device).eval()
    with torch.no_grad():
        to_next, to_previous = network.flows(clip)  # type: ignore[operator]
        features = list(network.features(clip, to_next, to_previous))  # type: ignore[operator]
        seconds = {head: float("inf") for head in heads}
        backbone = float("inf")
        for _ in range(rounds):
            start = _now(device)
            for _ in network.features(clip, *network.flows(clip)):  # type: ignore[operator]
                pass
            backbone = min(backbone, (_now(device) - start) / FRAMES)
            for head in heads:
                # Filters at every point are what is left where too many would have to be kept.
                with patch.object(dcgu, "TABLE", 0 if head == EVERYWHERE else dcgu.TABLE):
                    seconds[head] = min(seconds[head], _latency(head, clip, features, to_previous))
    print(
        f"  {lr[1]}x{lr[0]} to {SCALE * lr[1]}x{SCALE * lr[0]} on {device}, {threads} threads; "
        f"backbone {1000 * backbone:.1f} ms/frame"
    )
    print(f"  {'':<32}{'upsampler ms':>14}{'ratio':>8}{'network ms':>14}{'ratio':>8}")
    base = seconds.get(SHUFFLE, next(iter(seconds.values())))
    for head, value in seconds.items():
        whole = backbone + value
        print(f"  {head:<32}{1000 * value:>14.1f}{value / base:>8.2f}{1000 * whole:>14.1f}{whole / (backbone + base):>8.2f}")
    torch.set_num_threads(before)


def _latency(head: str, clip: Tensor, features: list[Tensor], to_previous: Tensor) -> float:
    """Seconds of the fastest frame but the first, the enlarged frame added."""
    size = (SCALE * clip.shape[3], SCALE * clip.shape[4])
    name = BACKBONE if head == SHUFFLE else f"{BACKBONE}_{head.split(',')[0]}"
    network = models.create(name).to(clip.device).eval()

    def restored() -> Iterator[Tensor]:
        if head == SHUFFLE:
            for t, x in enumerate(features):
                yield network.upsample(x, clip[:, t])  # type: ignore[operator]
        else:
            residuals = network.head.frames(iter(features), to_previous, size)  # type: ignore[operator, union-attr]
            for t, x in enumerate(residuals):
                yield x + network.enlarge(clip[:, t], size)  # type: ignore[operator]

    times = []
    for _ in restored():
        times.append(_now(clip.device.type))
    return min(after - before for before, after in zip(times, times[1:], strict=False))


def _now(device: str) -> float:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", default="180x320", metavar="HxW")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--heads", nargs="+", default=HEADS, choices=HEADS)
    options = parser.parse_args()
    height, _, width = options.lr.partition("x")
    main((int(height), int(width)), options.rounds, options.threads, options.device, options.heads)

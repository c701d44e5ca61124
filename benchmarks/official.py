"""Restoring on the processor as `vsr restore` does, against BasicSR's networks with the same parameters.

`python -m benchmarks.official PATH [--lr 64x80] [--frames 5] [--threads 1 2] [--weights basicvsr=FILE …]`, with the folder of an unpacked source
package of BasicSR (basicsr-1.4.2, Apache-2.0). Networks without a file have random parameters with a residual of some levels.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import restoring
from benchmarks.timing import best
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.errors import VSRError
from pipelines.metrics import psnr
from pipelines.restoring.speed import PLAIN, accelerate, running

NETWORKS: dict[str, tuple[str, str, dict[str, object]]] = {
    "edvr_m": ("edvr_arch", "EDVR", {"num_feat": 64, "num_reconstruct_block": 10}),
    "basicvsr": ("basicvsr_arch", "BasicVSR", {"num_feat": 64, "num_block": 30}),
    "iconvsr": ("basicvsr_arch", "IconVSR", {"num_feat": 64, "num_block": 30, "temporal_padding": 2}),
    "basicvsr_plusplus": ("basicvsrpp_arch", "BasicVSRPlusPlus", {"mid_channels": 64, "num_blocks": 7, "is_low_res_input": True}),
}
"""The module, class and arguments of BasicSR's network."""


def main(
    folder: Path,
    lr: tuple[int, int] = (64, 80),
    frames: int = 5,
    threads: Sequence[int] = (1, 2),
    weights: Mapping[str, Path] | None = None,
) -> None:
    """Print the table.

    Raises:
        VSRError: the folder is no source package of BasicSR.
    """
    _find(folder)
    seen = to_tensor(restoring.clip(frames, *lr))[None]
    print(f"  {frames} frames of {lr[1]}x{lr[0]}; BasicSR / ours, seconds; 8-bit frames held against BasicSR's")
    print(f"  {'':<20}" + "".join(f"{f'{count} threads':>24}" for count in threads) + f"{'PSNR dB':>10}{'largest':>9}")
    before = torch.get_num_threads()
    for name in NETWORKS:
        ours = accelerate(restoring.network(name, (weights or {}).get(name)), PLAIN)
        theirs = _theirs(name, ours)
        calls = {"BasicSR": partial(_run, theirs, seen), "ours": partial(_run, ours, seen)}
        cells = []
        for count in threads:
            torch.set_num_threads(count)
            seconds = best(calls, rounds=4)
            slow, fast = seconds["BasicSR"], seconds["ours"]
            cells.append(f"{f'{slow:.2f} / {fast:.2f} = {slow / fast:.2f}':>24}")
        a, b = (
            np.stack([to_frame(frame) for frame in call().view(-1, 3, 4 * lr[0], 4 * lr[1])]).astype(float)
            for call in calls.values()
        )
        print(f"  {name:<20}" + "".join(cells) + f"{psnr(a, b):>10.1f}{np.abs(a - b).max():>9.0f}", flush=True)
    torch.set_num_threads(before)


def _run(network: Callable[[Tensor], Tensor], seen: Tensor) -> Tensor:
    with torch.inference_mode(), running(PLAIN, "cpu"):
        return network(seen)


def _find(folder: Path) -> None:
    """Make BasicSR's networks importable without the rest of it, which needs more than PyTorch."""
    if not (folder / "basicsr" / "archs").is_dir():
        raise VSRError(f"{folder} has no basicsr/archs: give the folder of an unpacked source package of BasicSR.")
    for name in ("basicsr", "basicsr.archs", "basicsr.utils", "basicsr.ops"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder / Path(*name.split(".")))]
        sys.modules[name] = package
    sys.modules["basicsr.utils"].get_root_logger = None  # type: ignore[attr-defined]  # what their layers import and do not call


def _theirs(name: str, ours: nn.Module) -> nn.Module:
    module, kind, options = NETWORKS[name]
    with patch("torch.cuda.is_available", lambda: True):  # else BasicVSR++ leaves its alignment out
        made: nn.Module = getattr(importlib.import_module(f"basicsr.archs.{module}"), kind)(**options)
    made.load_state_dict(ours.state_dict(), strict=True)
    return made.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lr", type=lambda words: tuple(int(side) for side in words.split("x")), default=(64, 80))
    parser.add_argument("--frames", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--weights", nargs="*", default=[], metavar="NETWORK=FILE")
    given = parser.parse_args()
    files = {name: Path(file) for name, _, file in (pair.partition("=") for pair in given.weights)}
    try:
        main(given.folder, given.lr, given.frames, given.threads, files)
    except VSRError as error:
        sys.exit(f"error: {error}")

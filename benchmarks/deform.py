"""A step of deformable convolution on the processor: its gradient by sampling a grid, against torchvision's own."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from models.parts.deform import TAPS, by_grid, by_operator

CASES = ((16, 2, 32), (128, 8, 64), (128, 16, 64))
"""Channels, groups and side: of the demo's EDVR, of EDVR-L and of BasicVSR++."""


def main() -> None:
    """Print the table."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"  {'channels, groups, side':<26}{'torchvision ms':>16}{'here ms':>10}{'ratio':>8}")
    for channels, groups, side in CASES:
        torch.manual_seed(0)
        shapes = ((channels,), (2 * groups * TAPS,), (groups * TAPS,))
        maps = [torch.rand(1, *shape, side, side, requires_grad=True) for shape in shapes]
        weight, bias = torch.rand(channels, channels, 3, 3, requires_grad=True), torch.rand(channels, requires_grad=True)
        slow, fast = (_step(way, *maps, weight, bias) for way in (by_operator, by_grid))
        print(f"  {f'{channels}, {groups}, {side}':<26}{1000 * slow:>16.1f}{1000 * fast:>10.1f}{slow / fast:>8.1f}")
    torch.set_num_threads(before)


def _step(way: Callable[..., Tensor], *given: Tensor, rounds: int = 3) -> float:
    """Seconds of a pass forwards and backwards, the shortest of several."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        way(*given).sum().backward()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()

"""Deformable convolution on the processor against torchvision's operator: a step by sampling a grid, and restoring by rows of a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks.timing import best
from models.parts.deform import TAPS, by_gather, by_grid, by_operator

CASES = ((16, 2, 32), (128, 8, 64), (128, 16, 64))
"""Channels, groups and side: of the demo's EDVR, of EDVR-L and of BasicVSR++."""


def main() -> None:
    """Print the table."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    print(f"  {'':<26}{'torchvision ms':>16}{'here ms':>10}{'ratio':>8}{'restoring':>16}{'here ms':>10}{'ratio':>8}")
    for channels, groups, side in CASES:
        torch.manual_seed(0)
        shapes = ((channels,), (2 * groups * TAPS,), (groups * TAPS,))
        maps = [torch.rand(1, *shape, side, side, requires_grad=True) for shape in shapes]
        weight, bias = torch.rand(channels, channels, 3, 3, requires_grad=True), torch.rand(channels, requires_grad=True)
        given = (*maps, weight, bias)
        still = [part.detach() for part in given]
        last = [part.contiguous(memory_format=torch.channels_last) for part in still[:3]] + still[3:]
        seconds = best(
            {
                "step": partial(_step, by_operator, given),
                "our step": partial(_step, by_grid, given),
                "frame": partial(by_operator, *still),
                "our frame": partial(by_gather, *last),
            }
        )
        print(f"  {f'{channels} channels, {groups} groups, {side}':<26}", end="")
        for pair in (("step", "our step"), ("frame", "our frame")):
            slow, fast = (seconds[name] for name in pair)
            print(f"{1000 * slow:>16.1f}{1000 * fast:>10.1f}{slow / fast:>8.1f}", end="")
        print()
    torch.set_num_threads(before)


def _step(way: Callable[..., Tensor], given: Sequence[Tensor]) -> None:
    """A pass forwards and backwards."""
    way(*given).sum().backward()


if __name__ == "__main__":
    main()

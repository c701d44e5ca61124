"""Candidates in the order of their similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def ranked(similarity: Tensor) -> Tensor:
    """Candidates from the most similar to the least, by a sorting network, which orders many points at once.

    What is sorted are the bits of similarities, the last few of which give way to the candidate's number: those that differ
    by less than a few millionths are in order of place.

    Source: Batcher, "Sorting Networks and Their Applications", AFIPS 1968, bitonic sorting.

    Args:
        similarity: (B, K, P) of numbers that are not negative, float32 or float64.

    Returns:
        (B, K, P) int64.
    """
    candidates = similarity.shape[1]
    size = 1 << (candidates - 1).bit_length()
    whole = torch.int64 if similarity.dtype == torch.float64 else torch.int32
    place = torch.arange(size - 1, -1, -1, dtype=whole, device=similarity.device)[:, None]
    # Without the sign, which only what is no number can have: places are valid then too.
    keys = similarity.detach().contiguous().view(whole).bitwise_and(torch.iinfo(whole).max + 1 - size)
    if size > candidates:
        keys = F.pad(keys, (0, 0, 0, size - candidates))
    keys |= place
    half = 1
    while half < size:
        pairs = keys.unflatten(1, (-1, 2, half))
        keys = _exchanged(pairs[:, :, 0], pairs[:, :, 1].flip(2))
        step = half // 2
        while step:
            pairs = keys.unflatten(1, (-1, 2, step))
            keys = _exchanged(pairs[:, :, 0], pairs[:, :, 1])
            step //= 2
        half *= 2
    return size - 1 - keys[:, :candidates].bitwise_and(size - 1).long()


def _exchanged(first: Tensor, second: Tensor) -> Tensor:
    """The larger of each pair and then the smaller, (B, blocks, half, P) to (B, candidates, P)."""
    out = first.new_empty(*first.shape[:2], 2, *first.shape[2:])
    torch.maximum(first, second, out=out[:, :, 0])
    torch.minimum(first, second, out=out[:, :, 1])
    return out.flatten(1, 3)

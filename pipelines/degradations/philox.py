"""Random numbers by counter: Philox4x32-10 in torch integers, the same on every device.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. A number is a function of (seed, stream,
position) and of nothing drawn before it, so that one frame of a clip can be made again without the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

WORD = 0xFFFFFFFF
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85


def philox(key: tuple[int, int], counters: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10: four 32-bit words for each counter of four 32-bit words, all held in int64, shapes broadcast."""
    key_0, key_1 = key
    c0, c1, c2, c3 = counters
    for _ in range(ROUNDS):
        # Products of 32-bit words wrap round into the sign, and keep all of their 64 bits.
        product_0, product_1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product_1 >> 32).bitwise_and_(WORD) ^ c1 ^ key_0,
            product_1 & WORD,
            (product_0 >> 32).bitwise_and_(WORD) ^ c3 ^ key_1,
            product_0 & WORD,
        )
        key_0, key_1 = (key_0 + KEY_STEPS[0]) & WORD, (key_1 + KEY_STEPS[1]) & WORD
    return c0, c1, c2, c3


def words(seed: int, streams: Sequence[int], count: int, device: torch.device | str) -> Tensor:
    """The first `count` 32-bit words of each stream.

    The seed is the key; a counter is (position // 4, stream, 0), so streams and seeds never share a counter.

    Args:
        seed: from 0 to 2^64 - 1.
        streams: numbers from 0 to 2^64 - 1, such as frames.
        count: words per stream, up to 2^34.
        device: where to compute.

    Returns:
        (streams, count) int64, from 0 to 2^32 - 1.

    Raises:
        ValueError: the seed or a stream is out of range.
    """
    for number in (seed, *streams):
        if not 0 <= number < 1 << 64:
            raise ValueError(f"{number} is no seed or stream of random numbers: they go from 0 to 2^64 - 1.")
    block = torch.arange(-(-count // 4), device=device)[None]
    low, high = (
        torch.tensor([stream >> shift & WORD for stream in streams], dtype=torch.int64, device=device)[:, None]
        for shift in (0, 32)
    )
    out = philox((seed & WORD, seed >> 32), (block, low, high, torch.zeros_like(low)))
    return torch.stack(out, -1).flatten(1)[:, :count]


def uniforms(seed: int, streams: Sequence[int], count: int, device: torch.device | str) -> Tensor:
    """The same as even numbers in (0, 1): the 2^32 middles (word + 1/2) / 2^32, exact in float64; (streams, count)."""
    return words(seed, streams, count, device).double().add_(0.5).mul_(2.0**-32)

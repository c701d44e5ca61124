"""Gaussian and Poisson noise of the Real-ESRGAN degradation, drawn from (seed, frame, pixel) alone.

Wang et al., "Real-ESRGAN", ICCVW 2021, section 3.2, with the conventions of its published code. What noise adds is
computed in float64 and clipped to [0, 255], as there. One seed belongs to one step of one clip: two steps with the
same seed would share their random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipelines.degradations import philox

# Luma of ITU-R BT.601.
LUMA = 0.299, 0.587, 0.114
# Bits of a cell of 32-bit words: 512 cells are narrower than all but the tails of the widest law, and fit a cache.
CELL = 23


def gaussian(clip: Tensor, sigmas: Sequence[float], grey: bool, seed: int, frames: Sequence[int]) -> Tensor:
    """Add Gaussian noise and clip.

    Args:
        clip: (F, C, H, W) in levels.
        sigmas: the standard deviation of every frame, in levels.
        grey: the same noise in all channels of a pixel.
        seed: of this step, from 0 to 2^64 - 1.
        frames: the number of every frame in its clip. Its noise depends on the seed, that number and the size.

    Returns:
        (F, C, H, W) of the clip's type, in [0, 255].

    Raises:
        ValueError: there is not one sigma and one number per frame; the seed or a number is out of range.
    """
    _check(clip, sigmas, frames)
    count, channels, height, width = clip.shape
    channels = 1 if grey else channels
    # The quantile function takes one number per pixel: reaching ±6.3 sigma is enough of the tails for images.
    normal = torch.special.ndtri(philox.uniforms(seed, frames, channels * height * width, clip.device))
    return _add(clip, normal.view(count, channels, height, width), sigmas)


def poisson(clip: Tensor, scales: Sequence[float], grey: bool, seed: int, frames: Sequence[int]) -> Tensor:
    """Add Poisson noise and clip.

    A frame x, clipped and rounded to 8 bits (half to even) and divided by 255, makes noise Poisson(x * v) / v - x,
    where v is the number of different levels in it, over all channels, rounded up to a power of two. That noise times
    `scale` is added to the frame as it was. Draws are exact up to probabilities of 2^-33.

    Args:
        clip: (F, C, H, W) in levels.
        scales: the strength of every frame's noise.
        grey: draw for the luma (BT.601, C = 3; rounded itself, with a v of its own), and add that to all channels.
        seed: of this step, from 0 to 2^64 - 1.
        frames: the number of every frame in its clip. Its draws depend on the seed, that number and its content.

    Returns:
        (F, C, H, W) of the clip's type, in [0, 255].

    Raises:
        ValueError: there is not one scale and one number per frame; the seed or a number is out of range.
    """
    _check(clip, scales, frames)
    image = clip.double().contiguous()
    if grey:
        red, green, blue = (image[:, c : c + 1] * weight for c, weight in enumerate(LUMA))
        image = red + green + blue
    levels = image.round().clamp_(0, 255).long()
    words = philox.words(seed, frames, levels[0].numel(), clip.device).view(levels.shape)
    noise = torch.stack([_shot(*pair) for pair in zip(levels, words, strict=True)])
    return _add(clip, noise, scales)


def _check(clip: Tensor, strengths: Sequence[float], frames: Sequence[int]) -> None:
    if not len(clip) == len(strengths) == len(frames):
        raise ValueError(f"{len(clip)} frames with {len(strengths)} strengths of noise and {len(frames)} numbers: give one each.")


def _add(clip: Tensor, noise: Tensor, strengths: Sequence[float]) -> Tensor:
    strength = torch.tensor(strengths, dtype=torch.float64, device=clip.device).view(-1, 1, 1, 1)
    return (noise * strength).add(clip).clamp_(0, 255).to(clip.dtype)


def _shot(levels: Tensor, words: Tensor) -> Tensor:
    """A frame's Poisson noise in levels, from its 8-bit levels and one 32-bit word for each."""
    distinct = int(torch.bincount(levels.flatten(), minlength=256).count_nonzero())
    counts_per_white = 1 << (distinct - 1).bit_length()
    thresholds, starts, guide = (table.to(levels.device) for table in _quantiles(counts_per_white))
    # How many thresholds each number reaches: as many as its cell's first does, or one more. The tails take a search.
    numbers = levels << 32 | words
    reached = guide[numbers >> CELL]
    reached += thresholds[reached] <= numbers
    tails = thresholds[reached] <= numbers
    reached[tails] = torch.searchsorted(thresholds, numbers[tails], right=True)
    return (reached - starts[levels]) * (255 / counts_per_white) - levels


@lru_cache
def _quantiles(counts_per_white: int) -> tuple[Tensor, Tensor, Tensor]:
    """Inverse distribution functions of the Poisson laws with rates level / 255 * counts_per_white, as one table.

    Returns:
        Ascending thresholds: those of a level are level * 2^32 + P(X <= k) * 2^32 for k = 0, 1, … while below
        (level + 1) * 2^32, so that a word has as many of its level's at or below it as is the count to draw; then one
        that nothing reaches. (256,) the place where each level's begin. How many thresholds are at or below the first
        number of every cell of 2^CELL. All int64, in whole numbers that all devices compare alike.
    """
    rates = np.arange(256)[:, None] / 255 * counts_per_white
    # Ten deviations above the largest rate nothing is left of 2^32, and nothing of the smallest rates at 20.
    most = counts_per_white + 10 * int(np.sqrt(counts_per_white)) + 20
    counts = np.arange(most)
    log_factorial = np.cumsum(np.log(np.maximum(counts, 1)))
    # A rate of 0 has all its mass at 0, which the smallest of numbers in its place gives too.
    mass = np.exp(counts * np.log(np.maximum(rates, 1e-300)) - rates - log_factorial)
    below = np.rint(np.cumsum(mass, 1) * 2.0**32).astype(np.int64)
    kept = below < 1 << 32
    lengths = kept.sum(1)
    thresholds = np.append((below + (np.arange(256)[:, None] << 32))[kept], 1 << 62)
    guide = np.searchsorted(thresholds, np.arange(0, 256 << 32, 1 << CELL), "right")
    return torch.from_numpy(thresholds), torch.from_numpy(np.cumsum(lengths) - lengths), torch.from_numpy(guide)

"""What is measured of a clip for its blur and noise: mean spectra of its patches.

A patch with an edge has a spectrum that falls by a known law, and blur multiplies it by the kernel's; the flattest patches hold noise and
little else. So patches are sorted by their variance, and the spectra of the most varied, of the upper third and of the flattest
tenth are kept, each as the logarithm of the mean power and as the mean of the logarithm, whose distance tells edges from noise.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

SIDE, STEP = 16, 8
"""Of a patch, and from one patch to the next, in pixels."""

SETS = ((0.0, 0.1), (0.67, 1.0), (0.95, 1.0))
"""The flattest patches, the upper third and the most varied: quantiles of the variance."""

LEAST = 40
"""Patches, below which a clip says too little."""

FLOOR = 1e-3
"""Added to the power, in squared levels: rounding to 8 bits has 1/12."""

WINDOW = np.hanning(SIDE + 1)[:-1]
WINDOW2 = np.outer(WINDOW, WINDOW) / np.sqrt((np.outer(WINDOW, WINDOW) ** 2).sum())
"""Of unit power, so that white noise of variance v has the power v at every frequency."""


def patches(luma: np.ndarray) -> np.ndarray:
    """(N, SIDE, SIDE) float32 patches of a frame of luma (H, W) in levels, without those that are clipped to black or white anywhere or
    repeat one level throughout, as borders do."""
    height, width = luma.shape
    if min(height, width) < SIDE:
        return np.empty((0, SIDE, SIDE), np.float32)
    seen = np.lib.stride_tricks.sliding_window_view(luma.astype(np.float32), (SIDE, SIDE))[::STEP, ::STEP].reshape(-1, SIDE, SIDE)
    low, high = seen.min((1, 2)), seen.max((1, 2))
    return seen[(low > 0.5) & (high < 254.5) & (high > low)]


def power(flat: np.ndarray) -> np.ndarray:
    """The power of patches (N, SIDE, SIDE) of mean 0 at every frequency: that of white noise is its variance."""
    found: np.ndarray = np.abs(np.fft.fft2(flat * WINDOW2)) ** 2
    return found


def spectra(frames: Iterable[np.ndarray]) -> np.ndarray | None:
    """The mean log spectra of the patches of frames.

    Args:
        frames: (H, W) luma in levels each.

    Returns:
        (3, 2, SIDE, SIDE) float64: for each of `SETS` the logarithm of the mean power and the mean of the logarithm, at the frequencies
        of `numpy.fft.fftfreq(SIDE)` down and across; None of clips with fewer than `LEAST` patches.
    """
    found = np.concatenate([patches(luma) for luma in frames] or [np.empty((0, SIDE, SIDE), np.float32)])
    if len(found) < LEAST:
        return None
    found = found - found.mean((1, 2), keepdims=True)
    order = np.argsort((found**2).mean((1, 2)), kind="stable")
    out = np.empty((len(SETS), 2, SIDE, SIDE))
    for index, (start, stop) in enumerate(SETS):
        first = min(int(start * len(order)), len(order) - 4)
        chosen = found[order[first : max(int(stop * len(order)), first + 4)]]
        powers = power(chosen) + FLOOR
        out[index] = np.log(powers.mean(0)), np.log(powers).mean(0)
    return out


def features(measured: np.ndarray, crf: float | None) -> np.ndarray:
    """What an estimator is given: the half of every spectrum that is not the mirror image of the other, and the rate factor of
    the stream with whether there is one."""
    half = measured[..., : SIDE // 2 + 1].reshape(-1)
    return np.concatenate([half, [0.0 if crf is None else crf / 25, float(crf is not None)]])


def mirrored(measured: np.ndarray) -> np.ndarray:
    """The spectra of the frames left to right: (…, SIDE, SIDE)."""
    return np.roll(measured[..., ::-1], 1, -1)


def transposed(measured: np.ndarray) -> np.ndarray:
    """The spectra of the transposed frames: (…, SIDE, SIDE)."""
    return measured.swapaxes(-1, -2)

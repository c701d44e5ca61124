"""What kind of noise: whether its variance grows with the level, as shot noise's does, or not; and whether it is the same in all channels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.diagnosis.estimate import Unknown
from pipelines.diagnosis.look import luma
from pipelines.diagnosis.spectra import SIDE, WINDOW2, patches

BINS = 10
"""Of levels, each with patches of its own."""

HIGH = 0.3
"""Cycles per pixel from which a spectrum is noise where patches are flat."""


def _high(side: int = SIDE) -> np.ndarray:
    frequency = np.fft.fftfreq(side)
    return np.hypot(frequency[:, None], frequency) > HIGH


def by_level(frames: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The mean level, and the power of high frequencies, of the flattest fifth of the patches at each of up to `BINS` levels."""
    found = np.concatenate([patches(luma(frame)) for frame in frames])
    level = found.mean((1, 2))
    power = (np.abs(np.fft.fft2((found - level[:, None, None]) * WINDOW2)) ** 2)[:, _high()].mean(1)
    at, variance = [], []
    for low in np.linspace(0, 255, BINS + 1)[:-1]:
        inside = (level >= low) & (level < low + 255 / BINS)
        if inside.sum() < 25:
            continue
        flat = np.argsort(power[inside])[: max(5, int(inside.sum() / 5))]
        at.append(level[inside][flat].mean())
        variance.append(power[inside][flat].mean())
    return np.array(at), np.array(variance)


def kind(frames: Sequence[np.ndarray], sigma: float) -> str | Unknown:
    """`gaussian` or `shot`, of frames (H, W, 3) RGB with noise of `sigma` levels: which of the two laws, the same variance everywhere or one that is
    proportional to the level, leaves less of the logarithm of the variance."""
    if sigma < 1:
        return Unknown("there is too little noise to tell its kind")
    level, variance = by_level(frames)
    if len(level) < 3 or level.max() < 2 * level.min():
        return Unknown("flat patches of too few levels")
    wanted = np.log(variance)
    flat, rising = wanted - wanted.mean(), wanted - np.log(level + 1)
    rising -= rising.mean()
    ratio = float((flat**2).mean() / max((rising**2).mean(), 1e-9))
    if 0.67 < ratio < 1.5:
        return Unknown("its variance lies between that of shot noise and of Gaussian noise")
    return "shot" if ratio > 1 else "gaussian"


def grey(frames: Sequence[np.ndarray]) -> bool:
    """Whether noise is the same in all channels, of frames (H, W, 3) RGB: then the difference of two channels has less of it than luma."""
    differences = [frame[..., 0].astype(np.float32) - frame[..., 1] + 128 for frame in frames]
    high = _high()

    def flattest(planes: Sequence[np.ndarray]) -> float:
        found = np.concatenate([patches(plane) for plane in planes] or [np.empty((0, SIDE, SIDE))])
        if len(found) < 20:
            return 0.0
        power = (np.abs(np.fft.fft2((found - found.mean((1, 2), keepdims=True)) * WINDOW2)) ** 2)[:, high].mean(1)
        return float(np.quantile(power, 0.1))

    # Independent channels: the difference has twice the variance of one, luma 0.45 times.
    return flattest(differences) < flattest([luma(frame) for frame in frames])

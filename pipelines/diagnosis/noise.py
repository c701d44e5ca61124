"""What kind of noise: whether its variance grows with the level, as shot noise's does, or not; and whether it is the same in all channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.diagnosis.estimate import Unknown
from pipelines.diagnosis.look import luma
from pipelines.diagnosis.spectra import SIDE, patches, power

BINS = 10
"""Of levels, each with patches of its own."""

HIGH = 0.3
"""Cycles per pixel from which a spectrum is noise where patches are flat."""


_FREQUENCY = np.fft.fftfreq(SIDE)
_HIGH = np.hypot(_FREQUENCY[:, None], _FREQUENCY) > HIGH


@dataclass(frozen=True)
class Patches:
    """Of every patch the mean `level` and the `power` of its high frequencies, (N,) each."""

    level: np.ndarray
    power: np.ndarray


def measured(planes: Sequence[np.ndarray]) -> Patches:
    """The patches of planes (H, W) in levels."""
    found = np.concatenate([patches(plane) for plane in planes] or [np.empty((0, SIDE, SIDE))])
    level = found.mean((1, 2))
    return Patches(level, power(found - level[:, None, None])[:, _HIGH].mean(1))


def of_luma(frames: Sequence[np.ndarray]) -> Patches:
    """The patches of the luma of frames (H, W, 3) RGB."""
    return measured([luma(frame) for frame in frames])


def by_level(light: Patches) -> tuple[np.ndarray, np.ndarray]:
    """The mean level, and the power of high frequencies, of the flattest fifth of the patches at each of up to `BINS` levels."""
    at, variance = [], []
    for low in np.linspace(0, 255, BINS + 1)[:-1]:
        inside = (light.level >= low) & (light.level < low + 255 / BINS)
        if inside.sum() < 25:
            continue
        flat = np.argsort(light.power[inside])[: max(5, int(inside.sum() / 5))]
        at.append(light.level[inside][flat].mean())
        variance.append(light.power[inside][flat].mean())
    return np.array(at), np.array(variance)


def kind(light: Patches, sigma: float) -> str | Unknown:
    """`gaussian` or `shot`, of the luma of frames with noise of `sigma` levels: which of the two laws, the same variance everywhere or one that is
    proportional to the level, leaves less of the logarithm of the variance."""
    if sigma < 1:
        return Unknown("there is too little noise to tell its kind")
    level, variance = by_level(light)
    if len(level) < 3 or level.max() < 2 * level.min():
        return Unknown("flat patches of too few levels")
    wanted = np.log(variance)
    flat, rising = wanted - wanted.mean(), wanted - np.log(level + 1)
    rising -= rising.mean()
    ratio = float((flat**2).mean() / max((rising**2).mean(), 1e-9))
    if 0.67 < ratio < 1.5:
        return Unknown("its variance lies between that of shot noise and of Gaussian noise")
    return "shot" if ratio > 1 else "gaussian"


def grey(light: Patches, frames: Sequence[np.ndarray]) -> bool:
    """Whether noise is the same in all channels, of frames (H, W, 3) RGB and their luma: then the difference of two channels has less of it
    than luma."""
    difference = measured([frame[..., 0].astype(np.float32) - frame[..., 1] + 128 for frame in frames])
    # Independent channels: the difference has twice the variance of one, luma 0.45 times.
    return _flattest(difference) < _flattest(light)


def _flattest(seen: Patches) -> float:
    """The power of the flattest tenth of the patches; 0 of too few."""
    return float(np.quantile(seen.power, 0.1)) if len(seen.power) >= 20 else 0.0

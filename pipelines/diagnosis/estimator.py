"""Blur, noise and enlargement of a clip, by a small network that learnt from degraded pictures (`fitting.py`).

It sees principal components of the spectra of patches (`spectra.py`) and gives the logarithm of the kernel's covariance, that of the noise's deviation and the factor of
enlargement, each with a deviation of its own (Nix and Weigend, "Estimating the Mean and Variance of the Target Probability Distribution",
ICNN 1994). Four views of a clip, mirrored and transposed, are averaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import expit

from pipelines.diagnosis.estimate import Estimate, Unknown
from pipelines.diagnosis.spectra import features, mirrored, transposed

FILE = Path(__file__).with_name("estimator.safetensors")

QUIET = 0.3
"""Levels added to a noise's deviation before its logarithm is taken: about that of rounding to 8 bits."""

COLOUR = 0.668
"""The deviation in luma of noise that has a deviation of 1 in each of three channels by itself: the norm of BT.601's weights."""

NINETY = 1.645
"""Deviations of a normal law to each side that hold nine of ten."""


@dataclass(frozen=True)
class Found:
    """What the network says: means and deviations of xx, yy, xy of the log covariance (pixels of the clip, squared), the log of the noise and
    the factor of enlargement."""

    mean: np.ndarray
    deviation: np.ndarray


@lru_cache
def _weights() -> dict[str, np.ndarray]:
    return {name: value.astype(np.float64) for name, value in load_file(FILE).items()}


def estimate(measured: np.ndarray, crf: float | None, weights: Mapping[str, np.ndarray] | None = None) -> Found:
    """What was done to a clip.

    Args:
        measured: see `spectra.spectra`.
        crf: x264's rate factor of its stream, None where there is none.
        weights: of the network; those that come with the project by default.
    """
    views = (measured, mirrored(measured), transposed(measured), transposed(mirrored(measured)))
    rows = np.stack([features(view, crf) for view in views])
    weights = _weights() if weights is None else weights
    means, variances = [], []
    for member in range(int(weights["members"])):
        out = (rows - weights["centre"]) @ weights["project"]
        for layer in range(2):
            out = out @ weights[f"{member}.{layer}.weight"].T + weights[f"{member}.{layer}.bias"]
            out = out * expit(out)
        out = out @ weights[f"{member}.2.weight"].T + weights[f"{member}.2.bias"]
        mean, spread = out[:, :5], np.exp(np.clip(out[:, 5:], -9, 6))
        for view in range(4):
            xx, yy, xy, *rest = mean[view]
            xy = -xy if view in (1, 3) else xy  # a mirror turns the axes the other way
            xx, yy = (yy, xx) if view in (2, 3) else (xx, yy)
            sx, sy, *others = spread[view]
            sx, sy = (sy, sx) if view in (2, 3) else (sx, sy)
            means.append([xx, yy, xy, *rest])
            variances.append([sx, sy, *others])
    mean = np.mean(means, 0)
    return Found(mean, weights["calibration"] * np.sqrt(np.mean(variances, 0) + np.var(means, 0)))


def axes(covariance: np.ndarray) -> tuple[float, float, float]:
    """σ_x, σ_y and θ of a log covariance given as xx, yy and xy: σ_x is the larger, θ in (-π/2, π/2]."""
    xx, yy, xy = covariance
    values, vectors = np.linalg.eigh(np.array([[xx, xy], [xy, yy]]))
    theta = math.atan2(vectors[1, 1], vectors[0, 1])
    theta = theta - math.pi if theta > math.pi / 2 else theta + math.pi if theta <= -math.pi / 2 else theta
    return math.exp(values[1] / 2), math.exp(values[0] / 2), theta


def blur(found: Found) -> dict[str, Estimate | Unknown]:
    """The kernel as a Gaussian, in pixels of the clip and radians."""
    sigma_x, sigma_y, theta = axes(found.mean[:3])
    spread = math.exp(NINETY * float(found.deviation[:2].mean()) / 2)
    apart = 2 * math.log(sigma_x / sigma_y)
    # The direction is that of the difference of the axes: where noise in xy is as large as that, there is none.
    turned = math.inf if apart < 1e-9 else NINETY * float(found.deviation[2]) / apart
    direction: Estimate | Unknown = Estimate(theta, theta - turned, theta + turned)
    if turned > math.pi / 4:
        direction = Unknown("the kernel is too round to have a direction")
    return {
        "sigma_x": Estimate(sigma_x, sigma_x / spread, sigma_x * spread),
        "sigma_y": Estimate(sigma_y, sigma_y / spread, sigma_y * spread),
        "theta": direction,
    }


def noise(found: Found) -> Estimate:
    """The deviation of noise in luma, in levels."""
    mean, spread = found.mean[3], NINETY * found.deviation[3]
    value, low, high = (max(0.0, math.exp(level) - QUIET) for level in (mean, mean - spread, mean + spread))
    return Estimate(value, low, high)


def enlarged(found: Found) -> Estimate:
    """By how much the clip was enlarged."""
    spread = NINETY * float(found.deviation[4])
    value = float(found.mean[4])
    return Estimate(max(1.0, value), max(1.0, value - spread), max(1.0, value + spread))

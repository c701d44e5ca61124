"""NIQE: how far a frame's local statistics are from those of sharp photographs, without looking at the truth.

Two variants give different numbers for the same frame, because they look at different grey values:

========== ===================== =====================================================================
variant    registered as         grey value, rounded to 8 bits
========== ===================== =====================================================================
BasicSR's  `niqe`                luma of BT.601 with limited range, 16 to 235; what papers that build on BasicSR report
MATLAB's   `niqe_matlab`         luma of BT.601 with full range, MATLAB's `rgb2gray`; the authors' own release
========== ===================== =====================================================================

All else is common to both: blocks of 96x96 pixels that do not overlap, what is left of the frame at the right and below
them not used; the window of 7x7 at borders sees the nearest pixel again; the second scale is half the size by MATLAB's
antialiased bicubic, neither rounded nor clipped (older versions of BasicSR took the bilinear of OpenCV, which is not
antialiased, and give other numbers); every block counts, as the sharpest ones are picked for the pristine model only.

Source: Mittal, Soundararajan and Bovik, "Making a 'Completely Blind' Image Quality Analyzer", IEEE Signal Processing
Letters 20(3), 2013. The pristine model is the authors', as BasicSR publishes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import cv2
import numpy as np

from pipelines import weights
from pipelines.errors import VSRError
from pipelines.metrics.framewise import Framewise
from pipelines.metrics.metric import Metric

BLOCK = 96
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Rows and columns from a coefficient to the one it is multiplied with: horizontal, vertical, both diagonals."""


@dataclass(frozen=True)
class Pristine:
    """What sharp photographs look like: mean (36,) and covariance (36, 36) of their blocks' features, and the 7x7 Gaussian
    window that local means are taken with."""

    mean: np.ndarray
    covariance: np.ndarray
    window: np.ndarray


def niqe(grey: np.ndarray, pristine: Pristine) -> float:
    """Distance of a frame from the pristine model, eq. (10): 0 is natural, higher is worse.

    Args:
        grey: (H, W) float64, 8-bit values.
        pristine: the model.

    Raises:
        VSRError: fewer than two blocks have any texture, so that they have no covariance.
    """
    height, width = (side // BLOCK * BLOCK for side in grey.shape)
    plane = grey[:height, :width]
    found = np.concatenate(
        [features(plane, pristine.window, BLOCK), features(_halved(plane), pristine.window, BLOCK // 2)], axis=1
    )
    defined = found[np.isfinite(found).all(axis=1)]
    if len(defined) < 2:
        raise VSRError(
            f"NIQE needs two blocks of {BLOCK}x{BLOCK} pixels that are not flat and the frame has {len(defined)}: leave niqe out."
        )
    # A flat block has no shape; what of its features there is counts in the mean, as with MATLAB's `nanmean` and `nancov`.
    away = pristine.mean - np.nanmean(np.where(np.isfinite(found), found, np.nan), axis=0)
    pooled = (pristine.covariance + np.cov(defined, rowvar=False)) / 2
    return float(np.sqrt(away @ np.linalg.pinv(pooled, hermitian=True) @ away))


def features(plane: np.ndarray, window: np.ndarray, side: int) -> np.ndarray:
    """The 18 features of every block of one scale: the shape and scale of its normalised coefficients (eq. 1), and for each
    direction the shape, mean and both scales of their products with a neighbour (eqs. 7, 8).

    Args:
        plane: (H, W), sides multiples of `side`.
        window: of the local mean and deviation, adding up to 1.
        side: of a block in pixels.

    Returns:
        (blocks, 18); not finite where a block is flat.
    """
    height, width = plane.shape
    coefficients = _normalised(plane, window).reshape(height // side, side, width // side, side).swapaxes(1, 2)
    blocks = coefficients.reshape(-1, side, side)
    shape, left, right = fit(blocks)
    columns = [shape, (left + right) / 2]
    for neighbour in NEIGHBOURS:
        # The neighbour of a pixel at a block's border is the one at the opposite border, as in the authors' release.
        shape, left, right = fit(blocks * np.roll(blocks, neighbour, axis=(1, 2)))
        mean = (right - left) * _gamma(2 / shape) / _gamma(1 / shape)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def fit(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Asymmetric generalised Gaussians by moments: shape, left scale and right scale of each block.

    The shape is one of 0.2, 0.201, … 10, the nearest that the moments fit.

    Source: Lasmar, Stitou and Berthoumieu, "Multiscale Skewed Heavy Tailed Model for Texture Analysis", ICIP 2009.

    Args:
        blocks: (B, side, side).

    Returns:
        Three times (B,); not finite where a block has no values on one side of zero.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        square = np.square(blocks)
        below, above = blocks < 0, blocks > 0
        left = np.sqrt(np.sum(square * below, axis=(1, 2)) / np.sum(below, axis=(1, 2)))
        right = np.sqrt(np.sum(square * above, axis=(1, 2)) / np.sum(above, axis=(1, 2)))
        skew = left / right
        ratio = np.mean(np.abs(blocks), axis=(1, 2)) ** 2 / np.mean(square, axis=(1, 2))
        ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes, ratios = _table()
    after = np.searchsorted(ratios, ratio).clip(1, len(ratios) - 1)
    nearest = np.where(ratio - ratios[after - 1] <= ratios[after] - ratio, after - 1, after)
    shape = np.where(np.isfinite(ratio), shapes[nearest], np.nan)
    spread = np.sqrt(_gamma(1 / shape) / _gamma(3 / shape))
    return shape, left * spread, right * spread


@lru_cache(maxsize=1)
def _table() -> tuple[np.ndarray, np.ndarray]:
    """Shapes, and for each E|x|² / E(x²) of a generalised Gaussian of that shape, which rises with it."""
    shapes = np.arange(0.2, 10.001, 0.001)
    return shapes, _gamma(2 / shapes) ** 2 / (_gamma(1 / shapes) * _gamma(3 / shapes))


def _gamma(x: np.ndarray) -> np.ndarray:
    from scipy.special import gamma

    return gamma(x)


def _normalised(plane: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Each pixel less its local mean, over its local deviation plus one (eq. 1)."""
    blur = partial(cv2.filter2D, ddepth=cv2.CV_64F, kernel=window, borderType=cv2.BORDER_REPLICATE)
    mean = blur(plane)
    return (plane - mean) / (np.sqrt(np.abs(blur(np.square(plane)) - np.square(mean))) + 1)


def _halved(plane: np.ndarray) -> np.ndarray:
    import torch

    from models.parts.resize import imresize

    return imresize(torch.from_numpy(np.ascontiguousarray(plane)), 0.5).numpy()


@lru_cache(maxsize=1)
def pristine() -> Pristine:
    """The authors' model, of undistorted photographs.

    Raises:
        VSRError: its file is not found, or not the published one.
    """
    with np.load(weights.resolve("niqe"), allow_pickle=False) as found:
        return Pristine(found["mu_pris_param"][0], found["cov_pris_param"], found["gaussian_window"])


def of_luma(restored: np.ndarray, truth: np.ndarray) -> float:
    """NIQE as BasicSR has it.

    Args:
        restored: (H, W) float64, luma of BT.601 with limited range, not rounded.
        truth: not looked at.
    """
    return niqe(restored.round(), pristine())


def of_rgb(restored: np.ndarray, truth: np.ndarray) -> float:
    """NIQE as MATLAB has it.

    Args:
        restored: (H, W, 3) float64, 8-bit values.
        truth: not looked at.
    """
    grey = restored @ np.linalg.inv(np.array([[1, 0.956, 0.621], [1, -0.272, -0.647], [1, -1.106, 1.703]]))[0]
    return niqe(np.floor(grey + 0.5), pristine())


def _build(value: Callable[[np.ndarray, np.ndarray], float], device: str) -> Framewise:
    pristine()
    return Framewise(value)


_SHARED: dict[str, Any] = {
    "unit": "",
    "decimals": 3,
    "higher_is_better": False,
    "low": 0.0,
    "high": float("inf"),
    "reference": False,
    "licence": "Apache-2.0",
    "weights": ("niqe",),
    "smallest": BLOCK,
}

METRICS = (
    Metric(
        name="niqe",
        label="NIQE",
        channel="luma",
        source="Mittal, Soundararajan and Bovik, IEEE SPL 20(3), 2013, of the luma that BasicSR takes",
        build=partial(_build, of_luma),
        **_SHARED,
    ),
    Metric(
        name="niqe_matlab",
        label="NIQE (MATLAB)",
        channel="rgb",
        source="Mittal, Soundararajan and Bovik, IEEE SPL 20(3), 2013, of the grey that MATLAB takes",
        build=partial(_build, of_rgb),
        **_SHARED,
    ),
)

"""Fidelity of one frame, as the super-resolution literature computes it.

Frames come as float64 on the scale of 8-bit values, (H, W) for luma or (H, W, 3) for RGB; restored frames
have been rounded to 8 bits before (see `restore.quantise`).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipelines.errors import unknown

PEAK = 255.0
PSNR_CAP = 100.0
"""dB. A frame equal to its truth would have infinite PSNR and drown the mean; it counts as this much."""

WINDOW = 11
SIGMA = 1.5
SMALLEST = WINDOW
"""Sides below this many pixels have no SSIM."""


def luma(rgb: np.ndarray) -> np.ndarray:
    """Y of ITU-R BT.601 with limited range, 16 to 235, not rounded.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) float64.
    """
    return 16 + rgb.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255)


def psnr(restored: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of a frame, at most `PSNR_CAP`."""
    error = np.mean(np.square(restored - truth))
    return PSNR_CAP if error == 0 else min(PSNR_CAP, float(10 * np.log10(PEAK**2 / error)))


def ssim(restored: np.ndarray, truth: np.ndarray) -> float:
    """Mean structural similarity, over the pixels whose window lies inside the frame, then over channels.

    Source: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
    TIP 13(4), 2004, eq. (13), with its Gaussian window of 11x11 pixels and sigma 1.5, K1 = 0.01, K2 = 0.03.
    """
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_x, mean_y = _blur(restored), _blur(truth)
    square, product = mean_x**2 + mean_y**2, mean_x * mean_y
    # Variances appear only as their sum, so one blur of the sum of squares serves both.
    variances = _blur(restored**2 + truth**2) - square
    covariance = _blur(restored * truth) - product
    similarity = (2 * product + c1) * (2 * covariance + c2) / ((square + c1) * (variances + c2))
    return float(np.mean(similarity))


def _blur(frame: np.ndarray) -> np.ndarray:
    """The Gaussian window at every place where it lies inside the frame."""
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    margin = WINDOW // 2
    return cv2.sepFilter2D(frame, cv2.CV_64F, kernel, kernel)[margin:-margin, margin:-margin]


Metric = Callable[[np.ndarray, np.ndarray], float]

METRICS: dict[str, Metric] = {"psnr": psnr, "ssim": ssim}
"""Name -> function of (restored, truth)."""


def get(name: str) -> Metric:
    """The metric of that name.

    Raises:
        VSRError: there is none.
    """
    if name not in METRICS:
        raise unknown("metric", name, METRICS)
    return METRICS[name]

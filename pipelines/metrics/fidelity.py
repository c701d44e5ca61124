"""Fidelity of frames, as the super-resolution literature computes it.

Frames come as float64 on the scale of 8-bit values, (H, W) for luma or (H, W, 3) for RGB; restored frames
have been rounded to 8 bits before (see `levels.quantise`).
"""

from __future__ import annotations

import cv2
import numpy as np

from pipelines.metrics.framewise import Framewise
from pipelines.metrics.metric import Metric

PEAK = 255.0
PSNR_CAP = 100.0
"""dB. A frame equal to its truth would have infinite PSNR and drown the mean; it counts as this much."""

WINDOW = 11
SIGMA = 1.5
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales of MS-SSIM, the finest first."""


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
    luminance, contrast_structure = _similarity(restored, truth)
    return float(np.mean(luminance * contrast_structure))


def ms_ssim(restored: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity over five scales, each half as fine as the one before it.

    Contrast and structure count at every scale, luminance at the coarsest, each term a mean over pixels (and channels) before
    its exponent; one below zero, of which there is no such power, counts as zero. Between scales, squares of 2x2 pixels are
    averaged, and a last odd row or column is left out. As in the authors' code, no window reaches beyond the frame. Others differ
    a little: torchmetrics mirrors the frame at the coarsest scale, and pytorch-msssim takes the powers channel by channel.

    Source: Wang, Simoncelli and Bovik, "Multi-scale Structural Similarity for Image Quality Assessment", Asilomar 2003, eq. (7)
    with the exponents of Sec. 3.2.
    """
    value = 1.0
    for scale, exponent in enumerate(EXPONENTS, start=1):
        luminance, contrast_structure = _similarity(restored, truth)
        term = contrast_structure if scale < len(EXPONENTS) else luminance * contrast_structure
        value *= max(0.0, float(np.mean(term))) ** exponent
        restored, truth = _halved(restored), _halved(truth)
    return value


def _similarity(restored: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The luminance term, and the product of those of contrast and structure (Wang et al., 2004, eqs. (6), (9), (10))."""
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    mean_x, mean_y = _blur(restored), _blur(truth)
    square, product = mean_x**2 + mean_y**2, mean_x * mean_y
    # Variances appear only as their sum, so one blur of the sum of squares serves both.
    variances = _blur(restored**2 + truth**2) - square
    covariance = _blur(restored * truth) - product
    return (2 * product + c1) / (square + c1), (2 * covariance + c2) / (variances + c2)


def _blur(frame: np.ndarray) -> np.ndarray:
    """The Gaussian window at every place where it lies inside the frame."""
    kernel = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_64F)
    margin = WINDOW // 2
    return cv2.sepFilter2D(frame, cv2.CV_64F, kernel, kernel)[margin:-margin, margin:-margin]


def _halved(frame: np.ndarray) -> np.ndarray:
    """The means of squares of 2x2 pixels."""
    height, width = (side // 2 * 2 for side in frame.shape[:2])
    rows = (frame[0:height:2] + frame[1:height:2]) / 2
    return (rows[:, 0:width:2] + rows[:, 1:width:2]) / 2


METRICS = (
    Metric(
        name="psnr",
        label="PSNR",
        unit="dB",
        decimals=2,
        higher_is_better=True,
        low=0.0,
        high=PSNR_CAP,
        channel="protocol",
        reference=True,
        licence="Apache-2.0",
        source="mean squared error of 8-bit values against a peak of 255; lossless frames count as 100 dB",
        build=lambda device: Framewise(psnr),
    ),
    Metric(
        name="ssim",
        label="SSIM",
        unit="",
        decimals=4,
        higher_is_better=True,
        low=-1.0,
        high=1.0,
        channel="protocol",
        reference=True,
        licence="Apache-2.0",
        source="Wang et al., IEEE TIP 13(4), 2004",
        build=lambda device: Framewise(ssim),
        smallest=WINDOW,
    ),
    Metric(
        name="ms_ssim",
        label="MS-SSIM",
        unit="",
        decimals=4,
        higher_is_better=True,
        low=0.0,
        high=1.0,
        channel="protocol",
        reference=True,
        licence="Apache-2.0",
        source="Wang, Simoncelli and Bovik, Asilomar 2003",
        build=lambda device: Framewise(ms_ssim),
        smallest=WINDOW * 2 ** (len(EXPONENTS) - 1),
    ),
)

"""Blur kernels: (size, size) float64 tensors, row y and column x, that add up to 1.

The axes of a kernel of standard deviations `sigma_x` and `sigma_y` (pixels) are turned by `theta` radians from x, to the
right, towards y, downwards. Kernels are sampled at the pixels' centres, as published code does, and not integrated over
the pixels. Their middle is that of the grid: a pixel where the side is odd, the corner between four where it is even.
"""

from __future__ import annotations

import math
from typing import get_args

import torch
from scipy.special import j1
from torch import Tensor

from pipelines.errors import VSRError, unknown
from pipelines.params.degradations import Kernel


def line(size: int, sigma: float) -> Tensor:
    """The one-dimensional Gaussian, (size,), whose outer product with itself is the isotropic kernel."""
    return _exponential(-0.5 * (_offsets(size) / sigma) ** 2)


def gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, centre: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """The anisotropic Gaussian `exp(-d / 2)`, `d` the squared Mahalanobis distance from `centre`.

    Its centre of mass is exactly `centre`: samples without a counterpart on its other side are zero, so that the kernel is
    symmetric about that point. Its covariance is that of `sigma_x`, `sigma_y` and `theta` to 0.4 % of the larger variance where
    both sigmas are between 0.8 and an eighth of the side. A wider kernel is cut off, and so is narrower than asked for; a
    thinner one falls between the samples.

    Args:
        size: the side of the kernel, pixels.
        sigma_x: standard deviation along the first axis, pixels.
        sigma_y: standard deviation along the second.
        theta: the angle of the first axis, radians.
        centre: (dx, dy) from the middle of the grid, pixels; multiples of a half.

    Raises:
        VSRError: a sigma is not above 0, or the centre is not a multiple of half a pixel within the grid.
    """
    for offset in centre:
        if (2 * offset) % 1 or abs(offset) > (size - 1) / 2:
            raise VSRError(
                f"a kernel of {size}x{size} pixels cannot be centred at {centre} from its middle: "
                "give multiples of half a pixel within the kernel, or a larger kernel."
            )
    dx, dy = centre
    # A sample stays where its mirror image about the centre is one as well.
    paired_x, paired_y = ((_offsets(size) - 2 * offset).abs() <= (size - 1) / 2 for offset in (dx, dy))
    exponent = -0.5 * _distance(size, sigma_x, sigma_y, theta, centre)
    return _exponential(exponent.masked_fill(~(paired_y[:, None] & paired_x), -math.inf))


def generalized_gaussian(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Tensor:
    """The generalised Gaussian `exp(-d^beta / 2)`, a Gaussian for `beta` 1, flatter above and more peaked below.

    Source: Pascal et al., "Parameter Estimation for Multivariate Generalized Gaussian Distributions", 2013; as a blur,
    Liu et al., "Estimating Generalized Gaussian Blur Kernels for Out-of-Focus Image Deblurring", 2020, and Real-ESRGAN,
    Wang et al. 2021, section 3.1. `sigma_x` and `sigma_y` scale `d`; standard deviations they are only for `beta` 1.

    Raises:
        VSRError: a sigma is not above 0.
    """
    return _exponential(-0.5 * _distance(size, sigma_x, sigma_y, theta) ** beta)


def plateau(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float) -> Tensor:
    """The plateau-shaped kernel `1 / (1 + d^beta)` of Real-ESRGAN, Wang et al. 2021, section 3.1.

    Raises:
        VSRError: a sigma is not above 0.
    """
    kernel = 1 / (1 + _distance(size, sigma_x, sigma_y, theta) ** beta)
    return kernel / kernel.sum()


def sinc(size: int, cutoff: float) -> Tensor:
    """The ideal circular low-pass filter, `cutoff J1(cutoff r) / (2 pi r)`, cut off at the square: it rings.

    Source: Real-ESRGAN, Wang et al. 2021, section 3.3.

    Args:
        size: the side of the kernel, pixels.
        cutoff: radians per pixel; pi is the highest frequency along an axis.
    """
    offsets = _offsets(size)
    radius = torch.hypot(offsets[:, None], offsets)
    middle = radius == 0
    radius = radius.masked_fill(middle, 1.0)
    # torch's own Bessel function is good to no more than 4e-7.
    kernel = cutoff * torch.from_numpy(j1((cutoff * radius).numpy())) / (2 * math.pi * radius)
    kernel = kernel.masked_fill(middle, cutoff**2 / (4 * math.pi))
    return kernel / kernel.sum()


def make(
    kind: Kernel,
    size: int,
    sigma_x: float | None = None,
    sigma_y: float | None = None,
    theta: float | None = None,
    beta: float | None = None,
    cutoff: float | None = None,
) -> Tensor:
    """The kernel of a kind; what the kind has no use for is not looked at, such as `sigma_y` and `theta` of isotropic ones.

    Raises:
        VSRError: there is no such kind, or a number that it needs is missing.
    """

    def given(name: str, value: float | None) -> float:
        if value is None:
            raise VSRError(f"a kernel of kind {kind} needs {name}: give it.")
        return value

    if kind not in get_args(Kernel):
        raise unknown("kind of kernel", kind, get_args(Kernel))
    if kind == "sinc":
        return sinc(size, given("cutoff", cutoff))
    first = given("sigma_x", sigma_x)
    turned = kind.endswith("aniso")
    axes = (first, given("sigma_y", sigma_y), given("theta", theta)) if turned else (first, first, 0.0)
    if kind in ("iso", "aniso"):
        return gaussian(size, *axes)
    shape = plateau if kind.startswith("plateau") else generalized_gaussian
    return shape(size, *axes, given("beta", beta))


def _offsets(size: int) -> Tensor:
    """Of the grid's samples from its middle, along one axis."""
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def _distance(size: int, sigma_x: float, sigma_y: float, theta: float, centre: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """The squared Mahalanobis distance of the samples from a centre."""
    if not (sigma_x > 0 and sigma_y > 0):
        raise VSRError(f"the sigmas of a kernel are {sigma_x:g} and {sigma_y:g}: give numbers above 0.")
    x, y = _offsets(size) - centre[0], _offsets(size)[:, None] - centre[1]
    along = math.cos(theta) * x + math.sin(theta) * y
    across = math.cos(theta) * y - math.sin(theta) * x
    return (along / sigma_x) ** 2 + (across / sigma_y) ** 2


def _exponential(exponent: Tensor) -> Tensor:
    """The kernel of these exponents, taken relative to the largest, without which a thin one would underflow to nothing."""
    kernel = torch.exp(exponent - exponent.max())
    return kernel / kernel.sum()

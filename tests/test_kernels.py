"""Blur kernels against their formulas written out sample by sample, and against the moments that they were asked for."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.special import j1
from scipy.stats import norm

from pipelines.degradations import kernels
from pipelines.errors import VSRError

torch.set_num_threads(1)

HALVES = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0])
THETA = st.floats(-math.pi, math.pi)


def covariance(sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    return turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T


def moments(kernel: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The centre of mass, (x, y) from the middle of the grid, and the covariance."""
    weights = kernel.numpy()
    y, x = np.indices(weights.shape) - (len(weights) - 1) / 2
    points = np.stack([x.ravel(), y.ravel()])
    mean = points @ weights.ravel()
    away = points - mean[:, None]
    return mean, (away * weights.ravel()) @ away.T


def sampled_covariance(sigma: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """The covariance of a Gaussian sampled on all integers + `phase`, by Poisson's summation formula."""
    total, second = 0.0, np.zeros((2, 2))
    for frequency in itertools.product(range(-8, 9), repeat=2):
        w = 2 * math.pi * np.array(frequency, float)
        weight = math.cos(w @ phase) * math.exp(-0.5 * w @ sigma @ w)
        total += weight
        second += weight * (sigma - np.outer(sigma @ w, sigma @ w))
    return second / total


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 15), st.floats(0.2, 5), st.floats(0.2, 5), THETA, st.floats(0.5, 4), st.floats(0.3, math.pi))
def test_formulas(size: int, sigma_x: float, sigma_y: float, theta: float, beta: float, cutoff: float) -> None:
    inverse = np.linalg.inv(covariance(sigma_x, sigma_y, theta))
    expected = {kind: np.zeros((size, size)) for kind in ("aniso", "generalized_aniso", "plateau_aniso", "sinc")}
    for row, column in np.ndindex(size, size):
        point = np.array([column - (size - 1) / 2, row - (size - 1) / 2])
        d = float(point @ inverse @ point)
        r = math.hypot(*point)
        expected["aniso"][row, column] = math.exp(-0.5 * d)
        expected["generalized_aniso"][row, column] = math.exp(-0.5 * d**beta)
        expected["plateau_aniso"][row, column] = 1 / (1 + d**beta)
        expected["sinc"][row, column] = cutoff * j1(cutoff * r) / (2 * math.pi * r) if r else cutoff**2 / (4 * math.pi)
    for kind, values in expected.items():
        kernel = kernels.make(kind, size, sigma_x, sigma_y, theta, beta, cutoff)
        assert kernel.shape == (size, size) and kernel.dtype == torch.float64
        assert kernel.sum().item() == pytest.approx(1, abs=1e-14)
        if values.sum() > 1e-200:  # a thin kernel of even side has all of its samples in the tail
            np.testing.assert_allclose(kernel.numpy(), values / values.sum(), rtol=1e-7, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 21), st.floats(0.2, 5), st.floats(0.5, 4))
def test_isotropic_kinds_look_at_one_sigma_and_no_angle(size: int, sigma: float, beta: float) -> None:
    for word in ("", "generalized_", "plateau_"):
        kernel = kernels.make(f"{word}iso", size, sigma_x=sigma, sigma_y=9.0, theta=1.0, beta=beta)  # type: ignore[arg-type]
        assert torch.equal(kernel, kernels.make(f"{word}aniso", size, sigma, sigma, 0.0, beta))  # type: ignore[arg-type]
        torch.testing.assert_close(kernel, kernel.T)
    one = kernels.line(size, sigma)
    torch.testing.assert_close(torch.outer(one, one), kernels.gaussian(size, sigma, sigma, 0.7))


def test_generalised_with_beta_one_is_the_gaussian() -> None:
    torch.testing.assert_close(kernels.generalized_gaussian(11, 2.0, 1.0, 0.4, 1.0), kernels.gaussian(11, 2.0, 1.0, 0.4))


@settings(deadline=None, max_examples=100)
@given(st.integers(3, 31), st.floats(0.01, 9), st.floats(0.01, 9), THETA, HALVES, HALVES)
def test_centre_of_mass_is_exact(size: int, sigma_x: float, sigma_y: float, theta: float, dx: float, dy: float) -> None:
    kernel = kernels.gaussian(size, sigma_x, sigma_y, theta, (dx, dy))
    assert torch.isfinite(kernel).all()
    np.testing.assert_allclose(moments(kernel)[0], (dx, dy), atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.3, 2.5), st.floats(0.3, 2.5), THETA, HALVES, HALVES, st.booleans())
def test_covariance_is_that_of_a_sampled_gaussian(
    sigma_x: float, sigma_y: float, theta: float, dx: float, dy: float, even: bool
) -> None:
    size = 41 + even
    phase = np.array([dx, dy]) + (size - 1) / 2
    expected = sampled_covariance(covariance(sigma_x, sigma_y, theta), phase)
    np.testing.assert_allclose(moments(kernels.gaussian(size, sigma_x, sigma_y, theta, (dx, dy)))[1], expected, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_covariance_is_what_was_asked_for(data: st.DataObject) -> None:
    size = data.draw(st.integers(9, 41))
    sigmas = st.floats(0.8, size / 8)
    sigma_x, sigma_y, theta = data.draw(sigmas), data.draw(sigmas), data.draw(THETA)
    centre = data.draw(st.tuples(*[st.sampled_from([-0.5, 0.0, 0.5])] * 2))
    _, found = moments(kernels.gaussian(size, sigma_x, sigma_y, theta, centre))
    narrow, wide = sorted((sigma_x, sigma_y))
    # Sampling adds the terms of Poisson's formula, those next to the origin first: four of frequency 2 pi.
    bound = 4 * (1 + (2 * math.pi * wide) ** 2) * math.exp(-2 * (math.pi * narrow) ** 2)
    # Beyond the square lies, on each of four sides, the tail of the marginal from `z` sigmas on: its second moment, and the mass
    # that the rest is scaled up by. Samples stand for what lies half a pixel around them.
    z = size / 2 / wide - (0.5 if any(centre) else 0) / wide
    bound += 4 * (z * norm.pdf(z) + 2 * norm.sf(z))
    asked = covariance(sigma_x, sigma_y, theta)
    np.testing.assert_allclose(found, asked, atol=1.1 * bound * wide**2 + 1e-12)
    assert np.abs(found - asked).max() < 0.004 * wide**2
    # The same said of sigmas and angle: twice the angle is the direction of (xx - yy, 2 xy).
    np.testing.assert_allclose(np.sqrt(np.linalg.eigvalsh(found)), (narrow, wide), rtol=0.004 * wide**2 / narrow**2)
    turned = (wide**2 - narrow**2) * np.exp(2j * theta) * (1 if sigma_x >= sigma_y else -1)
    assert abs(complex(found[0, 0] - found[1, 1], 2 * found[0, 1]) - turned) < 0.012 * wide**2


@pytest.mark.parametrize("sigma", [0.8, 1.2, 1.6])
def test_line_is_scipys(sigma: float) -> None:
    """The kernels of published code, made by filtering an impulse within 13x13."""
    impulse = np.zeros((13, 13))
    impulse[6, 6] = 1
    radius = int(4 * sigma + 0.5)
    line = torch.nn.functional.pad(kernels.line(2 * radius + 1, sigma), (6 - radius, 6 - radius))
    np.testing.assert_allclose(torch.outer(line, line).numpy(), gaussian_filter(impulse, sigma), atol=1e-16)


def test_sinc_passes_below_its_cutoff_and_stops_above() -> None:
    kernel = kernels.sinc(41, math.pi / 2)
    response = torch.fft.fft2(kernel, s=(256, 256)).abs()
    frequency = torch.hypot(*torch.meshgrid(*[torch.fft.fftfreq(256, dtype=torch.float64) * 2 * math.pi] * 2, indexing="ij"))
    assert (response[frequency < 0.4 * math.pi] - 1).abs().max() < 0.15
    assert response[frequency > 0.6 * math.pi].max() < 0.15
    assert kernel.min() < -0.001  # it rings


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kernels.gaussian(5, 1.0, 0.0, 0.0), "sigmas of a kernel are 1 and 0"),
        (lambda: kernels.gaussian(5, 1.0, 1.0, 0.0, (0.25, 0.0)), "multiples of half a pixel"),
        (lambda: kernels.gaussian(1, 1.0, 1.0, 0.0, (0.5, 0.5)), "or a larger kernel"),
        (lambda: kernels.make("plateau_iso", 5, sigma_x=1.0), "plateau_iso needs beta"),
        (lambda: kernels.make("platau_iso", 5), "did you mean 'plateau_iso'"),  # type: ignore[arg-type]
    ],
)
def test_bad_input_is_told(call: object, message: str) -> None:
    with pytest.raises(VSRError, match=message):
        call()  # type: ignore[operator]

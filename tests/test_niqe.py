"""NIQE against a slow second implementation, and on real frames."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import correlate
from scipy.special import gamma

from models.parts.resize import weight_matrix
from pipelines import metrics
from pipelines.errors import VSRError
from pipelines.metrics import naturalness
from pipelines.metrics.naturalness import Pristine

torch.set_num_threads(1)


@pytest.fixture
def weights(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    if not (shared_weights / "niqe_pris_params.npz").is_file():
        pytest.skip("needs niqe_pris_params.npz in VSR_WEIGHTS")
    return shared_weights


def some_model(seed: int) -> Pristine:
    """A mean, a covariance and a window of the right shapes."""
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(36, 36))
    row = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
    window = np.outer(row, row)
    return Pristine(generator.uniform(0, 2, 36), root @ root.T / 36 + np.eye(36) / 10, window / window.sum())


def textured(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth noise with some grain, 8-bit values."""
    generator = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(generator.normal(0, 1, (height, width)), (0, 0), generator.uniform(1, 4))
    return np.clip(128 + 40 * smooth / smooth.std() + generator.normal(0, 4, smooth.shape), 0, 255).round()


def slow_fit(values: np.ndarray) -> tuple[float, float, float]:
    """The asymmetric generalised Gaussian of a block, by trying every shape."""
    values = values.ravel()
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[values > 0] ** 2))
    skew = left / right
    found = np.mean(np.abs(values)) ** 2 / np.mean(values**2) * (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    shapes = [0.2 + 0.001 * step for step in range(9801)]
    misses = [(gamma(2 / shape) ** 2 / gamma(1 / shape) / gamma(3 / shape) - found) ** 2 for shape in shapes]
    shape = shapes[int(np.argmin(misses))]
    spread = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * spread, right * spread


def slow_niqe(grey: np.ndarray, model: Pristine) -> float:
    """NIQE block by block."""
    down, across = (side // 96 for side in grey.shape)
    plane = grey[: 96 * down, : 96 * across]
    scales = []
    for side in (96, 48):
        mean = correlate(plane, model.window, mode="nearest")
        deviation = np.sqrt(np.abs(correlate(plane**2, model.window, mode="nearest") - mean**2))
        normalised = (plane - mean) / (deviation + 1)
        found = []
        for row in range(down):
            for column in range(across):
                block = normalised[row * side : (row + 1) * side, column * side : (column + 1) * side]
                shape, left, right = slow_fit(block)
                values = [shape, (left + right) / 2]
                for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    neighbours = np.empty_like(block)
                    for y in range(side):
                        for x in range(side):
                            neighbours[y, x] = block[(y - shift[0]) % side, (x - shift[1]) % side]
                    shape, left, right = slow_fit(block * neighbours)
                    values += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
                found.append(values)
        scales.append(found)
        plane = weight_matrix(plane.shape[0], 0.5) @ plane @ weight_matrix(plane.shape[1], 0.5).T
    values_ = np.concatenate(scales, axis=1)
    away = model.mean - values_.mean(axis=0)
    return float(np.sqrt(away @ np.linalg.inv((model.covariance + np.cov(values_.T)) / 2) @ away))


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 99), st.integers(96, 130), st.integers(192, 230))
def test_a_slow_second_implementation(seed: int, height: int, width: int) -> None:
    grey, model = textured(seed, height, width), some_model(seed)
    assert naturalness.niqe(grey, model) == pytest.approx(slow_niqe(grey, model), rel=1e-6)


@pytest.mark.parametrize("shape", [0.7, 1.0, 2.0])
@pytest.mark.parametrize(("left", "right"), [(1.0, 1.0), (0.5, 2.0)])
def test_fits_find_the_distribution_that_was_drawn_from(shape: float, left: float, right: float) -> None:
    generator = np.random.default_rng(0)
    size = (4, 500, 500)
    side = np.where(generator.random(size) < left / (left + right), -left, right)
    draws = side * generator.gamma(1 / shape, size=size) ** (1 / shape)
    found = naturalness.fit(draws)
    for value, expected in zip(found, (shape, left, right), strict=True):
        np.testing.assert_allclose(value, expected, rtol=0.03)


def test_flat_blocks_do_not_count() -> None:
    """A frame with a black bar has the score of what is left, but for the windows that see the bar."""
    model, scene = some_model(1), textured(1, 192, 384)
    barred = np.concatenate([np.full((96, 384), 16.0), scene])
    assert naturalness.niqe(barred, model) == pytest.approx(naturalness.niqe(scene, model), rel=0.2)
    with pytest.raises(VSRError, match="two blocks of 96x96 pixels that are not flat and the frame has 0"):
        naturalness.niqe(np.full((192, 192), 16.0), model)
    with pytest.raises(VSRError, match="the frame has 1"):
        naturalness.niqe(textured(0, 150, 150), model)


def frames(shared_data: Path, clip: str) -> list[np.ndarray]:
    return [
        np.asarray(Image.open(shared_data / "Vid4/GT" / clip / f"{index:08d}.png").convert("RGB")) for index in range(0, 41, 10)
    ]


def jpeg(frame: np.ndarray, quality: int) -> np.ndarray:
    _, data = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def of(frame: np.ndarray, name: str = "niqe") -> float:
    metric = metrics.get(name)
    plane = metrics.luma(frame) if metric.channel == "luma" else frame.astype(float)
    value = metric.build("cpu").add(plane, plane)
    assert value is not None
    return value


@pytest.mark.parametrize("name", ["niqe", "niqe_matlab"])
@pytest.mark.parametrize("clip", ["calendar", "walk"])
def test_sharp_frames_score_lower_than_damaged_ones(name: str, clip: str, shared_data: Path, weights: Path) -> None:
    """In the mean of a clip: single frames of `calendar`, which is soft and grainy, are off by one and more."""
    truth = frames(shared_data, clip)

    def score(damage: Callable[[np.ndarray], np.ndarray]) -> float:
        return float(np.mean([of(damage(frame), name) for frame in truth]))

    sharp = score(lambda frame: frame)
    blurred = [score(partial(cv2.GaussianBlur, ksize=(0, 0), sigmaX=sigma)) for sigma in (1, 2)]
    compressed = [score(partial(jpeg, quality=quality)) for quality in (10, 5)]
    assert 2 < sharp < blurred[0] < blurred[1] < 8
    assert sharp < compressed[0] < compressed[1] < 8


def test_the_variants_look_at_different_grey(shared_data: Path, weights: Path) -> None:
    frame = frames(shared_data, "walk")[0]
    assert of(frame, "niqe") == naturalness.niqe(metrics.luma(frame).round(), naturalness.pristine())
    # MATLAB's documented coefficients of rgb2gray.
    grey = np.floor(frame @ np.array([0.298936021293775, 0.587043074451121, 0.114020904255103]) + 0.5)
    assert of(frame, "niqe_matlab") == pytest.approx(naturalness.niqe(grey, naturalness.pristine()), abs=1e-9)
    assert abs(of(frame, "niqe") - of(frame, "niqe_matlab")) > 1e-3


def test_values_are_stable(shared_data: Path, weights: Path) -> None:
    """In another process, with another number of threads."""
    program = (
        "import sys, cv2, numpy, torch; from PIL import Image; from pipelines import metrics\n"
        "cv2.setNumThreads(2); torch.set_num_threads(2)\n"
        "y = metrics.luma(numpy.asarray(Image.open(sys.argv[1]).convert('RGB')))\n"
        "print(repr(metrics.get('niqe').build('cpu').add(y, y)))"
    )
    path = shared_data / "Vid4/GT/calendar/00000000.png"
    shown = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
    expected = of(frames(shared_data, "calendar")[0])
    assert float(shown.stdout) == pytest.approx(expected, abs=1e-6)

"""Bicubic reduction against MATLAB's documented weights, written out tap by tap."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import params
from pipelines.clips.images import read_picture
from pipelines.degradations import recipes
from pipelines.degradations.draw import crop_size, scale_of
from pipelines.degradations.resize import lr_size
from pipelines.errors import VSRError

Scale = float | tuple[float, float]


def bicubic(frame: np.ndarray, scale: Scale) -> np.ndarray:
    """One 8-bit frame through a recipe of this one step."""
    recipe = [params.Bicubic(op="bicubic", scale=scale)]
    size = frame.shape[0], frame.shape[1]
    stream, drawn = recipes.degrade(recipe, [frame], degradation="bi", clip="one", count=1, size=size, fps=25)
    (lr,) = stream
    assert list(lr.shape[:2]) == drawn["size"]
    return lr


def slow_bicubic(plane: np.ndarray, outputs: int, scale: float) -> np.ndarray:
    """The first axis of `plane` resized by sums written out tap by tap, as MATLAB's documentation tells it."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    widen = max(scale, 1.0)
    rows = []
    for i in range(outputs):
        centre = (i + 0.5) * scale - 0.5
        taps = range(math.floor(centre - 2 * widen), math.ceil(centre + 2 * widen) + 1)
        weights = [kernel((centre - tap) / widen) for tap in taps]
        total, value = sum(weights), 0.0
        for tap, weight in zip(taps, weights, strict=True):
            mirrored = tap % (2 * len(plane))
            value = value + weight / total * plane[min(mirrored, 2 * len(plane) - 1 - mirrored)]
        rows.append(value)
    return np.array(rows)


def reference(frame: np.ndarray, scale: Scale) -> np.ndarray:
    """LR before rounding, float64."""
    y, x = scale if isinstance(scale, tuple) else (scale, scale)
    height, width = math.floor(frame.shape[0] / y), math.floor(frame.shape[1] / x)
    cropped = frame[: round(height * y), : round(width * x)].astype(np.float64)
    rows = slow_bicubic(cropped, height, len(cropped) / height)
    return slow_bicubic(rows.swapaxes(0, 1), width, cropped.shape[1] / width).swapaxes(0, 1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 8.0, 12.0, 1.7, (2.0, 4.0), (3.5, 1.0)]),
    st.integers(0, 2**32 - 1),
)
def test_bicubic_is_the_rounded_reference(height: int, width: int, scale: Scale, seed: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    y, x = scale if isinstance(scale, tuple) else (scale, scale)
    if height < y or width < x:
        with pytest.raises(VSRError, match="cannot be reduced"):
            bicubic(frame, scale)
        return
    out = bicubic(frame, scale)
    exact = reference(frame, scale)
    assert out.shape == (math.floor(height / y), math.floor(width / x), 3) and out.dtype == np.uint8
    # A tie may fall either way where weights are not dyadic fractions; nothing else may differ.
    assert np.abs(out - np.clip(exact, 0, 255)).max() <= 0.5 + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.integers(4, 60), st.integers(4, 60), st.integers(0, 255), st.sampled_from([2.0, 3.0, 4.0, 1.5]))
def test_constant_stays_constant(height: int, width: int, level: int, scale: float) -> None:
    assert (bicubic(np.full((height, width, 3), level, np.uint8), scale) == level).all()


def test_x4_weights_in_closed_form() -> None:
    """An impulse gives back the 16 weights: Keys' kernel at odd eighths over 4, dyadic fractions."""
    k = np.arange(-15, 16, 2) / 8
    near = 1.5 * np.abs(k) ** 3 - 2.5 * k**2 + 1
    far = -0.5 * np.abs(k) ** 3 + 2.5 * k**2 - 4 * np.abs(k) + 2
    taps = np.where(np.abs(k) <= 1, near, far) / 4
    assert math.isclose(taps.sum(), 1) and ((4096 * taps) % 1 == 0).all()
    line = np.random.default_rng(0).integers(0, 256, 16 * 4, dtype=np.uint8)
    expected = np.array([taps @ line[4 * i - 6 : 4 * i + 10] for i in range(2, 14)])
    out = bicubic(np.repeat(np.repeat(line[None, :, None], 16, 0), 3, 2), 4.0)
    assert (out[0, 2:14, 0] == np.clip(np.floor(expected + 0.5), 0, 255)).all()


def test_ties_round_away_from_zero() -> None:
    # Columns of 4 that alternate by one average to exactly n + 1/2 by symmetry of the kernel.
    frame = np.tile(np.array([10, 11], np.uint8)[None, :, None], (16, 16, 3))
    assert (bicubic(frame, 4.0)[:, 2:-2] == 11).all()


def test_bicubic_on_real_frames(shared_data: Path) -> None:
    for clip in ("calendar", "walk"):
        frame = read_picture(shared_data / f"Vid4/GT/{clip}/00000007.png")
        exact = reference(frame, 4.0)
        assert (bicubic(frame, 4.0) == np.clip(np.floor(exact + 0.5), 0, 255)).all()


@pytest.mark.parametrize("scale", [2.0, 2.5, 3.0, 3.5, 4.0, 8.0, 12.0, (2.0, 4.0)])
def test_every_scale_on_a_real_size(scale: Scale) -> None:
    frame = np.random.default_rng(5).integers(0, 256, (97, 123, 3), np.uint8)
    assert np.abs(bicubic(frame, scale) - np.clip(reference(frame, scale), 0, 255)).max() <= 0.5 + 1e-9


def test_scale_and_size() -> None:
    bi = params.Bicubic(op="bicubic", scale=4)
    assert scale_of([bi]) == (4, 4) and scale_of([bi, params.X264(op="x264", crf=25, preset="medium")]) == (4, 4)
    assert scale_of(
        [params.Bicubic(op="bicubic", scale=(2, 3.5)), params.Gaussian(op="gaussian", sigma=1.6, scale=4, convention="duf")]
    ) == (8, 14)
    assert lr_size((719, 1283), (4, 4)) == (179, 320) and crop_size((719, 1283), (4, 4)) == (716, 1280)
    assert lr_size((720, 1280), (3.5, 3.5)) == (205, 365) and crop_size((720, 1280), (3.5, 3.5)) == (718, 1278)
    with pytest.raises(VSRError, match="smaller scale"):
        lr_size((3, 100), (4, 4))


def test_options_of_a_choice_have_one_scale() -> None:
    def choice(*scales: float) -> params.Choice:
        options = [{"share": 1 / len(scales), "steps": [{"op": "bicubic", "scale": scale}]} for scale in scales]
        return params.Choice.model_validate({"op": "choice", "of": options})

    assert scale_of([params.Bicubic(op="bicubic", scale=2), choice(2, 2)]) == (4, 4)
    with pytest.raises(VSRError, match="different scales"):
        scale_of([choice(2, 3)])

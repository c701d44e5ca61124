"""Resizing without antialiasing against its definition written out, and against OpenCV."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.degradations.interpolate import MODES, interpolate
from pipelines.errors import VSRError

torch.set_num_threads(1)

SIDE = st.integers(1, 24)


def cubic(x: float, a: float = -0.75) -> float:
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def matrix(old: int, new: int, mode: str) -> np.ndarray:
    """One axis, (new, old)."""
    weights = np.zeros((new, old))
    for i in range(new):
        if mode == "area":
            first, last = i * old // new, -(-(i + 1) * old // new)
            weights[i, first:last] = 1 / (last - first)
            continue
        place = (i + 0.5) * old / new - 0.5
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            weight = cubic(place - tap) if mode == "bicubic" else max(0.0, 1 - abs(place - tap))
            weights[i, min(max(tap, 0), old - 1)] += weight
    return weights


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape)


@pytest.mark.parametrize("mode", MODES)
@settings(deadline=None, max_examples=60)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(1, 3), st.integers(0, 99))
def test_is_its_definition(mode: str, height: int, width: int, tall: int, wide: int, count: int, seed: int) -> None:
    clip = noise(count, 3, height, width, seed=seed)
    expected = matrix(height, tall, mode) @ clip @ matrix(width, wide, mode).T
    out = interpolate(torch.from_numpy(clip), tall, wide, mode)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-9)
    for t in range(count):
        assert torch.equal(interpolate(torch.from_numpy(clip[t : t + 1].copy()), tall, wide, mode)[0], out[t])
    interleaved = torch.from_numpy(np.ascontiguousarray(clip.transpose(0, 2, 3, 1))).permute(0, 3, 1, 2)
    assert torch.equal(interpolate(interleaved, tall, wide, mode), out)


@pytest.mark.parametrize(
    ("mode", "flag", "sizes"),
    [
        ("bilinear", cv2.INTER_LINEAR, [(30, 50), (61, 77), (15, 19), (90, 20)]),
        ("bicubic", cv2.INTER_CUBIC, [(30, 50), (61, 77), (15, 19), (90, 20)]),
        ("area", cv2.INTER_AREA, [(20, 15), (30, 20), (60, 12), (10, 60)]),
    ],
)
def test_is_opencvs(mode: str, flag: int, sizes: list[tuple[int, int]]) -> None:
    frame = noise(60, 60, 3)
    clip = torch.from_numpy(frame.transpose(2, 0, 1).copy())[None]
    for height, width in sizes:
        out = interpolate(clip, height, width, mode)[0].permute(1, 2, 0).numpy()
        # OpenCV keeps its weights in single precision.
        np.testing.assert_allclose(out, cv2.resize(frame, (width, height), interpolation=flag), atol=2e-3)


@pytest.mark.parametrize("mode", MODES)
def test_its_own_size_and_flat_frames_stay(mode: str) -> None:
    clip = torch.from_numpy(noise(2, 3, 21, 34))
    torch.testing.assert_close(interpolate(clip, 21, 34, mode), clip, atol=1e-10, rtol=0)
    flat = torch.full((1, 3, 20, 31), 93.5)
    torch.testing.assert_close(interpolate(flat, 13, 47, mode), torch.full((1, 3, 13, 47), 93.5))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_types_agree(mode: str, dtype: torch.dtype) -> None:
    clip = torch.from_numpy(noise(1, 3, 20, 30)).to(dtype)
    out = interpolate(clip, 11, 44, mode)
    assert out.dtype == dtype
    assert torch.equal(out, interpolate(clip.double(), 11, 44, mode).to(dtype))


def test_a_misspelt_mode_is_named() -> None:
    with pytest.raises(VSRError, match="'bilinear'"):
        interpolate(torch.zeros(1, 3, 4, 4), 2, 2, "bilinar")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", MODES)
def test_the_gpu_gives_what_the_cpu_does(mode: str) -> None:
    clip = torch.from_numpy(noise(2, 3, 50, 60))
    torch.testing.assert_close(interpolate(clip.cuda(), 33, 71, mode).cpu(), interpolate(clip, 33, 71, mode), atol=1e-9, rtol=0)

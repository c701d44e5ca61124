"""Unsharp masking against the same thing written with OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.degradations.sharpen import unsharp

torch.set_num_threads(1)

ODD = st.integers(0, 40).map(lambda half: 2 * half + 1)


def opencv(frame: np.ndarray, weight: float, radius: int, threshold: float, sigma: float) -> np.ndarray:
    """One frame (H, W, 3) in levels, in the type that it has; a sigma of 0 leaves it to OpenCV."""

    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (radius, radius), sigma, borderType=cv2.BORDER_REFLECT_101)

    residual = frame - blur(frame)
    soft = blur((np.abs(residual) > threshold).astype(frame.dtype))
    sharp = np.clip(frame + weight * residual, 0, 255)
    return soft * sharp + (1 - soft) * frame


def ours(frame: np.ndarray, weight: float, radius: int, threshold: float) -> np.ndarray:
    clip = torch.from_numpy(frame).permute(2, 0, 1)[None]
    return unsharp(clip, weight, radius, threshold)[0].permute(1, 2, 0).numpy()


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (height, width, 3))


def test_the_published_setting_is_opencvs() -> None:
    frame = noise(90, 300)
    expected = opencv(frame, 0.5, 51, 10, 0)
    np.testing.assert_allclose(ours(frame, 0.5, 51, 10), expected, atol=1e-9)
    # In single precision a pixel whose residual is all but the threshold falls to either side, and with it 1/400
    # of a mask; the rest is rounding.
    single = ours(frame.astype(np.float32), 0.5, 51, 10)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, opencv(frame.astype(np.float32), 0.5, 51, 10, 0), atol=0.2)
    np.testing.assert_allclose(single, ours(frame.astype(np.float32).astype(float), 0.5, 51, 10), atol=2e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 150), st.integers(1, 30), ODD, st.floats(0.1, 3), st.floats(0, 60), st.booleans(), st.integers(0, 99))
def test_any_size_is_opencvs(
    height: int, width: int, radius: int, weight: float, threshold: float, turned: bool, seed: int
) -> None:
    # Frames smaller than the kernel are mirrored time and again. A kernel below 11 has its sigma given: at
    # those sizes OpenCV keeps tables that its rule does not give.
    frame = noise(width, height, seed) if turned else noise(height, width, seed)
    sigma = 0 if radius >= 11 else 0.3 * ((radius - 1) * 0.5 - 1) + 0.8
    np.testing.assert_allclose(ours(frame, weight, radius, threshold), opencv(frame, weight, radius, threshold, sigma), atol=1e-9)


def test_flat_and_faint_frames_stay() -> None:
    flat = np.full((40, 50, 3), 77.25)
    np.testing.assert_allclose(ours(flat, 0.5, 51, 0), flat, atol=1e-10)
    faint = 100 + np.random.default_rng(0).uniform(-4, 4, (60, 70, 3))
    np.testing.assert_array_equal(ours(faint, 0.5, 51, 10), faint)


def test_an_edge_is_steeper_and_stays_in_range() -> None:
    frame = np.full((60, 200, 3), 60.0)
    frame[:, 100:] = 200
    frame[:10] *= 255 / 200
    sharp = ours(frame, 0.5, 51, 10)
    assert (sharp[30, 99] < 50).all() and (sharp[30, 100] > 210).all()
    assert sharp.min() >= 0 and sharp.max() <= 255
    np.testing.assert_allclose(sharp[50, [0, -1]], frame[50, [0, -1]], atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(1, 140), st.integers(1, 140))
def test_frames_alone_are_frames_together(count: int, height: int, width: int) -> None:
    clip = torch.from_numpy(np.stack([noise(height, width, seed) for seed in range(count)])).permute(0, 3, 1, 2)
    together = unsharp(clip, 0.5, 51, 10)
    for t in range(count):
        assert torch.equal(unsharp(clip[t : t + 1].contiguous(), 0.5, 51, 10), together[t : t + 1])


@pytest.mark.parametrize("radius", [0, -3, 50])
def test_the_radius_is_odd(radius: int) -> None:
    with pytest.raises(ValueError, match="odd number"):
        unsharp(torch.zeros(1, 3, 8, 8), 0.5, radius, 10)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_does() -> None:
    clip = torch.from_numpy(noise(90, 200)).permute(2, 0, 1)[None]
    assert (unsharp(clip.cuda(), 0.5, 51, 10).cpu() - unsharp(clip, 0.5, 51, 10)).abs().max() < 1e-9

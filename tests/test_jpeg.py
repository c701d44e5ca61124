"""JPEG against libjpeg-turbo, by two doors, bit for bit."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from pipelines.degradations.jpeg import jpeg, quantisation

torch.set_num_threads(1)


def coded(frame: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


def pillow(frame: np.ndarray, quality: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(coded(frame, quality))))


def opencv(frame: np.ndarray, quality: int) -> np.ndarray:
    done, file = cv2.imencode(".jpg", frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1]


def as_clip(*frames: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).double()


def ours(frame: np.ndarray, quality: int) -> np.ndarray:
    return jpeg(as_clip(frame), [quality])[0].permute(1, 2, 0).numpy()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth shades, edges in colour and a little grain."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = rng.uniform(-0.3, 0.3, (3, 4, 2))
    shade = sum(np.sin(waves[:, k, :1, None] * y + waves[:, k, 1:, None] * x) for k in range(4))
    disc = (y - height / 2) ** 2 + (x - width / 3) ** 2 < (height / 4) ** 2
    frame = 128 + 25 * shade + 60 * rng.uniform(-1, 1, (3, 1, 1)) * disc + rng.normal(0, 3, (3, height, width))
    return frame.transpose(1, 2, 0).round().clip(0, 255).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def test_tables_are_libjpegs() -> None:
    for quality in range(1, 101):
        tables = Image.open(io.BytesIO(coded(np.zeros((8, 8, 3), np.uint8), quality))).quantization
        for index, table in enumerate(quantisation(quality)):
            assert table.ravel().tolist() == list(tables[index])


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 100), st.integers(0, 999), st.sampled_from([1, 16, 255]))
def test_noise_of_any_size_is_libjpegs(height: int, width: int, quality: int, seed: int, step: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 255 // step + 1, (height, width, 3)) * step
    frame = levels.astype(np.uint8)
    np.testing.assert_array_equal(ours(frame, quality), pillow(frame, quality))


@pytest.mark.parametrize("quality", [1, 2, 10, 30, 49, 50, 75, 95, 99, 100])
def test_pictures_are_libjpegs(quality: int) -> None:
    for frame in (picture(144, 176), picture(101, 67, 1)):
        restored = ours(frame, quality)
        np.testing.assert_array_equal(restored, pillow(frame, quality))
        np.testing.assert_array_equal(restored, opencv(frame, quality))


def test_footage_is_libjpegs(shared_data: Path) -> None:
    for clip in ("calendar", "walk"):
        frame = np.asarray(Image.open(shared_data / "Vid4" / "GT" / clip / "00000000.png").convert("RGB"))
        for quality in (1, 30, 62, 95, 100):
            np.testing.assert_array_equal(ours(frame, quality), pillow(frame, quality))


def test_is_near_the_transform_on_paper() -> None:
    """The integer transform against the cosine one in floating point, on grey, where chroma does nothing."""
    frame = np.repeat(picture(64, 80)[..., :1], 3, 2)
    u, x = np.mgrid[:8, :8]
    dct = np.cos((2 * x + 1) * u * np.pi / 16) / np.where(u == 0, np.sqrt(8), 2)
    for quality in (20, 60, 90):
        table = quantisation(quality)[0]
        blocks = (frame[..., 0].reshape(8, 8, 10, 8).transpose(0, 2, 1, 3) - 128.0).reshape(-1, 8, 8)
        steps = np.rint(dct @ blocks @ dct.T / table)
        plane = (dct.T @ (steps * table) @ dct + 128).reshape(8, 10, 8, 8).transpose(0, 2, 1, 3).reshape(64, 80)
        assert psnr(ours(frame, quality)[..., 0], plane.round().clip(0, 255)) > 48


def test_quality_raises_psnr() -> None:
    frame = picture(128, 128)
    values = [psnr(ours(frame, quality), frame) for quality in (1, 5, 10, 20, 35, 50, 70, 90)]
    assert values == sorted(values) and values[0] < 24 and values[-1] > 34


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 255), min_size=3, max_size=3), st.integers(1, 100), st.integers(1, 30), st.integers(1, 30))
def test_constant_frames_stay_constant(colour: list[int], quality: int, height: int, width: int) -> None:
    frame = np.broadcast_to(np.array(colour, np.uint8), (height, width, 3))
    restored = ours(frame, quality)
    assert (restored == restored[0, 0]).all()
    assert np.abs(ours(frame, 100) - frame).max() <= 2
    grey = np.full((height, width, 3), colour[0], np.uint8)
    np.testing.assert_array_equal(ours(grey, 100), grey)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.lists(st.integers(1, 100), min_size=4, max_size=4))
def test_frames_alone_are_frames_together(count: int, height: int, width: int, qualities: list[int]) -> None:
    clip = as_clip(*(picture(height, width, seed) for seed in range(count)))
    together = jpeg(clip, qualities[:count])
    for t in range(count):
        assert torch.equal(jpeg(clip[t : t + 1].contiguous(), qualities[t : t + 1]), together[t : t + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types_agree(dtype: torch.dtype) -> None:
    clip = as_clip(picture(30, 40))
    out = jpeg(clip.to(dtype), [40])
    assert out.dtype == dtype
    assert torch.equal(out.double(), jpeg(clip, [40]))


def test_values_are_brought_to_8_bits_first() -> None:
    clip = as_clip(picture(32, 32))
    clip[0, 0, :4], clip[0, 1, :4] = -30, 280
    whole = clip.clamp(0, 255)
    out = jpeg(whole, [80])
    assert torch.equal(jpeg(clip + 0.49, [80]), out) and torch.equal(jpeg(clip - 0.5, [80]), out)
    assert torch.equal(out, out.round()) and out.min() >= 0 and out.max() <= 255


def test_qualities_are_checked() -> None:
    clip = as_clip(picture(8, 8))
    for quality in (0, 101):
        with pytest.raises(ValueError, match="from 1 to 100"):
            jpeg(clip, [quality])
    with pytest.raises(ValueError, match="give one each"):
        jpeg(clip, [50, 50])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_the_same_bits() -> None:
    clip = as_clip(picture(101, 67), picture(101, 67, 1))
    assert torch.equal(jpeg(clip.cuda(), [30, 80]).cpu(), jpeg(clip, [30, 80]))

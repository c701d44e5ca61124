"""Metrics, protocols and scores against scikit-image, closed forms and published numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity

from pipelines.errors import VSRError
from pipelines.evaluation import metrics, protocols
from pipelines.evaluation.protocols import Protocol
from pipelines.evaluation.score import score_clip, summarise


def noisy(seed: int, height: int, width: int, amount: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.cumsum(generator.integers(0, 9, (height, width, 3)), axis=1) % 256
    restored = np.clip(truth + generator.integers(-amount, amount + 1, truth.shape), 0, 255)
    return restored.astype(np.uint8), truth.astype(np.uint8)


def frames(folder: Path) -> Iterator[np.ndarray]:
    for path in sorted(folder.glob("*.png")):
        yield np.asarray(Image.open(path).convert("RGB"))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(11, 40), st.integers(11, 40), st.integers(0, 90))
def test_ssim_is_scikit_images(seed: int, height: int, width: int, amount: int) -> None:
    restored, truth = noisy(seed, height, width, amount)
    settings_ = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    colour = structural_similarity(restored.astype(float), truth.astype(float), channel_axis=2, **settings_)
    assert metrics.ssim(restored.astype(float), truth.astype(float)) == pytest.approx(colour, abs=1e-6)
    pair = metrics.luma(restored), metrics.luma(truth)
    assert metrics.ssim(*pair) == pytest.approx(structural_similarity(*pair, **settings_), abs=1e-6)


def test_ssim_of_constants() -> None:
    """Without variance only the comparison of means is left."""
    x, y = np.full((20, 20), 100.0), np.full((20, 20), 120.0)
    c1 = 2.55**2
    assert metrics.ssim(x, y) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-9)


@given(st.integers(1, 255))
def test_psnr_of_a_constant_error(error: int) -> None:
    x = np.zeros((4, 5, 3))
    assert metrics.psnr(x, x + error) == pytest.approx(20 * math.log10(255 / error))


def test_psnr_of_equal_frames_is_capped() -> None:
    assert metrics.psnr(np.ones((4, 4)), np.ones((4, 4))) == 100.0


def test_luma() -> None:
    colours = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    expected = [16, 235, 16 + 65.481, 16 + 128.553, 16 + 24.966, 16 + (654.81 + 2571.06 + 748.98) / 255]
    np.testing.assert_allclose(metrics.luma(colours)[0], expected, atol=1e-9)


def test_names() -> None:
    with pytest.raises(VSRError, match="did you mean 'ssim'"):
        metrics.get("sim")
    with pytest.raises(VSRError, match="did you mean 'vid4_duf'"):
        protocols.get("vid4-duf")
    with pytest.raises(VSRError, match="unknown channel"):
        Protocol("odd", "yuv")  # type: ignore[arg-type]


def test_protocol_leaves_out_borders_and_frames() -> None:
    restored, truth = noisy(0, 30, 40, 20)
    restored[:3] = truth[:3] = 0
    clip, other = [restored] * 5, [truth] * 5
    clip[0] = clip[1] = clip[4] = clip[3] = truth  # would be lossless
    rows = score_clip(clip, other, Protocol("p", "rgb", border=8, skip=2), ("psnr",), clip="c")
    error = (restored[8:-8, 8:-8].astype(float) - truth[8:-8, 8:-8]) ** 2
    assert [row["frame"] for row in rows] == [2]
    assert rows[0]["value"] == pytest.approx(10 * math.log10(255**2 / error.mean()))
    assert rows[0] == {"clip": "c", "frame": 2, "protocol": "p", "metric": "psnr", "value": rows[0]["value"]}


def test_means_are_of_frames_then_of_clips() -> None:
    protocol = protocols.get("y")
    long, truth = noisy(1, 16, 16, 5)
    short, other = noisy(2, 16, 16, 60)
    rows = score_clip([long, truth, long], [truth] * 3, protocol, clip="long") + score_clip([short], [other], protocol, clip="b")
    found = summarise(rows)
    value = metrics.psnr(metrics.luma(long), metrics.luma(truth))
    single = metrics.psnr(metrics.luma(short), metrics.luma(other))
    assert found["clips"]["long"]["psnr"] == pytest.approx((2 * value + 100) / 3)
    assert found["psnr"] == pytest.approx(((2 * value + 100) / 3 + single) / 2)
    assert (found["frames"], found["lossless"]) == (4, 1)
    assert found["clips"]["long"]["frames"] == 3 and found["clips"]["long"]["lossless"] == 1
    assert set(found) == {"psnr", "ssim", "frames", "lossless", "clips"}


@pytest.mark.parametrize(
    ("restored", "truth", "protocol", "message"),
    [
        ([(16, 16)] * 2, [(16, 16)] * 3, "y", "restored clip ends after 2 frames"),
        ([(16, 16)] * 3, [(16, 16)] * 2, "y", "truth ends after 2 frames"),
        ([(16, 16), (16, 12)], [(16, 16)] * 2, "y", "frame 1: restored is 12x16 but its truth is 16x16"),
        ([(10, 40)], [(10, 40)], "y", "frame 0 is 40x10, too small"),
        ([(26, 26)] * 9, [(26, 26)] * 9, "vid4_duf", "at least 27x27"),
        ([(32, 32)] * 4, [(32, 32)] * 4, "vid4_duf", "nothing is left to score"),
        ([], [], "rgb", "0 frames"),
    ],
)
def test_clips_that_cannot_be_scored(
    restored: list[tuple[int, int]], truth: list[tuple[int, int]], protocol: str, message: str
) -> None:
    one, other = ([np.zeros((*size, 3), np.uint8) for size in sizes] for sizes in (restored, truth))
    with pytest.raises(VSRError, match=message) as caught:
        score_clip(one, other, protocols.get(protocol), clip="holiday")
    assert "'holiday'" in str(caught.value)


def test_frames_of_another_type() -> None:
    with pytest.raises(VSRError, match="uint8"):
        score_clip([np.zeros((16, 16, 3), np.float32)], [np.zeros((16, 16, 3), np.uint8)], protocols.get("y"), clip="c")


def test_means_of_several_protocols_are_refused() -> None:
    frame = np.zeros((16, 16, 3), np.uint8)
    rows = [row for name in ("y", "rgb") for row in score_clip([frame], [frame], protocols.get(name), clip="c")]
    with pytest.raises(VSRError, match="2 protocols"):
        summarise(rows)


@pytest.mark.parametrize(("protocol", "psnr", "ssim"), [("vid4", 23.257, 0.8073), ("vid4_duf", 24.090, 0.8130)])
def test_published_frames_of_duf(shared_data: Path, protocol: str, psnr: float, ssim: float) -> None:
    restored = frames(shared_data / "Vid4/published/DUF-52L_BDx4/calendar")
    rows = score_clip(restored, frames(shared_data / "Vid4/GT/calendar"), protocols.get(protocol), clip="calendar")
    found = summarise(rows)
    assert found["psnr"] == pytest.approx(psnr, abs=0.0006)
    assert found["ssim"] == pytest.approx(ssim, abs=0.00006)
    assert found["frames"] == (41 if protocol == "vid4" else 37)

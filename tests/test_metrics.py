"""Fidelity and the registry of metrics against scikit-image, torchmetrics and closed forms."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import convolve2d
from skimage.measure import block_reduce
from skimage.metrics import structural_similarity
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from pipelines import metrics
from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.evaluation.protocols import Protocol

torch.set_num_threads(1)

SAME = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
"""The settings with which scikit-image's SSIM is that of the papers."""


def noisy(seed: int, height: int, width: int, amount: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = np.cumsum(generator.integers(0, 9, (height, width, 3)), axis=1) % 256
    restored = np.clip(truth + generator.integers(-amount, amount + 1, truth.shape), 0, 255)
    return restored.astype(np.uint8), truth.astype(np.uint8)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 99), st.integers(11, 40), st.integers(11, 40), st.integers(0, 90))
def test_ssim_is_scikit_images(seed: int, height: int, width: int, amount: int) -> None:
    restored, truth = noisy(seed, height, width, amount)
    colour = structural_similarity(restored.astype(float), truth.astype(float), channel_axis=2, **SAME)
    assert metrics.ssim(restored.astype(float), truth.astype(float)) == pytest.approx(colour, abs=1e-6)
    pair = metrics.luma(restored), metrics.luma(truth)
    assert metrics.ssim(*pair) == pytest.approx(structural_similarity(*pair, **SAME), abs=1e-6)


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
    with pytest.raises(VSRError, match="unknown choice of frames"):
        Protocol("odd", "y", frames="center")  # type: ignore[arg-type]
    with pytest.raises(VSRError, match="unknown motion"):
        Protocol("odd", "y", motion="quick")  # type: ignore[arg-type]


def slow_ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Of (H, W, C), with a kernel of two dimensions, and scikit-image at the coarsest scale."""
    distance = np.arange(-5, 6) ** 2
    kernel = np.exp(-(distance[:, None] + distance) / (2 * 1.5**2))
    value = 1.0
    for exponent in (0.0448, 0.2856, 0.3001, 0.2363):
        terms = []
        for one, other in zip(np.moveaxis(x, 2, 0), np.moveaxis(y, 2, 0), strict=True):

            def mean(plane: np.ndarray) -> np.ndarray:
                return convolve2d(plane, kernel / kernel.sum(), mode="valid")

            covariance = mean(one * other) - mean(one) * mean(other)
            variances = mean(one**2) - mean(one) ** 2 + mean(other**2) - mean(other) ** 2
            terms.append((2 * covariance + 7.65**2) / (variances + 7.65**2))
        value *= max(np.mean(terms), 0) ** exponent
        x, y = (block_reduce(frame[: len(frame) // 2 * 2, : frame.shape[1] // 2 * 2], (2, 2, 1), np.mean) for frame in (x, y))
    return float(value * max(structural_similarity(x, y, channel_axis=2, **SAME), 0) ** 0.1333)


@settings(deadline=None, max_examples=6)
@given(st.integers(0, 99), st.integers(176, 200), st.integers(176, 200), st.integers(1, 90), st.booleans())
def test_ms_ssim_by_its_definition(seed: int, height: int, width: int, amount: int, colour: bool) -> None:
    pair = [frame.astype(float) if colour else metrics.luma(frame)[..., None] for frame in noisy(seed, height, width, amount)]
    assert metrics.ms_ssim(*(frame.squeeze() for frame in pair)) == pytest.approx(slow_ms_ssim(*pair), abs=1e-9)


def test_ms_ssim_is_torchmetrics_but_for_borders() -> None:
    """It mirrors the frame at the coarsest scale, where the paper has no windows beyond it."""
    one, other = (metrics.luma(frame) for frame in noisy(3, 360, 640, 20))
    tensors = [torch.from_numpy(frame)[None, None] for frame in (one, other)]
    expected = multiscale_structural_similarity_index_measure(*tensors, data_range=255.0, normalize="relu")
    assert metrics.ms_ssim(one, other) == pytest.approx(float(expected), abs=1e-4)


def test_ms_ssim_of_constants_and_of_negatives() -> None:
    """Without variance only the comparison of means at the coarsest scale is left; a negative has no similar structure."""
    x, y = np.full((176, 176), 100.0), np.full((176, 176), 120.0)
    c1 = 2.55**2
    assert metrics.ms_ssim(x, y) == pytest.approx(((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1)) ** 0.1333, abs=1e-9)
    restored, _ = noisy(0, 180, 200, 1)
    assert metrics.ms_ssim(metrics.luma(restored), metrics.luma(restored)) == pytest.approx(1)
    assert metrics.ms_ssim(metrics.luma(restored), 255 - metrics.luma(restored)) == 0


# ---------------------------------------------------------------- registry


def test_every_metric_says_what_it_is() -> None:
    assert {"psnr", "ssim", "ms_ssim", "niqe", "niqe_matlab"} <= set(metrics.METRICS)
    for name, metric in metrics.METRICS.items():
        assert metric.name == name and metric.label and metric.licence and metric.source
        assert metric.low < metric.high and metric.decimals > 0 and metric.smallest > 0
        assert metric.reference or metric.channel != "protocol"  # what depends on the protocol is compared with the truth


def test_the_registry_is_cheap_to_load() -> None:
    program = (
        "import sys; from pipelines import metrics; from pipelines.evaluation import protocols;"
        "print([name for name in ('torch', 'torchmetrics', 'torchvision', 'ray', 'mlflow', 'pyiqa') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_keeps_metrics_from_being_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("nothing is downloaded"))
    assert metrics.unavailable(metrics.get("psnr")) is None
    reason = metrics.unavailable(metrics.get("niqe"))
    assert reason and "put niqe_pris_params.npz from https://" in reason and "VSR_WEIGHTS" in reason
    assert str(tmp_path) not in reason  # it is written into results, which are the same everywhere
    (tmp_path / "niqe_pris_params.npz").write_bytes(b"another model")
    with pytest.raises(VSRError, match="is not the published niqe"):
        metrics.unavailable(metrics.get("niqe"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    reason = metrics.unavailable(metrics.get("musiq"))
    assert reason and "pip install 'vsr[iqa]'" in reason


def test_without_libvmaf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho none\n")
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    reason = metrics.unavailable(metrics.get("vmaf"))
    assert reason and "libvmaf" in reason and str(tmp_path) not in reason

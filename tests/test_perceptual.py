"""LPIPS, DISTS and FID against the complete published LPIPS, torchmetrics' networks and closed forms, without a network."""

from __future__ import annotations

import io
import math
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import metrics, weights
from pipelines.errors import VSRError
from pipelines.metrics import perceptual
from pipelines.metrics.perceptual import (
    BACKBONES,
    METRICS,
    Frechet,
    Net,
    Samples,
    dists,
    frechet_distance,
    inception,
    lpips,
)

BY_NAME = {metric.name: metric for metric in METRICS}
NETS: list[Net] = ["squeeze", "alex", "vgg"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test here may reach for the network, and neither may what it tests."""

    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail(f"the network was asked for: {arguments} {options}")

    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of weights without any."""
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def squeeze(shared_weights: Path, nothing: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray, np.ndarray], float]:
    """LPIPS-Squeeze with the published parameters, found by name as in production."""
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    if metrics.unavailable(BY_NAME["lpips_squeeze"]):
        pytest.skip("needs the published SqueezeNet")
    return BY_NAME["lpips_squeeze"].build("cpu").add  # type: ignore[return-value]


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, torch.nn.Sequential]]:
    """Networks with random parameters, and files of them like torchvision's."""
    from torchvision import models

    found = {}
    for name in BACKBONES.values():
        with torch.device("meta"):
            layers = getattr(models, name)(weights=None).features
        layers = layers.to_empty(device="cpu").eval()
        generator = torch.Generator().manual_seed(0)
        for parameter in layers.parameters():
            scale = math.sqrt(2 / parameter[0].numel()) if parameter.ndim > 1 else 0.05
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
        path = tmp_path_factory.mktemp("weights") / f"{name}.pth"
        state = {f"features.{key}": value for key, value in layers.state_dict().items()}
        torch.save({**state, "classifier.0.weight": torch.zeros(1)}, path)
        found[name] = path, layers
    return found


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inception with random parameters."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, *arguments: Any, **options: Any) -> None:
            """Leave the parameters random."""

    none = io.BytesIO()
    torch.save({}, none)
    none.seek(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Untrained("inception-v3-compat", ["2048"], feature_extractor_weights_path=none)
        for module in network.modules():
            if isinstance(module, torch.nn.Conv2d):  # so that features differ between frames
                torch.nn.init.kaiming_normal_(module.weight)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(network.state_dict(), path)
    return path


def pair(seed: int, height: int = 48, width: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A smooth frame and the same with noise, as a metric gets them."""
    generator = np.random.default_rng(seed)
    truth = cv2.GaussianBlur(generator.uniform(0, 255, (height, width, 3)), (0, 0), 2)
    truth = np.interp(truth, (truth.min(), truth.max()), (0, 255)).round()
    return np.clip(truth + generator.normal(0, 12, truth.shape), 0, 255).round(), truth


def frame(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(np.float64)


def tensors(*frames: np.ndarray) -> list[torch.Tensor]:
    """(1, 3, H, W) in [0, 1]."""
    return [torch.from_numpy(one).permute(2, 0, 1)[None].float() / 255 for one in frames]


def test_lpips_squeeze_is_the_complete_published_network(
    shared_data: Path, shared_weights: Path, squeeze: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(shared_weights / "lpips_squeeze.onnx")
    mean, deviation = (np.array(values, np.float32).reshape(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    files = [shared_data / f"Vid4/GT/calendar/{index:08}.png" for index in (5, 30)]
    pairs = [(frame(shared_data / "Vid4/published/DUF-52L_BDx4/calendar" / path.name), frame(path)) for path in files]
    walk = frame(shared_data / "Vid4/GT/walk/00000010.png")
    for factor in (2, 4):
        small = cv2.resize(walk, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
        large = cv2.resize(small, walk.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        pairs.append((np.clip(large, 0, 255).round()[:301, 7:], walk[:301, 7:]))
    for restored, truth in pairs:
        fed = [((one.numpy()[0] - mean) / deviation)[None] for one in tensors(truth, restored)]
        expected = float(session.run(None, dict(zip(("ref", "dist"), fed, strict=True)))[0][0])
        assert expected > 0.05
        assert squeeze(restored, truth) == pytest.approx(expected, abs=1e-5)


def test_lpips_of_real_frames_grows_with_blur_and_with_noise(
    shared_data: Path, squeeze: Callable[[np.ndarray, np.ndarray], float]
) -> None:
    truth = frame(shared_data / "Vid4/GT/walk/00000010.png")[:240, :320]
    assert squeeze(truth, truth) == 0.0
    noise = np.random.default_rng(0).normal(size=truth.shape)
    worse = {
        "blur": [cv2.GaussianBlur(truth, (0, 0), sigma).round() for sigma in (0.5, 1, 2, 4)],
        "noise": [np.clip(truth + sigma * noise, 0, 255).round() for sigma in (2, 8, 20, 50)],
    }
    for kind, frames in worse.items():
        values = [squeeze(restored, truth) for restored in frames]
        assert values == sorted(values) and values[0] > 0, kind


@pytest.mark.parametrize("net", NETS)
def test_lpips_is_torchmetrics(
    net: Net, backbones: dict[str, tuple[Path, torch.nn.Sequential]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same network, put together by others, with the calibration that both take from one file."""
    from torchmetrics.functional.image import lpips as theirs

    path, layers = backbones[BACKBONES[net]]
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda name, pretrained=False: layers)
    network = theirs._LPIPS(net=net)
    distance = lpips(net, path)
    for seed, size in enumerate([(48, 64), (61, 37)]):
        restored, truth = pair(seed, *size)
        expected = float(network(*tensors(restored, truth), normalize=True))
        assert expected > 1e-3
        assert distance(restored, truth) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert distance(truth, restored) == pytest.approx(expected, rel=1e-3, abs=1e-6)
        assert distance(truth, truth) == 0.0


def test_dists_is_torchmetrics(backbones: dict[str, tuple[Path, torch.nn.Sequential]], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchmetrics.functional.image import dists as theirs

    path, layers = backbones["vgg16"]
    monkeypatch.setattr(theirs, "vgg16", lambda weights: SimpleNamespace(features=layers))
    network, distance = theirs.DISTSNetwork().requires_grad_(False), dists(path)
    for seed, size in enumerate([(48, 64), (61, 37)]):
        restored, truth = pair(seed, *size)
        expected = float(network(*tensors(restored, truth)))
        assert expected > 1e-3
        assert distance(restored, truth) == pytest.approx(expected, abs=1e-5)
        assert distance(truth, restored) == pytest.approx(expected, abs=1e-5)
        assert distance(truth, truth) == 0.0


def test_the_calibrations_are_the_published_ones() -> None:
    published = {
        "lpips_models/alex.pth": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
        "lpips_models/squeeze.pth": "4a5350f23600cb79923ce65bb07cbf57dca461329894153e05a1346bd531cf76",
        "lpips_models/vgg.pth": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
        "dists_models/weights.pt": "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
    }
    assert {file: weights.digest(perceptual._packaged(*file.split("/"))) for file in published} == published


@pytest.mark.parametrize("net", NETS)
def test_the_smallest_frames_of_lpips(net: Net, backbones: dict[str, tuple[Path, torch.nn.Sequential]]) -> None:
    distance, smallest = lpips(net, backbones[BACKBONES[net]][0]), BY_NAME[f"lpips_{net}"].smallest
    for height, width in ((smallest, smallest + 9), (smallest + 9, smallest)):
        assert math.isfinite(distance(*pair(0, height, width)))
    with pytest.raises(RuntimeError):
        distance(*pair(0, smallest - 1, smallest + 9))


def test_the_smallest_frames_of_dists_have_structure_at_every_tap(
    backbones: dict[str, tuple[Path, torch.nn.Sequential]],
) -> None:
    smallest = BY_NAME["dists"].smallest
    assert math.isfinite(dists(backbones["vgg16"][0])(*pair(0, smallest, smallest)))
    x = torch.zeros(1, 1, smallest, smallest - 1)
    for _ in range(4):
        x = perceptual._l2_pool(x)
    assert x.shape[2:] == (2, 1)


def clips_of(samples: tuple[np.ndarray, np.ndarray], cuts: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """What the clips of a set would give whose frames have these features."""
    length = samples[0].shape[1]
    found = []
    for pieces in zip(*(np.split(one, sorted(cuts)) for one in samples), strict=True):
        measure = Frechet(lambda features: features.astype(np.float32), length)
        for restored, truth in zip(*pieces, strict=True):
            measure.add(restored, truth)
        found.append(measure.finish())
    return found


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.integers(2, 60), st.integers(1, 6), st.lists(st.integers(0, 60), max_size=4))
def test_frechet_distance_is_its_definition(seed: int, frames: int, length: int, cuts: list[int]) -> None:
    """However the frames fall into clips, and with fewer frames than features or many more."""
    generator = np.random.default_rng(seed)
    mixing = generator.normal(size=(2, length, length))
    x, y = (generator.normal(size=(2, frames, length)) @ mixing + generator.normal(size=(2, 1, length))).astype(np.float32)
    covariances = [np.atleast_2d(np.cov(one.astype(np.float64), rowvar=False)) for one in (x, y)]
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1] + 1e-14 * np.eye(length))
    expected = np.sum((x.mean(0, np.float64) - y.mean(0, np.float64)) ** 2) + np.trace(sum(covariances) - 2 * root.real)
    found = frechet_distance(clips_of((x, y), [min(cut, frames) for cut in cuts]))
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_frechet_distance_of_known_gaussians() -> None:
    """Corners of boxes have the mean and the axes of the box: (difference of means)² + Σ (σ - τ)²."""
    corners = np.stack(np.meshgrid(*[(-1.0, 1.0)] * 3), -1).reshape(-1, 3)
    unbiased = math.sqrt(7 / 8)
    x = (corners * (1, 2, 3) * unbiased + (1, 0, 0)).astype(np.float32)
    y = (corners * (1, 4, 1) * unbiased + (1, 5, 0)).astype(np.float32)
    assert frechet_distance(clips_of((x, y), [3])) == pytest.approx(25 + 4 + 4, rel=1e-5)
    assert frechet_distance(clips_of((x, x[::-1]), [3])) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_needs_two_frames() -> None:
    one = np.ones((1, 3), np.float32)
    for clips in ([], clips_of((one[:0], one[:0]), []), clips_of((one, one), [])):
        with pytest.raises(VSRError, match="score at least 2"):
            frechet_distance(clips)


def test_samples_stay_small() -> None:
    samples = Samples(4)
    for index in range(1000):
        samples.add(np.array([[1.0, index, 0, 1, 2]]))
        assert len(samples.rows) <= 10
    scatter = samples.rows.T @ samples.rows
    assert scatter[0, 0] == pytest.approx(1000) and scatter[0, 1] == pytest.approx(499500)


def test_fid_of_clips(inception_file: Path) -> None:
    """The features are torchmetrics', made without a filter against aliasing; within the span of so few frames the distance
    follows from its definition."""
    from torchmetrics.image.fid import NoTrainInceptionV3

    state = torch.random.get_rng_state()
    features = inception(inception_file)
    assert torch.equal(torch.random.get_rng_state(), state)
    theirs = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(inception_file), antialias=False)
    sides: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    clips = []
    for size in ((40, 56), (320, 33)):
        measure = Frechet(features)
        for index in range(2):
            couple = pair(index, *size)
            assert measure.add(*couple) is None
            for side, one in zip(sides, couple, strict=True):
                side.append(theirs(torch.from_numpy(one).byte().permute(2, 0, 1)[None])[0].numpy().astype(np.float64))
        clips.append(measure.finish())
    np.testing.assert_allclose(np.concatenate([rows for rows, _ in clips])[:, 1:], sides[0], atol=1e-6)
    basis = np.linalg.qr(np.concatenate(sides).T)[0]
    x, y = (np.stack(side) @ basis for side in sides)
    root = scipy.linalg.sqrtm(np.cov(x, rowvar=False) @ np.cov(y, rowvar=False) + 1e-16 * np.eye(len(basis.T)))
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(np.cov(x, rowvar=False) + np.cov(y, rowvar=False) - 2 * root.real)
    assert expected > 0.1
    assert frechet_distance(clips) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", BY_NAME)
def test_without_its_weights_a_metric_says_how_to_get_them(name: str, nothing: Path) -> None:
    metric = BY_NAME[name]
    reason = metrics.unavailable(metric)
    (needed,) = metric.weights
    (file,) = weights.REGISTRY[needed].files
    assert reason is not None and file in reason and "VSR_WEIGHTS" in reason
    with pytest.raises(VSRError, match=file):
        metric.build("cpu")
    (nothing / file).write_bytes(b"something else")
    with pytest.raises(VSRError, match="is not the published"):
        metric.build("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same(backbones: dict[str, tuple[Path, torch.nn.Sequential]], inception_file: Path) -> None:
    restored, truth = pair(0, 120, 160)
    for net in NETS:
        path = backbones[BACKBONES[net]][0]
        assert lpips(net, path, "cuda")(restored, truth) == pytest.approx(lpips(net, path)(restored, truth), abs=1e-5)
    path = backbones["vgg16"][0]
    assert dists(path, "cuda")(restored, truth) == pytest.approx(dists(path)(restored, truth), abs=1e-5)
    np.testing.assert_allclose(inception(inception_file, "cuda")(truth), inception(inception_file)(truth), atol=1e-3)

"""Real-ESRGAN's networks against spandrel's, its released compact one on real frames, and its discriminator written out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_edvr import liven

import models
from pipelines.clips.images import read_picture
from pipelines.clips.levels import to_tensor
from pipelines.restoring.cost import cost

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("name", "parameters", "gmacs"),
    [("realesrgan", 16_697_987, 1032.6), ("realesr_general", 1_213_296, 69.6), ("realesr_animevideo", 621_424, 35.7)],
)
def test_networks_are_as_large_as_published(name: str, parameters: int, gmacs: float) -> None:
    with torch.device("meta"):
        network = models.create(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert cost(network, 180, 320)["gmacs"] == pytest.approx(gmacs, abs=0.05)
    assert (network.scale, network.causal) == (4, True)


@pytest.mark.parametrize("scale", [4, 2, 1])
def test_dense_blocks_against_spandrel(scale: int, tmp_path: Path) -> None:
    """Through a file under the published names, on sides that are not folded whole."""
    pytest.importorskip("spandrel")
    torch.manual_seed(scale)
    network = models.create("realesrgan", channels=8, blocks=1, scale=scale).eval()
    liven(network)
    torch.save({"params_ema": network.state_dict()}, tmp_path / "net.pth")
    ours, theirs = models.load(tmp_path / "net.pth"), models.load(tmp_path / "net.pth", "image")
    assert (ours.name, ours.options, theirs.scale) == ("realesrgan", network.options, scale)
    frames = torch.rand(2, 3, 11, 15)
    with torch.no_grad():
        restored = ours(frames)
        assert restored.shape == (2, 3, 11 * scale, 15 * scale)
        torch.testing.assert_close(restored.clamp(0, 1), theirs(frames), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours(frames[None])[0], restored)


@pytest.mark.parametrize("name", ["realesr_general", "realesr_animevideo"])
def test_compact_networks_are_told_apart_and_equal_spandrels(name: str, tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    torch.manual_seed(0)
    network = models.create(name, channels=4).eval()
    liven(network)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    ours, theirs = models.load(tmp_path / "net.pth"), models.load(tmp_path / "net.pth", "image")
    assert (ours.name, ours.options) == (name, network.options)
    frames = torch.rand(1, 3, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(ours(frames).clamp(0, 1), theirs(frames), atol=1e-5, rtol=1e-4)


def test_the_released_parameters_on_real_frames(shared_weights: Path, shared_data: Path) -> None:
    pytest.importorskip("spandrel")
    released = shared_weights / "realesr-animevideov3.pth"
    ours, theirs = models.load(released), models.load(released, "image")
    assert (ours.name, ours.options) == ("realesr_animevideo", models.create("realesr_animevideo").options)
    path = sorted((shared_data / "Vid4").rglob("*.png"))[0]
    frame = to_tensor(read_picture(path))[:, :96, :128]
    with torch.no_grad():
        torch.testing.assert_close(ours(frame[None]).clamp(0, 1), theirs(frame[None]), atol=1e-5, rtol=1e-4)


def test_the_discriminator_written_out() -> None:
    """With spectral norms that have converged, weights are divided by their largest singular value."""
    torch.manual_seed(0)
    network = models.create("unet_discriminator", channels=3)
    frames = torch.rand(2, 3, 18, 14)
    with torch.no_grad():
        for _ in range(100):
            network(frames)
    network.eval()
    state = network.state_dict()

    def conv(x: torch.Tensor, index: int, stride: int = 1) -> torch.Tensor:
        if f"conv{index}.weight" in state:
            return F.conv2d(x, state[f"conv{index}.weight"], state[f"conv{index}.bias"], padding=1)
        weight = state[f"conv{index}.parametrizations.weight.original"]
        largest = np.linalg.svd(weight.flatten(1).double().numpy(), compute_uv=False)[0]
        return F.conv2d(x, weight / largest, stride=stride, padding=1)

    def leaky(x: torch.Tensor) -> torch.Tensor:
        return torch.where(x < 0, 0.2 * x, x)

    def double(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, size=like.shape[-2:], mode="bilinear")

    x0 = leaky(conv(frames, 0))
    x1 = leaky(conv(x0, 1, 2))
    x2 = leaky(conv(x1, 2, 2))
    x3 = leaky(conv(x2, 3, 2))
    x4 = leaky(conv(double(x3, x2), 4)) + x2
    x5 = leaky(conv(double(x4, x1), 5)) + x1
    x6 = leaky(conv(double(x5, x0), 6)) + x0
    with torch.no_grad():
        torch.testing.assert_close(network(frames), conv(leaky(conv(leaky(conv(x6, 7)), 8)), 9), atol=2e-4, rtol=2e-3)


def test_the_discriminator_is_as_large_as_published() -> None:
    with torch.device("meta"):
        network = models.create("unet_discriminator")
    assert sum(parameter.numel() for parameter in network.parameters()) == 4_376_897
    assert not network.restores


def test_scales_are_checked() -> None:
    with pytest.raises(ValueError, match="option 'scale' of realesrgan is 3: give 4, 2 or 1"):
        models.create("realesrgan", scale=3)

"""Networks of single images through spandrel: recognised, made again, run frame by frame, and refused where they do not fit."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front_door import Done
from safetensors.torch import save_file
from test_edvr import liven
from torch import Tensor, nn
from torch.nn import functional as F

import models
from models import Network
from pipelines import networks
from pipelines.clips.images import read_picture, write_png
from pipelines.errors import VSRError
from pipelines.restoring.cost import cost
from pipelines.training import product

pytest.importorskip("spandrel")
from spandrel.architectures.ESRGAN import ESRGAN  # noqa: E402
from spandrel.architectures.SPAN import SPAN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "ESRGAN": (lambda: ESRGAN(num_filters=8, num_blocks=1, scale=4), 4),
    "SPAN": (lambda: SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2), 2),
    "SwinIR": (
        lambda: SwinIR(embed_dim=8, depths=[1], num_heads=[2], window_size=8, upscale=3, upsampler="pixelshuffledirect"),
        3,
    ),
}


def tiny(architecture: str, path: Path) -> tuple[nn.Module, Path]:
    """A network with random parameters, and the file that somebody would publish of it."""
    torch.manual_seed(0)
    network = TINY[architecture][0]().eval()
    liven(network)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return network, path


@pytest.mark.parametrize("architecture", TINY)
def test_what_is_recognised_restores_frame_by_frame(architecture: str, tmp_path: Path) -> None:
    theirs, path = tiny(architecture, tmp_path / "theirs.safetensors")
    network, scale = models.load(path), TINY[architecture][1]
    assert (network.name, network.options, network.scale, network.lookahead) == ("image", {}, scale, 0)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in theirs.parameters())
    clip = torch.rand(2, 2, 3, 16, 24)
    with torch.no_grad():
        restored = network(clip)
        assert restored.shape == (2, 2, 3, scale * 16, scale * 24)
        for index in range(4):
            assert torch.allclose(
                restored.flatten(0, 1)[index], theirs(clip.flatten(0, 1)[index][None])[0].clamp(0, 1), atol=1e-5
            )
        # Sides that the architecture does not take.
        assert network(clip[..., :13, :19]).shape == (2, 2, 3, scale * 13, scale * 19)
    assert cost(network, 16, 24, frames=2)["gmacs"] > 0


@pytest.mark.parametrize("architecture", TINY)
def test_saved_it_comes_back(architecture: str, tmp_path: Path) -> None:
    """By its parameters alone, through the record of a baseline, and the same bytes again."""
    _, path = tiny(architecture, tmp_path / "theirs.safetensors")
    network = networks.load_as(path, "image", {})
    folder = tmp_path / "trained"
    record = product.write(folder, network, {"name": "mine", "notes": [], "params": {}})
    assert (record["network"], record["scale"], record["any_scale"]) == ("image", network.scale, False)
    again = networks.load(folder / product.WEIGHTS, expect="image")
    models.save(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (folder / product.WEIGHTS).read_bytes()
    frame = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again(frame), network(frame))


# ---------------------------------------------------------------- a real one


def plain_compact(frames: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Real-ESRGAN's compact network: convolutions with slopes between them, added to the nearest pixel."""
    x, last = frames, max(int(key.split(".")[1]) for key in state)
    for layer in range(0, last + 1, 2):
        x = F.conv2d(x, state[f"body.{layer}.weight"], state[f"body.{layer}.bias"], padding=1)
        if layer < last:
            slope = state[f"body.{layer + 1}.weight"][:, None, None]
            x = x.clamp(min=0) + slope * x.clamp(max=0)
    return F.pixel_shuffle(x, 4) + frames.repeat_interleave(4, -1).repeat_interleave(4, -2)


@pytest.fixture
def released(shared_weights: Path) -> Path:
    path = shared_weights / "realesr-animevideov3.pth"
    if not path.is_file():
        pytest.skip(f"needs {path.name}")
    return path


def test_animevideo_is_the_plain_one(released: Path) -> None:
    network = models.load(released)
    assert sum(parameter.numel() for parameter in network.parameters()) == 621_424
    assert cost(network, 180, 320, frames=1)["gmacs"] == pytest.approx(35.7, abs=0.05)
    clip = torch.rand(1, 2, 3, 12, 17)
    with torch.no_grad():
        expected = plain_compact(clip[0], torch.load(released, map_location="cpu", weights_only=True)["params"])
        assert torch.allclose(network(clip)[0].clamp(0, 1), expected.clamp(0, 1), atol=1e-5)


def test_footage_is_restored_with_a_file(vsr: Callable[..., Done], tmp_path: Path) -> None:
    _, path = tiny("SPAN", tmp_path / "span.safetensors")
    (tmp_path / "lr").mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (3, 12, 16, 3), np.uint8)
    for index, frame in enumerate(frames):
        write_png(tmp_path / f"lr/{index}.png", frame)
    done = vsr("restore", tmp_path / "lr", tmp_path / "sr", "--weights", path, "--device", "cpu")
    assert done.code == 0, done.err
    restored = [read_picture(file) for file in sorted((tmp_path / "sr").iterdir())]
    assert [frame.shape for frame in restored] == [(24, 32, 3)] * 3
    done = vsr("restore", tmp_path / "lr", tmp_path / "no", "--method", "image")
    assert done.code == 1 and "image has to be trained: give its parameters with --weights FILE" in done.err
    assert not (tmp_path / "no").exists()


# ---------------------------------------------------------------- what does not fit


def test_what_is_no_network_of_rgb_images_is_refused(tmp_path: Path) -> None:
    save_file(ESRGAN(in_nc=1, out_nc=1, num_filters=8, num_blocks=1).state_dict(), tmp_path / "grey.safetensors")
    with pytest.raises(
        VSRError, match=r"grey.safetensors: ESRGAN takes 1 channels to 1, for SR: give a network that restores RGB"
    ):
        networks.load(tmp_path / "grey.safetensors")
    state = {
        key: value for key, value in tiny("SPAN", tmp_path / "span.safetensors")[0].state_dict().items() if "block_4" not in key
    }
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "cut.safetensors")
    with pytest.raises(
        VSRError, match=r"cut.safetensors: spandrel can make no network of these parameters \(.*\): use an undamaged"
    ):
        networks.load(tmp_path / "cut.safetensors")
    save_file({"strange": torch.zeros(1)}, tmp_path / "strange.safetensors")
    with pytest.raises(VSRError, match="strange.safetensors looks like a checkpoint of no known network") as caught:
        networks.load(tmp_path / "strange.safetensors")
    assert "pip install" not in str(caught.value)


def test_without_parameters_it_restores_nothing() -> None:
    network = models.create("image")
    assert network.needs_weights and not list(network.parameters())
    with pytest.raises(ValueError, match="image is made of the file of its parameters: give that as its weights"):
        network(torch.rand(1, 1, 3, 4, 4))
    with pytest.raises(VSRError, match="image is made of the file"):
        cost(network, 4, 4)


@pytest.fixture
def without_spandrel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)


def test_the_extra_is_named_where_it_is_lacking(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    _, theirs = tiny("SPAN", tmp_path / "span.safetensors")
    models.save(models.load(theirs), tmp_path / "ours.safetensors")
    request.getfixturevalue("without_spandrel")
    install = r"pip install 'vsr\[image\]'"
    with pytest.raises(VSRError, match=f"ours.safetensors: networks of single images need spandrel.*: `{install}`"):
        networks.load(tmp_path / "ours.safetensors")
    for expect in (None, "image"):
        with pytest.raises(VSRError, match=f"or `{install}` to have networks of single images recognised"):
            networks.load(theirs, expect)
    with pytest.raises(VSRError) as caught:
        networks.load(theirs, expect="basicvsr")
    assert "pip install" not in str(caught.value)


def test_other_networks_are_recognised_before_it(tmp_path: Path) -> None:
    """Also those that spandrel knows."""
    for name in ("safmn", "basicvsr", "smfanet"):
        options: dict[str, Any] = {"channels": 4, "blocks": 1}
        network: Network = models.create(name, **options)
        torch.save({"params": network.state_dict()}, tmp_path / f"{name}.pth")
        assert models.load(tmp_path / f"{name}.pth").name == name

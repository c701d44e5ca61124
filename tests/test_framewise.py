"""SAFMN and SMFANet against plain second implementations, published counts and their released parameters."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_edvr import liven
from test_models import State, as_arrays, convolve, stretch

import models
from models import Network
from pipelines import params
from pipelines.clips.images import read_picture
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.metrics import luma, psnr
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY = {"channels": 8, "blocks": 2}


def small(name: str, **options: object) -> Network:
    torch.manual_seed(0)
    network = models.create(name, **{**TINY, **options})
    liven(network)
    return network.eval().double()


# ---------------------------------------------------------------- slow second implementations, one frame (C, H, W) at a time


def depthwise(x: np.ndarray, state: State, name: str) -> np.ndarray:
    """Every output channel sees one channel of the input; there are as many of them for each."""
    weight, bias = state[f"{name}.weight"], state.get(f"{name}.bias")
    repeats = len(weight) // len(x)
    found = []
    for out, kernel in enumerate(weight):
        one = {"one.weight": kernel[None], "one.bias": np.zeros(1) if bias is None else bias[out : out + 1]}
        found.append(convolve(x[out // repeats][None], one, "one"))
    return np.concatenate(found)


def dense(x: np.ndarray, state: State, name: str) -> np.ndarray:
    return convolve(x, {f"{name}.bias": np.zeros(len(state[f"{name}.weight"])), **state}, name)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))) / 2


def maxima(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """The maxima of areas that cover the frame; where it cannot be shared evenly, they overlap."""
    out = np.zeros((len(x), height, width))
    for i in range(height):
        for j in range(width):
            top, bottom = i * x.shape[1] // height, -(-(i + 1) * x.shape[1] // height)
            left, right = j * x.shape[2] // width, -(-(j + 1) * x.shape[2] // width)
            out[:, i, j] = x[:, top:bottom, left:right].max((1, 2))
    return out


def enlarge(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """To the nearest pixel above and to the left."""
    rows = [i * x.shape[1] // height for i in range(height)]
    return x[:, rows][:, :, [j * x.shape[2] // width for j in range(width)]]


def image(x: np.ndarray, state: State) -> np.ndarray:
    made = convolve(x, state, "to_img.0")
    out = np.zeros((3, 4 * x.shape[1], 4 * x.shape[2]))
    for channel, plane in enumerate(made):
        out[channel // 16, channel % 16 // 4 :: 4, channel % 4 :: 4] = plane
    return out


def plain_safmn(frame: np.ndarray, state: State, entry: bool) -> np.ndarray:
    def normal(x: np.ndarray, name: str) -> np.ndarray:
        if entry:
            return x
        x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-6)
        return x * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    height, width = frame.shape[1:]
    shallow = x = convolve(frame, state, "to_feat")
    if entry:
        energy = np.sqrt((x**2).sum((1, 2)))
        share = (energy / (energy.mean() + 1e-6))[:, None, None]
        x = state["norm.gamma"][0] * x * share + state["norm.beta"][0] + x
    for block in range(TINY["blocks"]):
        name = f"feats.{block}"
        seen = normal(x, f"{name}.norm1")
        parts = []
        for level, part in enumerate(np.split(seen, 4)):
            side = [1, 4, 8, 16][level] if entry else [1, 2, 4, 8][level]
            part = maxima(part, max(1, height // side), max(1, width // side)) if level else part
            parts.append(enlarge(depthwise(part, state, f"{name}.safm.mfr.{level}"), height, width))
        x = x + gelu(dense(np.concatenate(parts), state, f"{name}.safm.aggr")) * seen
        seen = normal(x, f"{name}.norm2")
        x = x + dense(gelu(dense(seen, state, f"{name}.ccm.ccm.0")), state, f"{name}.ccm.ccm.2")
    return image(x if entry else x + shallow, state)


def plain_smfanet(frame: np.ndarray, state: State) -> np.ndarray:
    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x**2).sum(0))

    height, width = frame.shape[1:]
    shallow = x = convolve(frame, state, "to_feat")
    for block in range(TINY["blocks"]):
        name = f"feats.{block}.smfa"
        local, seen = np.split(convolve(unit(x), state, f"{name}.linear_0"), 2)
        small = depthwise(maxima(seen, max(1, height // 8), max(1, width // 8)), state, f"{name}.dw_conv")
        varied = seen.var((1, 2), ddof=1)[:, None, None]
        small = gelu(convolve(small * state[f"{name}.alpha"][0] + varied * state[f"{name}.belt"][0], state, f"{name}.linear_1"))
        detail = convolve(depthwise(local, state, f"{name}.lde.conv_0.0"), state, f"{name}.lde.conv_0.1")
        detail = convolve(gelu(detail), state, f"{name}.lde.conv_1")
        x = x + convolve(seen * enlarge(small, height, width) + detail, state, f"{name}.linear_2")
        name = f"feats.{block}.pcfn"
        wide = gelu(convolve(unit(x), state, f"{name}.conv_0"))
        quarter = len(wide) // 4
        wide[:quarter] = gelu(convolve(wide[:quarter], state, f"{name}.conv_1"))
        x = x + convolve(wide, state, f"{name}.conv_2")
    return image(x + shallow, state)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (19, 33), (5, 7)])
@pytest.mark.parametrize("variant", ["paper", "ntire"])
def test_safmn_is_the_plain_one(variant: str, height: int, width: int) -> None:
    network = small("safmn", variant=variant, base="bilinear" if variant == "ntire" else "none")
    clip = torch.rand(1, 2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip)[0].numpy()
    for frame, found in zip(clip[0].numpy(), restored, strict=True):
        expected = plain_safmn(frame, as_arrays(network), variant == "ntire")
        if variant == "ntire":
            expected = expected + stretch(frame, 4 * height, 4 * width, corners=False)
        assert np.allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(16, 24), (19, 33), (5, 7)])
def test_smfanet_is_the_plain_one(height: int, width: int) -> None:
    network = small("smfanet")
    clip = torch.rand(1, 2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip)[0].numpy()
    for frame, found in zip(clip[0].numpy(), restored, strict=True):
        assert np.allclose(found, plain_smfanet(frame, as_arrays(network)), atol=1e-9)


@pytest.mark.parametrize("name", ["safmn", "smfanet"])
def test_a_pixel_alone_is_restored(name: str) -> None:
    with torch.no_grad():
        assert small(name)(torch.rand(1, 1, 3, 1, 1, dtype=torch.float64)).isfinite().all()


# ---------------------------------------------------------------- frame by frame


@pytest.mark.parametrize("name", ["safmn", "smfanet"])
def test_a_clip_is_its_frames(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, one after the other, stepped through, and as frames that are no clip."""
    network = small(name)
    clip = torch.rand(2, 3, 3, 10, 12, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip)
        assert torch.allclose(network(clip.flatten(0, 1)), restored.flatten(0, 1), atol=1e-12)
        state = None
        for t in range(3):
            found, state = network.step(clip[:, t], state)
            assert torch.allclose(found, restored[:, t], atol=1e-12)
        monkeypatch.setattr("models.parts.blocks.PART_PIXELS", 1)
        assert torch.allclose(network(clip), restored, atol=1e-12)


# ---------------------------------------------------------------- what is published


@pytest.mark.parametrize(
    ("name", "options", "parameters", "gmacs"),
    [
        ("safmn", {}, 239_520, {(270, 480): 30.47, (180, 320): 13.54}),
        ("safmn", {"variant": "ntire", "base": "bilinear"}, 237_000, {}),
        ("smfanet", {}, 197_328, {(270, 480): 23.33, (180, 320): 10.37}),
    ],
)
def test_published_counts(name: str, options: dict[str, str], parameters: int, gmacs: dict[tuple[int, int], float]) -> None:
    network = models.create(name, **options)
    assert cost(network, 18, 32, frames=1)["parameters"] == parameters
    for size, printed in gmacs.items():
        assert cost(network, *size, frames=1)["gmacs"] == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize(("name", "printed"), [("basicvsr", 1.760), ("basicvsr_plusplus", 2.408)])
def test_what_rdg_is_compared_with_has_the_parameters_of_its_table(name: str, printed: float) -> None:
    profile = params.load().methods[name]["reduced"]
    with torch.device("meta"):
        network = models.create(name, **profile.options)
        again = models.parts.registry.kind(name).options_of(network.state_dict())
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(printed, abs=0.0005)
    assert again is not None and {key: again[key] for key in profile.options} == profile.options


def test_a_second_safmn_gives_the_same(tmp_path: Path) -> None:
    """spandrel's, of the authors' names and of frames that need no padding."""
    theirs = (
        pytest.importorskip("spandrel.architectures.SAFMN").SAFMN(dim=8, n_blocks=2, ffn_scale=2.0, upscaling_factor=4).eval()
    )
    liven(theirs)
    torch.save({"params": theirs.state_dict()}, tmp_path / "safmn.pth")
    ours = models.load(tmp_path / "safmn.pth")
    assert (ours.name, ours.options["variant"], ours.options["channels"]) == ("safmn", "paper", 8)
    frames = torch.rand(2, 3, 24, 40)
    with torch.no_grad():
        assert torch.allclose(ours(frames), theirs(frames), atol=1e-5)


RELEASED = {"safmn_x4.pth": ("safmn", "safmn_ntire2023"), "smfanet_x4.pth": ("smfanet", "smfanet_df2k")}


@pytest.mark.parametrize("file", RELEASED)
def test_released_parameters(file: str, shared_weights: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They load under their names, as a file and as published, and restore a real frame better than bicubic does."""
    name, known = RELEASED[file]
    path = shared_weights / file
    frame = shared_data / "Vid4/GT/walk/00000001.png"
    if not path.is_file() or not frame.is_file():
        pytest.skip(f"needs {file} and Vid4")
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    from pipelines import networks, weights
    from pipelines.weights.registry import of_networks

    options = of_networks()[known].options
    network = networks.load_as(weights.checkpoint(known), name, options)
    stored = torch.load(path, map_location="cpu", weights_only=True)["params"]
    assert network.state_dict().keys() == stored.keys()
    assert all(torch.equal(network.state_dict()[key], value) for key, value in stored.items())
    truth = read_picture(frame)[:240, :320]
    lr = to_tensor(to_frame(models.create("bicubic", scale=0.25)(to_tensor(truth))))
    bicubic = models.create("bicubic")
    found = {}
    with torch.no_grad():
        for method in (network, bicubic):
            found[method.name] = psnr(luma(to_frame(method(lr[None])[0])), luma(truth))
    assert found[name] > found["bicubic"] + 1.5

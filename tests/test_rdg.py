"""RDG against a plain second implementation, the released parameters, published counts, and the way its buffers point."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from test_edvr import liven
from test_models import State, as_arrays, convolve, stretch, warp
from test_networks import example, run
from torch import Tensor
from torchvision.ops import deform_conv2d

import models
from models import Network
from models.parts.rdg import CHANNELS, ShiftConv
from models.parts.warp import flow_warp
from pipelines.clips import gbuffers
from pipelines.errors import VSRError
from pipelines.priors import kinds
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

VARIANTS = ("release", "paper")


def small(**options: object) -> Network:
    torch.manual_seed(0)
    network = models.create("rdg_s", **{"channels": 8, **options})
    liven(network)
    return network.eval().double()


# ---------------------------------------------------------------- a slow second implementation, one frame (C, H, W) at a time


def depthwise(x: np.ndarray, state: State, name: str) -> np.ndarray:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    each = len(weight) // len(x)
    planes = [
        convolve(x[i // each][None], {"one.weight": weight[i][None], "one.bias": bias[i][None]}, "one")
        for i in range(len(weight))
    ]
    return np.concatenate(planes)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + torch.erf(torch.from_numpy(x) / 2**0.5).numpy())


def shifted(x: np.ndarray, state: State, name: str, places: list[tuple[int, int]]) -> np.ndarray:
    moved = np.zeros_like(x)
    _, height, width = x.shape
    for channel, (down, right) in enumerate(places):
        for i in range(height):
            for j in range(width):
                if 0 <= i + down < height and 0 <= j + right < width:
                    moved[channel, i, j] = x[channel, i + down, j + right]
    return convolve(moved, state, name)


def plain_mixed(x: np.ndarray, state: State, name: str) -> np.ndarray:
    return x + convolve(gelu(convolve(x, state, f"{name}.ffn.fn.0")), state, f"{name}.ffn.fn.2")


def plain_encode(x: np.ndarray, state: State, name: str, variant: str) -> np.ndarray:
    gate, wide = np.split(convolve(depthwise(x, state, f"{name}.dfm.proj_in.0"), state, f"{name}.dfm.proj_in.1"), 2)
    seven = [0, 1, 2, 3, -3, -2, -1] * 9
    if variant == "release":
        wide = shifted(wide, state, f"{name}.dfm.mlp_h", [(0, seven[i]) for i in range(len(x))])
        wide = shifted(wide, state, f"{name}.dfm.mlp_w", [(seven[i], 0) for i in range(len(x))])
    else:
        nine = [(-1, -1), (0, -1), (1, -1), (-1, 0), (0, 0), (1, 0), (-1, 1), (0, 1), (1, 1)] * 9
        wide = shifted(wide, state, f"{name}.dfm.mlp", nine[: len(x)])
    merged = convolve(np.concatenate([x, wide]), state, f"{name}.dfm.merge")
    return plain_mixed(x + convolve(gelu(gate) * merged, state, f"{name}.dfm.proj_out"), state, name)


def plain_decode(
    x: np.ndarray, guide: np.ndarray, depth: np.ndarray, before: np.ndarray | None, motion: np.ndarray, state: State, name: str
) -> np.ndarray:
    size = x.shape[1:]
    one = convolve(x, state, f"{name}.hfb.conv_x")
    other = convolve(stretch(guide, *size, corners=False), state, f"{name}.hfb.conv_g")
    x = x + convolve(np.concatenate([one * gelu(other), other * gelu(one)]), state, f"{name}.hfb.proj_out")
    before = x if before is None else warp(before, motion, border=False)
    query, kept = np.split(depthwise(convolve(x, state, f"{name}.ctr.to_q.0"), state, f"{name}.ctr.to_q.1"), 2)
    key, value = np.split(depthwise(convolve(before, state, f"{name}.ctr.to_kv.0"), state, f"{name}.ctr.to_kv.1"), 2)
    found = []
    for q, k, v in zip(np.split(query, 4), np.split(key, 4), np.split(value, 4), strict=True):
        for channel in q:
            fit = [(channel * other).sum() / np.linalg.norm(channel) / np.linalg.norm(other) for other in k]
            weights = np.exp(fit) / np.exp(fit).sum()
            found.append(np.tensordot(weights, v, 1))
    seen = np.concatenate([np.stack(found), kept, stretch(depth, *size, corners=False)])
    return plain_mixed(x + convolve(seen, state, f"{name}.ctr.proj_out"), state, name)


def plain_rdg(clip: np.ndarray, buffers: Mapping[str, np.ndarray], state: State, variant: str) -> np.ndarray:
    _, _, height, width = clip.shape
    padding = ((0, 0), (0, -height % 4), (0, -width % 4))
    hidden: list[np.ndarray | None] = [None, None, None]
    restored = []
    for t, frame in enumerate(clip):
        led = buffers["motion"][t if variant == "paper" else max(t - 1, 0)]
        guide = np.concatenate([(buffers["normals"][t] + 1) / 2, buffers["normalised_albedo"][t]])
        frame, led, depth, guide = (np.pad(x, padding) for x in (frame, led, buffers["normalised_depth"][t], guide))

        def motion(level: int, led: np.ndarray = led) -> np.ndarray:
            resized = stretch(led, led.shape[1] // level, led.shape[2] // level, corners=False)
            return resized / level if variant == "paper" else resized

        first = convolve(frame, state, "first_conv")
        full = plain_encode(first, state, "encoders.0.0", variant)
        half = plain_encode(convolve(full, state, "downs.0")[:, ::2, ::2], state, "encoders.1.0", variant)
        x = plain_encode(convolve(half, state, "downs.1")[:, ::2, ::2], state, "middle_encoders.0", variant)
        x = hidden[0] = plain_decode(x, guide, depth, hidden[0], motion(4), state, "middle_decoders")
        for level, (skip, alpha, size) in enumerate(((half, "1", 2), (full, "0", 1))):
            x = convolve(stretch(x, *skip.shape[1:], corners=False), state, f"ups.{level}.conv")
            x = x + state[f"skip_alphas.{alpha}"][0] * skip
            x = hidden[level + 1] = plain_decode(x, guide, depth, hidden[level + 1], motion(size), state, f"decoders.{level}")
        shown = convolve((x + first)[:, :height, :width], state, "UpSample.0")
        large = np.zeros((3, 4 * height, 4 * width))
        for channel in range(48):
            large[channel // 16, channel % 16 // 4 :: 4, channel % 4 :: 4] = shown[channel]
        restored.append(large)
    return np.stack(restored)


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_is_the_plain_one(variant: str) -> None:
    network = small(variant=variant)
    clip, *priors = example(network, 7, 9)
    buffers = {name: x[0].numpy() for name, x in zip(network.priors, priors, strict=True)}
    expected = plain_rdg(clip[0].numpy(), buffers, as_arrays(network), variant)
    np.testing.assert_allclose(run(network, [clip, *priors])[0].numpy(), expected, atol=1e-9)


@pytest.mark.parametrize(
    "places", [[(0, i % 7 - 3) for i in range(16)], [(i % 3 - 1, i // 3 % 3 - 1) for i in range(11)], [(2, 0)] * 3]
)
def test_shifts_are_a_deformable_convolution_of_constant_offsets(places: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    layer, x = ShiftConv(places), torch.rand(2, len(places), 9, 11)
    expected = deform_conv2d(x, layer.offset.expand(2, -1, 9, 11).contiguous(), layer.weight, layer.bias)  # type: ignore[operator]
    assert torch.allclose(layer(x), expected, atol=1e-6)


# ---------------------------------------------------------------- published counts and parameters


@pytest.mark.parametrize(("name", "parameters", "gmacs"), [("rdg_s", 303_680, 8.63), ("rdg", 1_473_600, 39.73)])
def test_parameters_and_operations_are_those_published(name: str, parameters: int, gmacs: float) -> None:
    with torch.device("meta"):
        found = cost(models.create(name), 270, 480, frames=2)
    assert found["parameters"] == parameters and round(found["gmacs"], 2) == gmacs


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["rdg", "rdg_s"])
def test_parameters_without_a_name_are_recognised(name: str, variant: str, tmp_path: Path) -> None:
    network = models.create(name, variant=variant)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    loaded = models.load(tmp_path / "net.pth")
    assert (loaded.name, loaded.options) == (name, network.options)


def test_released_parameters(shared_weights: Path) -> None:
    """All of the file fits, and where its convolutions look is where these do."""
    file = shared_weights / "rdg_small.pth"
    if not file.exists():
        pytest.skip("needs rdg_small.pth")
    network = models.load(file)
    assert (network.name, network.options) == ("rdg_s", {"channels": 16, "variant": "release", "base": "none"})
    state = torch.load(file, weights_only=True)["params"]
    assert state.keys() == network.state_dict().keys() and sum(value.numel() for value in state.values()) == 304_064
    offsets = {key: value for key, value in models.create("rdg_s").state_dict().items() if key.endswith(".offset")}
    assert len(offsets) == 6 and all(torch.equal(value, state[key]) for key, value in offsets.items())


def test_released_parameters_restore_a_picture(shared_weights: Path) -> None:
    """A flat grey frame stays one, far from the border, and what is restored of a smooth one is near its bilinear enlargement."""
    file = shared_weights / "rdg_small.pth"
    if not file.exists():
        pytest.skip("needs rdg_small.pth")
    network = models.load(file)
    y, x = torch.linspace(0.2, 0.8, 48)[:, None], torch.linspace(0.3, 0.7, 64)
    frame = torch.stack([y + 0 * x, x + 0 * y, (x + y) / 2])[None, None]
    large = torch.nn.functional.interpolate(frame[0], scale_factor=4, mode="bilinear")
    flat = {"motion": 0.0, "normalised_depth": 0.5, "normals": 0.0, "normalised_albedo": 0.5}
    buffers = [torch.full((1, 1, CHANNELS[name], 48, 64), value) for name, value in flat.items()]
    restored = run(network, [frame, *buffers])[0]
    assert (restored - large)[..., 32:-32, 32:-32].abs().mean() < 0.02


# ---------------------------------------------------------------- buffers


@pytest.mark.parametrize("name", ["normalised_depth", "normalised_albedo"])
def test_buffers_are_normalised_by_their_whole_frame(name: str) -> None:
    draw = np.random.default_rng(0)
    frame = {
        "depth": draw.uniform(2, 9, (6, 8)).astype(np.float32),
        "albedo": draw.integers(20, 180, (6, 8, 3)).astype(np.uint8),
    }
    kind = kinds.get(name)
    (column,) = kind.columns
    raw = frame[column][None] if column == "depth" else np.moveaxis(frame[column], -1, 0)
    expected = (raw.astype(float) - raw.min()) / (float(raw.max()) - float(raw.min()))
    whole = kinds.planes(kind, frame)
    np.testing.assert_allclose(whole, expected, atol=1e-6)
    assert whole.min() == 0 and whole.max() == 1 and whole.dtype == np.float32
    assert np.array_equal(kinds.planes(kind, frame, slice(1, 4), slice(2, 5)), whole[:, 1:4, 2:5])


@pytest.mark.parametrize("name", ["normalised_depth", "normalised_albedo"])
def test_constant_buffers_are_nothing(name: str) -> None:
    frame = {"depth": np.full((4, 5), 3.0, np.float32), "albedo": np.full((4, 5, 3), 90, np.uint8)}
    planes = kinds.planes(kinds.get(name), frame)
    assert not planes.any() and planes.shape == (kinds.get(name).channels, 4, 5)


def test_channels_are_those_of_the_kinds() -> None:
    assert {name: kinds.get(name).channels for name in CHANNELS} == dict(CHANNELS)


def pan(right: int, down: int, frames: int = 4, height: int = 16, width: int = 20) -> tuple[Tensor, dict[str, np.ndarray]]:
    """A scene that moves `right` and `down` by so many pixels from frame to frame, (T, 3, H, W), and its buffers as a file
    in Blender's convention has them: motion from where a point is now to where it was, y up."""
    scene = torch.rand(3, height + 4 * frames, width + 4 * frames, generator=torch.Generator().manual_seed(0))
    edge = 2 * frames
    clip = torch.stack(
        [scene[:, edge - down * t : edge - down * t + height, edge - right * t : edge - right * t + width] for t in range(frames)]
    )
    file = io.BytesIO()
    motion = np.broadcast_to(np.array([-right, down], np.float32), (height, width, 2))
    normals = np.zeros((height, width, 3), np.float32)
    np.savez(file, depth=np.ones((height, width), np.float32), normals=normals, motion=motion, albedo=normals)
    return clip, gbuffers.read(file.getvalue(), "pan.npz")


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 2), (2, -1), (-1, -2)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_pan_brings_what_was_onto_what_is(right: int, down: int, variant: str) -> None:
    """Within the network: what the largest level sees of the frame before is its own features, moved with the scene."""
    clip, buffers = pan(right, down)
    motion = torch.from_numpy(kinds.planes(kinds.get("motion"), buffers)).repeat(len(clip), 1, 1, 1)
    inside = (..., slice(2, -2), slice(2, -2))
    assert torch.allclose(flow_warp(clip[:-1], motion[1:])[inside], clip[1:][inside], atol=1e-5)
    assert not torch.allclose(flow_warp(clip[:-1], -motion[1:])[inside], clip[1:][inside], atol=0.1)

    network = small(variant=variant).float()
    priors = {name: torch.zeros(1, len(clip), channels, *clip.shape[2:]) for name, channels in CHANNELS.items()}
    priors["motion"] = motion[None]
    given, made = [], []
    network.decoders[1].ctr.to_kv.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))  # type: ignore[index, union-attr]
    network.decoders[1].register_forward_hook(lambda _, inputs, output: made.append(output))  # type: ignore[index, union-attr]
    with torch.no_grad():
        network(clip[None], **priors)
    for t in range(1, len(clip)):
        rows, columns = (slice(max(step, 0), size + min(step, 0)) for step, size in ((down, 16), (right, 20)))
        from_rows, from_columns = (slice(max(-step, 0), size + min(-step, 0)) for step, size in ((down, 16), (right, 20)))
        assert torch.allclose(given[t][..., rows, columns], made[t - 1][..., from_rows, from_columns], atol=1e-4)


def test_motion_of_a_smaller_level() -> None:
    """Released, it is that of the largest in size alone; in the paper's variant it counts the level's own pixels."""
    motion, half = torch.full((1, 2, 8, 8), 6.0), torch.zeros(1, 1, 4, 4)
    found = {variant: small(variant=variant).at_level(motion, half) for variant in VARIANTS}  # type: ignore[operator]
    assert found["release"].shape == (1, 2, 4, 4) and (found["release"] == 6).all() and (found["paper"] == 3).all()


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_buffer_matters(variant: str, name: str) -> None:
    network = small(variant=variant)
    clip, *priors = example(network)
    changed = [0 * x if prior == name else x for prior, x in zip(network.priors, priors, strict=True)]
    assert not torch.allclose(run(network, [clip, *priors]), run(network, [clip, *changed]), atol=1e-4)


def test_buffers_that_are_missing_or_of_another_clip() -> None:
    network = small()
    clip, *priors = example(network)
    with pytest.raises(ValueError, match=r"^rdg_s is guided by motion but got none: give motion of the clip"):
        network(clip)
    for index, name in enumerate(network.priors):
        wrong = [x[..., 1:] if index == place else x for place, x in enumerate(priors)]
        with pytest.raises(ValueError, match=rf"^rdg_s got {name} of shape .*: give {name} of the clip"):
            run(network, [clip, *wrong])
    with pytest.raises(VSRError, match="has no depth, only rgb"):
        kinds.planes(kinds.get("normalised_depth"), {"rgb": np.zeros((2, 2, 3), np.uint8)})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 6}, "'channels' of rdg_s is 6: give a multiple of 4"),
        ({"variant": "papers"}, "unknown variant of rdg_s 'papers': did you mean 'paper'"),
        ({"base": "nearby"}, "unknown base of rdg_s 'nearby'"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)

"""Networks against plain second implementations, published counts and the properties they must have."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import models
from models import Network
from models.parts import registry
from models.parts.resize import imresize
from models.parts.warp import flow_warp

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

State = dict[str, np.ndarray]


def small(seed: int = 0, **options: object) -> Network:
    torch.manual_seed(seed)
    network = models.create("basicvsr", **{"channels": 4, "blocks": 2, "upsample_channels": 3, **options})
    for parameter in network.parameters():  # livelier than a fresh network: its flows and residuals are not near zero
        parameter.data.add_(torch.randn_like(parameter) * 0.03)
    return network.eval()


# ---------------------------------------------------------------- a slow second implementation, one frame (C, H, W) at a time


def convolve(x: np.ndarray, state: State, name: str) -> np.ndarray:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    out = np.tile(bias[:, None, None], (1, *x.shape[1:]))
    for dy in range(weight.shape[-1]):
        for dx in range(weight.shape[-1]):
            out = out + np.tensordot(weight[:, :, dy, dx], padded[:, dy : dy + x.shape[1], dx : dx + x.shape[2]], 1)
    return out


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.1 * x)


def stretch(x: np.ndarray, height: int, width: int, corners: bool) -> np.ndarray:
    """Bilinear resizing, with corners aligned or with pixels as areas."""

    def place(index: int, old: int, new: int) -> tuple[int, int, float]:
        at = index * (old - 1) / max(new - 1, 1) if corners else max((index + 0.5) * old / new - 0.5, 0)
        low = min(int(at), old - 1)
        return low, min(low + 1, old - 1), at - low

    out = np.zeros((x.shape[0], height, width))
    for i in range(height):
        top, bottom, down = place(i, x.shape[1], height)
        for j in range(width):
            left, right, along = place(j, x.shape[2], width)
            upper = (1 - along) * x[:, top, left] + along * x[:, top, right]
            lower = (1 - along) * x[:, bottom, left] + along * x[:, bottom, right]
            out[:, i, j] = (1 - down) * upper + down * lower
    return out


def warp(x: np.ndarray, flow: np.ndarray, border: bool) -> np.ndarray:
    _, height, width = x.shape
    out = np.zeros_like(x)
    for i in range(height):
        for j in range(width):
            column, row = j + flow[0, i, j], i + flow[1, i, j]
            if border:
                column, row = min(max(column, 0), width - 1), min(max(row, 0), height - 1)
            left, top = int(np.floor(column)), int(np.floor(row))
            for y, x_, weight in (
                (top, left, (top + 1 - row) * (left + 1 - column)),
                (top, left + 1, (top + 1 - row) * (column - left)),
                (top + 1, left, (row - top) * (left + 1 - column)),
                (top + 1, left + 1, (row - top) * (column - left)),
            ):
                if 0 <= y < height and 0 <= x_ < width:
                    out[:, i, j] += weight * x[:, y, x_]
    return out


def halve(x: np.ndarray) -> np.ndarray:
    return (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4


def plain_flow(ref: np.ndarray, supp: np.ndarray, state: State, prefix: str) -> np.ndarray:
    height, width = ref.shape[1:]
    tall, wide = (height + 31) // 32 * 32, (width + 31) // 32 * 32
    pyramids = []
    for frame in (ref, supp):
        frame = stretch(frame, tall, wide, corners=False)
        levels = [(frame - state[f"{prefix}mean"][0]) / state[f"{prefix}std"][0]]
        for _ in range(5):
            levels.insert(0, halve(levels[0]))
        pyramids.append(levels)
    flow = np.zeros((2, tall // 32, wide // 32))
    for level, (one, other) in enumerate(zip(*pyramids, strict=True)):
        if level > 0:
            flow = 2 * stretch(flow, *one.shape[1:], corners=True)
        x = np.concatenate([one, warp(other, flow, border=True), flow])
        for layer in (0, 2, 4, 6, 8):
            x = convolve(x, state, f"{prefix}basic_module.{level}.basic_module.{layer}")
            x = np.maximum(x, 0) if layer < 8 else x
        flow = flow + x
    flow = stretch(flow, height, width, corners=False)
    return np.stack([flow[0] * width / wide, flow[1] * height / tall])


def plain_trunk(x: np.ndarray, state: State, name: str, blocks: int) -> np.ndarray:
    x = leaky(convolve(x, state, f"{name}.main.0"))
    for block in range(blocks):
        inner = np.maximum(convolve(x, state, f"{name}.main.2.{block}.conv1"), 0)
        x = x + convolve(inner, state, f"{name}.main.2.{block}.conv2")
    return x


def shuffle(x: np.ndarray) -> np.ndarray:
    out = np.zeros((x.shape[0] // 4, 2 * x.shape[1], 2 * x.shape[2]))
    for channel in range(x.shape[0]):
        out[channel // 4, channel % 4 // 2 :: 2, channel % 2 :: 2] = x[channel]
    return out


def plain_basicvsr(clip: np.ndarray, state: State, blocks: int) -> np.ndarray:
    last = len(clip) - 1
    channels = state["fusion.bias"].shape[0]
    following: dict[int, np.ndarray] = {}
    for t in range(last, -1, -1):
        feature = np.zeros((channels, *clip.shape[2:]))
        if t < last:
            feature = warp(following[t + 1], plain_flow(clip[t], clip[t + 1], state, "spynet."), border=False)
        following[t] = plain_trunk(np.concatenate([clip[t], feature]), state, "backward_trunk", blocks)
    out = []
    feature = np.zeros((channels, *clip.shape[2:]))
    for t in range(last + 1):
        if t > 0:
            feature = warp(feature, plain_flow(clip[t], clip[t - 1], state, "spynet."), border=False)
        feature = plain_trunk(np.concatenate([clip[t], feature]), state, "forward_trunk", blocks)
        x = leaky(convolve(np.concatenate([following[t], feature]), state, "fusion"))
        x = leaky(shuffle(convolve(x, state, "upconv1")))
        x = leaky(shuffle(convolve(x, state, "upconv2")))
        x = convolve(leaky(convolve(x, state, "conv_hr")), state, "conv_last")
        out.append(x + stretch(clip[t], 4 * clip.shape[2], 4 * clip.shape[3], corners=False))
    return np.stack(out)


def as_arrays(network: torch.nn.Module) -> State:
    return {key: value.numpy() for key, value in network.state_dict().items()}


# ---------------------------------------------------------------- SPyNet


@pytest.mark.parametrize(("height", "width"), [(32, 32), (18, 37)])
def test_spynet_is_the_plain_one(height: int, width: int) -> None:
    network = small().spynet.double()
    ref, supp = torch.rand(2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        flow = network(ref[None], supp[None])[0].numpy()
    expected = plain_flow(ref.numpy(), supp.numpy(), as_arrays(network), "")
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(flow, expected, atol=1e-9)


def test_spynet_with_zero_weights_sees_no_motion() -> None:
    network = models.create("spynet")
    for parameter in network.parameters():
        parameter.data.zero_()
    assert not network(torch.rand(2, 3, 40, 50), torch.rand(2, 3, 40, 50)).any()


def test_spynet_stays_in_single_precision_under_autocast() -> None:
    network = small().spynet
    ref, supp = torch.rand(2, 1, 3, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = network(ref, supp)
    with torch.no_grad():
        assert torch.equal(low, network(ref, supp))


# ---------------------------------------------------------------- warping


@settings(deadline=None, max_examples=30)
@given(st.integers(-4, 4), st.integers(-4, 4), st.sampled_from(["zeros", "border"]))
def test_warp_by_whole_pixels_shifts(dx: int, dy: int, padding: str) -> None:
    x = torch.rand(2, 3, 9, 12, dtype=torch.float64)
    flow = torch.tensor([dx, dy], dtype=torch.float64).view(1, 2, 1, 1).expand(2, 2, 9, 12)
    padded = torch.nn.functional.pad(x, (4, 4, 4, 4), mode="replicate" if padding == "border" else "constant")
    expected = padded[:, :, 4 + dy : 13 + dy, 4 + dx : 16 + dx]
    assert torch.allclose(flow_warp(x, flow, padding), expected, atol=1e-10)


@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_warp_by_parts_of_pixels(padding: str) -> None:
    x, flow = torch.rand(3, 7, 8, dtype=torch.float64), torch.randn(2, 7, 8, dtype=torch.float64) * 3
    expected = warp(x.numpy(), flow.numpy(), border=padding == "border")
    np.testing.assert_allclose(flow_warp(x[None], flow[None], padding)[0].numpy(), expected, atol=1e-10)


def test_warp_keeps_the_type_and_the_precision_of_positions() -> None:
    x = torch.arange(4096.0).repeat(1, 1, 2, 1)
    moved = flow_warp(x.bfloat16(), torch.ones(1, 2, 2, 4096).bfloat16() * torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).bfloat16())
    assert moved.dtype == torch.bfloat16
    assert torch.equal(moved[..., 0, :-1], x.bfloat16()[..., 0, 1:])


# ---------------------------------------------------------------- BasicVSR


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_basicvsr_is_the_plain_one(frames: int) -> None:
    network = small().double()
    clip = torch.rand(1, frames, 3, 7, 10, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip)[0].numpy()
    np.testing.assert_allclose(restored, plain_basicvsr(clip[0].numpy(), as_arrays(network), 2), atol=1e-9)


@pytest.mark.parametrize(("base", "scale"), [("bilinear", 4), ("bicubic", 4)])
def test_basicvsr_adds_to_the_enlarged_frame(base: str, scale: int) -> None:
    network = small(base=base)
    network.conv_last.weight.data.zero_()
    network.conv_last.bias.data.zero_()
    clip = torch.rand(2, 2, 3, 8, 9)
    plain = torch.nn.functional.interpolate(clip.flatten(0, 1), scale_factor=scale, mode="bilinear").view(2, 2, 3, 32, 36)
    with torch.no_grad():
        assert torch.allclose(network(clip), plain if base == "bilinear" else imresize(clip, scale), atol=1e-6)


def test_clips_of_a_batch_do_not_see_each_other() -> None:
    network = small()
    clips = torch.rand(3, 4, 3, 16, 18)
    with torch.no_grad():
        together = network(clips)
        for index in range(3):
            assert torch.allclose(together[index], network(clips[index : index + 1])[0], atol=1e-5)


def test_flows_of_a_mirrored_clip_mirror() -> None:
    half = torch.rand(1, 3, 3, 20, 24)
    to_next, to_previous = small().flows(torch.cat([half, half.flip(1)], dim=1))
    assert torch.allclose(to_previous, to_next.flip(1), atol=1e-6)


def test_flows_do_not_depend_on_how_many_pairs_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, clip = small(), torch.rand(2, 4, 3, 16, 16)
    with torch.no_grad():
        whole = network.flows(clip)
        monkeypatch.setattr("models.parts.blocks.PART_PIXELS", 1)
        for one, other in zip(whole, network.flows(clip), strict=True):
            assert torch.allclose(one, other, atol=1e-6)


def test_flow_directions() -> None:
    """Entry t of the first flows leads from frame t to t+1, of the second from t+1 to t."""
    network, clip = small(), torch.rand(1, 3, 3, 32, 32)
    to_next, to_previous = network.flows(clip)
    assert torch.allclose(to_next[:, 1], network.spynet(clip[:, 1], clip[:, 2]), atol=1e-6)
    assert torch.allclose(to_previous[:, 1], network.spynet(clip[:, 2], clip[:, 1]), atol=1e-6)


def test_every_frame_reaches_every_other_and_every_parameter_learns() -> None:
    network = small()
    clip = torch.rand(1, 4, 3, 8, 8, requires_grad=True)
    network(clip)[:, 1].square().mean().backward()
    assert clip.grad is not None and all(clip.grad[0, t].abs().sum() > 0 for t in range(4))
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_residual_blocks_start_near_the_identity() -> None:
    torch.manual_seed(0)
    network = models.create("basicvsr", blocks=2)
    block = network.backward_trunk.main[2][0]
    assert block.conv1.weight.std().item() == pytest.approx(0.1 * (2 / (64 * 9)) ** 0.5, rel=0.05)
    assert not block.conv1.bias.any()


@pytest.mark.parametrize(
    ("options", "parameters"),
    [({}, 6_291_311), ({"blocks": 20}, 4_814_191), ({"blocks": 3}, 2_303_087), ({"channels": 32, "blocks": 5}, 1_797_199)],
)
def test_published_parameter_counts(options: dict[str, int], parameters: int) -> None:
    with torch.device("meta"):
        network = models.create("basicvsr", **options)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


def test_published_cost_of_spynet() -> None:
    with torch.device("meta"):
        network = models.create("spynet")
        frame = torch.empty(1, 3, 180, 320)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_440_300
    with FlopCounterMode(display=False) as counter:
        network(frame, frame)
    assert counter.get_total_flops() / 2e9 == pytest.approx(19.65, abs=0.005)


def test_bicubic() -> None:
    network = models.create("bicubic", scale=3)
    clip = torch.rand(2, 2, 3, 6, 7)
    assert torch.equal(network(clip), imresize(clip, 3))
    assert (network.scale, network.min_frames, network.options) == (3, 1, {"scale": 3})
    assert not list(network.parameters())


# ---------------------------------------------------------------- names and options


def test_create_fills_in_the_published_options() -> None:
    with torch.device("meta"):
        network = models.create("basicvsr", blocks=1)
    assert network.name == "basicvsr" and (network.scale, network.min_frames) == (4, 1)
    assert network.options == {"channels": 64, "blocks": 1, "upsample_channels": 64, "base": "bilinear", "flow": "own"}
    assert {"basicvsr", "bicubic", "spynet"} <= set(models.names())


def test_a_network_stands_in_the_file_of_its_name() -> None:
    for path in Path(models.__file__).parent.glob("*.py"):
        importlib.import_module("models" if path.stem == "__init__" else f"models.{path.stem}")
    assert {name: f"models.{name}" for name in models.names()} == {n: k.__module__ for n, k in registry._IMPORTED.items()}


def test_a_network_is_imported_when_it_is_asked_for(tmp_path: Path) -> None:
    """Also for a checkpoint: ours names its network, and of another's the expected network is tried first."""
    models.save(models.create("spynet"), tmp_path / "ours.safetensors")
    torch.save({"params": models.create("edvr_m", channels=8, groups=2).state_dict()}, tmp_path / "theirs.pth")
    steps = {
        "models.names()": set(),
        "models.create('bicubic')": {"bicubic"},
        f"models.load({str(tmp_path / 'ours.safetensors')!r})": {"bicubic", "spynet"},
        f"models.load({str(tmp_path / 'theirs.pth')!r}, expect='edvr_m')": {"bicubic", "spynet", "edvr_m"},
        f"models.load({str(tmp_path / 'theirs.pth')!r})": {name for name in models.names() if name <= "edvr_m"} | {"spynet"},
    }
    imported = "print(*(name for name in models.names() if f'models.{name}' in sys.modules))"
    code = "\n".join(["import models, sys", *(f"{step}\n{imported}" for step in steps)])
    root = Path(models.__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert [set(line.split()) for line in found.split("\n")[:-1]] == list(steps.values())


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("basicvrs", {}, "did you mean 'basicvsr'"),
        ("basicvsr", {"chanels": 8}, "did you mean 'channels'"),
        ("basicvsr", {"base": "bicubik"}, "did you mean 'bicubic'"),
        ("basicvsr", {"channels": 0}, "at least 1"),
        ("basicvsr", {"blocks": 2.5}, "at least 1"),
        ("bicubic", {"scale": 0}, "positive number"),
        ("spynet", {"levels": 4}, "unknown option"),
    ],
)
def test_impossible_networks(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.create(name, **options)


# ---------------------------------------------------------------- checkpoints


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    state, loaded = one.state_dict(), other.state_dict()
    return state.keys() == loaded.keys() and all(torch.equal(state[key], loaded[key]) for key in state)


@pytest.mark.parametrize("network", [small(base="bicubic"), models.create("spynet"), models.create("bicubic", scale=2)])
def test_saved_networks_come_back(network: Network, tmp_path: Path) -> None:
    models.save(network, tmp_path / "new" / "model.safetensors")
    loaded = models.load(tmp_path / "new" / "model.safetensors")
    assert (loaded.name, loaded.options) == (network.name, network.options) and same(network, loaded)
    assert not loaded.training
    models.save(loaded, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "new" / "model.safetensors").read_bytes()
    assert {path.name for path in tmp_path.rglob("*")} == {"new", "model.safetensors", "again.safetensors"}
    (tmp_path / "other").touch()  # whoever shares the folder reads both
    assert (tmp_path / "again.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("wrapper", ["params", "params_ema", None])
def test_checkpoints_of_basicsr(wrapper: str | None, tmp_path: Path) -> None:
    network = small()
    state = network.state_dict()
    content = {wrapper: state} if wrapper else state
    if wrapper == "params_ema":  # the averaged ones win
        content["params"] = small(seed=1).state_dict()
    torch.save(content, tmp_path / "net.pth")
    loaded = models.load(tmp_path / "net.pth", expect="basicvsr")
    assert same(network, loaded)
    assert loaded.options == {"channels": 4, "blocks": 2, "upsample_channels": 3, "base": "bilinear", "flow": "own"}


def before(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


WRAPPED: dict[str, Callable[[dict[str, Tensor], dict[str, Tensor]], object]] = {
    "training": lambda state, other: {"model": state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}}, "epoch": 7},
    "averaged": lambda state, other: {"ema": state, "model": other},
    "averaged_in_names": lambda state, other: {**before("params.", other), **before("params_ema.", state)},
    "mmagic_averaged": lambda state, other: {"state_dict": {**before("generator.", other), **before("generator_ema.", state)}},
    "adversarial": lambda state, other: {
        "state_dict": {
            **before("generator.", state),
            "discriminator.conv.weight": torch.zeros(2),
            "loss.vgg.weight": torch.zeros(2),
        }
    },
    "compiled": lambda state, other: before("_orig_mod.", state),
    "distributed": lambda state, other: {"params": before("module._orig_mod.", state)},
    "lightning": lambda state, other: {"state_dict": before("model.", state), "hyper_parameters": {"rate": 1e-4}},
    "net_g": lambda state, other: {"state_dict": before("net_g.", state)},
    "netG": lambda state, other: {"netG": state, "netD": {"conv.weight": torch.zeros(2)}},
}
"""Parameters as people's files hold them; `other` is what must not be taken."""


@pytest.mark.parametrize("form", WRAPPED)
def test_checkpoints_as_people_have_them(form: str, tmp_path: Path) -> None:
    network, other = small(), small(seed=1)
    torch.save(WRAPPED[form](network.state_dict(), other.state_dict()), tmp_path / "net.ckpt")
    assert same(network, models.load(tmp_path / "net.ckpt"))


def test_a_checkpoint_is_what_its_bytes_say(tmp_path: Path) -> None:
    """safetensors by any name, and half precision."""
    network = small()
    halves = {key: value.half() for key, value in network.state_dict().items()}
    for name in ("net.SAFETENSORS", "net.pth"):
        safetensors.torch.save_file(before("params_ema.", halves), tmp_path / name)
        assert same(network.half().float(), models.load(tmp_path / name))


def in_mmagic(key: str) -> str:
    """mmagic's name of a parameter."""
    parts = key.split(".")
    if "basic_module" in parts:
        at = len(parts) - 2
        parts[at : at + 1] = [str(int(parts[at]) // 2), "conv"]
    elif parts[0].endswith("_trunk"):
        parts[0] = parts[0].replace("_trunk", "_resblocks")
    elif parts[0].startswith("upconv"):
        parts[0:1] = [f"upsample{parts[0][-1]}", "upsample_conv"]
    return ".".join(parts)


def test_checkpoints_of_mmagic(tmp_path: Path) -> None:
    network = small()
    state = {f"generator.{in_mmagic(key)}": value for key, value in network.state_dict().items()}
    assert "generator.spynet.basic_module.5.basic_module.4.conv.weight" in state
    assert "generator.backward_resblocks.main.2.1.conv2.bias" in state
    torch.save({"meta": {"iter": 3}, "state_dict": {**state, "generator.step_counter": torch.zeros(1)}}, tmp_path / "net.pth")
    assert same(network, models.load(tmp_path / "net.pth"))
    flow = {in_mmagic(key): value for key, value in network.spynet.state_dict().items()}
    torch.save(flow, tmp_path / "spynet.pth")
    assert same(network.spynet, models.load(tmp_path / "spynet.pth", expect="spynet"))


def test_checkpoint_of_another_network(tmp_path: Path) -> None:
    models.save(models.create("spynet"), tmp_path / "flow.safetensors")
    with pytest.raises(ValueError, match=r"looks like a checkpoint of spynet, not of basicvsr: it lacks .* and has unexpected"):
        models.load(tmp_path / "flow.safetensors", expect="basicvsr")
    iconvsr = {**small().state_dict(), "edvr.conv_first.weight": torch.zeros(1), "forward_fusion.weight": torch.zeros(1)}
    del iconvsr["fusion.weight"]
    torch.save({"params": iconvsr}, tmp_path / "icon.pth")
    with pytest.raises(
        ValueError,
        match=r"looks like a checkpoint of iconvsr; compared with iconvsr, it lacks .* and has unexpected 'fusion.bias'",
    ):
        models.load(tmp_path / "icon.pth")
    torch.save({"params": {"strange": torch.zeros(1)}}, tmp_path / "strange.pth")
    with pytest.raises(
        ValueError, match=r"no known network: it holds 1 tensors, 'strange' \(1,\); give a checkpoint of .* or basicvsr or .*"
    ):
        models.load(tmp_path / "strange.pth")


def test_published_checkpoints_of_others(shared_weights: Path) -> None:
    found = [path for path in shared_weights.glob("*.pth")]
    for path in found:
        with pytest.raises(ValueError, match="lacks .* and has unexpected .*; give a checkpoint of basicvsr"):
            models.load(path, expect="basicvsr")


def test_damaged_checkpoints(tmp_path: Path) -> None:
    network = small()
    with pytest.raises(ValueError, match="does not exist"):
        models.load(tmp_path / "none.pth")
    with pytest.raises(ValueError, match="did you mean 'basicvsr'"):
        models.load(tmp_path / "none.pth", expect="basicvsrr")
    torch.save(network.state_dict(), tmp_path / "whole.pth")
    models.save(network, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:-5000])
        with pytest.raises(ValueError, match="cannot be read"):
            models.load(cut)
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(ValueError, match="not a PyTorch checkpoint"):
        models.load(tmp_path / "text.pth")
    for content, told in (
        ({"epoch": 3, "optimizers": []}, "holds no parameters, but a mapping of 'epoch' and 1 more"),
        ([1, 2], "holds no parameters, but a list"),
        (network, "nothing but tensors, it holds a pickled models.basicvsr.BasicVSR"),
    ):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match=told):
            models.load(tmp_path / "other.pth")
    for text, told in (
        ("", "is empty"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 25\n", "a pointer of Git LFS"),
        ("\n<!DOCTYPE html><html><body>Quota exceeded</body></html>", "a web page"),
    ):
        (tmp_path / "other.pth").write_text(text)
        with pytest.raises(ValueError, match=told):
            models.load(tmp_path / "other.pth")
    state = network.state_dict()
    del state["conv_last.bias"]
    torch.save({"params": state}, tmp_path / "partial.pth")
    with pytest.raises(ValueError, match="looks like a checkpoint of basicvsr, but it lacks 'conv_last.bias'"):
        models.load(tmp_path / "partial.pth")
    state = {**network.state_dict(), "fusion.weight": torch.zeros(4, 9, 1, 1)}
    torch.save({"params": state}, tmp_path / "shape.pth")
    with pytest.raises(ValueError, match=r"has 'fusion.weight' of shape \(4, 9, 1, 1\) instead of \(4, 8, 1, 1\)"):
        models.load(tmp_path / "shape.pth")


def test_checkpoints_that_would_run_code_are_refused(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("run",)

    torch.save({"params": Harmful()}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="nothing but tensors"):
        models.load(tmp_path / "net.pth")

"""EDVR against a plain second implementation, published counts and its symmetries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from front_door import Vsr
from PIL import Image
from test_models import State, as_arrays, convolve, in_mmagic, leaky, same, shuffle, stretch
from torch import nn

import models
from models import Network
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.errors import VSRError
from pipelines.restoring.cost import cost
from pipelines.restoring.restore import neighbours, restore

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY = {"channels": 4, "frames": 3, "extraction_blocks": 1, "reconstruction_blocks": 2, "groups": 2, "upsample_channels": 3}


def liven(network: nn.Module, seed: int = 0) -> None:
    """Random parameters with which samples move by pixels and attention differs from place to place."""
    torch.manual_seed(seed)
    for name, parameter in network.named_parameters():
        strength = 0.4 if "conv_offset" in name else 0.1 if "spynet" not in name else 0.03
        parameter.data.add_(torch.randn_like(parameter) * strength)


def small(seed: int = 0, **options: object) -> Network:
    torch.manual_seed(seed)
    network = models.create("edvr_m", **{**TINY, **options})
    liven(network, seed)
    return network.eval()


def check_motion(network: Network, axis: int, pixels: int, reach: int) -> None:
    """A scene that is seen `pixels` further along an axis is restored as much further, out of reach of the borders
    across the axis."""
    scene = torch.rand(1, 3, 3, 2 * reach + 24 + pixels, 12).transpose(axis, -2)
    length = 2 * reach + 24
    with torch.no_grad():
        here, there = (network(scene.narrow(axis, first, length)) for first in (0, pixels))
    here, there = here.narrow(axis, 4 * (reach + pixels), 32), there.narrow(axis, 4 * reach, 32)
    assert torch.allclose(here, there, atol=1e-5) and not torch.allclose(here, here.roll(4, axis), atol=1e-2)


# ---------------------------------------------------------------- a slow second implementation, one frame (C, H, W) at a time


def plain_deform(x: np.ndarray, offset: np.ndarray, mask: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Deformable convolution, sample by sample."""
    _, height, width = x.shape
    groups = len(mask) // 9
    per_group = len(x) // groups
    out = np.tile(bias[:, None, None], (1, height, width))
    for i in range(height):
        for j in range(width):
            for group in range(groups):
                channels = slice(group * per_group, (group + 1) * per_group)
                for tap in range(9):
                    at = 9 * group + tap
                    row = i + tap // 3 - 1 + offset[2 * at, i, j]
                    column = j + tap % 3 - 1 + offset[2 * at + 1, i, j]
                    top, left = int(np.floor(row)), int(np.floor(column))
                    value = np.zeros(per_group)
                    for y in (top, top + 1):
                        for x_ in (left, left + 1):
                            if 0 <= y < height and 0 <= x_ < width:
                                value += (1 - abs(row - y)) * (1 - abs(column - x_)) * x[channels, y, x_]
                    out[:, i, j] += weight[:, channels, tap // 3, tap % 3] @ value * mask[at, i, j]
    return out


Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


def flow_of(network: Network) -> Flow:
    """The flow network inside of another, on arrays (3, H, W); it has a plain implementation of its own in its tests."""

    def flow(ref: np.ndarray, supp: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network.spynet(torch.from_numpy(ref)[None], torch.from_numpy(supp)[None])[0].numpy()

    return flow


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def plain_guided(x: np.ndarray, guide: np.ndarray, state: State, name: str) -> np.ndarray:
    first, second, third = np.split(convolve(guide, state, f"{name}.conv_offset"), 3)
    offset = np.concatenate([first, second])
    assert 0.5 < np.abs(offset).max() < 6, "the test would say little of samples that hardly move or all leave the frame"
    return plain_deform(x, offset, sigmoid(third), state[f"{name}.weight"], state[f"{name}.bias"])


def up(x: np.ndarray) -> np.ndarray:
    return stretch(x, 2 * x.shape[1], 2 * x.shape[2], corners=False)


def plain_pcd(neighbour: list[np.ndarray], reference: list[np.ndarray], state: State, name: str) -> np.ndarray:
    def active(x: list[np.ndarray], layer: str) -> np.ndarray:
        return leaky(convolve(np.concatenate(x), state, f"{name}.{layer}"))

    offset3 = active([active([neighbour[2], reference[2]], "offset_conv1.l3")], "offset_conv2.l3")
    feature3 = leaky(plain_guided(neighbour[2], offset3, state, f"{name}.dcn_pack.l3"))
    offset2 = active([active([neighbour[1], reference[1]], "offset_conv1.l2"), 2 * up(offset3)], "offset_conv2.l2")
    offset2 = active([offset2], "offset_conv3.l2")
    feature2 = active([plain_guided(neighbour[1], offset2, state, f"{name}.dcn_pack.l2"), up(feature3)], "feat_conv.l2")
    offset1 = active([active([neighbour[0], reference[0]], "offset_conv1.l1"), 2 * up(offset2)], "offset_conv2.l1")
    offset1 = active([offset1], "offset_conv3.l1")
    feature1 = np.concatenate([plain_guided(neighbour[0], offset1, state, f"{name}.dcn_pack.l1"), up(feature2)])
    feature1 = convolve(feature1, state, f"{name}.feat_conv.l1")
    offset = active([active([feature1, reference[0]], "cas_offset_conv1")], "cas_offset_conv2")
    return leaky(plain_guided(feature1, offset, state, f"{name}.cas_dcnpack"))


def pools(x: np.ndarray) -> np.ndarray:
    """Maxima and means of 3x3 pixels around every second one; zeros outside the frame count in the means."""
    out = np.zeros((2 * len(x), x.shape[1] // 2, x.shape[2] // 2))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            seen = x[:, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2]
            out[:, i, j] = np.concatenate([seen.max(axis=(1, 2)), seen.sum(axis=(1, 2)) / 9])
    return out


def plain_tsa(aligned: list[np.ndarray], state: State, name: str) -> np.ndarray:
    def layer(x: np.ndarray, which: str) -> np.ndarray:
        return convolve(x, state, f"{name}.{which}")

    reference = layer(aligned[len(aligned) // 2], "temporal_attn1")
    weighed = np.concatenate([x * sigmoid((layer(x, "temporal_attn2") * reference).sum(axis=0)) for x in aligned])
    feature = leaky(layer(weighed, "feat_fusion"))
    half = leaky(layer(pools(leaky(layer(weighed, "spatial_attn1"))), "spatial_attn2"))
    quarter = leaky(layer(pools(leaky(layer(half, "spatial_attn_l1"))), "spatial_attn_l2"))
    quarter = leaky(layer(quarter, "spatial_attn_l3"))
    half = leaky(layer(leaky(layer(half, "spatial_attn3")) + up(quarter), "spatial_attn4"))
    attention = layer(up(half), "spatial_attn5")
    added = layer(leaky(layer(attention, "spatial_attn_add1")), "spatial_attn_add2")
    return feature * sigmoid(attention) * 2 + added


def plain_blocks(x: np.ndarray, state: State, name: str) -> np.ndarray:
    block = 0
    while f"{name}.{block}.conv1.weight" in state:
        inner = np.maximum(convolve(x, state, f"{name}.{block}.conv1"), 0)
        x = x + convolve(inner, state, f"{name}.{block}.conv2")
        block += 1
    return x


def plain_features(window: np.ndarray, state: State, prefix: str = "") -> np.ndarray:
    """EDVR's fused features of a window (T, 3, H, W)."""
    pyramids = []
    for frame in window:
        full = plain_blocks(leaky(convolve(frame, state, f"{prefix}conv_first")), state, f"{prefix}feature_extraction")
        half = leaky(convolve(full, state, f"{prefix}conv_l2_1")[:, ::2, ::2])
        half = leaky(convolve(half, state, f"{prefix}conv_l2_2"))
        quarter = leaky(convolve(half, state, f"{prefix}conv_l3_1")[:, ::2, ::2])
        quarter = leaky(convolve(quarter, state, f"{prefix}conv_l3_2"))
        pyramids.append([full, half, quarter])
    aligned = [plain_pcd(levels, pyramids[len(window) // 2], state, f"{prefix}pcd_align") for levels in pyramids]
    if f"{prefix}fusion.weight" in state:
        return convolve(np.concatenate(aligned), state, f"{prefix}fusion")
    return plain_tsa(aligned, state, f"{prefix}fusion")


def plain_upsample(x: np.ndarray, frame: np.ndarray, state: State) -> np.ndarray:
    x = leaky(shuffle(convolve(x, state, "upconv1")))
    x = leaky(shuffle(convolve(x, state, "upconv2")))
    x = convolve(leaky(convolve(x, state, "conv_hr")), state, "conv_last")
    return x + stretch(frame, 4 * frame.shape[1], 4 * frame.shape[2], corners=False)


def plain_pad(clip: np.ndarray) -> np.ndarray:
    """Frames (T, C, H, W) mirrored at the right and below to multiples of four."""
    height, width = clip.shape[2:]
    return np.pad(clip, ((0, 0), (0, 0), (0, -height % 4), (0, -width % 4)), mode="reflect")


def plain_edvr(window: np.ndarray, state: State) -> np.ndarray:
    height, width = window.shape[2:]
    window = plain_pad(window)
    x = plain_blocks(plain_features(window, state), state, "reconstruction")
    return plain_upsample(x, window[len(window) // 2], state)[:, : 4 * height, : 4 * width]


# ---------------------------------------------------------------- EDVR


@pytest.mark.parametrize(
    ("options", "height", "width"),
    [({}, 8, 12), ({"tsa": False}, 8, 8), ({"frames": 5}, 4, 4), ({"frames": 1, "groups": 4}, 6, 7)],
)
def test_edvr_is_the_plain_one(options: dict[str, object], height: int, width: int) -> None:
    network = small(**options).double()
    window = torch.rand(1, network.window, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        restored = network(window)[0].numpy()
    np.testing.assert_allclose(restored, plain_edvr(window[0].numpy(), as_arrays(network)), atol=1e-9)


@pytest.mark.parametrize("tsa", [True, False])
def test_identical_frames_are_one_frame(tsa: bool) -> None:
    """On identical frames, the fusion of a window is that of one frame with the weights of all added up."""
    network = small(tsa=tsa).double()
    state = network.state_dict()
    for key in ("fusion.weight", "fusion.feat_fusion.weight", "fusion.spatial_attn1.weight"):
        if key in state:
            state[key] = state[key].unflatten(1, (3, 4)).sum(dim=1)
    single = small(tsa=tsa, frames=1).double()
    single.load_state_dict(state)
    frame = torch.rand(1, 1, 3, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        assert torch.allclose(network(frame.expand(-1, 3, -1, -1, -1)), single(frame), atol=1e-10)


@pytest.mark.parametrize("tsa", [True, False])
def test_a_mirrored_window_mirrors_the_fusion(tsa: bool) -> None:
    """All frames go the same way to the fusion: backwards they need its weights backwards."""
    network, window = small(tsa=tsa).double(), torch.rand(2, 3, 3, 8, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = network(window)
    assert not torch.allclose(network(window.flip(1)), expected)
    for name, parameter in network.named_parameters():
        if name in ("fusion.weight", "fusion.feat_fusion.weight", "fusion.spatial_attn1.weight"):
            parameter.data = parameter.data.unflatten(1, (3, 4)).flip(1).flatten(1, 2)
    with torch.no_grad():
        assert torch.allclose(network(window.flip(1)), expected, atol=1e-10)


@pytest.mark.parametrize("axis", [-1, -2])
def test_what_is_moved_is_restored_moved(axis: int) -> None:
    """By multiples of four pixels, which the smallest level sees as one."""
    check_motion(small(reconstruction_blocks=1), axis, pixels=4, reach=92)


@pytest.mark.parametrize(("height", "width"), [(5, 8), (8, 11), (7, 6)])
def test_sides_that_are_no_multiples_of_four_are_mirrored(height: int, width: int) -> None:
    network, window = small(), torch.rand(1, 3, 3, height, width)
    padded = torch.from_numpy(plain_pad(window[0].numpy()))[None]
    with torch.no_grad():
        assert torch.equal(network(window), network(padded)[..., : 4 * height, : 4 * width])


def test_frames_too_small_to_be_mirrored() -> None:
    message = "frames of 8x2 are too small to be mirrored to multiples of 4 pixels"
    with pytest.raises(ValueError, match=message):
        small()(torch.rand(1, 3, 3, 2, 8))
    with pytest.raises(VSRError, match=message):
        list(restore(small(), noise(3, 2, 8), window=3, overlap=0))
    with pytest.raises(VSRError, match=message):
        cost(small(), 2, 8)


def test_windows_of_a_batch_do_not_see_each_other() -> None:
    network, windows = small(), torch.rand(3, 3, 3, 8, 12)
    with torch.no_grad():
        together = network(windows)
        for index in range(3):
            assert torch.allclose(together[index], network(windows[index : index + 1])[0], atol=1e-5)


def test_every_frame_counts_and_every_parameter_learns() -> None:
    network, window = small(), torch.rand(1, 3, 3, 8, 8, requires_grad=True)
    network(window).square().mean().backward()
    assert window.grad is not None and all(window.grad[0, t].abs().sum() > 0 for t in range(3))
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_first_weights() -> None:
    network = models.create("edvr_m", **TINY)
    for name, parameter in network.named_parameters():
        if "conv_offset" in name:
            assert not parameter.any()


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("edvr_m", {}, 3_300_131),
        ("edvr_m", {"tsa": False}, 2_996_259),
        ("edvr_m", {"frames": 7}, 3_316_515),
        ("edvr_l", {}, 20_633_827),
        ("edvr_l", {"frames": 7}, 20_699_363),
    ],
)
def test_published_parameter_counts(name: str, options: dict[str, object], parameters: int) -> None:
    with torch.device("meta"):
        network = models.create(name, **options)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert (network.name, network.scale, network.window, network.min_frames) == (name, 4, *[options.get("frames", 5)] * 2)


def operations(channels: int, reconstruction: int) -> tuple[float, float]:
    """GMAC of the published five-frame networks at 180x320 and of their deformable convolutions, counted by hand
    in multiples of a 3x3 convolution between `channels` on the full frame."""
    unit, pixels = 9 * channels**2, 180 * 320
    levels = 1 + 1 / 4 + 1 / 16
    offsets = 216 / channels
    extraction = 3 / channels + 10 + 2 / 4 + 2 / 16
    aligning = (2 + 1) / 16 + (2 + 2 + 1 + 2) * (1 / 4 + 1) + (2 + 1) + offsets * (levels + 1)
    deform = levels + 1
    fusion = 1 + 5 + 2 * 5 / 9 + (2 / 9 + 1 / 9 + 1 + 1 / 9) / 4 + 3 / 16 + 1 + 2 / 9
    tail = 2 * reconstruction + 4 + 4 * 4 * 64 / channels + (64 * 64 + 64 * 3) * 16 / channels**2
    rest = 5 * (extraction + aligning) + fusion + tail
    return unit * pixels * (rest + 5 * deform) / 1e9, unit * pixels * 5 * deform / 1e9


@pytest.mark.parametrize(
    ("name", "channels", "blocks", "gmacs", "without"), [("edvr_m", 64, 10, 486.8, 462.3), ("edvr_l", 128, 40, 2115.5, 2017.4)]
)
def test_published_cost(name: str, channels: int, blocks: int, gmacs: float, without: float) -> None:
    with torch.device("meta"):
        network = models.create(name)
    found = cost(network, 180, 320)
    total, deform = operations(channels, blocks)
    assert found["gmacs"] == pytest.approx(total, rel=1e-12)
    assert found["gmacs_without_deform"] == pytest.approx(total - deform, rel=1e-12)
    assert round(found["gmacs"], 1) == gmacs
    # Of EDVR-L, 2017.3 is left where 2017.4 is published.
    assert found["gmacs_without_deform"] == pytest.approx(without, rel=1e-4)
    assert cost(network, 180, 320, frames=5) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 4}, "'frames' of edvr_m is 4, which has no middle: give an odd number"),
        ({"groups": 3}, "4 channels cannot be divided into 3 groups"),
        ({"tsa": "no"}, "'tsa' of edvr_m is 'no': give true or false"),
        ({"reconstruction_blocks": 0}, "'reconstruction_blocks' of edvr_m is 0"),
        ({"base": "nearby"}, "unknown base of edvr_m 'nearby'"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_windows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="edvr_m restores windows of 3 frames but got 5: give 3"):
        small()(torch.rand(1, 5, 3, 8, 8))


# ---------------------------------------------------------------- checkpoints

# What mmagic wraps, so that its parameters end in `.conv.weight` and `.conv.bias`.
WRAPPED = (
    *("conv_l2_1", "conv_l2_2", "conv_l3_1", "conv_l3_2", "fusion.feat_fusion"),
    *(f"pcd_align.offset_conv{number}.l{level}" for number in (1, 2, 3) for level in (1, 2, 3)),
    *("pcd_align.feat_conv.l1", "pcd_align.feat_conv.l2", "pcd_align.cas_offset_conv1", "pcd_align.cas_offset_conv2"),
    *(f"fusion.spatial_attn{which}" for which in ("1", "2", "3", "4", "_l1", "_l2", "_l3", "_add1")),
)


def edvr_in_mmagic(key: str) -> str:
    """mmagic's name of a parameter of EDVR."""
    layer, _, kind = key.rpartition(".")
    if layer in WRAPPED:
        key = f"{layer}.conv.{kind}"
    if key.startswith(("conv_l2", "conv_l3")):
        _, level, rest = key.split("_", 2)
        return f"feat_{level}_conv{rest}"
    return key.replace("pcd_align.", "pcd_alignment.") if key.startswith("pcd_align.") else in_mmagic(key)


def test_the_map_to_mmagic() -> None:
    names = {
        "conv_l3_2.bias": "feat_l3_conv2.conv.bias",
        "pcd_align.offset_conv3.l2.weight": "pcd_alignment.offset_conv3.l2.conv.weight",
        "pcd_align.dcn_pack.l1.conv_offset.weight": "pcd_alignment.dcn_pack.l1.conv_offset.weight",
        "fusion.temporal_attn1.weight": "fusion.temporal_attn1.weight",
        "fusion.spatial_attn_add2.bias": "fusion.spatial_attn_add2.bias",
        "fusion.spatial_attn_l2.bias": "fusion.spatial_attn_l2.conv.bias",
        "upconv2.weight": "upsample2.upsample_conv.weight",
    }
    assert {key: edvr_in_mmagic(key) for key in names} == names


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edvr_m", {}),
        ("edvr_m", {"tsa": False, "frames": 5}),
        ("edvr_l", {"channels": 66, "groups": 3, "reconstruction_blocks": 1}),
    ],
)
def test_published_names(name: str, options: dict[str, object], tmp_path: Path) -> None:
    network = models.create(name, **{**TINY, **options}).eval()
    liven(network, seed=1)
    state = network.state_dict()
    assert "pcd_align.dcn_pack.l2.conv_offset.bias" in state and "reconstruction.0.conv2.weight" in state
    torch.save({"params": state}, tmp_path / "basicsr.pth")
    renamed = {f"generator.{edvr_in_mmagic(key)}": value for key, value in state.items()}
    torch.save({"meta": {}, "state_dict": {**renamed, "generator.step_counter": torch.zeros(1)}}, tmp_path / "mmagic.pth")
    models.save(network, tmp_path / "ours.safetensors")
    window = torch.rand(1, network.window, 3, 8, 9)
    for file in ("basicsr.pth", "mmagic.pth", "ours.safetensors"):
        loaded = models.load(tmp_path / file, expect=name)
        assert loaded.name == name and loaded.options == network.options and same(network, loaded)
        with torch.no_grad():
            assert torch.equal(loaded(window), network(window))


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    state = small().state_dict()
    torch.save({"params": state}, tmp_path / "m.pth")
    with pytest.raises(ValueError, match="m.pth looks like a checkpoint of edvr_m, not of edvr_l: it lacks 'feature_extraction"):
        models.load(tmp_path / "m.pth", expect="edvr_l")
    with pytest.raises(ValueError, match="looks like a checkpoint of edvr_m, not of basicvsr: it lacks"):
        models.load(tmp_path / "m.pth", expect="basicvsr")
    lacking = {key: value for key, value in state.items() if key != "pcd_align.feat_conv.l1.bias"}
    torch.save({"params": lacking}, tmp_path / "lacking.pth")
    with pytest.raises(ValueError, match="looks like a checkpoint of edvr_m, but it lacks 'pcd_align.feat_conv.l1.bias'"):
        models.load(tmp_path / "lacking.pth")
    # The part of EDVR that IconVSR begins with is published alone.
    part = {
        key: value for key, value in state.items() if not key.startswith(("reconstruction", "upconv", "conv_hr", "conv_last"))
    }
    torch.save({"params": part}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match="looks like a checkpoint of edvr; compared with edvr_., it lacks"):
        models.load(tmp_path / "part.pth")
    # Nor is the network against blur one of these.
    deblurring = {**state, "predeblur.conv_first.weight": torch.zeros(1)}
    del deblurring["conv_first.weight"]
    torch.save({"params": deblurring}, tmp_path / "deblurring.pth")
    with pytest.raises(ValueError, match="checkpoint of edvr; compared with edvr_., it lacks .* and has unexpected 'predeblur"):
        models.load(tmp_path / "deblurring.pth")


# ---------------------------------------------------------------- restoring clips


@pytest.mark.parametrize(
    ("window", "frames", "expected"),
    [
        (1, 2, [[0], [1]]),
        (3, 3, [[2, 0, 1], [0, 1, 2], [1, 2, 0]]),
        (5, 5, [[4, 3, 0, 1, 2], [4, 0, 1, 2, 3], [0, 1, 2, 3, 4], [1, 2, 3, 4, 0], [2, 3, 4, 1, 0]]),
        (5, 7, [[4, 3, 0, 1, 2], [4, 0, 1, 2, 3], *([t, t + 1, t + 2, t + 3, t + 4] for t in range(3)), [3, 4, 5, 6, 2], [4, 5, 6, 3, 2]]),
    ],
)  # fmt: skip
def test_windows_go_on_beyond_their_other_end(window: int, frames: int, expected: list[list[int]]) -> None:
    assert [neighbours(t, window, frames) for t in range(frames)] == expected


def test_windows_at_the_ends_of_a_long_clip() -> None:
    assert [neighbours(t, 7, 100) for t in (0, 1, 2, 97, 98, 99)] == [
        [6, 5, 4, 0, 1, 2, 3],
        [6, 5, 0, 1, 2, 3, 4],
        [6, 0, 1, 2, 3, 4, 5],
        [94, 95, 96, 97, 98, 99, 93],
        [95, 96, 97, 98, 99, 94, 93],
        [96, 97, 98, 99, 95, 94, 93],
    ]


def noise(count: int, height: int = 8, width: int = 9) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


@pytest.mark.parametrize(("window", "overlap"), [(5, 0), (6, 1), (7, 3), (30, 5)])
def test_a_clip_is_restored_by_the_window_around_every_frame(window: int, overlap: int) -> None:
    network, clip = small(frames=5), noise(9)
    first, last = [[4, 3, 0, 1, 2], [4, 0, 1, 2, 3]], [[5, 6, 7, 8, 4], [6, 7, 8, 5, 4]]
    restored = list(restore(network, clip, window=window, overlap=overlap))
    assert len(restored) == 9
    for frame, seen in zip(restored, [*first, *(list(range(t, t + 5)) for t in range(5)), *last], strict=True):
        with torch.no_grad():
            expected = network(to_tensor([clip[index] for index in seen])[None])[0]
        assert np.array_equal(frame, to_frame(expected))


def test_clips_shorter_than_the_window_are_refused() -> None:
    with pytest.raises(VSRError, match="has 4 frames but edvr_m needs 5"):
        list(restore(small(frames=5), noise(4), window=30, overlap=5))


def test_restoring_by_the_command(vsr: Vsr, tmp_path: Path) -> None:
    clip = noise(6, 8, 10)
    (tmp_path / "lr").mkdir()
    for index, frame in enumerate(clip):
        Image.fromarray(frame).save(tmp_path / "lr" / f"{index:03d}.png")
    network = small(frames=5)
    torch.save({"params": network.state_dict()}, tmp_path / "net.pth")
    done = vsr(
        "restore", tmp_path / "lr", tmp_path / "sr", "--method", "edvr_m", "--weights", tmp_path / "net.pth", "--device", "cpu"
    )
    assert done.code == 0, done.err
    for path, expected in zip(sorted((tmp_path / "sr").glob("*.png")), restore(network, clip, window=6, overlap=0), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_does() -> None:
    network, window = small(frames=5), torch.rand(2, 5, 3, 22, 30)
    with torch.no_grad():
        expected = network(window)
        assert torch.allclose(network.cuda()(window.cuda()).cpu(), expected, atol=1e-3)

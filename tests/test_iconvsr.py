"""IconVSR against a plain second implementation, published counts and its symmetries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_edvr import Flow, check_motion, edvr_in_mmagic, flow_of, liven, plain_features, plain_pad, plain_upsample
from test_models import State, as_arrays, convolve, in_mmagic, plain_trunk, same, warp

import models
from models import Network
from pipelines.restoring.cost import _count, cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY = {"channels": 4, "blocks": 1, "temporal_padding": 1, "extraction_blocks": 1, "groups": 2, "upsample_channels": 3}


def small(**options: object) -> Network:
    torch.manual_seed(0)
    network = models.create("iconvsr", **{**TINY, **options})
    liven(network)
    return network.eval()


def plain_iconvsr(clip: np.ndarray, state: State, flow: Flow, stride: int, padding: int, blocks: int) -> np.ndarray:
    height, width = clip.shape[2:]
    clip = plain_pad(clip)
    last = len(clip) - 1
    key_features = {}
    for t in range(last + 1):
        if t % stride == 0 or t == last:
            # Beyond its ends the clip goes on with the frames behind those that a window there shows.
            seen = [
                padding - i if i < 0 else last - padding - (i - last) if i > last else i
                for i in range(t - padding, t + padding + 1)
            ]
            key_features[t] = plain_features(clip[seen], state, "edvr.")
    channels = len(state["forward_fusion.bias"])
    following: dict[int, np.ndarray] = {}
    for t in range(last, -1, -1):
        feature = np.zeros((channels, *clip.shape[2:]))
        if t < last:
            feature = warp(following[t + 1], flow(clip[t], clip[t + 1]), border=False)
        if t in key_features:
            feature = convolve(np.concatenate([feature, key_features[t]]), state, "backward_fusion")
        following[t] = plain_trunk(np.concatenate([clip[t], feature]), state, "backward_trunk", blocks)
    out = []
    feature = np.zeros((channels, *clip.shape[2:]))
    for t in range(last + 1):
        if t > 0:
            feature = warp(feature, flow(clip[t], clip[t - 1]), border=False)
        if t in key_features:
            feature = convolve(np.concatenate([feature, key_features[t]]), state, "forward_fusion")
        feature = plain_trunk(np.concatenate([clip[t], following[t], feature]), state, "forward_trunk", blocks)
        out.append(plain_upsample(feature, clip[t], state))
    return np.stack(out)[..., : 4 * height, : 4 * width]


@pytest.mark.parametrize(
    ("frames", "options", "height", "width"),
    [
        (3, {}, 4, 8),
        (4, {"keyframe_stride": 2, "blocks": 2}, 7, 6),
        (5, {"temporal_padding": 2, "keyframe_stride": 3}, 4, 4),
    ],
)
def test_iconvsr_is_the_plain_one(frames: int, options: dict[str, int], height: int, width: int) -> None:
    network = small(**options).double()
    clip = torch.rand(1, frames, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip)[0].numpy()
    made = [network.options[name] for name in ("keyframe_stride", "temporal_padding", "blocks")]
    expected = plain_iconvsr(clip[0].numpy(), as_arrays(network), flow_of(network), *made)
    np.testing.assert_allclose(restored, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("frames", "padding", "windows"),
    [
        (5, 2, {0: [4, 3, 0, 1, 2], 4: [2, 3, 4, 1, 0]}),
        (7, 2, {0: [4, 3, 0, 1, 2], 5: [3, 4, 5, 6, 3], 6: [4, 5, 6, 3, 2]}),
        (11, 2, {0: [4, 3, 0, 1, 2], 5: [3, 4, 5, 6, 7], 10: [8, 9, 10, 7, 6]}),
        (14, 3, {0: [6, 5, 4, 0, 1, 2, 3], 5: [2, 3, 4, 5, 6, 7, 8], 10: [7, 8, 9, 10, 11, 12, 13], 13: [10, 11, 12, 13, 9, 8, 7]}),
    ],
)  # fmt: skip
def test_windows_of_keyframes(frames: int, padding: int, windows: dict[int, list[int]]) -> None:
    """Two or three frames of padding are 4, 3 or 6, 5, 4 before the clip and the same, from its end, after it."""
    network = small(temporal_padding=padding)
    network.edvr.forward = lambda window: window[0, :, 0, 0, 0]
    found = network.keyframes(torch.arange(frames).view(1, -1, 1, 1, 1).expand(-1, -1, 3, 4, 4))
    assert {t: seen.tolist() for t, seen in found.items()} == windows


def test_keyframes_are_those_of_edvr() -> None:
    """The part that is published with EDVR's names is EDVR up to its reconstruction."""
    network = small()
    edvr = models.create("edvr_m", channels=4, frames=3, extraction_blocks=1, groups=2)
    state = edvr.state_dict()
    loaded = {key.removeprefix("edvr."): value for key, value in network.state_dict().items() if key.startswith("edvr.")}
    assert loaded.keys() == {key for key in state if not key.startswith(("reconstruction.", "upconv", "conv_hr.", "conv_last."))}
    edvr.load_state_dict({**state, **loaded})
    clip = torch.rand(1, 3, 3, 8, 8)
    seen: list[torch.Tensor] = []
    edvr.reconstruction.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        edvr(clip[:, [2, 0, 1]])
        assert torch.equal(network.keyframes(clip)[0], seen[0])


def test_a_mirrored_clip_has_mirrored_flows_and_keyframes() -> None:
    network = small(keyframe_stride=2).double()
    half = torch.rand(1, 3, 3, 8, 12, dtype=torch.float64)
    clip = torch.cat([half, half[:, :2].flip(1)], dim=1)
    with torch.no_grad():
        to_next, to_previous = network.flows(clip)
        assert torch.allclose(to_previous, to_next.flip(1), atol=1e-12)
        # A window that is seen backwards needs the weights of its fusion backwards.
        expected = network.keyframes(clip)
        for layer in (network.edvr.fusion.feat_fusion, network.edvr.fusion.spatial_attn1):
            layer.weight.data = layer.weight.data.unflatten(1, (3, 4)).flip(1).flatten(1, 2)
        found = network.keyframes(clip)
    assert sorted(found) == [0, 2, 4]
    assert all(torch.allclose(found[t], expected[4 - t], atol=1e-12) for t in found)


@pytest.mark.parametrize("axis", [-1, -2])
def test_without_motion_what_is_moved_is_restored_moved(axis: int) -> None:
    """By multiples of four pixels, which the keyframes' smallest level sees as one."""
    network = small(keyframe_stride=3)
    for parameter in network.spynet.parameters():
        parameter.data.zero_()
    check_motion(network, axis, pixels=8, reach=112)


def test_clips_of_a_batch_do_not_see_each_other() -> None:
    network, clips = small(keyframe_stride=2), torch.rand(2, 4, 3, 10, 8)
    with torch.no_grad():
        together = network(clips)
        for index in range(2):
            assert torch.allclose(together[index], network(clips[index : index + 1])[0], atol=1e-5)


def test_every_frame_reaches_every_other_and_every_parameter_learns() -> None:
    network = small()
    clip = torch.rand(1, 4, 3, 8, 8, requires_grad=True)
    network(clip)[:, 1].square().mean().backward()
    assert clip.grad is not None and all(clip.grad[0, t].abs().sum() > 0 for t in range(4))
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize(("padding", "least"), [(2, 5), (3, 7)])
def test_clips_shorter_than_a_window_are_refused(padding: int, least: int) -> None:
    network = small(temporal_padding=padding)
    assert network.min_frames == least
    with torch.no_grad():
        assert network(torch.rand(1, least, 3, 4, 4)).shape == (1, least, 3, 16, 16)
    with pytest.raises(ValueError, match=f"iconvsr restores clips of at least {least} frames but got {least - 1}"):
        network(torch.rand(1, least - 1, 3, 4, 4))


def test_frames_too_small_to_be_mirrored() -> None:
    with pytest.raises(ValueError, match="frames of 1x8 are too small"):
        small()(torch.rand(1, 3, 3, 8, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keyframe_stride": 0}, "'keyframe_stride' of iconvsr is 0"),
        ({"temporal_padding": 1.5}, "'temporal_padding' of iconvsr is 1.5"),
        ({"groups": 3}, "4 channels cannot be divided into 3 groups"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_published_counts() -> None:
    with torch.device("meta"):
        network = models.create("iconvsr")
    found = cost(network, 180, 320)
    assert found["parameters"] == 8_694_991
    assert (round(found["gmacs"], 1), round(found["gmacs_without_deform"], 1)) == (457.0, 451.9)


@pytest.mark.parametrize("frames", [7, 14, 15])
def test_cost_of_long_clips_is_that_of_counting_every_frame(frames: int) -> None:
    network = small(keyframe_stride=3).to("meta")
    total, deform = _count(network, frames, 12, 16)
    found = cost(network, 12, 16, frames)
    assert found["gmacs"] == pytest.approx(total / frames / 2e9, rel=1e-12)
    assert found["gmacs_without_deform"] == pytest.approx((total - deform) / frames / 2e9, rel=1e-12)


def iconvsr_in_mmagic(key: str) -> str:
    """mmagic's name of a parameter of IconVSR."""
    return f"edvr.{edvr_in_mmagic(key.removeprefix('edvr.'))}" if key.startswith("edvr.") else in_mmagic(key)


@pytest.mark.parametrize("padding", [1, 3])
def test_published_names(padding: int, tmp_path: Path) -> None:
    network = small(temporal_padding=padding)
    state = network.state_dict()
    torch.save({"params": state}, tmp_path / "basicsr.pth")
    renamed = {f"generator.{iconvsr_in_mmagic(key)}": value for key, value in state.items()}
    assert "generator.edvr.pcd_alignment.cas_offset_conv2.conv.weight" in renamed
    assert "generator.forward_resblocks.main.2.0.conv1.bias" in renamed and "generator.backward_fusion.weight" in renamed
    torch.save({"state_dict": {**renamed, "generator.step_counter": torch.zeros(1)}}, tmp_path / "mmagic.pth")
    models.save(network, tmp_path / "ours.safetensors")
    clip = torch.rand(1, network.min_frames, 3, 8, 9)
    for file in ("basicsr.pth", "mmagic.pth", "ours.safetensors"):
        loaded = models.load(tmp_path / file, expect="iconvsr")
        assert loaded.options == network.options and same(network, loaded)
        with torch.no_grad():
            assert torch.equal(loaded(clip), network(clip))


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    state = small().state_dict()
    torch.save({"params": state}, tmp_path / "net.pth")
    with pytest.raises(
        ValueError, match="looks like a checkpoint of iconvsr, not of basicvsr: it lacks .* and has unexpected 'edvr"
    ):
        models.load(tmp_path / "net.pth", expect="basicvsr")
    del state["edvr.fusion.spatial_attn5.bias"]
    torch.save({"params": state}, tmp_path / "lacking.pth")
    with pytest.raises(ValueError, match="looks like a checkpoint of iconvsr, but it lacks 'edvr.fusion.spatial_attn5.bias'"):
        models.load(tmp_path / "lacking.pth")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_does() -> None:
    network, clip = small(), torch.rand(2, 6, 3, 22, 30)
    with torch.no_grad():
        expected = network(clip)
        assert torch.allclose(network.cuda()(clip.cuda()).cpu(), expected, atol=1e-3)

"""BasicVSR++ against a plain second implementation, published counts and its symmetries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_edvr import Flow, check_motion, flow_of, liven, plain_deform, plain_upsample, sigmoid
from test_models import State, as_arrays, convolve, in_mmagic, leaky, plain_trunk, same, warp
from torch import Tensor
from torch.nn import functional as F

import models
from models import Network
from models.parts.deform import SecondOrderDeformAlignment
from pipelines.restoring.cost import _count, cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY = {"channels": 4, "blocks": 2, "outer_blocks": 1, "groups": 4, "upsample_channels": 3}


def small(**options: object) -> Network:
    torch.manual_seed(0)
    network = models.create("basicvsr_plusplus", **{**TINY, **options})
    liven(network)
    return network.eval()


# ---------------------------------------------------------------- a slow second implementation, one frame (C, H, W) at a time


def plain_alignment(
    before: list[np.ndarray], condition: list[np.ndarray], flows: list[np.ndarray], state: State, name: str
) -> np.ndarray:
    x = np.concatenate([*condition, *flows])
    for layer in (0, 2, 4):
        x = leaky(convolve(x, state, f"{name}.conv_offset.{layer}"))
    first, second, mask = np.split(convolve(x, state, f"{name}.conv_offset.6"), 3)
    offset = 10 * np.tanh(np.concatenate([first, second]))
    samples = len(offset) // 2
    for sample in range(samples):
        flow = flows[0] if sample < samples // 2 else flows[1]
        offset[2 * sample] += flow[1]
        offset[2 * sample + 1] += flow[0]
    return plain_deform(np.concatenate(before), offset, sigmoid(mask), state[f"{name}.weight"], state[f"{name}.bias"])


def plain_basicvsr_plusplus(clip: np.ndarray, state: State, flow_between: Flow, blocks: int, outer: int) -> np.ndarray:
    frames = len(clip)
    spatial = [plain_trunk(frame, state, "feat_extract", outer) for frame in clip]
    flow = {
        (one, other): flow_between(clip[one], clip[other])
        for one in range(frames)
        for other in (one - 1, one + 1)
        if 0 <= other < frames
    }
    nothing, no_flow = np.zeros_like(spatial[0]), np.zeros_like(clip[0][:2])
    branches: dict[str, dict[int, np.ndarray]] = {}
    for branch in ("backward_1", "forward_1", "backward_2", "forward_2"):
        step = -1 if branch.startswith("backward") else 1
        found: dict[int, np.ndarray] = {}
        for t in range(frames)[::step]:
            aligned = nothing
            near, far = t - step, t - 2 * step
            if near in found:
                flow1, flow2 = flow[t, near], no_flow
                warped = [warp(found[near], flow1, border=False), nothing]
                if far in found:
                    flow2 = flow1 + warp(flow[near, far], flow1, border=False)
                    warped[1] = warp(found[far], flow2, border=False)
                condition = [warped[0], spatial[t], warped[1]]
                before = [found[near], found.get(far, nothing)]
                aligned = plain_alignment(before, condition, [flow1, flow2], state, f"deform_align.{branch}")
            seen = np.concatenate([spatial[t], *(other[t] for other in branches.values()), aligned])
            found[t] = aligned + plain_trunk(seen, state, f"backbone.{branch}", blocks)
        branches[branch] = found
    out = []
    for t in range(frames):
        x = np.concatenate([spatial[t], *(branch[t] for branch in branches.values())])
        out.append(plain_upsample(plain_trunk(x, state, "reconstruction", outer), clip[t], state))
    return np.stack(out)


# ---------------------------------------------------------------- alignment


def test_alignment_starts_as_half_a_convolution_of_what_the_flow_shows() -> None:
    """The first frame moves with the first flow, the second with the second; both are given unwarped."""
    torch.manual_seed(0)
    layer = SecondOrderDeformAlignment(4, 4)
    before, condition = torch.randn(1, 8, 12, 14), torch.randn(1, 12, 12, 14)
    flow1, flow2 = (torch.tensor(flow).view(1, 2, 1, 1).expand(1, 2, 12, 14) for flow in ([2.0, -1.0], [-3.0, 2.0]))
    with torch.no_grad():
        aligned = layer(before, condition, flow1, flow2)
    padded = F.pad(before, (4, 4, 4, 4))
    moved = torch.cat([padded[:, :4, 2:16, 5:21], padded[:, 4:, 5:19, 0:16]], dim=1)
    assert torch.allclose(aligned, F.conv2d(moved, layer.weight / 2), atol=1e-5)


def test_samples_stay_within_reach_of_the_flow() -> None:
    layer = SecondOrderDeformAlignment(2, 2)
    layer.conv_offset[-1].bias.data.fill_(100.0)
    layer.weight.data.fill_(1.0)
    before = torch.zeros(1, 4, 40, 40)
    before[..., 25, 24] = 1.0
    flow1, flow2 = torch.zeros(2, 1, 2, 40, 40)
    flow1[:, 0] = 4.0
    with torch.no_grad():
        aligned = layer(before, torch.zeros(1, 6, 40, 40), flow1, flow2)
    # Weights are one; ten down and to the right of where the flow leads.
    seen = {(int(i), int(j)): round(float(aligned[0, 0, i, j]), 3) for i, j in aligned[0, 0].nonzero()}
    first = {(15 + i, 10 + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    second = {(i, j + 4) for i, j in first}
    assert set(seen) == first | second and set(seen.values()) == {2.0}


def test_gradients_of_alignment() -> None:
    torch.manual_seed(1)
    layer = SecondOrderDeformAlignment(2, 2).double()
    liven(layer)
    shapes = ((1, 4, 3, 4), (1, 6, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4))
    inputs = tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    parameters = {name: value for name, value in layer.named_parameters() if name in ("weight", "bias", "conv_offset.6.weight")}

    def run(*values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(parameters, values[4:], strict=True)), values[:4])

    assert torch.autograd.gradcheck(run, (*inputs, *parameters.values()))


# ---------------------------------------------------------------- BasicVSR++


@pytest.mark.parametrize(
    ("frames", "options", "height", "width"),
    [(1, {}, 5, 3), (2, {}, 7, 6), (4, {"groups": 2, "blocks": 1}, 6, 9)],
)
def test_basicvsr_plusplus_is_the_plain_one(frames: int, options: dict[str, int], height: int, width: int) -> None:
    network = small(**options).double()
    clip = torch.rand(1, frames, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip)[0].numpy()
    made = network.options
    expected = plain_basicvsr_plusplus(
        clip[0].numpy(), as_arrays(network), flow_of(network), made["blocks"], made["outer_blocks"]
    )
    np.testing.assert_allclose(restored, expected, atol=1e-9)


def test_branches_mirror_each_other() -> None:
    """What the first backward branch does to a clip, the first forward one does to its mirror image with the same weights."""
    clip = torch.rand(1, 5, 3, 10, 12, dtype=torch.float64)
    backward, forward = small(blocks=1).double(), small(blocks=1).double()
    only = backward.reconstruction.main[0].weight.data
    only[:, 8:] = 0  # of the five, the features of the frame and of the first branch
    swapped = forward.reconstruction.main[0].weight.data
    swapped.copy_(only)
    swapped[:, 8:12], swapped[:, 4:8] = only[:, 4:8], 0
    mine, its = forward.backbone["forward_1"], forward.backbone["backward_1"].state_dict()
    weight = its.pop("main.0.weight")
    mine.load_state_dict({**its, "main.0.weight": mine.main[0].weight})
    mine.main[0].weight.data.copy_(torch.cat([weight[:, :4], torch.zeros_like(weight[:, :4]), weight[:, 4:]], dim=1))
    forward.deform_align["forward_1"].load_state_dict(forward.deform_align["backward_1"].state_dict())
    with torch.no_grad():
        expected = backward(clip)
        assert not torch.allclose(backward(clip.flip(1)).flip(1), expected)
        assert torch.allclose(forward(clip.flip(1)).flip(1), expected, atol=1e-10)


def test_flows_of_a_mirrored_clip_mirror() -> None:
    half = torch.rand(1, 3, 3, 20, 24)
    to_next, to_previous = small().flows(torch.cat([half, half.flip(1)], dim=1))
    assert torch.allclose(to_previous, to_next.flip(1), atol=1e-6)


def test_clips_of_one_network_do_not_depend_on_those_before() -> None:
    """Also after a mirrored clip, of which others reuse the flows."""
    network, clip, half = small(), torch.rand(1, 4, 3, 8, 9), torch.rand(1, 2, 3, 8, 9)
    with torch.no_grad():
        expected = network(clip)
        network(torch.cat([half, half.flip(1)], dim=1))
        assert torch.equal(network(clip), expected)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("motion", [(0, 0), (2, -1)])
def test_what_is_moved_is_restored_moved(motion: tuple[int, int], axis: int) -> None:
    """By whole pixels, where the flow says the same everywhere."""
    network = small(blocks=1)
    for parameter in network.spynet.parameters():
        parameter.data.zero_()
    network.spynet.basic_module[-1].basic_module[-1].bias.data.copy_(torch.tensor(motion))
    for layer in network.deform_align.values():
        layer.reach = 1.0  # what is further than ten pixels from the flow would need larger frames
    check_motion(network, axis, pixels=3, reach=108)


def test_moving_frames_are_aligned_to_one() -> None:
    """Along the exact flow of a clip that moves by whole pixels, every frame shows the first one's features."""
    torch.manual_seed(0)
    layer = SecondOrderDeformAlignment(3, 2)
    still = torch.rand(1, 3, 20, 20)
    previous, earlier = still.roll((1, 2), (2, 3)), still.roll((2, 4), (2, 3))  # what moves up and to the left
    flow = torch.tensor([2.0, 1.0]).view(1, 2, 1, 1).expand(1, 2, 20, 20)
    none = torch.zeros_like(flow)
    with torch.no_grad():
        condition = torch.rand(1, 9, 20, 20)
        moving = layer(torch.cat([previous, earlier], dim=1), condition, flow, 2 * flow)
        standing = layer(torch.cat([still, still], dim=1), condition, none, none)
    assert torch.allclose(moving[..., 1:-4, 1:-6], standing[..., 1:-4, 1:-6], atol=1e-6)


def test_clips_of_a_batch_do_not_see_each_other() -> None:
    network, clips = small(), torch.rand(3, 4, 3, 9, 10)
    with torch.no_grad():
        together = network(clips)
        for index in range(3):
            assert torch.allclose(together[index], network(clips[index : index + 1])[0], atol=1e-5)


def test_features_do_not_depend_on_how_many_frames_are_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, clip = small(), torch.rand(2, 3, 3, 8, 8)
    with torch.no_grad():
        whole = network(clip)
        monkeypatch.setattr("models.parts.blocks.PART_PIXELS", 130)
        assert torch.allclose(network(clip), whole, atol=1e-5)


def test_every_frame_reaches_every_other_and_every_parameter_learns() -> None:
    network = small()
    clip = torch.rand(1, 4, 3, 8, 8, requires_grad=True)
    network(clip)[:, 1].square().mean().backward()
    assert clip.grad is not None and all(clip.grad[0, t].abs().sum() > 0 for t in range(4))
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_first_weights() -> None:
    network = models.create("basicvsr_plusplus", **TINY)
    for layer in network.deform_align.values():
        assert not layer.conv_offset[6].weight.any() and not layer.conv_offset[6].bias.any() and layer.conv_offset[4].weight.any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 1}, "1 groups cannot be shared between two frames: give an even number"),
        ({"groups": 6}, "8 channels cannot be divided into 6 groups"),
        ({"outer_blocks": 0}, "'outer_blocks' of basicvsr_plusplus is 0"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_published_counts() -> None:
    with torch.device("meta"):
        network = models.create("basicvsr_plusplus")
    found = cost(network, 180, 320)
    assert found["parameters"] == 7_322_927
    assert (round(found["gmacs"], 1), round(found["gmacs_without_deform"], 1)) == (434.9, 418.1)
    parts = {
        "spynet": 1_440_300,
        "feat_extract": 371_072,
        "deform_align": 2_039_488,
        "backbone": 2_584_320,
        "reconstruction": 553_664,
    }
    for part, parameters in parts.items():
        assert sum(parameter.numel() for parameter in getattr(network, part).parameters()) == parameters


def test_cost_of_long_clips_is_that_of_counting_every_frame() -> None:
    network = small().to("meta")
    total, deform = _count(network, 14, 12, 16)
    found = cost(network, 12, 16, frames=14)
    assert found["gmacs"] == pytest.approx(total / 14 / 2e9, rel=1e-12)
    assert found["gmacs_without_deform"] == pytest.approx((total - deform) / 14 / 2e9, rel=1e-12)


# ---------------------------------------------------------------- checkpoints


def test_published_names(tmp_path: Path) -> None:
    network = small()
    state = network.state_dict()
    assert "deform_align.forward_2.conv_offset.6.bias" in state and "backbone.backward_2.main.2.1.conv2.weight" in state
    torch.save({"params": state}, tmp_path / "basicsr.pth")
    renamed = {f"generator.{in_mmagic(key)}": value for key, value in state.items()}
    assert "generator.upsample1.upsample_conv.weight" in renamed and "generator.reconstruction.main.0.weight" in renamed
    torch.save({"state_dict": {**renamed, "generator.step_counter": torch.zeros(1)}}, tmp_path / "mmagic.pth")
    models.save(network, tmp_path / "ours.safetensors")
    clip = torch.rand(1, 3, 3, 8, 9)
    for file in ("basicsr.pth", "mmagic.pth", "ours.safetensors"):
        loaded = models.load(tmp_path / file, expect="basicvsr_plusplus")
        assert loaded.options == network.options and same(network, loaded)
        with torch.no_grad():
            assert torch.equal(loaded(clip), network(clip))


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    state = small().state_dict()
    torch.save({"params": state}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="looks like a checkpoint of basicvsr_plusplus, not of iconvsr: it lacks"):
        models.load(tmp_path / "net.pth", expect="iconvsr")
    # Made without a GPU, BasicSR's network has no alignment.
    unaligned = {key: value for key, value in state.items() if not key.startswith("deform_align")}
    torch.save({"params": unaligned}, tmp_path / "unaligned.pth")
    with pytest.raises(
        ValueError, match="looks like a checkpoint of basicvsr_plusplus; compared with basicvsr_plusplus, it lacks"
    ):
        models.load(tmp_path / "unaligned.pth")
    # Restoration without enlargement begins with other layers.
    same_size = {key.replace("feat_extract.", "feat_extract.4."): value for key, value in state.items()}
    torch.save({"params": same_size}, tmp_path / "same_size.pth")
    with pytest.raises(ValueError, match="checkpoint of basicvsr_plusplus; .* it lacks .* and has unexpected 'feat_extract.4"):
        models.load(tmp_path / "same_size.pth")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_does() -> None:
    network, clip = small(), torch.rand(2, 4, 3, 22, 30)
    with torch.no_grad():
        expected = network(clip)
        assert torch.allclose(network.cuda()(clip.cuda()).cpu(), expected, atol=1e-3)

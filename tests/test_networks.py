"""What every registered network that restores clips must do, whatever it is made of: a new one adds its tiny options here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_edvr import liven
from test_models import same
from torch import Tensor
from torch.nn import functional as F

import models
from models import Network
from models.parts.basicvsr import BasicVSRFeatures
from models.parts.blocks import SubPixelNetwork
from models.parts.deform import SecondOrderDeformAlignment
from models.parts.edvr import EDVR
from models.parts.framewise import FramewiseNetwork
from models.parts.priors import PLANES
from models.parts.recurrent import RecurrentFeatures
from models.parts.registry import kind
from models.parts.resize import imresize_to
from models.parts.warp import flow_warp
from models.realbasicvsr import RealBasicVSR
from models.seem import SEEM
from pipelines.priors.kinds import KINDS
from pipelines.restoring.cost import cost
from pipelines.restoring.restore import neighbours

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

Options = dict[str, Any]

RECURRENT: Options = {"channels": 4, "blocks": 1}
SECOND_ORDER: Options = {**RECURRENT, "outer_blocks": 1, "groups": 4}
WINDOW: Options = {"channels": 4, "frames": 3, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2}
SUB_PIXEL: Options = {"upsample_channels": 3}
KEYFRAMES: Options = {"temporal_padding": 1, "keyframe_stride": 2, "extraction_blocks": 1, "groups": 2}
PERCEPTRON: Options = {"hidden": 6}
FRAMEWISE: Options = {"channels": 4, "blocks": 2}
LATENT: Options = {
    "channels": [4, 8],
    "vae_channels": [4, 4, 8],
    "latents": 4,
    "groups": 2,
    "head": 4,
    "context": 4,
    "steps": 2,
    "chunk": 9,
    "overlap": 1,
}
CLEANED: Options = {
    "dcm_channels": 4,
    "dcm_blocks": 1,
    "dcm_layers": 2,
    "dcm_heads": 2,
    "dcm_hidden": 4,
    "window": 2,
    "prompts": 2,
}
CONTROLLED: Options = {"control_channels": 4, "control_multiples": [1, 1], "attention": [False, True], "layers": 1, "tokens": 2}
PYRAMID: Options = {"channels": 4, "encoder_channels": 4, "levels": 2, "samples": 2, "blocks": 1}

TINY: dict[str, Options] = {
    "ada_ssr": FRAMEWISE,
    "ada_tsr": FRAMEWISE,
    "ada_vsr": {**FRAMEWISE, "tsr_channels": 4, "tsr_blocks": 1},
    "basicvsr": RECURRENT | SUB_PIXEL,
    "basicvsr_dcgu": RECURRENT | PERCEPTRON,
    "basicvsr_liif": RECURRENT | PERCEPTRON,
    "basicvsr_lte": RECURRENT | PERCEPTRON,
    "basicvsr_metasr": RECURRENT | PERCEPTRON,
    "basicvsr_plusplus": SECOND_ORDER | SUB_PIXEL,
    "basicvsr_plusplus_dcgu": SECOND_ORDER | PERCEPTRON,
    "basicvsr_plusplus_liif": SECOND_ORDER | PERCEPTRON,
    "basicvsr_plusplus_lte": SECOND_ORDER | PERCEPTRON,
    "basicvsr_plusplus_metasr": SECOND_ORDER | PERCEPTRON,
    "bicubic": {},
    "cascade": {"interpolate": "cubic"},
    "dap_128": PYRAMID,
    "dap_64": PYRAMID,
    "edvr_l": WINDOW | SUB_PIXEL,
    "edvr_m": WINDOW | SUB_PIXEL,
    "iconvsr": RECURRENT | KEYFRAMES | SUB_PIXEL,
    "safmn": FRAMEWISE,
    "sdatc": LATENT | CLEANED | CONTROLLED | {"vae_layers": 1},
    "sdatc_mini": LATENT | CLEANED | CONTROLLED,
    "star_mini": LATENT,
    "rdg": {"channels": 4},
    "rdg_s": {"channels": 4},
    "realbasicvsr": RECURRENT
    | SUB_PIXEL
    | {"cleaning_blocks": 1, "threshold": 1e5},  # else a pass more for a difference in the last digits
    "realesr_animevideo": {"channels": 4, "layers": 2},
    "realesr_general": {"channels": 4, "layers": 2},
    "realesrgan": {"channels": 4, "blocks": 1, "growth": 2},
    "seem_basicvsr": RECURRENT | SUB_PIXEL,
    "seem_edvr": WINDOW | SUB_PIXEL,
    "smfanet": FRAMEWISE,
    "temporal_profile": {"channels": 4, "profile_blocks": 1, "blocks": 1},
    "zooming_slowmo": {"channels": 4, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2},
}
"""Options with which a network has all of its parts and takes milliseconds."""

CONTINUOUS: Options = {"points": "square", "gate": False, "gps": False, "range_filter": "none"}
"""Of DCGU, without what it chooses: other points for a difference in the last digits."""

RESTORING = [name for name in models.names() if kind(name).restores and name != "image"]
"""All but the network that has no layers before it is given its parameters (test_image.py)."""


def of_kind(*kinds: type, but: tuple[str, ...] = ()) -> list[str]:
    return [name for name in RESTORING if issubclass(kind(name), kinds) and not name.endswith(but)]


def small(name: str, **options: object) -> Network:
    """A network with parameters as lively as after training, in double precision so that order of additions hardly counts."""
    if name not in TINY:
        pytest.fail(f"the network {name} has no tiny options: add them to TINY in {Path(__file__).name}.")
    torch.manual_seed(0)
    network = models.create(name, **{**TINY[name], **options})
    liven(network)
    return network.eval().double()


def continuous(name: str, **options: object) -> Network:
    return small(name, **({**CONTINUOUS, **options} if name.endswith("dcgu") else {}))


def example(network: Network, height: int = 8, width: int = 12, frames: int = 3, count: int = 1, seed: int = 1) -> list[Tensor]:
    """A clip and its priors."""
    torch.manual_seed(seed)
    frames = network.window or max(frames, network.min_frames)
    given = {"flow": 2 * torch.randn(count, frames, 4, height, width, dtype=torch.float64)}
    given |= {"masks": (torch.randint(0, 9, (count, frames, 1, height, width)) == torch.arange(PLANES)[:, None, None]).double()}
    for name in ("motion", "normalised_depth", "normals", "normalised_albedo"):
        planes = torch.rand(count, frames, KINDS[name].channels, height, width, dtype=torch.float64)
        given[name] = 4 * planes - 2 if name == "motion" else 2 * planes - 1 if name == "normals" else planes
    clip = torch.rand(count, frames, 3, height, width, dtype=torch.float64)
    return [clip, *(given[prior] for prior in network.priors)]


def run(network: Network, inputs: list[Tensor], **keywords: object) -> Tensor:
    with torch.no_grad():
        return call(network, inputs, **keywords)


def call(network: Network, inputs: list[Tensor], **keywords: object) -> Tensor:
    """What a network gives for a clip and its priors."""
    return network(inputs[0], **dict(zip(network.priors, inputs[1:], strict=True)), **keywords)


def expected_shape(network: Network, clip: Tensor) -> tuple[int, ...]:
    size = tuple(round(network.scale * side) for side in clip.shape[-2:])
    return (len(clip), *(() if network.window else [network.made(clip.shape[1])]), 3, *size)


# ---------------------------------------------------------------- what a network says of itself


def test_tiny_options_are_those_of_registered_networks() -> None:
    assert set(TINY) == set(RESTORING), "TINY must name every network that restores clips, and no other"


@pytest.mark.parametrize("name", RESTORING)
def test_sizes(name: str) -> None:
    """Of the output, as `scale` and `window` say, whatever the sides are multiples of."""
    network = small(name)
    inputs = example(network, 7, 9, count=2)
    restored = run(network, inputs)
    assert restored.shape == expected_shape(network, inputs[0]) and restored.dtype == torch.float64
    assert restored.isfinite().all()


@pytest.mark.parametrize("name", RESTORING)
def test_the_call_is_what_attributes_say(name: str) -> None:
    known = kind(name)
    assert set(known.priors) <= set(KINDS)
    _, clip, *keywords = inspect.signature(known.forward).parameters.values()
    assert clip.name == "clip" and all(keyword.kind == keyword.KEYWORD_ONLY for keyword in keywords)
    flow = ["flow"] * (issubclass(known, RecurrentFeatures) or name == "cascade")
    assert sorted(keyword.name for keyword in keywords) == sorted([*known.priors, *flow, *["size"] * known.any_scale])
    network = small(name)
    inputs = example(network)
    if not known.any_scale:
        with pytest.raises(TypeError, match="size"):
            run(network, inputs, size=(20, 30))
        return
    assert torch.equal(run(network, inputs), run(network, inputs, size=(round(network.scale * 8), round(network.scale * 12))))
    assert run(network, inputs, size=(19, 30)).shape == (*inputs[0].shape[:3], 19, 30)


@pytest.mark.parametrize("name", RESTORING)
def test_the_shortest_clip(name: str) -> None:
    network = small(name)
    clip, *priors = example(network, frames=1)
    assert clip.shape[1] == network.min_frames
    restored = run(network, [clip, *priors])
    assert restored.shape == expected_shape(network, clip) and restored.isfinite().all()
    if network.min_frames > 1:
        with pytest.raises(
            ValueError, match=rf"^{name} restores .* {network.min_frames}.* but got {network.min_frames - 1}: give"
        ):
            run(network, [clip[:, 1:], *(prior[:, 1:] for prior in priors)])


@pytest.mark.parametrize("name", RESTORING)
def test_impossible_options(name: str) -> None:
    with torch.device("meta"):
        with pytest.raises(ValueError, match=f"unknown option of {name} 'nonsense'"):
            models.create(name, nonsense=1)
        for option, parameter in inspect.signature(kind(name)).parameters.items():
            wrong = {bool: ["yes"], int: [0, -1, 2.5], str: ["nonsense"]}.get(type(parameter.default), [])
            for value in wrong if name != "bicubic" else [0, -1]:
                with pytest.raises(ValueError, match=f"{option}|'{value}'"):
                    models.create(name, **{option: value})


@pytest.mark.parametrize("name", RESTORING)
def test_it_can_be_counted_without_being_computed(name: str) -> None:
    with torch.device("meta"):
        network = models.create(name, **TINY[name])
        inputs = [x.float() for x in example(network, 12, 16)]
    assert run(network, inputs).shape == expected_shape(network, inputs[0])
    found = cost(network, 12, 16, frames=max(3, network.min_frames))
    assert found["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert 0 <= found["gmacs_without_deform"] <= found["gmacs"] and (found["gmacs"] > 0 or name in ("bicubic", "cascade"))


@pytest.mark.parametrize("name", RESTORING)
def test_saved_it_comes_back(name: str, tmp_path: Path) -> None:
    network = small(name).float()
    models.save(network, tmp_path / "model.safetensors")
    loaded = models.load(tmp_path / "model.safetensors", expect=name)
    assert (loaded.name, loaded.options) == (name, network.options) and same(network, loaded) and not loaded.training
    inputs = [x.float() for x in example(network)]
    assert torch.equal(run(loaded, inputs), run(network, inputs))


# ---------------------------------------------------------------- clips that do not see each other, and precision


@pytest.mark.parametrize("name", RESTORING)
def test_clips_of_a_batch_do_not_see_each_other(name: str) -> None:
    network = small(name)
    inputs = example(network, 9, 10, count=2)
    together = run(network, inputs)
    for index in range(2):
        assert torch.allclose(together[index], run(network, [x[index : index + 1] for x in inputs])[0], atol=1e-10)


@pytest.mark.parametrize("name", RESTORING)
def test_clips_of_one_network_do_not_see_those_before(name: str) -> None:
    network = small(name).float()  # equal to the bit in any precision
    inputs, before = ([x.float() for x in each] for each in (example(network), example(network, 9, 8, seed=2)))
    expected = run(network, inputs)
    run(network, before)
    assert torch.equal(run(network, inputs), expected)


@pytest.mark.parametrize("name", RESTORING)
def test_single_precision_is_enough(name: str) -> None:
    network = continuous(name)
    inputs = example(network)
    exact = run(network, inputs)
    single = run(network.float(), [x.float() for x in inputs])
    assert single.dtype == torch.float32 and torch.allclose(single.double(), exact, atol=1e-5 * float(exact.abs().max()))


@pytest.mark.parametrize("name", RESTORING)
def test_half_precision_keeps_to_the_picture(name: str) -> None:
    network = continuous(name).float()
    inputs = [x.float() for x in example(network)]
    exact = run(network, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = run(network, inputs).float()
    assert (rough - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", RESTORING)
def test_the_gpu_gives_what_the_cpu_does(name: str) -> None:
    network = small(name)
    inputs = example(network, 22, 30, count=2)
    expected = run(network, inputs)
    found = run(network.cuda(), [x.cuda() for x in inputs])
    assert torch.allclose(found.cpu(), expected, atol=1e-8)


# ---------------------------------------------------------------- flow that is given


RECURRENT_NAMES = [name for name in RESTORING if issubclass(kind(name), RecurrentFeatures)]


def cleaned(network: Network, clip: Tensor) -> Tensor:
    """What a network restores from: of one that cleans frames the clean ones."""
    with torch.no_grad():
        return network.clean(clip) if isinstance(network, RealBasicVSR) else clip


def flow_prior(network: Network, clip: Tensor) -> Tensor:
    """What the flow network of a network finds, as a prior; what leads out of the clip is made up."""
    with torch.no_grad():
        to_next, to_previous = network.flows(cleaned(network, clip))
    outside = torch.full_like(clip[:, :1, :2], 3.0)
    return torch.cat([torch.cat([to_next, outside], dim=1), torch.cat([-outside, to_previous], dim=1)], dim=2)


@pytest.mark.parametrize("name", RECURRENT_NAMES)
def test_its_own_flow_given_restores_the_same_frames(name: str) -> None:
    own = small(name)
    inputs = example(own)
    expected = run(own, inputs)
    with pytest.raises(ValueError, match=f"^{name} computes its own flow: leave `flow` out, or create .* with flow='given'"):
        run(own, inputs, flow=inputs[0])
    given = models.create(name, **TINY[name], flow="given").eval().double()
    state = {key: value for key, value in own.state_dict().items() if not key.startswith("spynet.")}
    given.load_state_dict(state)
    assert given.priors == (*kind(name).priors, "flow") and kind(name).priors == own.priors
    flow = flow_prior(own, inputs[0])
    assert torch.equal(run(given, [*inputs, flow]), expected)
    assert not torch.equal(run(given, [*inputs, 0 * flow]), expected)
    for wrong, said in ((flow[:, :, :2], "got flow of shape"), (flow[..., 1:], "got flow of shape")):
        with pytest.raises(ValueError, match=f"^{name} {said} .*: give flow of the clip, "):
            run(given, [*inputs, wrong])
    with pytest.raises(ValueError, match=f"^{name} is guided by flow but got none: give flow of the clip, .* by keyword"):
        given(inputs[0], **dict(zip(own.priors, inputs[1:], strict=True)))


def test_given_flow_is_mirrored_with_the_frames() -> None:
    """IconVSR takes sides that are multiples of 4; in a mirror, motion is mirrored too."""
    network = small("iconvsr", flow="given")
    clip, flow = example(network, 8, 12)
    rows, columns = [0, 1, 2, 3, 4, 5, 4, 3], [*range(10), 8, 7]
    signs = torch.ones(4, 8, 12, dtype=torch.float64)
    signs[0::2, :, 10:], signs[1::2, 6:] = -1, -1
    whole = [x[..., :6, :10][..., rows, :][..., columns] for x in (clip, flow)]
    cut = run(network, [clip[..., :6, :10], flow[..., :6, :10]])
    assert torch.equal(cut, run(network, [whole[0], whole[1] * signs])[..., :24, :40])


@pytest.mark.parametrize("name", RECURRENT_NAMES)
def test_a_network_without_its_own_flow_is_saved_and_counted(name: str, tmp_path: Path) -> None:
    network = small(name, flow="given").float()
    models.save(network, tmp_path / "model.safetensors")
    loaded = models.load(tmp_path / "model.safetensors", expect=name)
    assert loaded.priors == network.priors and same(network, loaded)
    own, flow = (sum(p.numel() for p in each.parameters()) for each in (small(name, flow="own"), models.create("spynet")))
    assert cost(network, 12, 16, frames=3)["parameters"] == own - flow


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("name", [name for name in RESTORING if name != "bicubic"])
def test_every_frame_counts_and_every_parameter_is_used(name: str) -> None:
    network = small(name).train()
    clip, *priors = example(network)
    clip.requires_grad_()
    restored = call(network, [clip, *priors])
    # The last frame of a network that sees none ahead, else one in the middle.
    t = clip.shape[1] - 1 if network.causal else 1
    (restored if network.window else restored[:, t]).square().mean().backward()
    assert clip.grad is not None
    seen, alone = clip.grad[0].flatten(1).any(1).tolist(), isinstance(network, FramewiseNetwork)
    assert seen == [index == t or not alone for index in range(len(seen))]
    learning = {key: parameter.grad for key, parameter in network.named_parameters() if parameter.requires_grad}
    assert not [key for key, gradient in learning.items() if gradient is None or not gradient.isfinite().all()]


@pytest.mark.parametrize("base", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    "name", [name for name in RESTORING if name != "bicubic" and kind(name).time_scale == 1 and not kind(name).sees_truth]
)
def test_the_last_layer_makes_what_is_added_to_the_base(name: str, base: str) -> None:
    network = small(name, base=base)
    for parameter in network.last.parameters():
        parameter.data.zero_()
    inputs = example(network)
    clip = inputs[0][:, network.window // 2] if network.window else cleaned(network, inputs[0]).flatten(0, 1)
    plain = F.interpolate(clip, scale_factor=4, mode="bilinear") if base == "bilinear" else imresize_to(clip, (32, 48))
    assert torch.allclose(run(network, inputs), plain.view(expected_shape(network, inputs[0])), atol=1e-10)


def test_gradients_of_warping() -> None:
    """Between pixels, within the frame and beyond its borders; at whole pixels there is none."""
    torch.manual_seed(0)
    x = torch.rand(2, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    flow = torch.randint(-3, 4, (2, 2, 4, 5)) + torch.rand(2, 2, 4, 5, dtype=torch.float64) * 0.8 + 0.1
    flow.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, flow: flow_warp(x, flow), (x, flow))
    assert torch.autograd.gradcheck(lambda x, flow: flow_warp(x, flow, padding="border"), (x, flow))


# ---------------------------------------------------------------- space


def exchange(values: Tensor, order: list[int], dim: int = 0) -> None:
    values.copy_(values.index_select(dim, torch.tensor(order)))


@torch.no_grad()
def transpose(network: Network) -> None:
    """Parameters with which rows are what columns were."""
    # Samples of deformable convolutions: places in the kernel, row by row, and of each how far down and along.
    places = [0, 3, 6, 1, 4, 7, 2, 5, 8]
    for key, value in network.named_parameters():
        layer = key.rpartition(".")[0]
        if layer.startswith("profile"):  # of slices through time, along rows and along columns by the same kernels
            continue
        if value.ndim == 4:
            value.copy_(value.transpose(2, 3).clone())
        if network.name == "temporal_profile" and key == "fuse.weight":  # sees frames, then rows, then columns
            around, rows, columns = value.chunk(3, dim=1)
            value.copy_(torch.cat([around, columns, rows], dim=1))
        if layer in ("upconv1", "upconv2"):  # two rows of two columns
            exchange(value, [4 * channel + place for channel in range(len(value) // 4) for place in (0, 2, 1, 3)])
        elif layer.endswith(("conv_offset", "conv_offset.6")):
            groups = len(value) // 27
            moves = [18 * group + 2 * place + axis for group in range(groups) for place in places for axis in (1, 0)]
            exchange(value, moves + [18 * groups + 9 * group + place for group in range(groups) for place in places])
        elif key.endswith("conv_offset.0.weight"):  # sees two flows last
            exchange(value, [*range(value.shape[1] - 4), *(value.shape[1] - 4 + channel for channel in (1, 0, 3, 2))], dim=1)
        elif layer.startswith("spynet") and key.endswith("basic_module.0.weight"):  # sees flow last
            exchange(value, [*range(6), 7, 6], dim=1)
        elif layer.startswith("spynet") and layer.endswith("basic_module.8"):
            exchange(value, [1, 0])


@pytest.mark.parametrize("name", of_kind(SubPixelNetwork))
def test_rows_are_treated_like_columns(name: str) -> None:
    """Turned kernels restore turned frames turned, flow, deformable convolutions, masks and all."""
    network = small(name)
    inputs = example(network, 10, 13)
    turned = [x.transpose(-1, -2) for x in inputs]
    expected = run(network, inputs)
    assert not torch.allclose(run(network, turned).transpose(-1, -2), expected, atol=1e-3)
    transpose(network)
    assert torch.allclose(run(network, turned).transpose(-1, -2), expected, atol=1e-9)
    if network.priors:  # which have to be turned with their frames
        still = [turned[0], *(F.pad(x, (0, 0, 0, 3))[..., :10] for x in inputs[1:])]
        assert not torch.allclose(run(network, still).transpose(-1, -2), expected, atol=1e-3)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("name", of_kind(RecurrentFeatures, EDVR, but=("dcgu",)))
def test_what_is_moved_is_restored_moved(name: str, axis: int) -> None:
    """By four pixels, which EDVR's smallest level sees as one, out of reach of the frame's ends, where flow is the same
    everywhere. DCGU has patches of its own, and points from anywhere."""
    network, pixels, reach, seen = small(name).float(), 4, 112, 24
    if isinstance(network, RecurrentFeatures):
        for parameter in network.spynet.parameters():
            parameter.data.zero_()
        network.spynet.basic_module[-1].basic_module[-1].bias.data.copy_(torch.tensor([2, -1]))
    for module in network.modules():
        if isinstance(module, SecondOrderDeformAlignment):
            module.reach = 1.0  # what is further than ten pixels from the flow would need larger frames
        if isinstance(module, SEEM):  # pays attention to the mean of the frame
            module.fc_up.weight.data.zero_()
    length = 2 * reach + seen
    scene = [x.float().transpose(axis, -2) for x in example(network, length + pixels, 12, frames=3)]
    here, there = (run(network, [x.narrow(axis, first, length) for x in scene]) for first in (0, pixels))
    here, there = here.narrow(axis, 4 * (reach + pixels), 4 * (seen - pixels)), there.narrow(axis, 4 * reach, 4 * (seen - pixels))
    assert torch.allclose(here, there, atol=1e-5) and not torch.allclose(here, here.roll(4, axis), atol=1e-2)


# ---------------------------------------------------------------- time


def whole_clip(network: Network, inputs: list[Tensor]) -> Tensor:
    """All frames of a clip, (T, 3, H, W), also by a network that restores the middle of a window."""
    if network.window is None:
        return run(network, inputs)[0]
    around = [neighbours(t, network.window, inputs[0].shape[1]) for t in range(inputs[0].shape[1])]
    return torch.cat([run(network, [x[:, window] for x in inputs]) for window in around])


@pytest.mark.parametrize("name", RESTORING)
def test_frames_depend_on_those_ahead_as_far_as_lookahead_says(name: str) -> None:
    network, t = small(name).float(), 3  # equal to the bit in any precision
    examples = (example(network, seed=seed) for seed in range(3))
    clip, *priors = (torch.cat(parts, dim=1).float() for parts in zip(*examples, strict=True))
    assert network.causal == (network.lookahead == 0) and clip.shape[1] >= 9
    last = clip.shape[1] - 1 if network.lookahead is None else t + network.lookahead
    made = slice(network.time_scale * t, network.time_scale * (t + 1))  # the frame, and those made after it
    expected = whole_clip(network, [clip, *priors])[made]
    changed = clip.clone()
    changed[:, last] = 1 - clip[:, last]
    assert not torch.equal(whole_clip(network, [changed, *priors])[made], expected)
    changed = clip.clone()
    changed[:, last + 1 :] = 1 - clip[:, last + 1 :]
    assert torch.equal(whole_clip(network, [changed, *priors])[made], expected)


@torch.no_grad()
def reverse(network: Network) -> None:
    """Parameters with which the future is what the past was."""
    state = {key: value.clone() for key, value in network.state_dict().items()}
    other = {"backward": "forward", "forward": "backward"}
    for key, value in network.state_dict().items():
        direction = next((word for word in other if word in key), None)
        if direction:
            value.copy_(state[key.replace(direction, other[direction])])
        elif isinstance(network, EDVR) and key in ("fusion.feat_fusion.weight", "fusion.spatial_attn1.weight"):
            value.copy_(state[key].unflatten(1, (network.window, -1)).flip(1).flatten(1, 2))
        elif isinstance(network, BasicVSRFeatures) and key == "fusion.weight":
            value.copy_(state[key].roll(network.channels, dims=1))


@pytest.mark.parametrize("name", of_kind(BasicVSRFeatures, EDVR, but=("dcgu",)))
def test_the_future_is_treated_like_the_past(name: str) -> None:
    """Where methods have it so: IconVSR's second branch sees its first, BasicVSR++ has branches after branches, and DCGU
    looks back."""
    network = small(name)
    inputs = example(network)
    backwards = [x.flip(1) for x in inputs]
    flip: Callable[[Tensor], Tensor] = (lambda x: x) if network.window else (lambda x: x.flip(1))
    expected = run(network, inputs)
    assert not torch.allclose(flip(run(network, backwards)), expected, atol=1e-6)
    reverse(network)
    assert torch.allclose(flip(run(network, backwards)), expected, atol=1e-9)


@pytest.mark.parametrize("name", of_kind(RecurrentFeatures))
def test_a_still_scene_is_restored_still(name: str) -> None:
    """Far from the clip's ends, where what is carried along fades with every step; keyframes come in periods. At the ends
    nothing has been carried yet. What DCGU compares by is not made to fade and has to be left out."""
    network = continuous(name, context="bicubic")
    for key, parameter in network.named_parameters():
        if any(part in key for part in ("_trunk.main.0.", "_fusion.", "deform_align.")) and "conv_offset" not in key:
            parameter.data.mul_(0.01)
    still = [x[:, :1].expand(-1, 8, -1, -1, -1) for x in example(network)]
    restored = run(network, still)[0]
    within = (restored[3] - restored[3 + network.period]).abs().max()
    at_ends = min((restored[3] - restored[end]).abs().max() for end in (0, 7))
    assert within < 1e-2 * at_ends and at_ends > 1e-9

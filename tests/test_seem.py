"""SEEM in EDVR and BasicVSR against plain second implementations, the networks that it is put into, and what it must keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_edvr import (
    Flow,
    flow_of,
    liven,
    plain_blocks,
    plain_pad,
    plain_pcd,
    plain_tsa,
    plain_upsample,
    sigmoid,
)
from test_models import State, as_arrays, convolve, leaky, warp
from torch import Tensor

import models
from models import Network
from models.parts.priors import PLANES
from models.seem import SEEM, Representation
from pipelines.errors import VSRError
from pipelines.priors.kinds import mask_planes
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

EDVR = {"channels": 4, "frames": 3, "extraction_blocks": 1, "reconstruction_blocks": 2, "groups": 2, "upsample_channels": 3}
BASICVSR = {"channels": 4, "blocks": 2, "upsample_channels": 3}
TINY: dict[str, dict[str, object]] = {"seem_edvr": EDVR, "seem_basicvsr": BASICVSR}
WRAPPED = {"seem_edvr": "edvr_m", "seem_basicvsr": "basicvsr"}


def small(name: str, **options: object) -> Network:
    """With parameters as lively as after training."""
    torch.manual_seed(0)
    network = models.create(name, **{**TINY[name], **options})
    liven(network)
    return network.eval()


def untrained(name: str, **options: object) -> tuple[Network, Network]:
    """A network without SEEM, and one with its parameters and SEEM that has learnt nothing."""
    torch.manual_seed(0)
    inside = {key: value for key, value in options.items() if key not in ("branches", "propagate_enhanced")}
    plain = models.create(WRAPPED[name], **{**TINY[name], **inside})
    liven(plain)
    network = models.create(name, **{**TINY[name], **options})
    found = network.load_state_dict(plain.state_dict(), strict=False)
    assert not found.unexpected_keys and all(key.startswith("seem.") for key in found.missing_keys)
    return plain.eval(), network.eval()


@torch.no_grad()
def silence(*parts: torch.nn.Module) -> None:
    """Let SEEM add nothing, as before training."""
    for layer in (module for part in parts for module in part.modules() if isinstance(module, SEEM)):
        layer.conv2.weight.zero_()
        layer.conv2.bias.zero_()


def segments(count: int, frames: int, height: int, width: int, used: int = 9) -> Tensor:
    """Masks of which every pixel has one; the last ones are empty."""
    labels = torch.randint(0, used, (count, frames, 1, height, width))
    return (labels == torch.arange(PLANES).view(1, 1, -1, 1, 1)).float()


def example(frames: int = 3, height: int = 8, width: int = 8, count: int = 1) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.rand(count, frames, 3, height, width), segments(count, frames, height, width)


# ---------------------------------------------------------------- a slow second implementation, one frame (C, H, W) at a time


def plain_representation(frame: np.ndarray, masks: np.ndarray, state: State) -> np.ndarray:
    x = leaky(convolve(np.concatenate([frame, masks]), state, "seem.fr.conv_in"))
    x = x + convolve(np.maximum(convolve(x, state, "seem.fr.block.conv1"), 0), state, "seem.fr.block.conv2")
    return convolve(x, state, "seem.fr.conv_out")


def plain_seem(features: np.ndarray, representation: np.ndarray, state: State, place: str) -> np.ndarray:
    """The features themselves and what SEEM adds to them."""
    name = f"seem.{place}"
    mixed = convolve(leaky(convolve(np.concatenate([features, representation]), state, f"{name}.conv1")), state, f"{name}.conv2")
    out = features + mixed
    pooled = np.array([channel.sum() / channel.size for channel in mixed])
    squeezed = np.maximum(state[f"{name}.fc_down.weight"] @ pooled + state[f"{name}.fc_down.bias"], 0)
    widened = np.maximum(state[f"{name}.fc_up.weight"] @ squeezed + state[f"{name}.fc_up.bias"], 0)
    attention = sigmoid(state[f"{name}.fc.weight"] @ widened + state[f"{name}.fc.bias"])
    for channel, strength in enumerate(attention):
        out[channel] += strength * mixed[channel]
    return out


def plain_seem_edvr(window: np.ndarray, masks: np.ndarray, state: State) -> np.ndarray:
    height, width = window.shape[2:]
    window, middle = plain_pad(window), len(window) // 2
    guide = plain_representation(window[middle], plain_pad(masks)[middle], state)

    def smaller(full: np.ndarray) -> list[np.ndarray]:
        levels = [full]
        for level in (2, 3):
            x = leaky(convolve(levels[-1], state, f"conv_l{level}_1")[:, ::2, ::2])
            levels.append(leaky(convolve(x, state, f"conv_l{level}_2")))
        return levels

    full = [plain_blocks(leaky(convolve(frame, state, "conv_first")), state, "feature_extraction") for frame in window]
    reference = smaller(plain_seem(full[middle], guide, state, "align"))
    aligned = [plain_pcd(smaller(features), reference, state, "pcd_align") for features in full]
    fused = plain_tsa(aligned, state, "fusion")
    x = plain_blocks(plain_seem(fused, guide, state, "fusion"), state, "reconstruction")
    return plain_upsample(plain_seem(x, guide, state, "recon"), window[middle], state)[:, : 4 * height, : 4 * width]


def plain_seem_basicvsr(
    clip: np.ndarray, masks: np.ndarray, state: State, flow: Flow, guided: tuple[str, ...], enhanced: bool
) -> np.ndarray:
    guides = [plain_representation(frame, seen, state) for frame, seen in zip(clip, masks, strict=True)]

    def refined(x: np.ndarray, t: int, direction: str, place: str) -> np.ndarray:
        return plain_seem(x, guides[t], state, f"{direction}_{place}") if direction in guided else x

    fused: dict[str, dict[int, np.ndarray]] = {"backward": {}, "forward": {}}
    for direction, step in (("backward", -1), ("forward", 1)):
        carried = None
        for t in range(len(clip))[::step]:
            before = np.zeros((len(state["fusion.bias"]), *clip.shape[2:]))
            if carried is not None:
                before = warp(carried, flow(clip[t], clip[t - step]), border=False)
            x = leaky(convolve(np.concatenate([clip[t], before]), state, f"{direction}_trunk.main.0"))
            carried = plain_blocks(refined(x, t, direction, "pre"), state, f"{direction}_trunk.main.2")
            fused[direction][t] = refined(carried, t, direction, "post")
            if enhanced:
                carried = fused[direction][t]
    return np.stack(
        [
            plain_upsample(
                leaky(convolve(np.concatenate([fused["backward"][t], fused["forward"][t]]), state, "fusion")), clip[t], state
            )
            for t in range(len(clip))
        ]
    )


@pytest.mark.parametrize(("options", "height", "width"), [({}, 8, 8), ({"groups": 1, "frames": 1}, 7, 6)])
def test_seem_edvr_is_the_plain_one(options: dict[str, object], height: int, width: int) -> None:
    network = small("seem_edvr", **options).double()
    clip, masks = example(network.window or 0, height, width)
    with torch.no_grad():
        restored = network(clip.double(), masks=masks)[0].numpy()
    expected = plain_seem_edvr(clip[0].double().numpy(), masks[0].numpy(), as_arrays(network))
    np.testing.assert_allclose(restored, expected, atol=1e-9)
    silence(network)
    with torch.no_grad():
        assert np.abs(restored - network(clip.double(), masks=masks)[0].numpy()).max() > 0.01, "SEEM adds next to nothing"


@pytest.mark.parametrize("branches", ["both", "forward", "backward"])
@pytest.mark.parametrize("enhanced", [False, True])
def test_seem_basicvsr_is_the_plain_one(branches: str, enhanced: bool) -> None:
    network = small("seem_basicvsr", branches=branches, propagate_enhanced=enhanced, blocks=1).double()
    clip, masks = example(3, 4, 5)
    with torch.no_grad():
        restored = network(clip.double(), masks=masks)[0].numpy()
    guided = ("backward", "forward") if branches == "both" else (branches,)
    arrays = clip[0].double().numpy(), masks[0].numpy(), as_arrays(network)
    np.testing.assert_allclose(restored, plain_seem_basicvsr(*arrays, flow_of(network), guided, enhanced), atol=1e-9)
    silence(network)
    with torch.no_grad():
        assert np.abs(restored - network(clip.double(), masks=masks)[0].numpy()).max() > 0.01, "SEEM adds next to nothing"


# ---------------------------------------------------------------- what it is put into


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("seem_edvr", {}),
        ("seem_edvr", {"tsa": False, "frames": 5}),
        ("seem_edvr", {"channels": 16, "base": "bicubic"}),
        ("seem_basicvsr", {}),
        ("seem_basicvsr", {"branches": "forward"}),
        ("seem_basicvsr", {"branches": "backward", "propagate_enhanced": True}),
    ],
)
def test_untrained_it_gives_what_is_given_without_it(name: str, options: dict[str, object]) -> None:
    """Bit for bit: a trained network that it is put into has lost nothing."""
    plain, network = untrained(name, **options)
    for height, width, count in ((8, 12, 1), (13, 10, 2)):
        clip, masks = example(network.window or 4, height, width, count)
        with torch.no_grad():
            assert torch.equal(network(clip, masks=masks), plain(clip))


@pytest.mark.parametrize(("name", "options"), [("seem_edvr", {}), ("seem_edvr", {"tsa": False}), ("seem_basicvsr", {})])
def test_parameters_of_the_network_inside_keep_their_names(name: str, options: dict[str, object]) -> None:
    with torch.device("meta"):
        inner, outer = (models.create(which, **options).state_dict() for which in (WRAPPED[name], name))
    own = {key: value for key, value in outer.items() if not key.startswith("seem.")}
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in inner.items()}
    places = {key.split(".")[1] for key in outer.keys() - own.keys()}
    directions = {f"{direction}_{place}" for direction in ("backward", "forward") for place in ("pre", "post")}
    assert places == {"fr"} | ({"align", "fusion", "recon"} if name == "seem_edvr" else directions)
    parts = {".".join(key.split(".")[2:-1]) for key in outer.keys() - own.keys()}
    assert parts == {"conv_in", "block.conv1", "block.conv2", "conv_out", "conv1", "conv2", "fc_down", "fc_up", "fc"}


@pytest.mark.parametrize(
    ("name", "options", "inside", "added"),
    [
        ("seem_edvr", {}, 3_300_131, 495_820),
        ("seem_edvr", {"tsa": False}, 2_996_259, 495_820),
        ("seem_edvr", {"channels": 128, "frames": 7, "reconstruction_blocks": 40}, 20_699_363, 1_904_024),
        ("seem_basicvsr", {}, 6_291_311, 611_280),
        ("seem_basicvsr", {"branches": "forward"}, 6_291_311, 380_360),
        ("seem_basicvsr", {"branches": "backward"}, 6_291_311, 380_360),
    ],
)
def test_parameter_counts(name: str, options: dict[str, object], inside: int, added: int) -> None:
    with torch.device("meta"):
        network = models.create(name, **options)
    counts = {key: parameter.numel() for key, parameter in network.named_parameters()}
    assert sum(count for key, count in counts.items() if key.startswith("seem.")) == added
    assert sum(counts.values()) == inside + added


@pytest.mark.parametrize(("channels", "single", "representation"), [(64, 115_460, 149_440), (128, 461_320, 520_064)])
def test_parameter_counts_of_the_parts(channels: int, single: int, representation: int) -> None:
    with torch.device("meta"):
        parts = SEEM(channels), Representation(channels)
    assert [sum(parameter.numel() for parameter in part.parameters()) for part in parts] == [single, representation]


@pytest.mark.parametrize("name", list(TINY))
def test_cost_is_that_of_what_is_inside_and_the_layers_added(name: str) -> None:
    """At 180x320, in 10^9 multiply-accumulates per frame, counted by hand."""
    with torch.device("meta"):
        inner, outer = (cost(models.create(which), 180, 320) for which in (WRAPPED[name], name))
    unit = 9 * 64**2 * 180 * 320 / 1e9  # a 3x3 convolution of 64 channels
    representation, single = (3 + PLANES) / 64 + 2 + 1, 2 + 1
    # The refined reference has smaller levels of its own.
    layers = representation + (3 * single + 2 / 4 + 2 / 16 if name == "seem_edvr" else 4 * single)
    attention = (3 if name == "seem_edvr" else 4) * (2 * 64 * 4 + 64**2) / 1e9
    for key in ("gmacs", "gmacs_without_deform"):
        assert outer[key] - inner[key] == pytest.approx(layers * unit + attention, rel=1e-9)


# ---------------------------------------------------------------- learning


@pytest.mark.parametrize("name", list(TINY))
def test_only_seem_learns_where_the_rest_is_frozen(name: str) -> None:
    """In the first step only its last layers, which are zero; then all of it, as they no longer are."""
    _, network = untrained(name)
    for key, parameter in network.named_parameters():
        parameter.requires_grad_(key.startswith("seem."))
    clip, masks = example()
    optimiser = torch.optim.SGD([parameter for parameter in network.parameters() if parameter.requires_grad], lr=0.1)
    learning = []
    for _ in range(2):
        optimiser.zero_grad()
        network(clip, masks=masks).square().mean().backward()
        learning.append(
            {key for key, parameter in network.named_parameters() if parameter.grad is not None and parameter.grad.any()}
        )
        optimiser.step()
    own = {key for key in network.state_dict() if key.startswith("seem.")}
    assert learning[0] == {key for key in own if ".conv2." in key and ".fr." not in key}
    # One attention of one channel may be where its rectifier is zero.
    assert {key for key in own if ".fc_down." not in key and ".fc_up." not in key} <= learning[1] <= own


@pytest.mark.parametrize("name", list(TINY))
def test_everything_learns(name: str) -> None:
    network = small(name)
    clip, masks = example()
    clip.requires_grad_()
    masks.requires_grad_()
    network(clip, masks=masks).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for key, parameter in network.named_parameters()
               if "spynet" not in key and ".fc_" not in key)  # fmt: skip
    assert clip.grad is not None and all(clip.grad[0, t].any() for t in range(3))
    assert masks.grad is not None and masks.grad[0, 1].flatten(1).any(1).all(), "some plane is not looked at"


# ---------------------------------------------------------------- masks


def difference(network: Network, clip: Tensor, masks: Tensor, change: Callable[[Tensor], None]) -> Tensor:
    """How much each restored frame changes, or the one, where masks do."""
    changed = masks.clone()
    change(changed)
    with torch.no_grad():
        return (network(clip, masks=changed) - network(clip, masks=masks))[0].abs().flatten(-3).amax(-1)


@pytest.mark.parametrize("name", list(TINY))
def test_masks_matter(name: str) -> None:
    network = small(name)
    clip, masks = example()
    empty = difference(network, clip, masks, lambda changed: changed.zero_())
    other_order = difference(network, clip, masks, lambda changed: changed.copy_(masks.flip(2)))
    moved = difference(network, clip, masks, lambda changed: changed.copy_(masks.flip(-1)))
    assert all((found > 1e-4).all() for found in (empty, other_order, moved))


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.float64])
@pytest.mark.parametrize("name", list(TINY))
def test_masks_of_any_type_are_zeros_and_ones(name: str, kind: torch.dtype) -> None:
    network = small(name)
    clip, masks = example(height=7)
    with torch.no_grad():
        assert torch.equal(network(clip, masks=masks.to(kind)), network(clip, masks=masks))


def test_edvr_looks_at_the_masks_of_the_frame_that_it_restores() -> None:
    network = small("seem_edvr")
    clip, masks = example()
    assert [float(difference(network, clip, masks, lambda x, t=t: x[:, t].zero_())) > 0 for t in range(3)] == [False, True, False]


@pytest.mark.parametrize(
    ("options", "reached"),
    [
        ({"branches": "forward"}, [False, False, True, True, True]),
        ({"branches": "backward"}, [True, True, True, False, False]),
        ({"branches": "both"}, [True, True, True, True, True]),
    ],
)
def test_masks_reach_as_far_as_their_branch_leads(options: dict[str, object], reached: list[bool]) -> None:
    clip, masks = example(5)
    found = difference(small("seem_basicvsr", **options), clip, masks, lambda changed: changed[:, 2].zero_())
    assert (found > 0).tolist() == reached


@pytest.mark.parametrize("enhanced", [False, True])
def test_what_is_added_after_the_blocks_is_carried_on_only_if_wanted(enhanced: bool) -> None:
    network = small("seem_basicvsr", propagate_enhanced=enhanced)
    silence(network.seem["backward_pre"], network.seem["forward_pre"])
    clip, masks = example(5)
    found = difference(network, clip, masks, lambda changed: changed[:, 2].zero_())
    assert (found > 0).tolist() == [enhanced, enhanced, True, enhanced, enhanced]


@pytest.mark.parametrize(("height", "width"), [(5, 8), (7, 6)])
def test_masks_are_mirrored_like_frames_to_multiples_of_four(height: int, width: int) -> None:
    network = small("seem_edvr")
    clip, masks = example(3, height, width)
    padded, padded_masks = (torch.from_numpy(plain_pad(x[0].numpy()))[None] for x in (clip, masks))
    with torch.no_grad():
        assert torch.equal(network(clip, masks=masks), network(padded, masks=padded_masks)[..., : 4 * height, : 4 * width])


@pytest.mark.parametrize("name", list(TINY))
def test_masks_that_are_missing_or_of_another_clip(name: str) -> None:
    network, (clip, masks) = small(name), example()
    assert network.priors == ("masks",)
    with pytest.raises(ValueError, match=rf"^{name} is guided by masks but got none: give masks of the clip, \(1, 3, 64, 8, 8\)"):
        network(clip)
    for wrong in (masks[:, :, :63], masks[:, :2], masks[..., :7], masks[:, 0]):
        with pytest.raises(ValueError, match=rf"^{name} got masks of shape .*: give masks of the clip, \(1, 3, 64, 8, 8\)"):
            network(clip, masks=wrong)


@pytest.mark.parametrize("kept", [0, 1, PLANES])
def test_planes(kept: int) -> None:
    """A frame's masks, in their order, and nothing after them."""
    found = np.random.default_rng(0).random((kept, 3, 5)) < 0.5
    planes = mask_planes(found)
    assert planes.shape == (PLANES, 3, 5) and planes.dtype == np.bool_
    assert np.array_equal(planes[:kept], found) and not planes[kept:].any()


def test_more_masks_than_planes() -> None:
    with pytest.raises(VSRError, match="has 65 masks, but a network that they guide takes 64: give max_masks of at most 64"):
        mask_planes(np.zeros((65, 3, 5), bool))


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"branches": "forwards"}, "did you mean 'forward'"),
        ({"branches": ""}, "Known: backward, both, forward"),
        ({"propagate_enhanced": "yes"}, "'propagate_enhanced' of seem_basicvsr is 'yes': give true or false"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small("seem_basicvsr", **options)

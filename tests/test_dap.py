"""DAP against a plain second implementation, published counts, and what its ablation takes away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_edvr import liven
from test_models import State, as_arrays, convolve, leaky, stretch, warp

import models
from models import Network
from models.parts.dap import IMDB, PLACES
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY = {"channels": 8, "encoder_channels": 4, "levels": 3, "samples": 3, "blocks": 2}
WITHOUT = {
    "none": {"offsets": False, "pyramid": False, "attention": False},
    "attention": {"offsets": False, "pyramid": False},
    "offsets": {"pyramid": False, "attention": False},
    "offsets_pyramid": {"attention": False},
    "all": {},
}
"""The rows of the paper's ablation."""


def small(**options: object) -> Network:
    torch.manual_seed(0)
    network = models.create("dap_64", **{**TINY, **options})
    liven(network)
    return network.eval().double()


# ---------------------------------------------------------------- a slow second implementation, one frame (C, H, W) at a time


def twice(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    return stretch(x, 2 * x.shape[1], 2 * x.shape[2], corners=False)[:, : like.shape[1], : like.shape[2]]


def plain_encoder(frame: np.ndarray, state: State, levels: int) -> list[np.ndarray]:
    x = leaky(convolve(frame, state, "enc.first"))
    found = []
    for level in range(levels):
        if level:
            x = leaky(convolve(found[-1], state, f"enc.downs.{level - 1}")[:, ::2, ::2])
        for layer in (0, 2):
            x = leaky(convolve(x, state, f"enc.blocks.{level}.{layer}"))
        found.append(x)
    for level in range(levels - 2, -1, -1):
        found[level] = leaky(convolve(found[level] + twice(found[level + 1], found[level]), state, f"enc.merges.{level}"))
    return found


def plain_fetch(
    now: np.ndarray, before: np.ndarray, values: np.ndarray, moves: np.ndarray, state: State, name: str
) -> np.ndarray:
    places = [
        moves[2 * sample : 2 * sample + 2] + np.array(PLACES[sample], float)[:, None, None] for sample in range(len(moves) // 2)
    ]
    value = [warp(convolve(values, state, f"{name}.v"), place, border=True) for place in places]
    if f"{name}.q.weight" not in state:
        return value[0]
    query, key = convolve(now, state, f"{name}.q"), convolve(before, state, f"{name}.k")
    fit = np.exp([(query * warp(key, place, border=True)).sum(0) / len(query) ** 0.5 for place in places])
    weights = fit / fit.sum(0)
    return sum((weight * one for weight, one in zip(weights, value, strict=True)), np.zeros_like(value[0]))


def plain_imdb(x: np.ndarray, state: State, name: str) -> np.ndarray:
    quarter = len(x) // 4
    kept, rest = [], x
    for layer in ("c1", "c2", "c3"):
        found = convolve(rest, state, f"{name}.{layer}")
        found = np.where(found > 0, found, 0.05 * found)
        kept.append(found[:quarter])
        rest = found[quarter:]
    return x + convolve(np.concatenate([*kept, convolve(rest, state, f"{name}.c4")]), state, f"{name}.c5")


def plain_dap(clip: np.ndarray, state: State, network: Network) -> np.ndarray:
    levels, attention = network.options["levels"], network.options["attention"]
    samples = network.options["samples"] if attention else 1
    finding = sum(name.endswith(".4.weight") and name.startswith("off.") for name in state)
    before, hidden, restored = None, np.zeros((network.options["channels"], *clip.shape[2:])), []
    for frame in clip:
        now = plain_encoder(frame, state, levels)
        before = now if before is None else before
        moves = np.zeros((2 * samples, *frame.shape[1:]))
        for level in range(finding - 1, -1, -1):
            seen = before[level]
            if level < finding - 1:
                moves = 2 * twice(moves, now[level])
                seen = plain_fetch(now[level], seen, seen, moves, state, f"attn.{level}")
            else:
                moves = np.zeros((2 * samples, *now[level].shape[1:]))
            x = np.concatenate([now[level], seen])
            for layer in (0, 2):
                x = leaky(convolve(x, state, f"off.{level}.{layer}"))
            moves = moves + convolve(x, state, f"off.{level}.4")
        fetched = plain_fetch(now[0], before[0], hidden, moves, state, "fuse")
        x = leaky(convolve(np.concatenate([frame, now[0], fetched]), state, "body_in"))
        for block in range(network.options["blocks"]):
            x = plain_imdb(x, state, f"body.{block}")
        before, hidden = now, convolve(x, state, "head_h")
        residual = convolve(x, state, "head_img")
        large = np.zeros((3, 4 * frame.shape[1], 4 * frame.shape[2]))
        for channel in range(48):
            large[channel // 16, channel % 16 // 4 :: 4, channel % 4 :: 4] = residual[channel]
        restored.append(large + stretch(frame, *large.shape[1:], corners=False))
    return np.stack(restored)


@pytest.mark.parametrize("row", WITHOUT)
def test_it_is_the_plain_one(row: str) -> None:
    network = small(**WITHOUT[row])
    clip = torch.rand(1, 3, 3, 7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        restored = network(clip)[0].numpy()
    np.testing.assert_allclose(restored, plain_dap(clip[0].numpy(), as_arrays(network), network), atol=1e-9)


# ---------------------------------------------------------------- the paper's counts and rows


@pytest.mark.parametrize(("name", "gmacs", "within", "parameters"), [("dap_128", 164.8, 0.02, 3_536_176), ("dap_64", 57.5, 0.01, 1_687_392)])  # fmt: skip
def test_operations_are_those_published(name: str, gmacs: float, within: float, parameters: int) -> None:
    """At 180x320, the features of the frame before kept; 164.8 is in the paper, the rest is of the same design counted by hand."""
    with torch.device("meta"):
        found = cost(models.create(name), 180, 320, frames=2)
    assert found["gmacs"] == pytest.approx(gmacs, rel=within) and found["parameters"] == parameters


def test_the_encoder_sees_every_frame_once() -> None:
    network, seen = small(), []
    network.enc.register_forward_hook(lambda *given: seen.append(given[1]))  # type: ignore[union-attr, operator]
    with torch.no_grad():
        network(torch.rand(1, 5, 3, 8, 8, dtype=torch.float64))
    assert len(seen) == 5


@pytest.mark.parametrize("row", [row for row in WITHOUT if row != "all"])
def test_every_switch_changes_what_is_restored(row: str) -> None:
    """With the parameters that both have."""
    whole, part = small(), small(**WITHOUT[row])
    state = whole.state_dict()
    part.load_state_dict({key: state[key][: len(value)] for key, value in part.state_dict().items()})
    assert sum(p.numel() for p in part.parameters()) < sum(p.numel() for p in whole.parameters())
    clip = torch.rand(1, 3, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        difference = (whole(clip) - part(clip)).abs().amax((0, 2, 3, 4))
    assert difference[2] > 1e-3


def test_nothing_moves_at_first_and_the_hidden_state_is_found_where_it_moved_to() -> None:
    torch.manual_seed(0)
    network = models.create("dap_64", **{**TINY, "attention": False}).eval()
    now, before = network.enc(torch.rand(1, 3, 16, 16)), network.enc(torch.rand(1, 3, 16, 16))  # type: ignore[operator]
    assert not network.moves(now, before).any()  # type: ignore[operator]
    for layer, to in enumerate(network.off):  # type: ignore[arg-type]
        to[-1].bias.data.copy_(torch.tensor([1.0, -2.0]) * (layer == 2))
    moves = network.moves(now, before)  # type: ignore[operator]
    # The coarsest of three levels counts pixels that are four times as large.
    assert torch.allclose(moves[0, :, 5, 5], torch.tensor([4.0, -8.0]))


def test_samples_begin_apart() -> None:
    network = small(samples=9)
    assert len({tuple(place) for place in network.places.view(-1, 2).tolist()}) == 9  # type: ignore[union-attr, operator]
    assert len(set(PLACES)) == len(PLACES)


def test_distillation_keeps_a_quarter_of_every_layer() -> None:
    """The last layer of a block sees all four quarters; without it the block gives what it got."""
    torch.manual_seed(0)
    block = IMDB(8)
    seen = []
    block.c5.register_forward_hook(lambda *given: seen.append(given[1][0]))
    block.c5.weight.data.zero_()
    assert block.c5.bias is not None
    block.c5.bias.data.zero_()
    x = torch.rand(1, 8, 6, 6)
    assert torch.equal(block(x), x) and seen[0].shape == x.shape
    with torch.no_grad():
        first = torch.nn.functional.leaky_relu(block.c1(x), 0.05)
    assert torch.allclose(seen[0][:, :2], first[:, :2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 6}, "'channels' of dap_64 is 6: give a multiple of 4"),
        ({"samples": 10}, "'samples' of dap_64 is 10: give at most 9"),
        ({"offsets": False}, "'pyramid', which is one of offsets, without 'offsets'"),
        ({"base": "nearby"}, "unknown base of dap_64 'nearby'"),
    ],
)
def test_impossible_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)

"""Dynamic context-guided upsampling against a plain second implementation, pixel by pixel, and its properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_edvr import liven, sigmoid
from test_models import State, as_arrays, convolve, leaky, stretch, warp
from torch import Tensor

import models
from models.heads import dcgu, search
from models.heads.dcgu import DCGU
from models.heads.patches import span
from models.heads.ranking import ranked
from models.heads.search import PatchSearch
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY: dict[str, Any] = {
    "channels": 5,
    "hidden": 6,
    "neighbours": 9,
    "patch": 3,
    "context": "confidence",
    "lps": True,
    "gate": True,
    "gps": True,
    "tbfm": True,
}
PLAIN: dict[str, Any] = {"neighbours": 9, "lps": False, "gate": False, "gps": False}
SWITCHES: list[dict[str, Any]] = [
    {"context": "bicubic"},
    {"tbfm": False},
    {"gate": False},
    {"gps": False},
    {"gate": False, "gps": False},
    PLAIN,
    {**PLAIN, "tbfm": False},
    {"patch": 2},  # smaller than the filter, and fewer candidates than it has weights
    {"patch": 4, "neighbours": 1},
    {"gate": False, "neighbours": 1},
]


def small(seed: int = 0, **options: Any) -> DCGU:
    """A head whose similarities, thresholds and confidences differ from place to place."""
    torch.manual_seed(seed)
    head = DCGU(**{**TINY, **options})
    for parameter in head.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.5)
    return head.double().eval()


def clip_of(height: int, width: int, frames: int = 3, count: int = 1, seed: int = 1) -> tuple[list[Tensor], Tensor]:
    """Features that change a little from frame to frame, and flows."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(count, 5, height, width, generator=generator, dtype=torch.float64)
    features = [first + 0.3 * torch.randn(first.shape, generator=generator, dtype=torch.float64) for _ in range(frames)]
    return features, torch.randn(count, frames - 1, 2, height, width, generator=generator, dtype=torch.float64)


def run(head: DCGU, features: list[Tensor], flows: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.stack(list(head.frames(iter(features), flows, size)), dim=1)


# ---------------------------------------------------------------- a slow second implementation, one HR point at a time


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


def perceptron(x: np.ndarray, state: State, name: str) -> np.ndarray:
    hidden = np.maximum(state[f"{name}.layers.0.weight"] @ x + state[f"{name}.layers.0.bias"], 0)
    return state[f"{name}.layers.2.weight"] @ hidden + state[f"{name}.layers.2.bias"]


def bicubic(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Keys' kernel at every output pixel's centre, with the edges mirrored and repeated."""

    def matrix(old: int, new: int) -> np.ndarray:
        made = np.zeros((new, old))
        for i in range(new):
            centre = (i + 0.5) * old / new - 0.5
            for tap in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
                d = abs(centre - tap)
                weight = 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 if d < 2 else 0
                at = tap % (2 * old)
                made[i, at if at < old else 2 * old - 1 - at] += weight
        return made

    return np.einsum("ih,chw,jw->cij", matrix(x.shape[1], height), x, matrix(x.shape[2], width))


def mirrored(index: int, length: int) -> int:
    while index >= length > 1:
        index = abs(2 * (length - 1) - index)
    return min(index, length - 1)


def plain_search(patches: np.ndarray, state: State) -> list[int]:
    """Of patches (M, pixels, C), every one's best among all others."""
    embedded = patches @ state["search.embed.weight"].T + state["search.embed.bias"]
    embedded = embedded.reshape(len(patches), -1)
    query = embedded @ state["search.phi.weight"].T + state["search.phi.bias"]
    key = embedded @ state["search.theta.weight"].T
    others = [[j for j in range(len(patches)) if j != i] for i in range(len(patches))]
    return [max(others[i], key=lambda j: query[i] @ key[j], default=i) for i in range(len(patches))]


def unit(x: np.ndarray) -> np.ndarray:
    return x / max(np.linalg.norm(x), 1e-12)


def plain_dcgu(
    features: list[np.ndarray], flows: list[np.ndarray], size: tuple[int, int], state: State, options: dict[str, Any]
) -> list[np.ndarray]:
    channels, height, width = features[0].shape
    side = options["patch"]
    down, along = -(-height // side), -(-width // side)
    scale = np.sqrt(size[0] * size[1] / (height * width))
    restored: list[np.ndarray] = []
    before: np.ndarray | None = None
    for t, lr in enumerate(features):
        context = bicubic(lr, *size)
        if before is not None and options["context"] == "confidence" and (options["lps"] or options["tbfm"]):
            flow = stretch(flows[t - 1], *size, corners=False)
            warped = warp(before, np.stack([flow[0] * size[1] / width, flow[1] * size[0] / height]), border=False)
            judged = leaky(convolve(np.concatenate([context, warped]), state, "confidence.0"))
            confidence = sigmoid(convolve(judged, state, "confidence.1"))
            context = confidence * context + (1 - confidence) * warped

        def patch(index: int, lr: np.ndarray = lr) -> list[np.ndarray]:
            top, left = side * (index // along), side * (index % along)
            rows = [mirrored(top + i, height) for i in range(side)]
            columns = [mirrored(left + j, width) for j in range(side)]
            return [lr[:, i, j] for i in rows for j in columns]

        found = plain_search(np.array([patch(i) for i in range(down * along)]), state) if options["gps"] else []
        hr = np.zeros((channels, *size))
        for i in range(size[0]):
            for j in range(size[1]):
                y, x = i * height // size[0], j * width // size[1]
                place = np.array([i * height / size[0] - y, j * width / size[1] - x, 1 / scale])
                reach = int(np.sqrt(options["neighbours"])) // 2
                spatial = perceptron(place, state, "filters").reshape(2 * reach + 1, 2 * reach + 1, channels)
                if options["lps"]:
                    own = y // side * along + x // side
                    points = patch(own)
                    away = [(a - y % side, b - x % side) for a in range(side) for b in range(side)]
                    if found:
                        points += patch(found[own])
                else:
                    padded = np.pad(lr, ((0, 0), (reach, reach), (reach, reach)))
                    away = [(a, b) for a in range(-reach, reach + 1) for b in range(-reach, reach + 1)]
                    points = [padded[:, y + reach + a, x + reach + b] for a, b in away]
                similarity, kept = np.zeros(len(points)), list(range(len(points)))
                if options["lps"] or options["tbfm"]:
                    query = unit(state["query.weight"] @ context[:, i, j])
                    similarity = softmax(np.array([16 * query @ unit(state["key.weight"] @ point) for point in points]))
                if options["lps"]:
                    ranks = sorted(range(len(points)), key=lambda k: (-similarity[k], k))
                    ordered = similarity[ranks]
                    last = ordered[: options["neighbours"]][-1]
                    kept = [k for k in ranks if similarity[k] > last * (1 - 1e-5)]  # mirrored, a point is there twice
                    if options["gate"]:
                        threshold = sigmoid(perceptron(ordered, state, "threshold"))[0] * ordered[0]
                        kept = kept[:1] + [k for k in kept[1:] if similarity[k] > threshold]
                delta = state["delta"] if options["tbfm"] else 0
                for k in kept:
                    weight = np.zeros(channels)
                    if k < len(away) and max(abs(away[k][0]), abs(away[k][1])) <= reach:
                        weight = spatial[away[k][0] + reach, away[k][1] + reach]
                    hr[:, i, j] += (weight + delta * similarity[k]) * points[k]
        restored.append(convolve(hr, state, "colours"))
        before = hr
    return restored


SIZES = [
    (4, 6, (8, 12)),  # by 2
    (4, 4, (10, 10)),  # by 2.5
    (5, 3, (11, 10)),  # every offset its own, half patches, another factor for each axis
    (3, 4, (36, 24)),  # by 12 and by 6
    (4, 5, (4, 7)),  # one axis only
    (1, 2, (3, 5)),
]


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_dcgu_is_the_plain_one(height: int, width: int, size: tuple[int, int]) -> None:
    check_plain({}, height, width, size)


@pytest.mark.parametrize("options", SWITCHES, ids=str)
def test_switched_dcgu_is_the_plain_one(options: dict[str, Any]) -> None:
    check_plain(options, 5, 4, (9, 10))


def check_plain(options: dict[str, Any], height: int, width: int, size: tuple[int, int]) -> None:
    head = small(**options)
    features, flows = clip_of(height, width, count=2)
    with torch.no_grad():
        restored = run(head, features, flows, size).numpy()
    for clip in range(2):
        lr, motion = [x[clip].numpy() for x in features], list(flows[clip].numpy())
        expected = plain_dcgu(lr, motion, size, as_arrays(head), {**TINY, **options})
        np.testing.assert_allclose(restored[clip], expected, atol=1e-9)


def test_thresholds_leave_points_out() -> None:
    """Of what the comparisons above compare, some points count and some do not."""
    head, shares = small(), []
    assert head.threshold is not None
    head.threshold.register_forward_hook(lambda module, given, made: shares.append((given[0], made.sigmoid())))
    with torch.no_grad():
        run(head, *clip_of(6, 6), (15, 15))
    counted = torch.cat([(given[..., :9] > made * given[..., :1]).sum(-1).flatten() for given, made in shares])
    assert len(set(counted.tolist())) > 3


@pytest.mark.parametrize("options", [{}, *SWITCHES], ids=str)
@pytest.mark.parametrize("size", [(12, 15), (13, 17)])
def test_one_result_however_it_is_computed(
    options: dict[str, Any], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once or in parts, with filters kept or not, with gradients or without, a batch or its clips alone."""
    head = small(**options)
    features, flows = clip_of(6, 6, count=2)
    with torch.no_grad():
        expected = run(head, features, flows, size)
        assert torch.equal(run(head, features, flows, size), expected)
        alone = [run(head, [x[clip : clip + 1] for x in features], flows[clip : clip + 1], size) for clip in range(2)]
    assert torch.allclose(torch.cat(alone), expected, atol=1e-12)
    assert torch.allclose(run(head, features, flows, size), expected, atol=1e-12)
    for points in (1, 50, 400):
        monkeypatch.setattr(dcgu, "CHUNK", points)
        assert torch.allclose(run(head, features, flows, size), expected, atol=1e-12)
    monkeypatch.setattr(dcgu, "TABLE", 0)
    with torch.no_grad():
        assert torch.allclose(run(head, features, flows, size), expected, atol=1e-12)


def test_every_switch_matters() -> None:
    features, flows = clip_of(6, 6)
    results = []
    for options in [{}, *SWITCHES[:7]]:
        head = small(**options)
        # The same parameters wherever there are such.
        state = head.state_dict()
        state |= {key: value for key, value in small().state_dict().items() if key in state and state[key].shape == value.shape}
        head.load_state_dict(state)
        with torch.no_grad():
            results.append(run(head, features, flows, (15, 15)))
    for i, one in enumerate(results):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in results[:i])


def test_the_soft_gate_hardens_and_attention_changes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    head = small()
    features, flows = clip_of(5, 6)
    with torch.no_grad():
        expected = run(head, features, flows, (9, 10))
    head.train()
    assert not torch.allclose(run(head, features, flows, (9, 10)), expected, atol=1e-3)
    monkeypatch.setattr(dcgu, "SOFTNESS", 1e-12)
    assert torch.allclose(run(head, features, flows, (9, 10)), expected, atol=1e-9)


def test_filters_know_which_side_a_point_lies_on() -> None:
    """A filter of one weight moves features by whole LR pixels, as far as patches go."""
    head = DCGU(**{**TINY, "gate": False, "gps": False, "tbfm": False}).double().eval()
    torch.nn.init.zeros_(head.filters.last.weight)
    torch.nn.init.dirac_(head.colours.weight)
    torch.nn.init.zeros_(head.colours.bias)  # type: ignore[arg-type]
    features, flows = clip_of(6, 9, frames=1)
    patches = features[0].unfold(2, 3, 3).unfold(3, 3, 3)
    for down, along in ((0, 0), (-1, 0), (1, 1), (0, -1)):
        weights = torch.zeros(3, 3, 5, dtype=torch.float64)
        weights[1 + down, 1 + along] = 1
        head.filters.last.bias.data.copy_(weights.flatten())
        with torch.no_grad():
            restored = run(head, features, flows, (12, 18))[:, 0]
        inner = torch.nn.functional.pad(patches, (1, 1, 1, 1))[..., 1 + down : 4 + down, 1 + along : 4 + along]
        moved = inner.permute(0, 1, 2, 4, 3, 5).flatten(4).flatten(2, 3)
        assert torch.allclose(restored, moved[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-12)


def test_what_a_frame_sees() -> None:
    """The first no flow and no other frame, each later one those before it alone."""
    head = small()
    features, flows = clip_of(6, 5)

    def changed(frame: int | None = None, flow: int | None = None) -> list[bool]:
        others, motion = [x.clone() for x in features], flows.clone()
        if frame is not None:
            others[frame] += 0.5 * torch.randn_like(features[0])
        if flow is not None:
            motion[:, flow] += 1.0
        with torch.no_grad():
            now = run(head, others, motion, (12, 11))
        return [not torch.equal(now[:, t], expected[:, t]) for t in range(3)]

    with torch.no_grad():
        expected = run(head, features, flows, (12, 11))
        alone = run(head, features[:1], flows[:, :0], (12, 11))
    assert torch.equal(alone[:, 0], expected[:, 0])
    assert changed(frame=0) == [True, True, True]
    assert changed(frame=1) == [False, True, True]
    assert changed(frame=2) == [False, False, True]
    assert changed(flow=0) == [False, True, True]
    assert changed(flow=1) == [False, False, True]


def test_a_still_clip_keeps_what_is_trusted() -> None:
    """Where the confidence is all in the past and nothing moves, every frame is compared by the first one's HR features."""
    head = small()
    assert head.confidence is not None
    torch.nn.init.constant_(head.confidence[1].bias, -1e4)  # type: ignore[arg-type]
    features, flows = clip_of(4, 4)
    with torch.no_grad():
        moved = run(head, features, torch.zeros_like(flows), (8, 8))
        later = run(head, [features[0], features[2]], torch.zeros_like(flows[:, :1]), (8, 8))
        assert torch.equal(moved[:, 0], later[:, 0]) and not torch.allclose(moved[:, 2], later[:, 1])
        # What is compared with is of the present: only with the past's HR features do they match.
        torch.nn.init.constant_(head.confidence[1].bias, 1e4)  # type: ignore[arg-type]
        still = run(head, features, flows, (8, 8))
        alone = torch.cat([run(head, [x], flows[:, :0], (8, 8)) for x in features], dim=1)
    assert torch.allclose(still, alone, atol=1e-9)


# ---------------------------------------------------------------- gradients


@pytest.mark.parametrize("options", [{}, {"context": "bicubic"}, {"gps": False}, {"gate": False}, PLAIN], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_gradients(options: dict[str, Any], training: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all but the choice of patches, which has no true one; the gate's are those of training."""
    forward = PatchSearch.forward
    monkeypatch.setattr(PatchSearch, "forward", lambda *given: tuple(x.detach() for x in forward(*given)))
    monkeypatch.setattr(dcgu, "CHUNK", 40)
    monkeypatch.setattr(dcgu, "SOFTNESS", 0.1)
    head = small(channels=3, hidden=3, **options).train(training)
    features, flows = clip_of(4, 3, frames=2)
    inputs = tuple(x[:, :3].clone().requires_grad_() for x in features)
    held = ("search",) if training else ("search", "threshold")
    parameters = {name: value for name, value in head.named_parameters() if not name.startswith(held)}

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, *given: Tensor) -> Tensor:
            return run(self.head, list(given[:2]), given[2], (6, 5))

    whole = Whole()

    def restored(*values: Tensor) -> Tensor:
        named = {f"head.{name}": value for name, value in zip(parameters, values[3:], strict=True)}
        return torch.func.functional_call(whole, named, values[:3])

    assert torch.autograd.gradcheck(restored, (*inputs, flows.requires_grad_(), *parameters.values()), fast_mode=True)


def test_every_parameter_learns() -> None:
    head = small().train()
    features, flows = clip_of(6, 6)
    run(head, features, flows, (13, 15)).square().mean().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_patches_that_help_are_attended_to() -> None:
    """The gradient of the attention's logarithm is that of enlarging what was found."""
    head = small(gate=False).train()
    assert head.search is not None
    features, flows = clip_of(4, 4, frames=1)
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    forward = head.search.forward

    def attended(patches: Tensor) -> tuple[Tensor, Tensor]:
        found, attention = forward(patches)
        return found, attention.detach() * factor

    head.search.forward = attended  # type: ignore[method-assign]
    run(head, features, flows, (8, 8)).sum().backward()
    slope = factor.grad
    assert slope is not None and slope.abs() > 1e-3

    def enlarged(by: float) -> Tensor:
        joined = head._joined

        def larger(areas: Tensor, keys: Tensor, found: PatchSearch) -> tuple[Tensor, Tensor]:
            areas, keys = joined(areas, keys, found)
            half = areas.shape[3] // 2
            return torch.cat([areas[..., :half, :], areas[..., half:, :] * by], dim=3), keys

        head._joined = larger  # type: ignore[method-assign, assignment]
        with torch.no_grad():
            total = run(head, features, flows, (8, 8)).sum()
        head._joined = joined  # type: ignore[method-assign]
        return total

    assert torch.allclose(slope, (enlarged(1.001) - enlarged(0.999)) / 0.002, rtol=1e-6)


# ---------------------------------------------------------------- search


def plain_hashed_search(patches: np.ndarray, layer: PatchSearch) -> list[int]:
    """Sort by hashes, cut into chunks, the last one of full size, and compare within each."""
    vectors = patches.reshape(len(patches), -1)
    along = vectors @ search._directions(vectors.shape[1], min(len(patches) // 64, 32)).numpy()
    hashes = [int(np.argmax([*row, *-row])) for row in along / np.linalg.norm(vectors, axis=1, keepdims=True)]
    order = sorted(range(len(patches)), key=lambda i: (hashes[i], i))
    found = [-1] * len(patches)
    for start in range(0, len(order), 64):
        members = order[start : start + 64] if start + 64 <= len(order) else order[-64:]
        best = plain_search(patches[members], {f"search.{key}": value for key, value in as_arrays(layer).items()})
        for member, other in zip(members, best, strict=True):
            if member in order[start : start + 64]:
                found[member] = members[other]
    return found


@pytest.mark.parametrize("count", [1025, 1088])
def test_hashed_search_is_the_plain_one(count: int) -> None:
    torch.manual_seed(0)
    layer = PatchSearch(3, 2).double()
    patches = torch.randn(2, count, 4, 3, dtype=torch.float64)
    with torch.no_grad():
        found, attention = layer(patches)
    assert found.tolist() == [plain_hashed_search(clip.numpy(), layer) for clip in patches]
    assert attention.min() > 0 and attention.max() <= 1


def test_twins_find_each_other() -> None:
    """Patches that are there twice have one hash and are most alike: side by side in the
    frame they are side by side in the order of hashes too."""
    torch.manual_seed(0)
    layer = PatchSearch(16, 1).double()
    for part in (layer.embed, layer.phi, layer.theta):
        torch.nn.init.eye_(part.weight)
    torch.nn.init.zeros_(layer.embed.bias)
    torch.nn.init.zeros_(layer.phi.bias)
    ones = torch.nn.functional.normalize(torch.randn(1, 1024, 1, 16, dtype=torch.float64), dim=-1)
    twins = torch.cat([ones, ones], dim=1)
    with torch.no_grad():
        exact, _ = layer(torch.cat([ones[:, :512]] * 2, dim=1))
    assert (exact[0] == torch.arange(1024).roll(512)).all()
    shuffled = torch.stack([torch.arange(1024), torch.arange(1024, 2048)], dim=1).flatten()
    with torch.no_grad():
        found, _ = layer(twins[:, shuffled])
    assert (found[0] == torch.arange(2048).view(-1, 2).flip(1).flatten()).all()


@given(count=st.integers(2, 300), batch=st.integers(1, 3), exact=st.sampled_from([0, 1024]), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_every_patch_finds_another(count: int, batch: int, exact: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = PatchSearch(2, 2)
    patches = torch.randn(batch, count, 4, 2)
    patches[:, : count // 2] = 0  # as black bars are
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(search, "EXACT", exact if count > 64 else 1024)
        found, attention = layer(patches)
        again, _ = layer(patches)
    assert found.shape == attention.shape == (batch, count)
    assert (found >= 0).all() and (found < count).all() and (found != torch.arange(count)).all()
    assert (attention > 0).all() and torch.equal(found, again)


def test_a_single_patch_finds_itself() -> None:
    found, attention = PatchSearch(2, 2)(torch.randn(1, 1, 4, 2))
    assert found.item() == 0 and attention.item() == 1


@given(st.integers(1, 33), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 99))
@settings(deadline=None)
def test_ranked_is_a_stable_sort(candidates: int, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.randint(0, 20, (2, candidates, 7), generator=generator).to(dtype) / 19
    expected = similarity.sort(dim=1, descending=True, stable=True).indices
    assert torch.equal(ranked(similarity), expected)


def test_places_are_valid_without_numbers() -> None:
    for nothing in (torch.nan, -torch.nan):
        assert ranked(torch.full((1, 5, 2), nothing)).sort(dim=1).values[0, :, 0].tolist() == [0, 1, 2, 3, 4]


def test_ranked_tells_similarities_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    similarity = torch.rand(4, 32, 1000, generator=generator).softmax(dim=1)
    ordered = similarity.gather(1, ranked(similarity))
    assert (ordered[:, :-1] > ordered[:, 1:] * (1 - 2**-17)).all()


@given(st.integers(1, 40), st.integers(0, 120), st.integers(1, 5))
@settings(deadline=None)
def test_spans_hold_every_pixel_once(length: int, more: int, patch: int) -> None:
    size = length + more
    found = span(length, size, patch, torch.zeros(()))
    assert found.pixels.flatten()[found.place].tolist() == list(range(size))
    assert found.even == (found.pixels.numel() == size)
    for block, pixels in enumerate(found.pixels.tolist()):
        assert {i * length // size // patch for i in pixels} == {block}
        lower = [patch * block + x for x in found.lower[block].tolist()]
        assert lower == [i * length // size for i in pixels]
        offsets = found.offsets[found.phase[block]].tolist()
        assert offsets == pytest.approx([i * length / size - i * length // size for i in pixels], abs=1e-5)
    used = [phases[: sum(i * length // size // patch == b for i in range(size))] for b, phases in enumerate(found.phase.tolist())]
    alike = all(one[: len(other)] == other[: len(one)] for one in used for other in used)
    assert alike or not found.alike


# ---------------------------------------------------------------- networks


def network_of(name: str, **options: Any) -> models.Network:
    torch.manual_seed(0)
    more = {"basicvsr_plusplus_dcgu": {"outer_blocks": 1, "groups": 4}}.get(name, {})
    network = models.create(name, channels=4, blocks=1, hidden=8, **more, **options)
    liven(network)
    return network.eval()


NAMES = ("basicvsr_dcgu", "basicvsr_plusplus_dcgu")


@pytest.mark.parametrize(("name", "parameters", "published"), [(NAMES[0], 6_385_234, 6.4e6), (NAMES[1], 7_416_850, 7.4e6)])
def test_parameters(name: str, parameters: int, published: float) -> None:
    with torch.device("meta"):
        network = models.create(name)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == parameters == pytest.approx(published, rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_networks(name: str) -> None:
    # In double precision: what is nearly alike may change places with rounding.
    network, clip = network_of(name).double(), torch.rand(2, 2, 3, 8, 10, dtype=torch.float64)
    with torch.no_grad():
        restored = network(clip, size=(21, 17))
        assert restored.shape == (2, 2, 3, 21, 17)
        assert torch.allclose(network(clip[1:], size=(21, 17))[0], restored[1], atol=1e-9)
    with torch.inference_mode():
        assert network(clip[:1, :1]).shape == (1, 1, 3, 32, 40)
    network.train()(clip).mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_head_alone_gives_the_residual(name: str) -> None:
    network, clip = network_of(name, base="bicubic"), torch.rand(1, 2, 3, 8, 9)
    for parameter in network.last.parameters():  # type: ignore[union-attr]
        parameter.data.zero_()
    with torch.no_grad():
        expected = models.create("bicubic")(clip)
        assert torch.allclose(network(clip), expected, atol=1e-6)


def test_autocast_leaves_the_head_in_full_precision() -> None:
    head = small().float()
    features, flows = clip_of(6, 7)
    features, flows = [x.bfloat16() for x in features], flows.float()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        restored = run(head, features, flows, (12, 17))
    with torch.no_grad():
        assert torch.equal(run(head, [x.float() for x in features], flows, (12, 17)), restored)


def test_cost_counts_shapes() -> None:
    network = network_of(NAMES[1])
    assert cost(network, 20, 24)["gmacs"] > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "bicubik"}, "unknown context of dcgu 'bicubik': did you mean 'bicubic'"),
        ({"lps": False}, "without 'lps', dcgu has no points to choose from"),
        ({"neighbours": 16}, "16 neighbours of dcgu are no square"),
        ({"patch": 0}, "'patch' of dcgu is 0"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.create("basicvsr_dcgu", **options)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_gpu_gives_what_the_cpu_does() -> None:
    head = small()
    features, flows = clip_of(12, 13, count=2)
    with torch.no_grad():
        expected = run(head, features, flows, (30, 31))
        found = run(head.cuda(), [x.cuda() for x in features], flows.cuda(), (30, 31))
    assert torch.allclose(found.cpu(), expected, atol=1e-9)

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
from models.heads.patches import in_place, lines
from models.heads.search import PatchSearch
from models.parts.coordinates import axis
from pipelines.restoring.cost import cost

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

TINY: dict[str, Any] = {
    "channels": 5,
    "hidden": 6,
    "neighbours": 9,
    "patch": 3,
    "context": "confidence",
    "points": "searched",
    "gate": True,
    "gps": True,
    "range_filter": "similarity",
}
CHOSEN: dict[str, Any] = {"gate": False, "gps": False}
SQUARE: dict[str, Any] = {**CHOSEN, "points": "square", "range_filter": "none"}
DEFORMABLE: dict[str, Any] = {**CHOSEN, "points": "deformable"}
SWITCHES: list[dict[str, Any]] = [
    {"context": "bicubic"},
    {"context": "metasr"},
    {"range_filter": "none"},
    {"range_filter": "distance"},
    {"gate": False},
    {"gps": False},
    CHOSEN,
    SQUARE,
    {"patch": 2},  # smaller than the filter
    {"patch": 4, "neighbours": 1},
    {"neighbours": 25},  # larger than what is seen of the patch found
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
    period = max(2 * length - 2, 1)
    return min(index % period, period - index % period) if length > 1 else 0


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


def plain_metasr(lr: np.ndarray, y: int, x: int, place: np.ndarray, state: State) -> np.ndarray:
    """The 3x3 filter of an HR point, which is given its place, over the zero-padded features."""
    filters = perceptron(place, state, "enlarged.imnet").reshape(len(lr), 3, 3, 16)
    padded = np.pad(lr, ((0, 0), (1, 1), (1, 1)))
    return np.einsum("cij,cijo->o", padded[:, y : y + 3, x : x + 3], filters)


def plain_dcgu(
    features: list[np.ndarray], flows: list[np.ndarray], size: tuple[int, int], state: State, options: dict[str, Any]
) -> list[np.ndarray]:
    channels, height, width = features[0].shape
    side = options["patch"]
    down, along = -(-height // side), -(-width // side)
    scale = np.sqrt(size[0] * size[1] / (height * width))
    reach = int(np.sqrt(options["neighbours"])) // 2
    restored: list[np.ndarray] = []
    before: np.ndarray | None = None
    for t, lr in enumerate(features):
        context = bicubic(lr, *size)
        if before is not None and options["context"] == "confidence" and options["points"] != "square":
            flow = stretch(flows[t - 1], *size, corners=False)
            warped = warp(before, np.stack([flow[0] * size[1] / width, flow[1] * size[0] / height]), border=False)
            judged = leaky(convolve(np.concatenate([context, warped]), state, "confidence.0"))
            confidence = sigmoid(convolve(judged, state, "confidence.1"))
            context = confidence * context + (1 - confidence) * warped

        def at(y: int, x: int, lr: np.ndarray = lr) -> np.ndarray:
            return lr[:, mirrored(y, height), mirrored(x, width)]

        def patch(index: int) -> np.ndarray:
            top, left = side * (index // along), side * (index % along)
            return np.array([at(top + i, left + j) for i in range(side) for j in range(side)])

        found = plain_search(np.array([patch(i) for i in range(down * along)]), state) if options["gps"] else []
        hr = np.zeros((channels, *size))
        for i in range(size[0]):
            for j in range(size[1]):
                y, x = i * height // size[0], j * width // size[1]
                place = np.array([i * height / size[0] - y, j * width / size[1] - x, 1 / scale])
                spatial = perceptron(place, state, "filters").reshape(2 * reach + 1, 2 * reach + 1, channels)
                whole = range(-reach, reach + 1)
                points = {(a, b, 0): at(y + a, x + b) for a in whole for b in whole}
                if found:
                    other = found[y // side * along + x // side]
                    top, left = side * (other // along) + y % side, side * (other % along) + x % side
                    near = range(-min(reach, 1), min(reach, 1) + 1)
                    points |= {(a, b, 1): at(top + a, left + b) for a in near for b in near}
                kept, similarity = set(points), dict.fromkeys(points, 0.0)
                if options["points"] == "searched":
                    if options["context"] == "metasr":
                        query = unit(plain_metasr(lr, y, x, place, state))
                    else:
                        query = unit(state["query.weight"] @ context[:, i, j])
                    cosines = [16 * query @ unit(state["key.weight"] @ point) for point in points.values()]
                    similarity = dict(zip(points, softmax(np.array(cosines)), strict=True))
                    if options["gate"]:
                        every = np.array(list(similarity.values()))
                        least = sigmoid(perceptron(every, state, "threshold"))[0] * every.max()
                        kept = {k for k in kept if similarity[k] >= least}
                    for a, b, other in list(points):  # one point for each weight of the filter
                        if other:
                            better = similarity[a, b, 1] * (1 - 1e-5) > similarity[a, b, 0]
                            kept -= {(a, b, 0 if better else 1)}
                # The weights of places without a point are those of the pixel itself.
                weights = {k: spatial[k[0] + reach, k[1] + reach] for k in kept}
                rest = spatial.sum((0, 1)) - sum(weights.values(), np.zeros(channels))
                sums = sum((weights[k] * points[k] for k in kept), rest * at(y, x))
                if options["range_filter"] == "similarity":
                    most = sum(similarity[k] for k in kept)
                    sums = sums + state["delta"] * sum(similarity[k] / most * points[k] for k in kept)
                elif options["range_filter"] == "distance":
                    away = {k: np.linalg.norm(points[k] - context[:, i, j]) for k in kept}
                    sums = sums - state["delta"] * sum(away[k] * points[k] for k in kept)
                hr[:, i, j] = sums
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


@pytest.mark.parametrize(
    "options", [{}, {"neighbours": 25}, *SWITCHES, DEFORMABLE, {**DEFORMABLE, "range_filter": "none"}], ids=str
)
@pytest.mark.parametrize("size", [(24, 28), (30, 35), (43, 51)])
def test_what_is_the_same_everywhere_stays_so(options: dict[str, Any], size: tuple[int, int]) -> None:
    """Constant features give a frame that repeats with every LR pixel: no grid of patches, nothing that was found or left out."""
    training = size == (24, 28)
    head = small(**options).float().train(training)
    height, width = 12, 14
    features = [x.float() for x in clip_of(1, 1)[0]]
    clip = [x.expand(-1, -1, height, width) for x in features]
    with torch.set_grad_enabled(training):
        restored = run(head, clip, torch.zeros(1, 2, 2, height, width), size)[:, -1].detach()
    (down, along), scale = (axis(height, size[0]), axis(width, size[1])), restored.abs().max()
    inner = [slice(4 * length // old, -4 * length // old) for length, old in zip(size, (height, width), strict=True)]
    rows, columns = (list(range(length))[part] for length, part in zip(size, inner, strict=True))
    seen: dict[tuple[int, ...], Tensor] = {}
    for i in rows:
        for j in columns:
            # The layer that makes colours sees the phases of the points beside it.
            key = tuple(int(x) for x in (*down.phase[i - 1 : i + 2], *along.phase[j - 1 : j + 2]))
            assert (restored[0, :, i, j] - seen.setdefault(key, restored[0, :, i, j])).abs().max() < 1e-5 * scale


def test_thresholds_leave_points_out() -> None:
    """Of what the comparisons above compare, some points count and some do not."""
    head, shares = small(), []
    assert head.threshold is not None
    head.threshold.register_forward_hook(lambda module, given, made: shares.append((given[0], made.sigmoid())))
    with torch.no_grad():
        run(head, *clip_of(6, 6), (15, 15))
    counted = torch.cat([(given > made * given.amax(-1, keepdim=True)).sum(-1).flatten() for given, made in shares])
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
    for points in (1, 50, 150):
        monkeypatch.setattr(dcgu, "CHUNK", points)
        assert torch.allclose(run(head, features, flows, size), expected, atol=1e-12)
    monkeypatch.setattr(dcgu, "TABLE", 0)
    with torch.no_grad():
        assert torch.allclose(run(head, features, flows, size), expected, atol=1e-12)


def test_every_switch_matters() -> None:
    features, flows = clip_of(6, 6)
    results = []
    for options in [{}, *SWITCHES[:8], DEFORMABLE]:
        head = small(**options)
        # The same parameters wherever there are such.
        state = head.state_dict()
        state |= {key: value for key, value in small().state_dict().items() if key in state and state[key].shape == value.shape}
        head.load_state_dict(state)
        with torch.no_grad():
            results.append(run(head, features, flows, (15, 15)))
    for i, one in enumerate(results):
        assert not any(torch.allclose(one, other, atol=1e-3) for other in results[:i])


def test_training_restores_what_evaluation_does() -> None:
    head = small()
    features, flows = clip_of(5, 6)
    with torch.no_grad():
        expected = run(head, features, flows, (9, 10))
    assert torch.equal(run(head.train(), features, flows, (9, 10)).detach(), expected)


def test_the_gate_is_hard_with_a_gradient_as_wide_as_the_threshold() -> None:
    similarity = torch.tensor([0.001, 0.02, 0.3], dtype=torch.float64, requires_grad=True)
    for threshold in (0.0005, 0.02, 0.1):
        at = torch.tensor(threshold, dtype=torch.float64, requires_grad=True)
        gate = dcgu.passed(similarity, at)
        assert gate.tolist() == [float(x >= threshold) for x in similarity.tolist()]
        to_similarity, to_threshold = torch.autograd.grad(gate.sum(), [similarity, at])
        expected = threshold / (similarity.detach() + threshold) ** 2
        assert torch.allclose(to_similarity, expected)
        assert torch.allclose(to_threshold, -(similarity.detach() / (similarity.detach() + threshold) ** 2).sum())


def test_filters_know_which_side_a_point_lies_on() -> None:
    """A filter of one weight moves features by whole LR pixels."""
    head = DCGU(**{**TINY, **CHOSEN, "range_filter": "none"}).double().eval()
    torch.nn.init.zeros_(head.filters.last.weight)
    torch.nn.init.dirac_(head.colours.weight)
    torch.nn.init.zeros_(head.colours.bias)  # type: ignore[arg-type]
    features, flows = clip_of(6, 9, frames=1)
    padded = torch.nn.functional.pad(features[0], (1, 1, 1, 1), mode="reflect")
    for down, along in ((0, 0), (-1, 0), (1, 1), (0, -1)):
        weights = torch.zeros(3, 3, 5, dtype=torch.float64)
        weights[1 + down, 1 + along] = 1
        head.filters.last.bias.data.copy_(weights.flatten())
        with torch.no_grad():
            restored = run(head, features, flows, (12, 18))[:, 0]
        moved = padded[..., 1 + down : 7 + down, 1 + along : 10 + along]
        assert torch.allclose(restored, moved[:, :3].repeat_interleave(2, 2).repeat_interleave(2, 3), atol=1e-12)


def test_a_point_found_has_the_weight_of_its_place() -> None:
    """Where only found points are alike, a filter of one weight reads the frame about the counterpart of every pixel."""
    head = DCGU(**{**TINY, "gate": False, "range_filter": "none", "context": "bicubic"}).double().eval()
    torch.nn.init.zeros_(head.filters.last.weight)
    torch.nn.init.dirac_(head.colours.weight)
    torch.nn.init.zeros_(head.colours.bias)  # type: ignore[arg-type]
    features, flows = clip_of(6, 9, frames=1)
    weights = torch.zeros(3, 3, 5, dtype=torch.float64)
    weights[1, 2] = 1
    head.filters.last.bias.data.copy_(weights.flatten())
    assert head.search is not None
    head.search.forward = lambda patches: (torch.tensor([[4, 5, 3, 1, 2, 0]]), torch.ones(1, 6))  # type: ignore[method-assign]
    padded = torch.nn.functional.pad(features[0], (1, 1, 1, 1), mode="reflect")
    right = padded[..., 1:7, 2:11].unfold(2, 3, 3).unfold(3, 3, 3).flatten(2, 3)[:, :, [4, 5, 3, 1, 2, 0]]
    elsewhere = right.unflatten(2, (2, 3)).transpose(3, 4).flatten(4).flatten(2, 3)[:, :3]
    with torch.no_grad():
        restored = run(head, features, flows, (6, 9))[:, 0]
    own = padded[:, :3, 1:7, 2:11]
    from_own, from_found = ((restored - x).abs().amax(1) < 1e-9 for x in (own, elsewhere))
    assert (from_own | from_found).all() and from_own.any() and from_found.any()


def test_offsets_move_points() -> None:
    """At first points are those of the square; an offset of one pixel is the square about the next one."""
    square, moved = small(**SQUARE), small(**{**DEFORMABLE, "range_filter": "none"})
    moved.load_state_dict(square.state_dict(), strict=False)
    assert moved.offsets is not None
    for parameter in moved.offsets.parameters():
        parameter.data.zero_()
    features, flows = clip_of(6, 7)
    with torch.no_grad():
        expected = run(square, features, flows, (15, 16))
        assert torch.allclose(run(moved, features, flows, (15, 16)), expected, atol=1e-9)
        moved.offsets.predict.bias.data.view(-1, 2)[:, 1] = 1.0  # type: ignore[union-attr, operator]
        further = [x.roll(-1, dims=3) for x in features]
        aside = run(square, further, flows, (12, 14))[..., 4:-4]
        assert torch.allclose(run(moved, features, flows, (12, 14))[..., 4:-6], aside[..., :-2], atol=1e-9)


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


@pytest.mark.parametrize("options", [{}, *SWITCHES[:6], SQUARE, DEFORMABLE], ids=str)
def test_gradients(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all but the choice of patches, which has no true one; with the gate that the hard one has the gradient of."""
    forward = PatchSearch.forward
    monkeypatch.setattr(PatchSearch, "forward", lambda *given: tuple(x.detach() for x in forward(*given)))
    monkeypatch.setattr(dcgu, "CHUNK", 40)
    monkeypatch.setattr(dcgu, "passed", lambda similarity, threshold: similarity / (similarity + threshold))
    head = small(channels=3, hidden=3, **options)
    features, flows = clip_of(4, 3, frames=2)
    inputs = tuple(x[:, :3].clone().requires_grad_() for x in features)
    parameters = {name: value for name, value in head.named_parameters() if not name.startswith("search")}

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


@pytest.mark.parametrize("options", [{}, *SWITCHES[:4], {"gps": False}, DEFORMABLE], ids=str)
def test_every_parameter_learns(options: dict[str, Any]) -> None:
    """Without a range filter too, and with its factor at 0, as it begins."""
    head = small(**options).train()
    if head.delta is not None and options.get("points") != "deformable":
        head.delta.data.zero_()
    features, flows = clip_of(6, 6)
    run(head, features, flows, (13, 15)).square().mean().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_patches_that_help_are_attended_to() -> None:
    """The gradient of the attention's logarithm is that of counting what was found for more."""
    head = small(gate=False, range_filter="none").train()
    assert head.search is not None
    features, flows = clip_of(4, 4, frames=1)
    factor = torch.ones((), dtype=torch.float64, requires_grad=True)
    forward = head.search.forward

    def attended(patches: Tensor) -> tuple[Tensor, Tensor]:
        found, attention = forward(patches)
        return found, attention.detach() * factor

    head.search.forward = attended  # type: ignore[method-assign]
    restored = run(head, features, flows, (8, 8)).sum()
    restored.backward()
    compared = head._compared

    def without(*given: Any) -> tuple[Tensor, Tensor]:
        similarity, shares = compared(*given)
        return similarity, torch.cat([shares[:, :9], torch.zeros_like(shares[:, 9:])], dim=1)

    head._compared = without  # type: ignore[method-assign, assignment]
    with torch.no_grad():
        worth = restored - run(head, features, flows, (8, 8)).sum()
    assert factor.grad is not None and worth.abs() > 1e-3
    assert torch.allclose(factor.grad, worth, rtol=1e-6)


# ---------------------------------------------------------------- search


def plain_hashed_search(patches: np.ndarray, layer: PatchSearch) -> list[int]:
    """Sort by hashes, cut into chunks, the last one of full size, and compare within each."""
    vectors = patches.reshape(len(patches), -1)
    along = vectors @ search._directions(vectors.shape[1], min(-(-len(patches) // 64), 32)).numpy()
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


@pytest.mark.parametrize("count", [65, 256, 1088])
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
        exact, _ = layer(torch.cat([ones[:, :32]] * 2, dim=1))
    assert (exact[0] == torch.arange(64).roll(32)).all()
    shuffled = torch.stack([torch.arange(1024), torch.arange(1024, 2048)], dim=1).flatten()
    with torch.no_grad():
        found, _ = layer(twins[:, shuffled])
    assert (found[0] == torch.arange(2048).view(-1, 2).flip(1).flatten()).all()


@given(count=st.integers(2, 300), batch=st.integers(1, 3), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_every_patch_finds_another(count: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = PatchSearch(2, 2)
    patches = torch.randn(batch, count, 4, 2)
    patches[:, : count // 2] = 0  # as black bars are
    with torch.no_grad():
        found, attention = layer(patches)
        again, _ = layer(patches)
    assert found.shape == attention.shape == (batch, count)
    assert (found >= 0).all() and (found < count).all() and (found != torch.arange(count)).all()
    assert (attention > 0).all() and torch.equal(found, again)


def test_a_single_patch_finds_itself() -> None:
    found, attention = PatchSearch(2, 2)(torch.randn(1, 1, 4, 2))
    assert found.item() == 0 and attention.item() == 1


@given(st.integers(1, 20), st.integers(0, 60), st.booleans())
@settings(deadline=None)
def test_lines_hold_every_pixel_once(length: int, more: int, apart: bool) -> None:
    size = length + more
    found, order = lines(axis(length, size), apart)
    listed = [i for one in found for i in one.outputs.flatten().tolist()]
    assert [listed[place] for place in order.tolist()] == list(range(size))
    assert len(listed) == size or not apart
    assert sorted(y for one in found for y in one.pixels.tolist()) == list(range(length))
    for one in found:
        for y, pixels, phases in zip(one.pixels.tolist(), one.outputs.tolist(), one.phases.tolist(), strict=True):
            assert {i * length // size for i in pixels} == {y}
            offsets = axis(length, size).offsets[phases].tolist()
            assert offsets == pytest.approx([i * length / size - y for i in pixels])


@pytest.mark.parametrize("apart", [True, False])
def test_maps_are_put_in_order(apart: bool) -> None:
    (rows, to_row), (columns, to_column) = lines(axis(4, 9), apart), lines(axis(5, 15), apart)
    parts = [[(x.outputs[:, None, :, None] * 15 + y.outputs[None, :, None, :]).reshape(1, -1) for y in columns] for x in rows]
    assert in_place(parts, rows, columns, to_row, to_column).flatten().tolist() == list(range(9 * 15))


# ---------------------------------------------------------------- networks


def network_of(name: str, **options: Any) -> models.Network:
    torch.manual_seed(0)
    more = {"basicvsr_plusplus_dcgu": {"outer_blocks": 1, "groups": 4}}.get(name, {})
    network = models.create(name, channels=4, blocks=1, hidden=8, **more, **options)
    liven(network)
    return network.eval()


NAMES = ("basicvsr_dcgu", "basicvsr_plusplus_dcgu")


@pytest.mark.parametrize(("name", "parameters", "published"), [(NAMES[0], 6_385_266, 6.4e6), (NAMES[1], 7_416_882, 7.4e6)])
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
        ({"points": "squares"}, "unknown points of dcgu 'squares': did you mean 'square'"),
        (
            {"points": "square", "range_filter": "none"},
            "dcgu chooses from points and measures distances where they are searched for",
        ),
        ({"points": "square", "gate": False, "gps": False}, "points of a square are compared with nothing"),
        ({"context": "metasr", "range_filter": "distance"}, "context of metasr has no features"),
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

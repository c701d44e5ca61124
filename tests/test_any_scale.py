"""Networks that restore at any scale: heads against their formulas written out pixel by pixel, and exact positions."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

import models
from models import Network
from models.heads.liif import LIIF
from models.heads.lte import LTE
from models.heads.metasr import MetaSR
from models.parts.any_scale import Head
from models.parts.coordinates import axis, neighbours
from models.parts.resize import imresize, imresize_to

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

State = dict[str, np.ndarray]
Size = tuple[int, int]

HEADS: dict[str, type[Head]] = {"metasr": MetaSR, "liif": LIIF, "lte": LTE}
NAMES = [f"{backbone}_{head}" for backbone in ("basicvsr", "basicvsr_plusplus") for head in HEADS]
LENGTHS = st.integers(1, 40).flatmap(lambda low: st.tuples(st.just(low), st.integers(low, 5 * low)))


def small(name: str, seed: int = 0, **options: object) -> Network:
    torch.manual_seed(seed)
    more = {"outer_blocks": 1, "groups": 2} if "plusplus" in name else {}
    network = models.create(name, **{"channels": 4, "blocks": 1, "hidden": 6, **more, **options})
    for parameter in network.parameters():  # livelier than a fresh network: its flows and offsets are not near zero
        parameter.data.add_(torch.randn_like(parameter) * 0.03)
    return network.eval()


def new_head(kind: str, channels: int = 3, hidden: int = 6) -> Head:
    torch.manual_seed(1)
    head = HEADS[kind](channels, hidden).double()
    for parameter in head.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.3)
    return head


# ---------------------------------------------------------------- positions


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_edges_are_exact_and_phases_distinct(lengths: Size) -> None:
    low, high = lengths
    found = axis(low, high)
    assert len(set(found.offsets.tolist())) == len(found.offsets)
    assert found.offsets.tolist() == sorted(found.offsets.tolist())
    seen = set()
    for i in range(high):
        edge = Fraction(i * low, high)
        offset = edge - math.floor(edge)
        seen.add(offset)
        assert found.lower[i] == math.floor(edge)
        assert found.offsets[found.phase[i]] == float(offset)
        if i + len(found.offsets) < high:
            assert found.phase[i + len(found.offsets)] == found.phase[i]
            assert found.lower[i + len(found.offsets)] == found.lower[i] + found.step
    assert len(seen) == len(found.offsets)


@settings(deadline=None, max_examples=100)
@given(LENGTHS)
def test_neighbours_are_exact(lengths: Size) -> None:
    low, high = lengths
    found = neighbours(low, high)
    for i in range(high):
        centre = Fraction(2 * i + 1, 2) * Fraction(low, high) - Fraction(1, 2)
        before = math.floor(centre)
        for side in (0, 1):
            pixel = min(max(before + side, 0), low - 1)
            assert found.pixel[i, side] == pixel
            assert found.distance[i, side].item() == pytest.approx(float(centre - pixel), abs=1e-12)
            assert found.weight[i, side].item() == pytest.approx(float(1 - abs(centre - before - side)), abs=1e-12)


@pytest.mark.parametrize(
    ("low", "high", "phases", "step"), [(180, 720, 4, 1), (288, 720, 5, 2), (64, 224, 7, 2), (205, 718, 718, 205)]
)
def test_phases_of_known_scales(low: int, high: int, phases: int, step: int) -> None:
    assert (len(axis(low, high).offsets), axis(low, high).step) == (phases, step)


def test_impossible_axes() -> None:
    for made in (axis, neighbours):
        with pytest.raises(ValueError, match="at least 1"):
            made(0, 4)


# ---------------------------------------------------------------- slow second implementations, one output pixel at a time


def perceive(x: np.ndarray, state: State, name: str) -> np.ndarray:
    layers = sorted(int(key.split(".")[-2]) for key in state if key.startswith(name) and key.endswith("weight"))
    for layer in layers:
        x = state[f"{name}.layers.{layer}.weight"] @ x + state[f"{name}.layers.{layer}.bias"]
        x = np.maximum(x, 0) if layer != layers[-1] else x
    return x


def around(features: np.ndarray, row: int, column: int) -> np.ndarray:
    """The 3x3 features around a pixel, by channel, row and column, zero outside."""
    padded = np.pad(features, ((0, 0), (1, 1), (1, 1)))
    return padded[:, row : row + 3, column : column + 3].flatten()


def plain_metasr(features: np.ndarray, state: State, size: Size) -> np.ndarray:
    _, height, width = features.shape
    out = np.zeros((3, *size))
    for i, j in product(range(size[0]), range(size[1])):
        y, x = Fraction(i * height, size[0]), Fraction(j * width, size[1])
        row, column = math.floor(y), math.floor(x)
        inverse = math.sqrt(height / size[0] * width / size[1])
        filters = perceive(np.array([float(y - row), float(x - column), inverse]), state, "imnet")
        out[:, i, j] = around(features, row, column) @ filters.reshape(-1, 3)
    return out


def ensemble(features: np.ndarray, size: Size, predict) -> np.ndarray:  # type: ignore[no-untyped-def]
    """LIIF's local ensemble in its coordinates, where an image reaches from -1 to 1; NaN where all its areas vanish."""
    sides = features.shape[1:]
    out = np.zeros((3, *size))
    for place in product(range(size[0]), range(size[1])):
        at = [-1 + (2 * i + 1) / n for i, n in zip(place, size, strict=True)]
        predicted, areas = [], []
        for shifts in product((-1, 1), (-1, 1)):
            pixel, relative = [], []
            for c, shift, side in zip(at, shifts, sides, strict=True):
                moved = min(max(c + shift / side + 1e-6, -1 + 1e-6), 1 - 1e-6)
                nearest = round(((moved + 1) * side - 1) / 2)
                pixel.append(nearest)
                relative.append((c - (-1 + (2 * nearest + 1) / side)) * side)
            cell = [2 / n * side for n, side in zip(size, sides, strict=True)]
            predicted.append(predict(pixel, np.array(relative), np.array(cell)))
            areas.append(abs(relative[0] * relative[1]) + 1e-9)
        if sum(areas) < 1e-6:  # in the last row or column, exactly on a centre
            out[(slice(None), *place)] = np.nan
            continue
        areas[0], areas[3] = areas[3], areas[0]
        areas[1], areas[2] = areas[2], areas[1]
        out[(slice(None), *place)] = sum(a / sum(areas) * p for a, p in zip(areas, predicted, strict=True))
    return out


def plain_liif(features: np.ndarray, state: State, size: Size) -> np.ndarray:
    def predict(pixel: list[int], relative: np.ndarray, cell: np.ndarray) -> np.ndarray:
        return perceive(np.concatenate([around(features, *pixel), relative, cell]), state, "imnet")

    return ensemble(features, size, predict)


def plain_lte(features: np.ndarray, state: State, size: Size) -> np.ndarray:
    def predict(pixel: list[int], relative: np.ndarray, cell: np.ndarray) -> np.ndarray:
        seen = around(features, *pixel)
        coef, freq = (state[f"{name}.weight"].reshape(-1, len(seen)) @ seen + state[f"{name}.bias"] for name in ("coef", "freq"))
        cell = cell * np.maximum(2 / cell / 4, 1)  # 2 / cell is the scale, of which 4 is the largest trained at
        waves = freq.reshape(-1, 2) @ relative + state["phase.weight"] @ cell
        return perceive(coef * np.concatenate([np.cos(np.pi * waves), np.sin(np.pi * waves)]), state, "imnet")

    return ensemble(features, size, predict)


PLAIN = {"metasr": plain_metasr, "liif": plain_liif, "lte": plain_lte}


@pytest.mark.parametrize("size", [(8, 12), (10, 15), (5, 7), (4, 18), (9, 13), (21, 29)])
@pytest.mark.parametrize("kind", HEADS)
def test_heads_are_the_plain_ones(kind: str, size: Size) -> None:
    features = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    head = new_head(kind)
    state = {key: value.numpy() for key, value in head.state_dict().items()}
    with torch.no_grad():
        found = head(features, size).numpy()
    for one, plain in zip(found, features.numpy(), strict=True):
        expected = PLAIN[kind](plain, state, size)
        defined = ~np.isnan(expected)
        assert expected[defined].std() > 0.05 and defined.mean() >= (0.7 if 4 in size else 1)
        np.testing.assert_allclose(one[defined], expected[defined], atol=1e-7)


@settings(deadline=None, max_examples=15)
@given(LENGTHS.filter(lambda x: x[1] <= 24), LENGTHS.filter(lambda x: x[1] <= 24), st.sampled_from([4, 600]))
def test_filters_per_phase_are_those_per_pixel(down: Size, along: Size, hidden: int) -> None:
    """A large hidden layer makes a filter per phase the smaller table, a small one the other."""
    features = torch.randn(1, 2, down[0], along[0], dtype=torch.float64)
    head = new_head("metasr", channels=2, hidden=hidden)
    state = {key: value.numpy() for key, value in head.state_dict().items()}
    with torch.no_grad():
        found = head(features, (down[1], along[1]))[0].numpy()
    np.testing.assert_allclose(found, plain_metasr(features[0].numpy(), state, (down[1], along[1])), atol=1e-8)


def test_both_orders_of_metasrs_sums_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    head, features = new_head("metasr", 2, 16), torch.randn(1, 2, 10, 12, dtype=torch.float64)
    monkeypatch.setattr(MetaSR, "_weigh", None)
    for size in ((40, 48), (20, 36), (15, 18), (25, 30)):
        assert head(features, size).shape == (1, 3, *size)
    with pytest.raises(TypeError):
        head(features, (35, 41))


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("scale", [2, 3])
def test_features_moved_by_a_pixel_move_the_output_by_the_scale(kind: str, scale: int) -> None:
    head, features = new_head(kind), torch.randn(1, 3, 8, 9, dtype=torch.float64)
    with torch.no_grad():
        still = head(features, (8 * scale, 9 * scale))
        moved = head(features.roll((1, 2), (2, 3)), (8 * scale, 9 * scale))
    inside = (..., slice(2 * scale, -3 * scale), slice(2 * scale, -4 * scale))
    assert torch.allclose(moved.roll((-scale, -2 * scale), (2, 3))[inside], still[inside], atol=1e-10)


@pytest.mark.parametrize("kind", ["liif", "lte"])
def test_at_its_own_size_every_pixel_asks_itself(kind: str) -> None:
    head, features = new_head(kind), torch.randn(1, 3, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        together = head(features, (5, 6))
        # With every other pixel taken away, the ensemble of a lone pixel is that pixel.
        codes = [code.flatten(2).transpose(1, 2) for code in head.codes(features)]  # type: ignore[operator]
        none, cell = torch.zeros(30, 1, dtype=torch.float64), torch.full((2,), 2.0, dtype=torch.float64)
        alone = head.predict(tuple(codes), none, none, cell)  # type: ignore[operator]
    assert torch.allclose(together.flatten(2).transpose(1, 2), alone, atol=1e-12)


@pytest.mark.parametrize("kind", HEADS)
def test_queries_do_not_depend_on_how_many_are_asked_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head, features = new_head(kind), torch.randn(2, 3, 7, 8, dtype=torch.float64)
    with torch.no_grad():
        whole = head(features, (17, 19))
        for module in ("implicit", "metasr"):
            monkeypatch.setattr(f"models.heads.{module}.queries", lambda features: 1)
        assert torch.allclose(whole, head(features, (17, 19)), atol=1e-12)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("size", [(6, 8), (7, 11)])
def test_gradients_of_heads_by_differences(kind: str, size: Size) -> None:
    head, features = new_head(kind, 2, 4), torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: head(x, size), (features, *head.parameters()), fast_mode=True)


@pytest.mark.parametrize("kind", HEADS)
def test_heads_learn_at_a_size_that_was_restored_before(kind: str) -> None:
    """What is kept from a restoration, which runs in inference mode, serves a training."""
    head, features = new_head(kind), torch.randn(1, 3, 5, 6, dtype=torch.float64)
    axis.cache_clear()
    neighbours.cache_clear()
    with torch.inference_mode():
        head(features, (11, 17)), head(features, (10, 12))
    (head(features, (11, 17)).sum() + head(features, (10, 12)).sum()).backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_positions_stay_in_single_precision_under_autocast() -> None:
    head = LTE(4, 8)
    with torch.no_grad():
        head.freq.weight.zero_()
        head.freq.bias.fill_(64)  # with positions in bfloat16, waves this short would be off by a quarter
        features = torch.randn(1, 4, 6, 40)
        exact = head(features, (13, 160))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = head(features, (13, 160))
    assert exact.std() > 0.01 and (low - exact).abs().max() < 0.05 * exact.std()


# ---------------------------------------------------------------- whole networks


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("basicvsr_metasr", 6_402_348),
        ("basicvsr_liif", 6_304_111),
        ("basicvsr_lte", 6_451_055),
        ("basicvsr_plusplus_metasr", 7_433_964),
        ("basicvsr_plusplus_liif", 7_335_727),
        ("basicvsr_plusplus_lte", 7_482_671),
    ],
)
def test_parameter_counts(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = models.create(name)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert (network.scale, network.any_scale, network.window, network.min_frames) == (4, True, None, 1)


@pytest.mark.parametrize(
    ("kind", "size", "multiplications"),
    [
        # sixteen filters, then a convolution with them
        ("metasr", (720, 1280), 16 * 256 * 1728 + 180 * 320 * 576 * 48),
        # a convolution with 257 shares of each colour, then their sums
        ("metasr", (718, 1279), 180 * 320 * 576 * 771 + 718 * 1279 * 771),
        ("liif", (720, 1280), 180 * 320 * 576 * 256 + 4 * 720 * 1280 * (3 * 256**2 + 3 * 256)),
        ("lte", (720, 1280), 180 * 320 * 576 * 512 + 4 * 720 * 1280 * (3 * 256**2 + 3 * 256)),
    ],
)
def test_operations_of_heads(kind: str, size: Size, multiplications: int) -> None:
    with torch.device("meta"):
        head, features = HEADS[kind](64, 256), torch.empty(1, 64, 180, 320)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        assert head(features, size).shape == (1, 3, *size)
    assert counter.get_total_flops() / 2 == pytest.approx(multiplications, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_networks_restore_at_any_size(name: str) -> None:
    network, clip = small(name), torch.rand(1, 2, 3, 18, 32)
    with torch.no_grad():
        assert network(clip).shape == (1, 2, 3, 72, 128)
        for size in ((18, 32), (45, 80), (63, 113), (37, 128), (216, 384)):
            restored = network(clip, size=size)
            assert restored.shape == (1, 2, 3, *size) and restored.isfinite().all()
        network.scale = 2.5
        assert network(clip[..., :5, :7]).shape[-2:] == (12, 18)  # 12.5 and 17.5, to even ones


@pytest.mark.parametrize("name", NAMES)
def test_clips_of_a_batch_do_not_see_each_other_and_one_frame_is_enough(name: str) -> None:
    network, clips = small(name), torch.rand(3, 3, 3, 12, 14)
    with torch.no_grad():
        for size in ((24, 28), (31, 45)):
            together = network(clips, size=size)
            for index in range(3):
                assert torch.allclose(together[index], network(clips[index : index + 1], size=size)[0], atol=1e-5)
        assert network(clips[:, :1]).shape == (3, 1, 3, 48, 56)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(24, 24), (29, 31)])
def test_every_parameter_learns(name: str, size: Size) -> None:
    network = small(name)
    network(torch.rand(1, 3, 3, 12, 12), size=size).square().mean().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0 or not key.startswith("head."), key


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("base", ["bilinear", "bicubic"])
def test_without_its_last_layer_a_network_enlarges(name: str, base: str) -> None:
    network, clip = small(name, base=base), torch.rand(2, 2, 3, 8, 9)
    for parameter in network.last.parameters():  # type: ignore[union-attr]
        parameter.data.zero_()
    bilinear = torch.nn.functional.interpolate(clip.flatten(0, 1), size=(20, 25), mode="bilinear").unflatten(0, (2, 2))
    with torch.no_grad():
        expected = bilinear if base == "bilinear" else imresize_to(clip, (20, 25))
        assert torch.allclose(network(clip, size=(20, 25)), expected, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_restoring_under_autocast(name: str) -> None:
    network, clip = small(name), torch.rand(1, 2, 3, 12, 16)
    with torch.no_grad():
        for size in ((48, 64), (31, 45)):
            exact = network(clip, size=size)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                low = network(clip, size=size)
            assert (low - exact).abs().max() < 0.05


def test_networks_come_back_from_their_file(tmp_path) -> None:  # type: ignore[no-untyped-def]
    network = small("basicvsr_lte")
    models.save(network, tmp_path / "model.safetensors")
    loaded, clip = models.load(tmp_path / "model.safetensors", expect="basicvsr_lte"), torch.rand(1, 1, 3, 8, 8)
    assert torch.equal(loaded(clip, size=(13, 17)), network(clip, size=(13, 17)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("basicvsr_liif", {"base": "bicubik"}, "did you mean 'bicubic'"),
        ("basicvsr_metasr", {"hidden": 0}, "at least 1"),
        ("basicvsr_plusplus_lte", {"hidden": 7}, "even number"),
        ("basicvsr_plusplus_liif", {"hiden": 7}, "did you mean 'hidden'"),
    ],
)
def test_impossible_networks(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.create(name, **options)


def test_networks_refuse_to_shrink() -> None:
    with pytest.raises(ValueError, match="basicvsr_metasr enlarges, but 20x7 is smaller than 16x8"):
        small("basicvsr_metasr")(torch.rand(1, 1, 3, 8, 16), size=(7, 20))


# ---------------------------------------------------------------- bicubic


def cubic(x: Fraction) -> Fraction:
    x = abs(x)
    if x <= 1:
        return (3 * x**3 - 5 * x**2 + 2) / 2
    return (-(x**3) + 5 * x**2 - 8 * x + 4) / 2 if x <= 2 else Fraction(0)


def matlab_axis(line: np.ndarray, length: int) -> np.ndarray:
    """One axis tap by tap, in exact fractions."""
    size, result = len(line), []
    scale = Fraction(length, size)
    stretch = min(scale, Fraction(1))
    for i in range(length):
        centre = (i + Fraction(1, 2)) / scale - Fraction(1, 2)
        taps = range(math.floor(centre - 2 / stretch), math.ceil(centre + 2 / stretch) + 1)
        weights = [cubic((centre - tap) * stretch) for tap in taps]
        mirrored = [tap % (2 * size) if tap % (2 * size) < size else 2 * size - 1 - tap % (2 * size) for tap in taps]
        result.append(sum(float(w / sum(weights)) * line[at] for w, at in zip(weights, mirrored, strict=True)))
    return np.array(result)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 15), st.integers(1, 15), st.integers(1, 24), st.integers(1, 24))
def test_resizing_to_a_size_is_matlabs(height: int, width: int, rows: int, columns: int) -> None:
    image = np.random.default_rng(height).random((height, width))
    expected = np.apply_along_axis(matlab_axis, 1, np.apply_along_axis(matlab_axis, 0, image, rows), columns)
    found = imresize_to(torch.from_numpy(image), (rows, columns))
    assert found.shape == (rows, columns)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 0.5, 0.25])
def test_resizing_to_a_size_is_resizing_by_a_scale(scale: float) -> None:
    x = torch.rand(2, 3, 20, 28)
    assert torch.equal(imresize_to(x, (round(20 * scale), round(28 * scale))), imresize(x, scale))


@pytest.mark.parametrize("size", [(9, 4), (3, 8), (5, 6), (2, 3)])
def test_gradient_of_resizing_to_a_size_by_differences(size: Size) -> None:
    x = torch.rand(2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: imresize_to(value, size), x)


def test_impossible_resizing() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        imresize_to(torch.rand(3, 8, 8), (0, 8))
    with pytest.raises(ValueError, match="uint8"):
        imresize_to(torch.zeros(3, 8, 8, dtype=torch.uint8), (4, 4))


def test_bicubic_restores_at_any_size() -> None:
    network, clip = models.create("bicubic"), torch.rand(2, 2, 3, 6, 7)
    assert network.any_scale
    assert torch.equal(network(clip), imresize(clip, 4))
    assert torch.equal(network(clip, size=(15, 21)), imresize_to(clip, (15, 21)))
    assert models.create("bicubic", scale=2.5)(clip[..., :5, :]).shape == (2, 2, 3, 12, 18)

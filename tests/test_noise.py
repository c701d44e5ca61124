"""Counter-based noise: published vectors, a second Philox in Python's integers, and the laws that draws follow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from pipelines.degradations import noise, philox

torch.set_num_threads(1)

Op = Callable[[Tensor, list[float], bool, int, list[int]], Tensor]
OPS = pytest.mark.parametrize("op", [noise.gaussian, noise.poisson])
GREY = pytest.mark.parametrize("grey", [False, True])
WORD = st.integers(0, 2**32 - 1)


def rendered(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 300 - 20).to(dtype)


def python_philox(counter: list[int], key: list[int]) -> list[int]:
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second // 2**32 ^ c[1] ^ k[0], second % 2**32, first // 2**32 ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def torch_philox(counter: list[int], key: list[int]) -> list[int]:
    words = philox.philox((key[0], key[1]), tuple(torch.tensor([word]) for word in counter))
    return [int(word) for word in words]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers_of_random123(counter: str, key: str, expected: str) -> None:
    words = [[int(word, 16) for word in text.split()] for text in (counter, key, expected)]
    assert torch_philox(words[0], words[1]) == words[2]


@given(st.lists(WORD, min_size=4, max_size=4), st.lists(WORD, min_size=2, max_size=2))
def test_is_philox_in_integers_of_any_length(counter: list[int], key: list[int]) -> None:
    assert torch_philox(counter, key) == python_philox(counter, key)


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3), st.integers(1, 40))
def test_words_are_a_function_of_seed_stream_and_position(seed: int, streams: list[int], count: int) -> None:
    words = philox.words(seed, streams, count, "cpu")
    assert words.shape == (len(streams), count)
    for stream, row in zip(streams, words.tolist(), strict=True):
        key, place = [seed % 2**32, seed >> 32], [stream % 2**32, stream >> 32]
        expected = [word for block in range(10) for word in python_philox([block, *place, 0], key)]
        assert row == expected[:count]


@pytest.mark.parametrize(("seed", "stream"), [(-1, 0), (2**64, 0), (0, -1), (0, 2**64)])
def test_numbers_out_of_range_are_refused(seed: int, stream: int) -> None:
    with pytest.raises(ValueError, match="go from 0 to 2\\^64 - 1"):
        philox.words(seed, [stream], 4, "cpu")


def test_uniforms_are_even_and_independent() -> None:
    count = 400_000
    numbers = torch.cat([philox.uniforms(seed, [0, 1], count, "cpu") for seed in (7, 8)]).numpy()
    assert numbers.dtype == np.float64 and numbers.min() > 0 and numbers.max() < 1
    for row in numbers:
        assert stats.kstest(row, "uniform").pvalue > 1e-3
        assert stats.chisquare(np.histogram(row, 1000, (0, 1))[0]).pvalue > 1e-3
        following = stats.chisquare(np.histogram2d(row[::2], row[1::2], 30, [[0, 1], [0, 1]])[0].ravel())
        assert following.pvalue > 1e-3
    between = np.corrcoef(np.vstack([numbers, np.roll(numbers[:1], 1), np.roll(numbers[:1], 4)]))
    assert np.abs(between - np.eye(len(between))).max() < 4.5 / np.sqrt(count)


@GREY
def test_gaussian_follows_its_law(grey: bool) -> None:
    sigmas = [1.0, 12.0, 25.0]
    clip = torch.full((3, 3, 300, 300), 127.5, dtype=torch.float64)
    drawn = (noise.gaussian(clip, sigmas, grey, 3, [5, 6, 9]) - clip).numpy()
    for field, sigma in zip(drawn, sigmas, strict=True):
        values = (field[0] if grey else field).ravel() / sigma
        inside = values[np.abs(values) < 5]  # 127.5 levels are 5.1 of the largest sigma
        count = len(values)
        assert abs(values.mean()) < 4 / np.sqrt(count)
        assert abs(values.var() - 1) < 4 * np.sqrt(2 / count)
        assert abs(stats.skew(values)) < 4 * np.sqrt(6 / count)
        assert abs(stats.kurtosis(values)) < 4 * np.sqrt(24 / count)
        assert len(inside) > count - 5 and stats.kstest(inside, "norm").pvalue > 1e-3
    across = np.corrcoef(drawn.reshape(9, -1))
    same = np.kron(np.eye(3), np.ones((3, 3)) if grey else np.eye(3))
    np.testing.assert_allclose(across, same, atol=4.5 / 300)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 255), st.sampled_from([1, 2, 8, 64, 256]), st.integers(0, 99))
def test_draws_are_the_quantiles_of_poisson(level: int, counts_per_white: int, seed: int) -> None:
    words = torch.from_numpy(np.random.default_rng(seed).integers(0, 2**32, (1, 40, 32)))
    # As many other levels as give this many counts at white; they take a word each, and are left out again.
    others = torch.arange(counts_per_white) if level < counts_per_white else torch.tensor([level, *range(counts_per_white - 1)])
    levels = torch.cat([torch.full((1, 40, 32), level), others.repeat(40, 1)[None]], 2)
    padded = torch.cat([words, torch.zeros(1, 40, len(others), dtype=torch.int64)], 2)
    drawn = noise._shot(levels, padded)[0, :, :32] + level
    expected = stats.poisson.ppf((words[0].numpy() + 0.5) * 2.0**-32, level / 255 * counts_per_white)
    np.testing.assert_allclose(drawn.numpy() * counts_per_white / 255, expected, atol=1e-9)


def test_poisson_follows_its_law() -> None:
    # All levels, so that white is 256 counts; a weak scale keeps draws inside of what is clipped.
    repeats, scale = 3000, 1 / 64
    clip = torch.arange(256, dtype=torch.float64).repeat(3, repeats, 1)[None]
    added = (noise.poisson(clip, [scale], False, 11, [0]) - clip) / scale
    counts = ((added + clip) * 256 / 255)[0].reshape(-1, 256).numpy()
    for level in (0, 1, 2, 5, 20, 64, 128, 200, 250):
        drawn, law = counts[:, level], stats.poisson(level / 255 * 256)
        np.testing.assert_allclose(drawn, np.rint(drawn), atol=1e-6)
        number, rate = len(drawn), law.mean()
        assert abs(drawn.mean() - rate) <= 4 * np.sqrt(rate / number)
        if not level:
            continue
        assert abs(drawn.var() / rate - 1) < 4 * np.sqrt((2 + 1 / rate) / number)
        assert abs(stats.skew(drawn) - rate**-0.5) < 6 * np.sqrt((6 + 10 / rate) / number)
        edges = np.unique(law.ppf(np.linspace(0, 1, 22)[1:-1]))  # a bin ends at each, the last one never
        seen = np.bincount(np.searchsorted(edges, np.rint(drawn)), minlength=len(edges) + 1)
        expected = np.diff(law.cdf(edges), prepend=0, append=1) * number
        assert stats.chisquare(seen[expected > 0], expected[expected > 0]).pvalue > 1e-3


@pytest.mark.parametrize(("distinct", "counts_per_white"), [(1, 1), (2, 2), (3, 4), (4, 4), (5, 8), (200, 256), (256, 256)])
def test_counts_at_white_are_a_power_of_two(distinct: int, counts_per_white: int) -> None:
    # Values between levels and out of range count as the levels that they are rounded and clipped to.
    clip = torch.arange(distinct, dtype=torch.float64).repeat(40)[: max(distinct, 40)] % distinct
    clip = (clip + 0.3 - 40 * (clip == 0)).expand(1, 3, 40, -1)
    added = (noise.poisson(clip, [2**-10], False, 1, [0]) - clip) * 2**10
    levels = (clip.round().clamp(0, 255) + added)[
        (clip > 0) & (clip < 255)
    ]  # which noise as weak does not bring to where it is clipped
    counts = levels * counts_per_white / 255
    np.testing.assert_allclose(counts.numpy(), counts.round().numpy(), atol=1e-6)
    finer = counts / 2 - (counts / 2).round()
    assert distinct < 3 or finer.abs().max() > 0.4


def test_grey_poisson_is_drawn_for_the_luma() -> None:
    clip = torch.zeros(1, 3, 200, 200, dtype=torch.float64)
    clip[0, :, :, :100] = torch.tensor([200.0, 40.0, 90.0], dtype=torch.float64)[:, None, None]
    clip[0, :, :, 100:] = torch.tensor([60.0, 180.0, 100.0], dtype=torch.float64)[:, None, None]
    added = (noise.poisson(clip, [1 / 64], True, 4, [0]) - clip)[0] * 64
    assert (added - added[:1]).abs().max() < 1e-9
    for half, luma in ((added[0, :, :100], 94), (added[0, :, 100:], 135)):  # 93.54 and 135.00, two levels: v = 2
        rate = luma / 255 * 2
        assert abs(half.mean()) < 4 * np.sqrt(rate / half.numel()) * 255 / 2
        assert abs(half.var() / (rate * (255 / 2) ** 2) - 1) < 4 * np.sqrt((2 + 1 / rate) / half.numel())


@OPS
@GREY
@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 23), st.integers(1, 23), st.integers(0, 2**64 - 1))
def test_frames_alone_are_frames_together(op: Op, grey: bool, count: int, height: int, width: int, seed: int) -> None:
    clip = rendered(count, 3, height, width, seed=seed % 100)
    strengths, frames = [0.7 + t for t in range(count)], [3 * t + 2 for t in range(count)]
    together = op(clip, strengths, grey, seed, frames)
    assert together.shape == clip.shape and together.min() >= 0 and together.max() <= 255
    for t in range(count):
        alone = op(clip[t : t + 1], strengths[t : t + 1], grey, seed, frames[t : t + 1])
        assert torch.equal(alone, together[t : t + 1])
    interleaved = clip.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(op(interleaved, strengths, grey, seed, frames), together)
    assert torch.equal(op(clip, [0.0] * count, grey, seed, frames), clip.clamp(0, 255))


@OPS
@GREY
def test_seeds_and_frames_differ(op: Op, grey: bool) -> None:
    clip = rendered(1, 3, 32, 32).expand(2, -1, -1, -1)
    first = op(clip, [2, 2], grey, 0, [0, 1])
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(op(clip, [2, 2], grey, 1, [0, 1]), first)
    assert torch.equal(op(clip, [2, 2], grey, 0, [1, 0]), first.flip(0))
    assert torch.equal(op(clip, [2, 2], grey, 0, [0, 1]), first)


@OPS
@GREY
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.float16, 0.07)])
def test_types_agree(op: Op, grey: bool, dtype: torch.dtype, tolerance: float) -> None:
    clip = rendered(2, 3, 20, 30).to(dtype)
    out = op(clip, [3, 1], grey, 5, [0, 1])
    assert out.dtype == dtype
    expected = op(clip.double(), [3, 1], grey, 5, [0, 1])
    assert (out.double() - expected).abs().max() < tolerance


@OPS
def test_one_strength_and_number_per_frame(op: Op) -> None:
    with pytest.raises(ValueError, match="give one each"):
        op(rendered(2, 3, 4, 4), [1], False, 0, [0, 1])
    with pytest.raises(ValueError, match="give one each"):
        op(rendered(2, 3, 4, 4), [1, 1], False, 0, [0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@OPS
@GREY
def test_the_gpu_gives_what_the_cpu_does(op: Op, grey: bool) -> None:
    clip = rendered(3, 3, 70, 90)
    arguments = [4, 1, 2], grey, 2**63 + 5, [0, 1, 7]
    assert (op(clip.cuda(), *arguments).cpu() - op(clip, *arguments)).abs().max() < 1e-9

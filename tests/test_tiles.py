"""Restoring tile by tile: the cuts, and tiles against whole frames."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import models
from models import Network
from pipelines.errors import VSRError
from pipelines.restoring.restore import restore
from pipelines.restoring.tiles import extents, tiles

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


def noise(seed: int, count: int, height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


class Near(Network):
    """Sees two pixels around, and enlarges twice."""

    name = "near"
    scale = 2

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 12, 3, padding=1)
        self.window = window
        self.sizes: set[tuple[int, int]] = set()

    def forward(self, clip: Tensor) -> Tensor:
        self.sizes.add((clip.shape[-2], clip.shape[-1]))
        frames = clip.flatten(0, 1)
        made = 0.5 + nn.functional.pixel_shuffle(self.second(self.first(frames).relu()), 2)
        made = made.unflatten(0, clip.shape[:2])
        return made if self.window is None else made.mean(1)


def alike(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Equal but for ties that sums in another order may round the other way."""
    off = np.abs(np.stack(ours).astype(int) - np.stack(theirs))
    assert off.max() <= 1 and np.mean(off > 0) < 1e-3


# ---------------------------------------------------------------- cuts


@settings(deadline=None, max_examples=300)
@given(
    st.integers(1, 300),
    st.fractions(min_value=1, max_value=8, max_denominator=5),
    st.integers(1, 20).map(lambda side: 4 * side),
    st.integers(0, 30),
)
def test_parts_cover_an_axis_once(length: int, scale: Fraction, side: int, overlap: int) -> None:
    restored = round(length * scale)
    try:
        found = extents(length, restored, side, overlap)
    except VSRError:
        assume(False)
    assert [place for part in found for place in range(part.place.start, part.place.stop)] == list(range(restored))
    for part in found:
        begin = Fraction(part.lr.start * restored, length)  # where the part lies among restored pixels
        assert part.place.start - part.kept.start == part.place.stop - part.kept.stop == begin
        assert part.length == Fraction((part.lr.stop - part.lr.start) * restored, length)
        assert 0 <= part.kept.start <= part.kept.stop <= part.length
        if part.lr.start > 0:
            assert part.kept.start >= math.floor(overlap * Fraction(restored, length))
        if part.lr.stop < length:
            assert part.length - part.kept.stop >= math.floor(overlap * Fraction(restored, length))
    assert len(found) == 1 or {part.lr.stop - part.lr.start for part in found} == {side}


def test_few_parts_suffice() -> None:
    assert [(part.lr.start, part.place.start) for part in extents(180, 720, 64, 8)] == [(0, 0), (48, 224), (96, 416), (116, 552)]
    assert len(extents(64, 256, 64, 16)) == 1 and len(extents(60, 240, 64, 200)) == 1
    assert [part.lr.start for part in extents(68, 272, 64, 16)] == [0, 4]


def test_a_grid_of_tiles() -> None:
    found = list(tiles((20, 36), (50, 90), 20, 4))
    assert [(tile.rows.lr.start, tile.columns.lr.start) for tile in found] == [(0, 0), (0, 12), (0, 16)]
    assert {tile.size for tile in found} == {(50, 50)}


@pytest.mark.parametrize(
    ("length", "restored", "side", "overlap", "told"),
    [
        (180, 720, 30, 0, "give multiples of 4"),
        (180, 720, 0, 0, "give multiples of 4"),
        (180, 720, 32, -1, "and 0 or more"),
        (180, 720, 32, 15, "give tiles of at least 36"),
        (180, 450, 32, 15, "give tiles of at least 36"),
        (205, 718, 64, 8, "restore whole frames, or choose a whole scale"),
        (180, 600, 64, 8, "give a multiple of 12"),
    ],
)
def test_tiles_that_cannot_be(length: int, restored: int, side: int, overlap: int, told: str) -> None:
    with pytest.raises(VSRError, match=told):
        extents(length, restored, side, overlap)


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize(("height", "width"), [(24, 40), (23, 37), (9, 50), (10, 11)])
@pytest.mark.parametrize("window", [None, 3])
def test_tiles_give_what_whole_frames_do(height: int, width: int, window: int | None) -> None:
    clip = noise(0, 7, height, width)
    network, passes = Near(window), {"window": 4, "overlap": 1}
    whole = list(restore(network, clip, **passes))
    network.sizes.clear()
    alike(list(restore(network, clip, **passes, tile=12, tile_overlap=2)), whole)
    assert network.sizes == {(min(height, 12), min(width, 12))}


def test_what_lies_beyond_the_overlap_is_not_seen() -> None:
    clip = noise(1, 2, 12, 40)
    whole, cut = (list(restore(Near(), clip, window=4, overlap=1, tile=tile, tile_overlap=0)) for tile in (None, 12))
    off = np.abs(np.stack(whole).astype(int) - np.stack(cut)).max((0, 1, 3))  # of columns
    # Tiles begin at 0, 12, 24 and 28; only the last two share pixels, which are enough.
    seen = {column for column in range(80) if off[column] > 1}
    assert seen and all(min(abs(column + 0.5 - border) for border in (24, 48)) < 4 for column in seen)


@pytest.mark.parametrize("size", [(60, 100), (72, 80), (24, 40), (48, 110)])
def test_tiles_of_any_scale(size: tuple[int, int]) -> None:
    """Also of a scale per axis: every pixel is computed from the same ones of LR, at the same distances."""
    clip = noise(2, 3, 24, 40)
    whole, cut = (
        list(restore(models.create("bicubic"), clip, window=4, overlap=1, size=size, tile=tile, tile_overlap=3))
        for tile in (None, 16)
    )
    assert whole[0].shape == (*size, 3)
    alike(cut, whole)


def test_tiles_of_a_recurrent_network_come_near_to_whole_frames() -> None:
    """It looks as far as its flow does, so that more overlap is nearer."""
    torch.manual_seed(1)
    network = models.create("basicvsr", channels=8, blocks=2, upsample_channels=8)
    with torch.no_grad():
        for parameter in network.spynet.parameters():
            parameter.zero_()
    clip = [np.kron(frame, np.ones((4, 4, 1), np.uint8)) for frame in noise(3, 2, 8, 24)]
    whole = np.stack(list(restore(network, clip, window=4, overlap=1)))
    for overlap, most in ((4, 10), (12, 1)):  # two frames of 5 + 2 x 2 convolutions
        cut = np.stack(list(restore(network, clip, window=4, overlap=1, tile=32, tile_overlap=overlap)))
        assert np.abs(whole.astype(int) - cut).max() <= most


def test_what_tiles_cannot_do_is_said() -> None:
    clip = noise(0, 2, 21, 40)
    with pytest.raises(VSRError, match="multiples of 4"):
        list(restore(Near(), clip, window=4, overlap=1, tile=10))
    with pytest.raises(VSRError, match="21 pixels restored to 50 cannot be cut .*restore whole frames"):
        list(restore(models.create("bicubic"), clip, window=4, overlap=1, size=(50, 80), tile=16, tile_overlap=2))

    class Other(Near):
        name = "other"
        scale = 3

    with pytest.raises(VSRError, match="other restores tiles to 32x32, not 48x48"):
        list(restore(Other(), clip, window=4, overlap=1, tile=16, tile_overlap=2))

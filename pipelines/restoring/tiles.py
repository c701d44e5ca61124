"""Frames in overlapping tiles, so that the memory that restoring takes does not grow with them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from pipelines.errors import VSRError

Size = tuple[int, int]

MULTIPLE = 4
"""Of the sides of tiles: networks halve frames twice."""


@dataclass(frozen=True)
class Extent:
    """A part of an axis: the pixels `lr` are restored to `length` ones, and those of them in `kept` are the pixels `place` of
    the restored frame."""

    lr: slice
    length: int
    kept: slice
    place: slice


@dataclass(frozen=True)
class Tile:
    """A part of a frame: one of its rows, one of its columns."""

    rows: Extent
    columns: Extent

    @property
    def size(self) -> Size:
        """(H, W) of the restored tile."""
        return self.rows.length, self.columns.length


def tiles(lr: Size, restored: Size, side: int, overlap: int) -> Iterator[Tile]:
    """The tiles of a frame, row by row.

    Args:
        lr: (h, w) of the frame.
        restored: (H, W) of the restored frame.
        side: of a tile in LR pixels, a multiple of 4; a smaller frame is one tile.
        overlap: LR pixels that are dropped at each side of a tile that has a neighbour there.

    Raises:
        VSRError: tiles of this side do not cover the frame, or do not end between pixels of the restored frame.
    """
    rows, columns = (extents(*axis, side, overlap) for axis in zip(lr, restored, strict=True))
    return (Tile(row, column) for row in rows for column in columns)


def extents(length: int, restored: int, side: int, overlap: int) -> list[Extent]:
    """The extents of one axis. All have `side` pixels, the last one reaching back as far as that takes.

    Args:
        length: of the axis in LR pixels.
        restored: its length in restored pixels.
        side: see `tiles`.
        overlap: see `tiles`.

    Raises:
        VSRError: see `tiles`.
    """
    if side < MULTIPLE or side % MULTIPLE or overlap < 0:
        raise VSRError(f"tiles of {side} pixels with an overlap of {overlap}: give multiples of {MULTIPLE}, and 0 or more.")
    if length <= side:
        return [Extent(slice(0, length), restored, slice(0, restored), slice(0, restored))]
    # A tile may begin and end only where a pixel of LR and one of the restored frame do.
    step = math.lcm(MULTIPLE, length // math.gcd(length, restored))
    if side % step:
        raise VSRError(
            f"{length} pixels restored to {restored} cannot be cut into tiles of {side}, whose borders would lie inside restored "
            + (
                f"pixels: give a multiple of {step}."
                if step < length
                else "pixels: restore whole frames, or choose a whole scale."
            )
        )
    stride = (side - 2 * overlap) // step * step
    if stride < step:
        raise VSRError(
            f"tiles of {side} pixels with {overlap} dropped at each side leave too little: give tiles of at least "
            f"{-(-(2 * overlap + step) // step) * step}, or less overlap."
        )
    starts = [*range(0, length - side, stride), length - side]
    places = [(start * restored // length, (start + side) * restored // length) for start in starts]
    # Neighbours are cut in the middle of what they share.
    cuts = [0, *((after + before) // 2 for (_, before), (after, _) in pairwise(places)), restored]
    return [
        Extent(slice(start, start + side), end - begin, slice(first - begin, last - begin), slice(first, last))
        for start, (begin, end), (first, last) in zip(starts, places, pairwise(cuts), strict=True)
    ]

"""HR points by the LR pixel that they lie in, and the squares of pixels that they are made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.parts.coordinates import Axis


class Lines(NamedTuple):
    """LR pixels of an axis in which as many output pixels lie."""

    pixels: Tensor
    """(n,) int64."""
    outputs: Tensor
    """(n, count) int64, the output pixels."""
    phases: Tensor
    """(n, count) int64, which of the distinct offsets they have in their LR pixel."""


class Group(NamedTuple):
    """L LR pixels in which as many HR points lie, P each."""

    pixels: Tensor
    """(L,) int64, by their place in a flattened frame."""
    points: Tensor
    """(L, P) int64, likewise."""
    phases: Tensor
    """(L, P) int64, which of the pairs of offsets a point has in its pixel; (1, P) where all pixels are alike."""


def lines(one: Axis, apart: bool) -> tuple[list[Lines], Tensor]:
    """All LR pixels of an axis, on the CPU.

    Args:
        one: the axis.
        apart: whether those with different numbers of output pixels, which are two for a fractional scale, are apart; if not,
            those with fewer repeat their last.

    Returns:
        The lines; and (H,) int64, where among their outputs, one after the other, every output pixel is.
    """
    counts = one.lower.bincount()
    first = counts.cumsum(0) - counts
    made = []
    for count in counts.unique().tolist() if apart else [int(counts.max())]:
        pixels = (counts == count).nonzero().flatten() if apart else torch.arange(len(counts), device="cpu")
        outputs = first[pixels, None] + torch.arange(count, device="cpu").minimum(counts[pixels, None] - 1)
        made.append(Lines(pixels, outputs, one.phase[outputs]))
    listed = torch.cat([x.outputs.flatten() for x in made])
    order = torch.empty(len(one.lower), dtype=torch.int64, device="cpu")
    order[listed] = torch.arange(len(listed), device="cpu")
    return made, order


def grouped(rows: Lines, columns: Lines, width: int, wide: int, phases: int) -> Group:
    """The LR pixels of some rows and columns.

    Args:
        rows: of a frame.
        columns: likewise.
        width: of the LR frame.
        wide: of the HR frame.
        phases: distinct offsets of its columns.
    """

    def both(down: Tensor, along: Tensor, of: int) -> Tensor:
        return (down[:, None, :, None] * of + along[None, :, None, :]).flatten(2).flatten(0, 1)

    pairs = both(rows.phases, columns.phases, phases)
    alike = bool((pairs == pairs[:1]).all())
    pixels = (rows.pixels[:, None] * width + columns.pixels).flatten()
    return Group(pixels, both(rows.outputs, columns.outputs, wide), pairs[:1] if alike else pairs)


def in_place(parts: list[list[Tensor]], rows: list[Lines], columns: list[Lines], down: Tensor, along: Tensor) -> Tensor:
    """A map of all HR points, (E, H, W), from those of groups, (E, L * P) for every one of `rows` and, within, of `columns`."""
    bands = []
    for row, band in zip(rows, parts, strict=True):
        blocks = []
        for column, block in zip(columns, band, strict=True):
            (tall, high), (broad, wide) = row.outputs.shape, column.outputs.shape
            blocks.append(block.view(-1, tall, broad, high, wide).transpose(2, 3).flatten(3, 4).flatten(1, 2))
        bands.append(torch.cat(blocks, dim=2))
    whole = torch.cat(bands, dim=1)
    if whole.shape[1:] == (len(down), len(along)) and len(rows) == len(columns) == 1:
        return whole
    return whole.index_select(1, down).index_select(2, along)


def mirrored(x: Tensor, reach: int, patch: int) -> Tensor:
    """A frame of whole patches and as many pixels around them, mirrored without repeating its outermost pixels.

    Args:
        x: (N, h, w, C).
        reach: pixels at each side.
        patch: side of a patch.

    Returns:
        (N, h' + 2 * reach, w' + 2 * reach, C), h' and w' the next multiples of `patch`.
    """
    for dim in (1, 2):
        length = x.shape[dim]
        period = max(2 * length - 2, 1)
        index = torch.arange(-reach, length + -length % patch + reach, device=x.device).remainder(period)
        x = x.index_select(dim, index.minimum(period - index) if length > 1 else index)
    return x


def in_patches(x: Tensor, reach: int, patch: int) -> Tensor:
    """The patches of a mirrored frame: (N, h' + 2 * reach, w' + 2 * reach, C) to (N, patches, pixels, C)."""
    inner = x[:, reach : x.shape[1] - reach, reach : x.shape[2] - reach]
    return inner.unflatten(2, (-1, patch)).unflatten(1, (-1, patch)).transpose(2, 3).flatten(3, 4).flatten(1, 2)


def patch_of(height: int, width: int, patch: int, like: Tensor) -> Tensor:
    """Which patch every pixel of a frame lies in, (height * width,) int64, on the device of `like`."""
    y, x = torch.arange(height, device=like.device), torch.arange(width, device=like.device)
    return (y[:, None] // patch * -(-width // patch) + x // patch).flatten()


def counterparts(others: Tensor, height: int, width: int, patch: int) -> tuple[Tensor, Tensor]:
    """The pixels that have the same places in other patches.

    Args:
        others: (N, height * width) int64, a patch for every pixel.
        height: of the frame.
        width: likewise.
        patch: side of a patch.

    Returns:
        (N, height * width) int64 twice, rows and columns.
    """
    per_row = -(-width // patch)
    pixel = torch.arange(height * width, device=others.device)
    return others // per_row * patch + pixel // width % patch, others % per_row * patch + pixel % width % patch

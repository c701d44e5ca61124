"""HR points by the patch of LR pixels that they lie in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from models.parts.coordinates import axis


class Span(NamedTuple):
    """Output pixels of an axis by the patch that they lie in. Patches with fewer than others repeat their last."""

    pixels: Tensor
    """(patches, most of a patch) int64."""
    place: Tensor
    """(H,) int64, where in `pixels`, flattened, every output pixel is."""
    lower: Tensor
    """As `pixels`: the LR pixel that they lie in, counted from the patch's first."""
    phase: Tensor
    """As `pixels`: which of the distinct offsets they have in it."""
    offsets: Tensor
    """(phases,), see `models.parts.coordinates.Axis`."""
    alike: bool
    """Whether all patches have the same phases."""

    @property
    def even(self) -> bool:
        """Whether nothing is repeated."""
        return self.pixels.numel() == len(self.place)


def span(length_in: int, length_out: int, patch: int, like: Tensor) -> Span:
    """The output pixels of an axis by patch, on the device of `like`."""
    found = axis(length_in, length_out)
    block = found.lower // patch
    counts = block.bincount()
    most = int(counts.max())
    first = counts.cumsum(0) - counts
    pixels = first[:, None] + torch.arange(most, device="cpu").minimum(counts[:, None] - 1)
    place = block * most + torch.arange(length_out, device="cpu") - first[block]
    lower = found.lower[pixels] - patch * torch.arange(len(counts), device="cpu")[:, None]
    pixels, place, lower, phase = (part.to(like.device) for part in (pixels, place, lower, found.phase[pixels]))
    return Span(pixels, place, lower, phase, found.offsets.to(like.device, like.dtype), patch * length_out % length_in == 0)


def pairs(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Numbers of rows and columns, (patches, most of a patch) each, to those of points, (rows of patches, patches of a row,
    points of a patch)."""
    return (rows[:, None, :, None] * width + columns[None, :, None, :]).flatten(2)


def by_patch(x: Tensor, rows: Span, columns: Span) -> Tensor:
    """HR points, (N, E, H, W) to (N, E, rows of patches, most rows of a patch, patches of a row, most columns of a patch)."""
    for dim, span_ in ((2, rows), (3, columns)):
        if not span_.even:
            x = x.index_select(dim, span_.pixels.flatten())
    return x.unflatten(3, columns.pixels.shape).unflatten(2, rows.pixels.shape)


def in_order(x: Tensor, rows: Span, columns: Span) -> Tensor:
    """The way back of `by_patch`."""
    x = x.flatten(4).flatten(2, 3)
    for dim, span_ in ((2, rows), (3, columns)):
        if not span_.even:
            x = x.index_select(dim, span_.place)
    return x


def slots(patch: int, side: int, around: int) -> Tensor:
    """Which weight of a spatial filter, a square about the LR pixel that an HR point lies in, is that of an LR point.

    Args:
        patch: side of a patch.
        side: of the square.
        around: LR pixels at each side of a patch that belong to its area.

    Returns:
        (pixels of an area, pixels of a patch) int64, `side` ** 2 for a point beyond the square.
    """
    of_area, of_patch = torch.arange(patch + 2 * around) - around, torch.arange(patch)
    away = of_area[:, None] - of_patch + side // 2
    within = (away >= 0) & (away < side)
    both = within[:, None, :, None] & within[None, :, None, :]
    slot = away[:, None, :, None] * side + away[None, :, None, :]
    return torch.where(both, slot, side * side).flatten(2).flatten(0, 1)


def mirrored(x: Tensor, dim: int, length: int) -> Tensor:
    """Mirrored at the end of an axis, whose last pixel is not repeated, to a length that may be several times its own."""
    old = x.shape[dim]
    if length == old:
        return x
    period = max(2 * old - 2, 1)
    index = torch.arange(length, device=x.device) % period
    return x.index_select(dim, index.minimum(period - index) if old > 1 else index)

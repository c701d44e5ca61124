"""Sums of points that are weighted one by one and filtered channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Weighed(torch.autograd.Function):
    """`out[l, p, c] = sum over j of filters[places[j], phases[l, p], c] * shares[l, j, p] * (points[l, j, c] - centre[l, c])`.

    Nothing of the size of HR features is kept for the gradients.

    Args of `apply`:
        points: (L, J, C).
        centre: (L, C).
        shares: (L, J, P).
        filters: (K or more, phases, C).
        phases: (L or 1, P) int64.
        places: for each of the K places the points, of J, that have it.

    Returns:
        (L, P, C).
    """

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        centre: Tensor,
        shares: Tensor,
        filters: Tensor,
        phases: Tensor,
        places: Sequence[Sequence[int]],
    ) -> Tensor:
        ctx.save_for_backward(points, centre, shares, filters, phases)
        ctx.places = places
        out = points.new_zeros(len(points), phases.shape[1], points.shape[2])
        mixed = torch.empty_like(out)
        away, weights = points.unbind(1), shares[..., None].unbind(1)
        for k, members in enumerate(places):
            _mix([away[j] - centre for j in members], [weights[j] for j in members], mixed)
            out.addcmul_(mixed, _of_points(filters[k], phases))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        points, centre, shares, filters, phases = ctx.saved_tensors
        to_points, to_shares, to_filters = torch.zeros_like(points), torch.zeros_like(shares), torch.zeros_like(filters)
        slope = slope.contiguous()
        part, product = torch.empty_like(slope), torch.empty_like(slope)
        for k, members in enumerate(ctx.places):
            away, weights = [points[:, j] - centre for j in members], [shares[:, j, :, None] for j in members]
            torch.mul(slope, _of_points(filters[k], phases), out=part)
            for j, one, weight in zip(members, away, weights, strict=True):
                to_shares[:, j] = (part @ one[..., None])[..., 0]
                to_points[:, j] = (weight.mT @ part)[:, 0]
            _mix(away, weights, product)
            product.mul_(slope)
            whole = product.sum(dim=0) if len(phases) == 1 else product.flatten(0, 1)
            to_filters[k].index_add_(0, phases.flatten(), whole)
        return to_points, -to_points.sum(dim=1), to_shares, to_filters, None, None


def _mix(points: Sequence[Tensor], weights: Sequence[Tensor], out: Tensor) -> None:
    """The weighted sum of points, (L, C) by (L, P, 1) each, into `out`, (L, P, C)."""
    torch.mul(points[0][:, None], weights[0], out=out)
    for point, weight in zip(points[1:], weights[1:], strict=True):
        out.addcmul_(point[:, None], weight)


def _of_points(filters: Tensor, phases: Tensor) -> Tensor:
    """(phases, C) to (L or 1, P, C)."""
    return filters.index_select(0, phases.flatten()).view(*phases.shape, -1)

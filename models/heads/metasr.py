"""Meta-SR's upscaling: filters predicted from where an output pixel lies, not from what is seen.

Source: Hu et al., "Meta-SR: A Magnification-Arbitrary Network for Super-Resolution", CVPR 2019, Sec. 3.2, with the inputs
that it has in Chen et al., CVPR 2021 (LIIF).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.heads.mlp import MLP
from models.parts.any_scale import Head, Size
from models.parts.blocks import full_precision
from models.parts.coordinates import Axis, axis, queries
from models.parts.registry import positive


class MetaSR(Head):
    """A 3x3 filter for every output pixel, predicted from the offset of its upper left corner in the LR pixel that this lies
    in, (down, along) in [0, 1), and the inverse scale.

    Where the two axes have scales of their own, the scale is the root of their product, so that exchanging the axes exchanges
    no more than the offsets.

    Filters depend on offsets alone. Where few are distinct, each is predicted once, and all output pixels that share one are
    a convolution with it. Where there are more than LR pixels to filter, the sums are taken in another order: filters are
    linear in the perceptron's hidden layer, so LR features are convolved with the layer that makes filters of it first, and
    the result weighted with the hidden layer of each output pixel.

    Args:
        channels: of the features.
        hidden: size of the hidden layer.
        outputs: channels of the output, colours unless another head asks.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int, hidden: int, outputs: int = 3) -> None:
        super().__init__()
        positive("metasr", channels=channels, hidden=hidden, outputs=outputs)
        self.channels = channels
        self.outputs = outputs
        self.imnet = MLP(3, [hidden], 9 * channels * outputs)

    @property
    def last(self) -> nn.Module:
        return self.imnet.last

    def forward(self, features: Tensor, size: Size) -> Tensor:
        height, width = features.shape[-2:]
        rows, columns = axis(height, size[0]).like(features), axis(width, size[1]).like(features)
        inverse = math.sqrt(height * width / (size[0] * size[1]))
        # What has to be kept is the smaller one: a filter per phase, or features as each unit of the hidden layer filters them.
        if len(rows.offsets) * len(columns.offsets) * 9 * self.channels <= height * width * (self.imnet.last.in_features + 1):
            return _convolve(features, self._filters(rows, columns, inverse), rows.step, columns.step)
        return self._weigh(features, rows, columns, inverse)

    def _hidden(self, down: Tensor, along: Tensor, inverse: float) -> Tensor:
        """The hidden layer at offsets (R,) and (S,), (R, S, hidden)."""
        first = self.imnet.first
        to_down, to_along, to_inverse = first.weight.unbind(dim=1)
        return F.relu(down[:, None, None] * to_down + along[:, None] * to_along + (inverse * to_inverse + first.bias))

    def _filters(self, rows: Axis, columns: Axis, inverse: float) -> Tensor:
        """Those of one period of both axes, in the order of output pixels: (R, S, outputs, channels, 3, 3)."""
        down, along = (one.offsets[one.phase[: len(one.offsets)]] for one in (rows, columns))
        with full_precision(down.device):
            filters = self.imnet.last(self._hidden(down, along, inverse))
        return filters.unflatten(2, (self.channels, 3, 3, self.outputs)).movedim(-1, 2)

    def _weigh(self, features: Tensor, rows: Axis, columns: Axis, inverse: float) -> Tensor:
        """(N, outputs, H, W) without filters of their own: features filtered by each hidden unit's share, then their weighted sum."""
        count, _, _, width = features.shape
        last = self.imnet.last
        # The bias is the share of a unit that is always 1.
        shares = torch.cat([last.weight, last.bias[:, None]], dim=1).unflatten(0, (self.channels, 3, 3, self.outputs))
        filtered = F.conv2d(features, shares.permute(3, 4, 0, 1, 2).flatten(0, 1), padding=1)
        filtered = filtered.flatten(2).transpose(1, 2).contiguous()
        along = columns.offsets[columns.phase]
        step = max(1, queries(features) // (count * len(along)))
        bands = []
        for lower, phase in zip(rows.lower.split(step), rows.phase.split(step), strict=True):
            units = F.pad(self._hidden(rows.offsets[phase], along, inverse), (0, 1), value=1.0)
            seen = filtered.index_select(1, (lower[:, None] * width + columns.lower).flatten())
            restored = seen.unflatten(2, (self.outputs, -1)) @ units.flatten(0, 1)[..., None]
            bands.append(restored.squeeze(-1).transpose(1, 2).unflatten(2, (-1, len(along))))
        return torch.cat(bands, dim=2)


def _convolve(features: Tensor, filters: Tensor, step_down: int, step_along: int) -> Tensor:
    """Output pixels of which each has the filter of its phase.

    Args:
        features: (N, C, g * step_down, k * step_along).
        filters: (R, S, outputs, C, 3, 3), of output pixels that see as many LR pixels as the steps say.

    Returns:
        (N, outputs, g * R, k * S).
    """
    padded = F.pad(features, (1, 1, 1, 1))
    lines = []
    for y, down in enumerate(_by_pixel(filters, 0, step_down)):
        places = []
        for x, along in enumerate(_by_pixel(down, 1, step_along)):
            found = F.conv2d(padded[..., y:, x:], along.flatten(0, 2), stride=(step_down, step_along))
            places.append(found.unflatten(1, along.shape[:3]))
        lines.append(torch.cat(places, dim=2))
    return torch.cat(lines, dim=1).permute(0, 3, 4, 1, 5, 2).flatten(4).flatten(2, 3)


def _by_pixel(filters: Tensor, dim: int, step: int) -> Sequence[Tensor]:
    """Filters parted by the LR pixel, of `step`, that their output pixels begin in."""
    phases = filters.shape[dim]
    firsts = [-(-pixel * phases // step) for pixel in range(step + 1)]
    return filters.split([after - first for first, after in pairwise(firsts)], dim=dim)

"""What LIIF and LTE share: a function of position that is asked of four LR pixels at every output pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from models.parts.any_scale import Head, Size
from models.parts.coordinates import neighbours, queries


class LocalEnsemble(Head):
    """Output pixels as the mean of what their four nearest LR pixels predict, each weighted by the area between the output
    pixel and the LR pixel diagonally opposite (LIIF, CVPR 2021, Eq. 4).

    These areas are the weights of bilinear interpolation. Beyond the outermost centres, the outermost pixels stand in for
    those that are missing; exactly on one, where the published code finds no area and takes the plain mean, weights are
    still those of interpolation. A subclass defines `codes` and `predict`.
    """

    def codes(self, features: Tensor) -> tuple[Tensor, ...]:
        """What `predict` looks at, computed once per frame: maps of (N, any, h, w)."""
        raise NotImplementedError

    def predict(self, codes: tuple[Tensor, ...], down: Tensor, along: Tensor, cell: Tensor) -> Tensor:
        """Colours of Q output pixels.

        Args:
            codes: (N, Q, any) each, of the LR pixels that are asked.
            down: (Q, 1), from their centres to those of the output pixels, in halves of LR pixels, which is the unit of the
                published parameters.
            along: (Q, 1), the same within rows.
            cell: (2,), height and width of an output pixel in that unit.

        Returns:
            (N, Q, 3).
        """
        raise NotImplementedError

    def forward(self, features: Tensor, size: Size) -> Tensor:
        count, _, height, width = features.shape
        rows = neighbours(height, size[0]).like(features)
        columns = neighbours(width, size[1]).like(features)
        cell = rows.distance.new_tensor([2 * height / size[0], 2 * width / size[1]])
        # One row of numbers for each LR pixel, so that picking those of a pixel copies memory that lies together.
        codes = [code.flatten(2).transpose(1, 2).contiguous() for code in self.codes(features)]
        step = max(1, queries(features) // (count * size[1]))
        bands = []
        for top in range(0, size[0], step):
            down = rows.of(slice(top, top + step))
            restored = torch.zeros((), device=features.device)
            for above in (0, 1):
                for left in (0, 1):
                    asked = (down.pixel[:, above, None] * width + columns.pixel[:, left]).flatten()
                    y, x = torch.broadcast_tensors(2 * down.distance[:, above, None], 2 * columns.distance[:, left])
                    weight = (down.weight[:, above, None] * columns.weight[:, left]).reshape(-1, 1)
                    near = tuple(code.index_select(1, asked) for code in codes)
                    restored = restored + weight * self.predict(near, y.reshape(-1, 1), x.reshape(-1, 1), cell)
            bands.append(restored.transpose(1, 2).unflatten(2, (-1, size[1])))
        return torch.cat(bands, dim=2)

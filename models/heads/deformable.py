"""Points that are moved by predicted offsets, in place of those that are searched for (DCGU, AAAI 2024, Table 5).

The operation is that of Dai et al., "Deformable Convolutional Networks", ICCV 2017, Eq. 2; the paper that compares with it
does not say how it is modified for HR points.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.heads.search import EMBEDDING


class Offsets(nn.Module):
    """Where the points of a square about an LR pixel are sampled, for every HR point; at first where they lie.

    Args:
        side: of the square.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side
        self.predict = nn.Conv2d(EMBEDDING, 2 * side * side, 1)
        nn.init.zeros_(self.predict.weight)
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, query: Tensor, rows: Tensor, columns: Tensor) -> Sequence[Tensor]:
        """Sample features bilinearly, mirrored beyond their frame.

        Args:
            features: (N, C, h, w).
            query: (N, EMBEDDING, R, W), the context of some rows of HR points.
            rows: (R,) int64, the LR pixels that they lie in.
            columns: (W,) likewise.

        Returns:
            side * side of (N, C, R, W).
        """
        height, width = features.shape[2:]
        reach = self.side // 2
        sampled = []
        for k, moved in enumerate(self.predict(query).unflatten(1, (-1, 2)).unbind(1)):
            y = rows[:, None] + k // self.side - reach + moved[:, 0]
            x = columns + k % self.side - reach + moved[:, 1]
            grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
            sampled.append(F.grid_sample(features, grid, mode="bilinear", padding_mode="reflection", align_corners=True))
        return sampled

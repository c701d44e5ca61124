"""The local texture estimator.

Source: Lee and Jin, "Local Texture Estimator for Implicit Representation Function", CVPR 2022, Sec. 3; the names of its
published parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.heads.implicit import LocalEnsemble
from models.heads.mlp import MLP
from models.parts.blocks import full_precision
from models.parts.registry import positive, switches

TRAINED = 4
"""The largest scale that is trained at."""


class LTE(LocalEnsemble):
    """A perceptron of waves, whose amplitudes and frequencies are those of an LR pixel and whose phases those of the output
    pixel's size (Eq. 5 to 7).

    Args:
        channels: of the features.
        hidden: amplitudes of an LR pixel, half of them of cosines and half of sines, and size of each of the three hidden
            layers; even.
        clip_cell: whether an output pixel is taken to be no smaller than at `TRAINED` times the size, as the authors' test does.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int, hidden: int, clip_cell: bool = True) -> None:
        super().__init__()
        positive("lte", channels=channels, hidden=hidden)
        switches("lte", clip_cell=clip_cell)
        self.clip_cell = clip_cell
        if hidden % 2:
            raise ValueError(f"option 'hidden' of lte is {hidden}: give an even number, every wave is a cosine and a sine.")
        self.coef = nn.Conv2d(channels, hidden, 3, padding=1)
        self.freq = nn.Conv2d(channels, hidden, 3, padding=1)
        self.phase = nn.Linear(2, hidden // 2, bias=False)
        self.imnet = MLP(hidden, 3 * [hidden], 3)

    @property
    def last(self) -> nn.Module:
        return self.imnet.last

    def codes(self, features: Tensor) -> tuple[Tensor, ...]:
        frequencies = self.freq(features)
        # Of each pair of channels the first counts half waves down a column and the second along a row.
        return self.coef(features), frequencies[:, 0::2], frequencies[:, 1::2]

    def predict(self, codes: tuple[Tensor, ...], down: Tensor, along: Tensor, cell: Tensor) -> Tensor:
        amplitudes, by_down, by_along = codes
        if self.clip_cell:
            cell = cell.clamp(min=2 / TRAINED)
        with full_precision(cell.device):
            waves = math.pi * (by_down * down + by_along * along + self.phase(cell))
            waves = torch.cat([waves.cos(), waves.sin()], dim=-1)
        return self.imnet(amplitudes * waves)

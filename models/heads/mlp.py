"""Multi-layer perceptrons over positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLUs between them, under the names of LIIF's published parameters.

    Args:
        inputs: (..., inputs) is what it takes.
        hidden: sizes of the layers between.
        outputs: (..., outputs) is what it gives.
    """

    def __init__(self, inputs: int, hidden: Sequence[int], outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in hidden:
            layers += [nn.Linear(inputs, size), nn.ReLU(inplace=True)]
            inputs = size
        self.layers = nn.Sequential(*layers, nn.Linear(inputs, outputs))

    @property
    def first(self) -> nn.Linear:
        return cast(nn.Linear, self.layers[0])

    @property
    def last(self) -> nn.Linear:
        return cast(nn.Linear, self.layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

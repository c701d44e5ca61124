"""The local implicit image function.

Source: Chen et al., "Learning Continuous Image Representation with Local Implicit Image Function", CVPR 2021, Sec. 3; the
names of its published parameters.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.heads.implicit import LocalEnsemble
from models.heads.mlp import MLP
from models.parts.blocks import full_precision
from models.parts.registry import positive


class LIIF(LocalEnsemble):
    """A perceptron of the 3x3 features around an LR pixel, where the output pixel lies relative to it, and its size.

    The first layer is linear in all of these, and the features are those of an LR pixel whatever is asked of it: their share
    is a convolution of LR features, and only the sum goes through the rest of the layers for every output pixel.

    Args:
        channels: of the features.
        hidden: size of each of the four hidden layers.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        positive("liif", channels=channels, hidden=hidden)
        self.channels = channels
        self.imnet = MLP(9 * channels + 4, 4 * [hidden], 3)

    @property
    def last(self) -> nn.Module:
        return self.imnet.last

    def codes(self, features: Tensor) -> tuple[Tensor, ...]:
        seen = self.imnet.first.weight[:, : 9 * self.channels]
        return (F.conv2d(features, seen.unflatten(1, (self.channels, 3, 3)), padding=1),)

    def predict(self, codes: tuple[Tensor, ...], down: Tensor, along: Tensor, cell: Tensor) -> Tensor:
        first = self.imnet.first
        to_down, to_along, to_cell = first.weight[:, 9 * self.channels :].split((1, 1, 2), dim=1)
        with full_precision(cell.device):
            place = down * to_down.T + along * to_along.T + F.linear(cell, to_cell, first.bias)
        return self.imnet.layers[1:](codes[0] + place)

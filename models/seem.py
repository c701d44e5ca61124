"""SEEM: features refined by the masks of what is in a frame.

Source: Lu et al., "Can SAM Boost Video Super-Resolution?", arXiv:2305.06524, Sec. 3.2 and 3.3. What the
paper leaves open is chosen here: the sizes of the kernels (3x3), the order of layers in `Representation`,
and of the channel attention the reduction and the activations (those of Zhang et al., RCAN, ECCV 2018: ReLUs between
its layers and a sigmoid behind the last).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.blocks import ResidualBlockNoBN, leaky_relu
from models.parts.deform import zero_init
from models.parts.priors import PLANES

REDUCTION = 16
"""The channels of a feature over those that the attention is squeezed through."""


class Representation(nn.Module):
    """What a frame and its masks say together (Eq. 1).

    Args:
        channels: of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3 + PLANES, channels, 3, padding=1)
        self.block = ResidualBlockNoBN(channels)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, frame: Tensor, masks: Tensor) -> Tensor:
        """(N, 3, H, W) RGB in [0, 1] and (N, PLANES, H, W) of 0 and 1 to (N, channels, H, W)."""
        x = leaky_relu(self.conv_in(torch.cat([frame, masks.to(frame.dtype)], dim=1)))
        return self.conv_out(self.block(x))


class SEEM(nn.Module):
    """What the masks add to features (Fig. 3, Eq. 2 to 4).

    At first that is zero, so that a trained network into which it is put gives what it gave.

    Args:
        channels: of the features and of the representation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(1, channels // REDUCTION)
        self.conv1 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.conv2 = zero_init(nn.Conv2d(channels, channels, 3, padding=1))
        self.fc_down = nn.Linear(channels, squeezed)
        self.fc_up = nn.Linear(squeezed, channels)
        self.fc = nn.Linear(channels, channels)

    def forward(self, features: Tensor, representation: Tensor) -> Tensor:
        """(N, channels, H, W) twice to (N, channels, H, W)."""
        mixed = self.conv2(leaky_relu(self.conv1(torch.cat([features, representation], dim=1))))
        attention = F.relu(self.fc_up(F.relu(self.fc_down(mixed.mean(dim=(2, 3))))))
        attention = self.fc(attention).sigmoid()
        return mixed + mixed * attention[..., None, None]


def modules(channels: int, places: tuple[str, ...]) -> nn.ModuleDict:
    """One representation, `fr`, and a `SEEM` for every place in a network."""
    return nn.ModuleDict({"fr": Representation(channels), **{place: SEEM(channels) for place in places}})

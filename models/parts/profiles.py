"""Layers on slices of a clip through space and time, which are images of one row or column as it goes on (temporal profiles).

Beyond a clip's ends they see its end frames again, so that a still clip stays still; around a frame lie zeros.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


class ReplicatedConv2d(nn.Conv2d):
    """A 3x3 convolution of slices (N, inputs, T, length)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (0, 0, 1, 1), mode="replicate"))


class ProfileBlock(nn.Module):
    """A residual block of slices (N, channels, T, length) without normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ReplicatedConv2d(channels, channels), ReplicatedConv2d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv2(F.relu(self.conv1(x)))
        return x + made


def along_slices(network: Callable[[Tensor], Tensor], clip: Tensor, across: int) -> Tensor:
    """A network of slices on all slices of a clip.

    Args:
        network: (N, C, T, length) to (N, D, T, length).
        clip: (N, T, C, H, W).
        across: the axis that slices are counted along: 3 for those along x and time, 4 for those along y and time.

    Returns:
        (N, T, D, H, W).
    """
    moved = clip.movedim(across, 1)  # (N, slices, T, C, length)
    made = network(moved.flatten(0, 1).transpose(1, 2))
    return made.transpose(1, 2).unflatten(0, moved.shape[:2]).movedim(1, across)

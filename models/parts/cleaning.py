"""What removes noise and artefacts from frames before they are enlarged.

Source: Chan et al., "Investigating Tradeoffs in Real-World Video Super-Resolution", CVPR 2022, Sec. 4.1; the names of its published
parameters.
"""

from __future__ import annotations

from torch import nn

from models.parts.blocks import ConvResidualBlocks


class Cleaning(nn.Sequential):
    """What cleaning adds to frames, (N, 3, h, w) to the same.

    Args:
        channels: of the features.
        blocks: residual blocks.
    """

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__(ConvResidualBlocks(3, channels, blocks), nn.Conv2d(channels, 3, 3, padding=1))

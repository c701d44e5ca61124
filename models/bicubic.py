"""Bicubic interpolation as a network without parameters: the baseline of every table."""

from __future__ import annotations

import math

from torch import Tensor

from models.parts.registry import Network, register
from models.parts.resize import imresize


@register("bicubic")
class Bicubic(Network):
    """MATLAB's `imresize(…, scale, 'bicubic')`.

    Args:
        scale: size of the output over that of the input.

    Raises:
        ValueError: `scale` is not a positive number.
    """

    def __init__(self, scale: float = 4) -> None:
        super().__init__()
        if not isinstance(scale, (int, float)) or isinstance(scale, bool) or not 0 < scale < math.inf:
            raise ValueError(f"option 'scale' of bicubic is {scale!r}: give a positive number.")
        self.scale = scale

    def forward(self, clip: Tensor) -> Tensor:
        """(..., H, W) in [0, 1] to (..., scale * H, scale * W), unclipped; frames do not see each other."""
        return imresize(clip, self.scale)

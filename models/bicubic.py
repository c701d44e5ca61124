"""Bicubic interpolation as a network without parameters: the baseline of every table."""

from __future__ import annotations

import math

from torch import Tensor

from models.parts.registry import Network, register
from models.parts.resize import imresize_to


@register("bicubic")
class Bicubic(Network):
    """MATLAB's `imresize(…, [rows columns], 'bicubic')`.

    Args:
        scale: size of the output over that of the input, where none is asked for.

    Raises:
        ValueError: `scale` is not a positive number.
    """

    any_scale = True
    lookahead = 0

    def __init__(self, scale: float = 4) -> None:
        super().__init__()
        if not isinstance(scale, (int, float)) or isinstance(scale, bool) or not 0 < scale < math.inf:
            raise ValueError(f"option 'scale' of bicubic is {scale!r}: give a positive number.")
        self.scale = scale

    def forward(self, clip: Tensor, *, size: tuple[int, int] | None = None) -> Tensor:
        """Enlarge a clip, or make it smaller; frames do not see each other.

        Args:
            clip: (..., H, W) in [0, 1].
            size: of the output, (rows, columns); by default `scale` times that of the clip, rounded.

        Returns:
            (..., rows, columns), unclipped.

        Raises:
            ValueError: no pixel would be left.
        """
        height, width = clip.shape[-2:]
        return imresize_to(clip, size or (round(self.scale * height), round(self.scale * width)))

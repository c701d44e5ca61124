"""What residuals are added to: LR frames, enlarged in closed form."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from models.parts.registry import misspelt
from models.parts.resize import imresize_to

Enlarge = Callable[[Tensor, tuple[int, int]], Tensor]
"""(N, 3, h, w) and the (H, W) of the output to (N, 3, H, W)."""


def bilinear(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """See `Enlarge`; pixels are areas, as in published networks."""
    return F.interpolate(frame, size=size, mode="bilinear", align_corners=False)


def nearest(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """See `Enlarge`; the pixel above and to the left."""
    return F.interpolate(frame, size=size, mode="nearest")


BASES: dict[str, Enlarge] = {"nearest": nearest, "bilinear": bilinear, "bicubic": imresize_to}


NO_BASE = "none"
"""The option `base` of a network whose last layer makes the frame, and not what is added to an enlarged one."""


def enlarger(network: str, base: str) -> Enlarge:
    """What enlarges the frames of a network whose option `base` has that value.

    Raises:
        ValueError: there is no such base.
    """
    if base not in BASES:
        raise ValueError(misspelt(f"base of {network}", str(base), BASES))
    return BASES[base]


def enlarger_if_any(network: str, base: str) -> Enlarge | None:
    """As `enlarger`, and None for `NO_BASE`.

    Raises:
        ValueError: there is no such base.
    """
    if base not in (NO_BASE, *BASES):
        raise ValueError(misspelt(f"base of {network}", str(base), (NO_BASE, *BASES)))
    return None if base == NO_BASE else BASES[base]


def on_enlarged(made: Tensor, frames: Tensor, enlarge: Enlarge | None) -> Tensor:
    """What a network makes of frames (N, 3, h, w), (N, 3, H, W), added to these as they are enlarged; as it is without a base."""
    return made if enlarge is None else made + enlarge(frames, (made.shape[-2], made.shape[-1]))

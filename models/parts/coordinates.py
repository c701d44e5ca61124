"""Where the pixels of an enlarged axis lie among those of the axis it is made from, in whole-number arithmetic.

Pixels are areas: an axis of `h` pixels enlarged to `H` has its first edge at its first edge and its last at its last, so
that one of its pixels is `h / H` long. Positions are fractions with the denominator `H`, of which few are distinct where
`h` and `H` have a large common divisor (four offsets for a factor of four, five for 2.5): what depends on them alone is
computed once for each.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """Output pixels by their near edge (Meta-SR, CVPR 2019, Eq. 3 and 4).

    Pixel i begins at `i * h / H` of the input: in its pixel `lower[i]`, `offsets[phase[i]]` pixels behind that one's edge.
    Phases come back after `len(offsets)` output pixels, which are `step` input pixels.
    """

    lower: Tensor
    """(H,) int64, floor(i * h / H)."""
    phase: Tensor
    """(H,) int64, which of the distinct offsets."""
    offsets: Tensor
    """(phases,) float64 in [0, 1), rising."""
    step: int

    def like(self, features: Tensor) -> Axis:
        """The same where features are, offsets in float64 for those in float64 and else in float32."""
        lower, phase, offsets = _like(features, self.lower, self.phase, self.offsets)
        return Axis(lower, phase, offsets, self.step)


class Neighbours(NamedTuple):
    """The two input pixels around the centre of every output pixel (LIIF, CVPR 2021, Sec. 3.2).

    Beyond the outermost centres both are the outermost pixel.
    """

    pixel: Tensor
    """(H, 2) int64, the one before and the one after."""
    distance: Tensor
    """(H, 2) float64, from their centres to that of the output pixel, in input pixels."""
    weight: Tensor
    """(H, 2) float64, of linear interpolation between the two."""

    def like(self, features: Tensor) -> Neighbours:
        """The same where features are, numbers in float64 for those in float64 and else in float32."""
        return Neighbours(*_like(features, *self))

    def of(self, pixels: slice) -> Neighbours:
        """Those of some output pixels."""
        return Neighbours(*(part[pixels] for part in self))


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept may be needed by a training next
def axis(length_in: int, length_out: int) -> Axis:
    """The near edges of the output's pixels, on the CPU; not to be written to.

    Raises:
        ValueError: a length is not positive.
    """
    _check(length_in, length_out)
    common = math.gcd(length_in, length_out)
    phases = length_out // common
    edge = torch.arange(length_out, device="cpu") * length_in
    offsets = torch.arange(phases, dtype=torch.float64, device="cpu") / phases
    return Axis(edge // length_out, edge % length_out // common, offsets, length_in // common)


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is kept may be needed by a training next
def neighbours(length_in: int, length_out: int) -> Neighbours:
    """The neighbours of the output's pixels, on the CPU; not to be written to.

    Raises:
        ValueError: a length is not positive.
    """
    _check(length_in, length_out)
    # In units of 1 / (2 H) input pixels, from the first input pixel's centre.
    unit = 2 * length_out
    centre = (2 * torch.arange(length_out, device="cpu") + 1) * length_in - length_out
    before = centre // unit
    fraction = (centre - before * unit).double() / unit
    pixel = torch.stack([before, before + 1], dim=1).clamp(0, length_in - 1)
    distance = (centre[:, None] - pixel * unit).double() / unit
    return Neighbours(pixel, distance, torch.stack([1 - fraction, fraction], dim=1))


def queries(features: Tensor) -> int:
    """Output pixels that are best asked for at once: on a CPU as many as its caches hold, else enough to fill a device."""
    return 2**11 if features.device.type == "cpu" else 2**17


def _like(features: Tensor, *parts: Tensor) -> list[Tensor]:
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    return [part.to(features.device, dtype if part.is_floating_point() else None) for part in parts]


def _check(length_in: int, length_out: int) -> None:
    if min(length_in, length_out) < 1:
        raise ValueError(f"an axis of {length_in} pixels cannot become one of {length_out}: give lengths of at least 1.")

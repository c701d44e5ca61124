"""Baseline JPEG, 4:2:0, as a function of frames: what libjpeg and libjpeg-turbo give back, bit for bit.

Entropy coding loses nothing and is left out. What loses is in whole numbers, as in that library with its defaults:
JFIF's YCbCr with 16-bit factors, means of 2x2 chroma, the "slow" integer transform, quantisation by the tables of
ITU-T T.81, Annex K, scaled by the Independent JPEG Group's quality, and "fancy" (triangle) upsampling of chroma. All
of it is exact in float64, whatever the order of sums, so that every device gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# ITU-T T.81, tables K.1 and K.2, in rows of vertical frequency.
LUMINANCE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMINANCE = np.full((8, 8), 99)
CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

# Factors of 2^16, per red, green and blue, and of Cr and Cb.
TO_Y, TO_CB, TO_CR = (19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329)
CR_TO_RED, CB_TO_GREEN, CR_TO_GREEN, CB_TO_BLUE = 91881, -22554, -46802, 116130


# The transform along one axis, by frequency and pixel: 2^13 * sqrt(2) * cos((2x + 1) u pi / 16), and 2^13 for u = 0, of
# which here are pixels 0 to 3. These are sums of the 13-bit constants of the factorisation by Loeffler, Ligtenberg and
# Moschytz (ICASSP 1989), and so by 1 off the rounded cosine here and there.
COSINES = np.array(
    [
        [8192, 8192, 8192, 8192],
        [11363, 9633, 6437, 2260],
        [10703, 4433, -4433, -10703],
        [9633, -2259, -11362, -6436],
        [8192, -8192, -8192, 8192],
        [6437, -11362, 2261, 9633],
        [4433, -10704, 10704, -4433],
        [2260, -6436, 9633, -11363],
    ]
)


def quantisation(quality: int) -> tuple[np.ndarray, np.ndarray]:
    """The quantisation tables of luminance and chrominance, (8, 8) int64 each, for a quality from 1 to 100.

    Raises:
        ValueError: the quality is out of range.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality {quality} of JPEG: it goes from 1 to 100.")
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    luminance, chrominance = (((table * percent + 50) // 100).clip(1, 255) for table in (LUMINANCE, CHROMINANCE))
    return luminance, chrominance


def jpeg(clip: Tensor, qualities: Sequence[int]) -> Tensor:
    """Code and decode every frame.

    Args:
        clip: (F, 3, H, W) RGB in levels; rounded half away from zero and clipped to 8 bits first.
        qualities: one per frame, from 1 to 100.

    Returns:
        (F, 3, H, W) of the clip's type: whole levels, as decoders give.

    Raises:
        ValueError: there is not one quality per frame, or one is out of range.
    """
    if len(clip) != len(qualities):
        raise ValueError(f"{len(clip)} frames with {len(qualities)} qualities of JPEG: give one each.")
    tables = torch.from_numpy(np.array([quantisation(quality) for quality in qualities])).to(clip.device, torch.float64)
    height, width = clip.shape[-2:]
    red, green, blue = clip.double().add(0.5).floor_().clamp_(0, 255).unbind(1)

    def coded(factors: tuple[int, int, int]) -> Tensor:
        return red * factors[0] + green * factors[1] + blue * factors[2]

    # Chroma is rounded half down: 128, and half a level less the smallest step.
    luma = _code(_descale(coded(TO_Y), 16), tables[:, 0])
    cb, cr = (_halve(((coded(factors) + ((128 << 16) + 32767)) * 2.0**-16).floor_()) for factors in (TO_CB, TO_CR))
    cb, cr = (_double(_code(plane, tables[:, 1]), height, width).sub_(128) for plane in (cb, cr))
    out = (
        _descale(cr * CR_TO_RED, 16).add_(luma),
        _descale(cb * CB_TO_GREEN + cr * CR_TO_GREEN, 16).add_(luma),
        _descale(cb * CB_TO_BLUE, 16).add_(luma),
    )
    return torch.stack(out, 1).clamp_(0, 255).to(clip.dtype)


def _descale(value: Tensor, bits: int) -> Tensor:
    """value / 2^bits, rounded half up."""
    return value.add(2.0 ** (bits - 1)).mul_(2.0**-bits).floor_()


def _extend(plane: Tensor, right: int, bottom: int) -> Tensor:
    """(F, H, W) with its last column and row repeated."""
    return functional.pad(plane[None], (0, right, 0, bottom), mode="replicate")[0]


def _halve(plane: Tensor) -> Tensor:
    """Means of 2x2 chroma: (F, H, W) to (F, ceil(H / 2), ceil(W / 2) made whole blocks)."""
    height, width = plane.shape[-2:]
    # Columns are repeated before the mean and rows, in `_code`, after it.
    plane = _extend(plane, -width % 16, height % 2)
    top, bottom = plane[:, ::2], plane[:, 1::2]
    means = top[..., ::2] + top[..., 1::2] + bottom[..., ::2] + bottom[..., 1::2]
    # Halves go down in even columns and up in odd ones, so that there is no drift.
    means[..., ::2] += 1
    means[..., 1::2] += 2
    return means.mul_(0.25).floor_()


def _code(plane: Tensor, tables: Tensor) -> Tensor:
    """Transform, quantise and transform back planes (F, H, W) in 0 to 255, by tables (F, 8, 8): the same size again."""
    count, height, width = plane.shape
    plane = _extend(plane - 128, -width % 8, -height % 8)
    rows, columns = plane.shape[-2] // 8, plane.shape[-1] // 8
    lines, blocks = (count, rows, 8, columns * 8), (count, rows, 8, columns, 8)
    cosines = torch.from_numpy(np.hstack([COSINES, COSINES[:, ::-1] * (-1) ** np.arange(8)[:, None]])).to(plane)
    steps = tables[:, None, :, None, :]

    # Along rows to 2 more bits, then along columns, to 8 times the orthonormal transform.
    coefficients = _descale(plane.reshape(-1, 8) @ cosines.T, 11).view(lines)
    coefficients = _descale(cosines @ coefficients, 15).view(blocks)
    # Whole steps, half away from zero.
    size = (coefficients.abs() + 4 * steps).div_(8 * steps).floor_()
    coefficients = (size * steps).copysign_(coefficients).view(lines)
    pixels = _descale(cosines.T @ coefficients, 11)
    pixels = _descale(pixels.reshape(-1, 8) @ cosines, 18).view(lines)
    return pixels.add_(128).clamp_(0, 255).view(count, rows * 8, columns * 8)[:, :height, :width]


def _double(plane: Tensor, height: int, width: int) -> Tensor:
    """Chroma at the size of luma: weights 3 and 1 of the nearest two along each axis; (F, h, w) to (F, H, W)."""
    plane = plane[:, :, : (width + 1) // 2]
    if plane.shape[-1] <= 2:  # the library's own exception
        return plane.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :height, :width]
    count, rows, columns = plane.shape
    padded = functional.pad(plane[None], (1, 1, 1, 1), mode="replicate")[0]
    near = 3 * padded[:, 1:-1]
    tall = torch.stack([near + padded[:, :-2], near + padded[:, 2:]], 2).view(count, 2 * rows, columns + 2)
    near = 3 * tall[..., 1:-1]
    wide = torch.stack([near + tall[..., :-2] + 8, near + tall[..., 2:] + 7], -1)
    return wide.view(count, 2 * rows, 2 * columns)[:, :height, :width].mul(1 / 16).floor_()

"""Filters on clips (F, C, H, W) in 8-bit levels, of any floating type and on any device, sampled at every `stride`-th pixel.

What a frame becomes does not depend on the other frames of its clip: on a CPU not in a single bit. float32 is within 0.001
levels of float64; narrower types are filtered in float32. Nothing is rounded or clipped, and gradients flow.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from pipelines.degradations import kernels as shapes
from pipelines.errors import VSRError, unknown

Border = Literal["reflect", "replicate"]
"""What lies beyond the frame: its mirror image, the edge not repeated, over and over; or its edge."""


def correlate(clip: Tensor, kernels: Tensor, *, border: Border, stride: int = 1, start: int = 0) -> Tensor:
    """Every `stride`-th pixel, from `start` on, of clips filtered in two dimensions:

        out[i] = sum_m kernel[m] clip[start + stride i + m - (size - 1) // 2], along both axes.

    So an even kernel sits on the pixel before its centre, as it does in MATLAB's `imfilter`. The sums are products of spectra,
    of frames extended so that nothing wraps around, which takes the same time for kernels of all sizes.

    Args:
        clip: (F, C, H, W).
        kernels: (F, size, size), one per frame, or (1, size, size) for all.
        border: what lies beyond the frame.
        stride: pixels from one sample to the next.
        start: the first sample's row and column, below `stride`.

    Returns:
        (F, C, H // stride, W // stride).

    Raises:
        VSRError: the frames are smaller than `stride`.
    """
    size = kernels.shape[-1]
    wide = clip.to(_wide(clip.dtype))
    for dim in (-2, -1):
        wide = wide.index_select(dim, _seen(clip.shape[dim], size, border, stride, start, clip.device))
    weights = kernels.to(wide).expand(len(clip), -1, -1)
    # Vectorised arithmetic may round the last few numbers of a run differently, and where a frame lies in the run
    # depends on the frames beside it.
    step = 1 if clip.device.type == "cpu" else max(1, len(clip))
    parts = zip(wide.split(step), weights.split(step), strict=True)
    return torch.cat([_valid(frames, own)[..., ::stride, ::stride] for frames, own in parts]).to(clip.dtype)


def bd(clip: Tensor, sigma: float, scale: int, convention: Literal["basicvsr", "duf"]) -> Tensor:
    """Isotropic Gaussian blur and decimation, "BD", in one of the two forms that papers use under this name.

    `duf`: the Gaussian reaches to four sigmas (13x13 for sigma 1.6), borders are reflected, and LR pixel i lies on HR pixel
    `scale i`. Source: Jo et al., "Deep Video Super-Resolution Network Using Dynamic Upsampling Filters", 2018, whose code
    filters an impulse by `scipy.ndimage.gaussian_filter`.

    `basicvsr`: MATLAB's `fspecial('gaussian', 2 ceil(3 sigma) + 2, sigma)` (12x12 for 1.6), edges are repeated, and LR pixel i
    lies at the centre of its block, `scale i + (scale - 1) / 2`. Source: Chan et al., "BasicVSR", 2021, and before it Zhang
    et al., "Residual Dense Network", 2018, whose script has for odd scales sides of `2 ceil(3 sigma) + 1`, but of 7 for
    scale 3 with sigma 1.6.

    Args:
        clip: (F, C, H, W).
        sigma: standard deviation in HR pixels; 1.6 for scale 4 in papers.
        scale: the size of HR over that of LR.
        convention: whose.

    Returns:
        (F, C, H // scale, W // scale).

    Raises:
        VSRError: there is no such convention, or the frames are smaller than `scale`.
    """
    border: Border
    if convention == "duf":
        border, size, start = "reflect", 2 * int(4 * sigma + 0.5) + 1, 0
    elif convention == "basicvsr":
        size = 7 if (scale, sigma) == (3, 1.6) else 2 * math.ceil(3 * sigma) + 2 - scale % 2
        border, start = "replicate", (scale - 1) // 2
    else:
        raise unknown("convention of Gaussian decimation", convention, ("basicvsr", "duf"))
    weights = shapes.line(size, sigma).tolist()
    rows = _along(clip.to(_wide(clip.dtype)), -2, weights, border, scale, start)
    return _along(rows, -1, weights, border, scale, start).to(clip.dtype)


def block_kernel(size: int, sigma_x: float, sigma_y: float, theta: float, scale: int) -> Tensor:
    """The anisotropic Gaussian (size, size) whose centre of mass `anisotropic` brings to the centre of each block.

    That is half a pixel off its middle if either the side or the scale is even, and at its middle if both or neither are.
    The other arguments are those of `kernels.gaussian`.

    Raises:
        VSRError: a sigma is not above 0, or the kernel is too small to have that centre.
    """
    offset = (scale + 1) % 2 / 2 - (size + 1) % 2 / 2
    return shapes.gaussian(size, sigma_x, sigma_y, theta, (offset, offset))


def anisotropic(clip: Tensor, kernels: Tensor, scale: int) -> Tensor:
    """Blur by kernels of `block_kernel` and decimation: LR pixel i lies at `scale i + (scale - 1) / 2`; reflected borders.

    Args:
        clip: (F, C, H, W).
        kernels: (F, size, size), one per frame, or (1, size, size) for all.
        scale: the size of HR over that of LR.

    Returns:
        (F, C, H // scale, W // scale).

    Raises:
        VSRError: the frames are smaller than `scale`.
    """
    return correlate(clip, kernels, border="reflect", stride=scale, start=(scale - 1) // 2)


def blur(clip: Tensor, kernels: Tensor) -> Tensor:
    """Blur at full size, with reflected borders: (F, C, H, W) by (F, size, size) or (1, size, size)."""
    return correlate(clip, kernels, border="reflect")


def _wide(kind: torch.dtype) -> torch.dtype:
    return torch.promote_types(kind, torch.float32)


def _seen(size: int, taps: int, border: Border, stride: int, start: int, device: torch.device) -> Tensor:
    """The pixels of an axis that its samples see, from the first tap of the first to the last tap of the last."""
    if size < stride:
        raise VSRError(f"frames {size} pixels wide or high cannot be reduced by {stride}: use a smaller scale or larger frames.")
    first = start - (taps - 1) // 2
    pixels = torch.arange(first, first + stride * (size // stride - 1) + taps, device=device)
    if border == "replicate":
        return pixels.clamp(0, size - 1)
    period = max(1, 2 * (size - 1))
    return (size - 1) - ((pixels % period) - (size - 1)).abs()


def _along(clip: Tensor, dim: int, weights: list[float], border: Border, stride: int, start: int) -> Tensor:
    """`correlate` along one axis."""
    seen = clip.index_select(dim, _seen(clip.shape[dim], len(weights), border, stride, start, clip.device))
    taps = seen.unfold(dim, len(weights), stride).unbind(-1)
    # Products and sums are rounded one by one, so that each pixel comes out the same wherever it lies in memory.
    out = taps[0] * weights[0]
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        out += tap * weight
    return out


def _valid(frames: Tensor, kernels: Tensor) -> Tensor:
    """The correlation of (N, C, H, W) with (N, k, k) where kernels lie within the frames, (N, C, H - k + 1, W - k + 1)."""
    height, width = frames.shape[-2:]
    size = kernels.shape[-1]
    shape = _smooth(height), _smooth(width)
    spectrum = torch.fft.rfft2(frames, s=shape) * torch.fft.rfft2(kernels, s=shape).conj()[:, None]
    return torch.fft.irfft2(spectrum, s=shape)[..., : height - size + 1, : width - size + 1]


def _smooth(size: int) -> int:
    """The next even number without prime factors above 5, sizes that Fourier transforms are fast for."""
    size += size % 2
    while 30 ** size.bit_length() % size:
        size += 2
    return size

"""MATLAB's `imresize(…, 'bicubic')`, the resampling that super-resolution papers mean by "bicubic".

Source: MATLAB's documentation of `imresize`, and R. Keys, "Cubic Convolution Interpolation for Digital
Image Processing", IEEE Trans. ASSP 29(6), 1981, eq. (15) with a = -1/2.

Along one axis the result is a banded matrix times the input. The matrix is kept as a few dense blocks on
its diagonal, each giving `BLOCK` outputs (more when enlarging) from the run of inputs that they see, so
that the work is that of the band and the arithmetic that of a matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

BLOCK = 8
"""Outputs per block when shrinking: below it calls dominate, above it the zeros outside the band do."""


class Block(NamedTuple):
    """Rows `first:last` of the matrix, which are zero outside columns `start:stop`."""

    first: int
    last: int
    start: int
    stop: int
    weights: Tensor


def imresize(x: Tensor, scale: float) -> Tensor:
    """Resize the two last axes by the bicubic kernel, antialiased when shrinking.

    When shrinking, the kernel is widened by `1/scale`, so that it is a low-pass filter of the output's
    band width. Borders are mirrored with the edge pixel repeated; weights are normalised. Values are
    neither clipped nor rounded. Differentiable any number of times with respect to `x`.

    Args:
        x: (..., H, W), float32 or float64.
        scale: size of the output over that of the input; 0.25 shrinks by four.

    Returns:
        (..., ceil(H * scale), ceil(W * scale)), of the same type.

    Raises:
        ValueError: `scale` is not a positive number, or `x` is not a float32 or float64 image.
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"the scale of imresize is {scale}: give a positive number.")
    _check(x)
    height, width = x.shape[-2:]
    return torch.ops.vsr.imresize(x, [float(scale)] * 2, [math.ceil(height * scale), math.ceil(width * scale)])


def imresize_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """MATLAB's `imresize(x, [rows columns])`: `imresize` to a size, by a scale of its own for each axis.

    The scale of an axis is its size in the output over that in the input, so that both have the same edges.

    Args:
        x: (..., H, W), float32 or float64.
        size: (rows, columns) of the output.

    Returns:
        (..., rows, columns), of the same type.

    Raises:
        ValueError: a side of `size` is not positive, or `x` is not a float32 or float64 image.
    """
    if min(size) < 1:
        raise ValueError(f"the size for imresize is {size[1]}x{size[0]}: give at least one pixel.")
    _check(x)
    return torch.ops.vsr.imresize(x, [out / side for out, side in zip(size, x.shape[-2:], strict=True)], list(size))


def _check(x: Tensor) -> None:
    if x.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"imresize got {x.dtype}: give float32 or float64.")
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"imresize got shape {tuple(x.shape)}: give (..., H, W) with at least one pixel.")


def weight_matrix(size: int, scale: float, outputs: int | None = None) -> np.ndarray:
    """The (outputs, size) float64 matrix that resizes one axis, by default to ceil(size * scale)."""
    outputs = math.ceil(size * scale) if outputs is None else outputs
    stretch = min(scale, 1.0)
    centre = (np.arange(outputs) + 0.5) / scale - 0.5
    support = 4 / stretch
    taps = np.floor(centre - support / 2).astype(np.int64)[:, None] + np.arange(math.ceil(support) + 2)
    weights = _cubic((centre[:, None] - taps) * stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(size), np.arange(size)[::-1]])
    matrix = np.zeros((outputs, size))
    np.add.at(matrix, (np.arange(outputs)[:, None], mirrored[taps % (2 * size)]), weights)
    return matrix


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2."""
    x = np.abs(x)
    inner = 1.5 * x**3 - 2.5 * x**2 + 1
    outer = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, inner, np.where(x <= 2, outer, 0.0))


@lru_cache(maxsize=64)
def _blocks(size: int, scale: float, outputs: int, dtype: torch.dtype, device: torch.device) -> tuple[Block, ...]:
    matrix = weight_matrix(size, scale, outputs)
    rows = max(BLOCK, math.ceil(BLOCK * scale))
    found = []
    for first in range(0, len(matrix), rows):
        block = matrix[first : first + rows]
        columns = np.flatnonzero(block.any(axis=0))
        start, stop = int(columns[0]), int(columns[-1]) + 1
        weights = torch.from_numpy(np.ascontiguousarray(block[:, start:stop])).to(device, dtype)
        found.append(Block(first, first + len(block), start, stop, weights))
    return tuple(found)


def resize_rows(planes: Tensor, scale: float, dtype: torch.dtype, outputs: int | None = None) -> Tensor:
    """The first half of `imresize`: (N, H, W) of any type to (N, outputs, W) of type `dtype`, by default ceil(H * scale)."""
    count, height, width = planes.shape
    outputs = math.ceil(height * scale) if outputs is None else outputs
    out = planes.new_empty(count, outputs, width, dtype=dtype)
    for block in _blocks(height, scale, outputs, dtype, planes.device):
        # Converted block by block, 8-bit frames stay in the cache while they are widened.
        seen = planes[:, block.start : block.stop].to(dtype)
        torch.bmm(block.weights.expand(count, -1, -1), seen, out=out[:, block.first : block.last])
    return out


def resize_columns(lines: Tensor, scale: float, outputs: int | None = None) -> Tensor:
    """The second half of `imresize`: (N, W) to (N, outputs), by default ceil(W * scale)."""
    count, width = lines.shape
    outputs = math.ceil(width * scale) if outputs is None else outputs
    out = lines.new_empty(count, outputs)
    for block in _blocks(width, scale, outputs, lines.dtype, lines.device):
        torch.mm(lines[:, block.start : block.stop], block.weights.T, out=out[:, block.first : block.last])
    return out


# An operator of its own: one autocast leaves in full precision, and one that counts of multiplications
# can tell from the layers of a network. Declared by hand, since `torch.library.custom_op` imports the compiler, for seconds.
_LIBRARY = torch.library.Library("vsr", "DEF")
_LIBRARY.define("imresize(Tensor x, float[] scales, SymInt[] size) -> Tensor")
_LIBRARY.define("imresize_backward(Tensor gradient, SymInt[] size, float[] scales) -> Tensor")


def _imresize(x: Tensor, scales: Sequence[float], size: Sequence[int]) -> Tensor:
    height, width = x.shape[-2:]
    with torch.autocast(x.device.type, enabled=False):
        rows = resize_rows(x.reshape(-1, height, width), scales[0], x.dtype, size[0])
        out = resize_columns(rows.view(-1, width), scales[1], size[1])
    return out.view(*x.shape[:-2], *size)


def _imresize_backward(gradient: Tensor, size: Sequence[int], scales: Sequence[float]) -> Tensor:
    height, width = size
    rows_out, columns_out = gradient.shape[-2:]
    with torch.autocast(gradient.device.type, enabled=False):
        lines = gradient.reshape(-1, columns_out)
        rows = gradient.new_zeros(len(lines), width)
        for block in _blocks(width, scales[1], columns_out, gradient.dtype, gradient.device):
            rows[:, block.start : block.stop] += lines[:, block.first : block.last] @ block.weights
        planes = rows.view(-1, rows_out, width)
        out = gradient.new_zeros(len(planes), height, width)
        for block in _blocks(height, scales[0], rows_out, gradient.dtype, gradient.device):
            out[:, block.start : block.stop] += block.weights.T @ planes[:, block.first : block.last]
    return out.view(*gradient.shape[:-2], height, width)


def _shaped(x: Tensor, scales: Sequence[float], size: Sequence[int]) -> Tensor:
    return x.new_empty(*x.shape[:-2], *size)


def _shaped_backward(gradient: Tensor, size: Sequence[int], scales: Sequence[float]) -> Tensor:
    return gradient.new_empty(*gradient.shape[:-2], *size)


def _remember(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Sequence[float], Sequence[int]], output: Tensor
) -> None:
    x, ctx.scales, _ = inputs  # type: ignore[attr-defined]
    ctx.size = x.shape[-2:]  # type: ignore[attr-defined]


def _differentiate(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
    return torch.ops.vsr.imresize_backward(gradient, ctx.size, ctx.scales), None, None  # type: ignore[attr-defined]


def _remember_backward(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Sequence[int], Sequence[float]], output: Tensor
) -> None:
    gradient, _, ctx.scales = inputs  # type: ignore[attr-defined]
    ctx.size = gradient.shape[-2:]  # type: ignore[attr-defined]


def _differentiate_backward(ctx: torch.autograd.function.FunctionCtx, change: Tensor) -> tuple[Tensor, None, None]:
    # The gradient is the transposed matrix times what comes in: its own gradient is the matrix again.
    return torch.ops.vsr.imresize(change, ctx.scales, ctx.size), None, None  # type: ignore[attr-defined]


for _name, _kernel, _fake in (("imresize", _imresize, _shaped), ("imresize_backward", _imresize_backward, _shaped_backward)):
    _LIBRARY.impl(_name, _kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"vsr::{_name}", _fake, lib=_LIBRARY)
torch.library.register_autograd("vsr::imresize", _differentiate, setup_context=_remember, lib=_LIBRARY)
torch.library.register_autograd("vsr::imresize_backward", _differentiate_backward, setup_context=_remember_backward, lib=_LIBRARY)

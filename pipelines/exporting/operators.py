"""ONNX for operators that torch's exporter has none for; sizes are known when a graph is made.

Specification: ONNX, operators of opset 20 (DeformConv, MatMul, Gather, ReduceMax).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx_ir
import torch
import torchvision.ops  # noqa: F401 - it registers its operators
from onnxscript import opset20 as op

from models.parts.resize import weight_matrix


def deform_conv2d(
    x: Any,
    weight: Any,
    offset: Any,
    mask: Any,
    bias: Any,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,
) -> Any:
    """torchvision's deformable convolution, which is ONNX's of opset 19."""
    return op.DeformConv(
        x,
        weight,
        offset,
        bias,
        mask,
        strides=[stride_h, stride_w],
        pads=[pad_h, pad_w, pad_h, pad_w],
        dilations=[dilation_h, dilation_w],
        group=groups,
        offset_group=offset_groups,
    )


def imresize(x: Any, scales: Sequence[float], size: Sequence[int]) -> Any:
    """`models.parts.resize.imresize`: a matrix times the picture times a matrix."""
    height, width = (int(side) for side in x.shape[-2:])
    rows, columns = weight_matrix(height, scales[0], size[0]), weight_matrix(width, scales[1], size[1]).T
    return op.MatMul(op.MatMul(_constant(rows.astype(np.float32)), x), _constant(columns.astype(np.float32)))


def adaptive_max_pool2d(x: Any, size: Sequence[int]) -> tuple[Any, Any]:
    """The maximum of every area, and in place of where it is, which nothing asks for, the same again. An area of an axis is i h / H, rounded down, to (i + 1) h / H, rounded up."""
    lengths = [int(length) for length in x.shape[2:]]
    for axis, length, side in zip((2, 3), lengths, size, strict=True):
        begins, ends = np.arange(side) * length // side, -(-(np.arange(side) + 1) * length // side)
        reach = np.arange((ends - begins).max())
        seen = np.minimum(begins[:, None] + reach, ends[:, None] - 1)  # the last of a shorter one again
        x = op.ReduceMax(op.Gather(x, _constant(seen.astype(np.int64)), axis=axis), _constant(np.array([axis + 1])), keepdims=0)
    return x, x


def _constant(values: np.ndarray) -> Any:
    value: Any = onnx_ir.tensor(np.ascontiguousarray(values))  # which it takes, whatever it declares
    return op.Constant(value=value)


TABLE: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.torchvision.deform_conv2d.default: deform_conv2d,
    torch.ops.vsr.imresize.default: imresize,
    torch.ops.aten.adaptive_max_pool2d.default: adaptive_max_pool2d,
}
"""What torch's exporter is given as `custom_translation_table`."""

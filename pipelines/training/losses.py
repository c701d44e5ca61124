"""Losses: what a training step makes small."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor


def charbonnier(restored: Tensor, truth: Tensor, reduction: Literal["mean", "sum"] = "mean", eps: float = 1e-12) -> Tensor:
    """Mean or sum of sqrt(difference² + eps), a smooth absolute difference.

    Lai et al., "Deep Laplacian Pyramid Networks", CVPR 2017, with BasicVSR's eps (CVPR 2021, Sec. 4); EDVR
    takes the sum.

    Args:
        restored, truth: any equal shapes, in [0, 1].

    Returns:
        A scalar.
    """
    each = torch.sqrt((restored - truth).square() + eps)
    return each.sum() if reduction == "sum" else each.mean()


def endpoint_error(flow: Tensor, truth: Tensor, weight: Tensor | None = None, eps: float = 1e-6) -> Tensor:
    """Mean length of the difference of two flows, in pixels.

    Args:
        flow, truth: (N, 2, H, W) in pixels.
        weight: (N, 1, H, W), how much each pixel counts; where nothing counts the error is 0.
        eps: added under the root, which has no gradient at 0.

    Returns:
        A scalar: the weighted mean of sqrt(dx² + dy² + eps).
    """
    length = torch.sqrt((flow - truth).square().sum(1, keepdim=True) + eps)
    if weight is None:
        return length.mean()
    return (length * weight).sum() / weight.sum().clamp_min(1e-6)

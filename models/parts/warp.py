"""Backward warping by optical flow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def flow_warp(x: Tensor, flow: Tensor, padding: str = "zeros") -> Tensor:
    """Sample `x` at every pixel moved by its flow: `out(p) = x(p + flow(p))`, bilinearly.

    Args:
        x: (N, C, H, W).
        flow: (N, 2, H, W) in pixels, channel 0 to the right, channel 1 down.
        padding: what lies outside of `x`: "zeros" or "border".

    Returns:
        (N, C, H, W), of the type of `x`.
    """
    height, width = flow.shape[-2:]
    # Half precision has no room for sub-pixel positions in a frame: the grid is never coarser than float32.
    exact = torch.promote_types(flow.dtype, torch.float32)
    columns = torch.arange(width, device=flow.device, dtype=exact)
    rows = torch.arange(height, device=flow.device, dtype=exact)[:, None]
    moved_x = 2 * (columns + flow[:, 0].to(exact)) / max(width - 1, 1) - 1
    moved_y = 2 * (rows + flow[:, 1].to(exact)) / max(height - 1, 1) - 1
    grid = torch.stack([moved_x, moved_y], dim=-1)
    return F.grid_sample(x.to(exact), grid, mode="bilinear", padding_mode=padding, align_corners=True).to(x.dtype)

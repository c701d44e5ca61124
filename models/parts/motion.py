"""Motion in latents: what SDATC's sampling is guided by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from models.parts.warp import flow_warp


def resized(flow: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow (N, T, 4, h, w) in pixels on a grid of another size, in its pixels."""
    height, width = flow.shape[-2:]
    if size == (height, width):
        return flow
    found = F.interpolate(flow.flatten(0, 1), size=size, mode="bilinear", align_corners=False).unflatten(0, flow.shape[:2])
    ratio = found.new_tensor([size[1] / width, size[0] / height]).repeat(2)
    return found * ratio.view(4, 1, 1)


def seen(flow: Tensor, back: Tensor, slack: float = 0.01, floor: float = 0.5) -> Tensor:
    """Where the way there and back ends where it began, 1, and elsewhere 0; (N, 1, H, W).

    Sundaram et al., "Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow", ECCV 2010, Eq. 5.

    Args:
        flow: (N, 2, H, W) to another frame.
        back: (N, 2, H, W) of that frame to this one.
    """
    returned = flow_warp(back, flow, padding="border")
    apart = (flow + returned).square().sum(1, keepdim=True)
    lengths = (flow.square() + returned.square()).sum(1, keepdim=True)
    return (apart <= slack * lengths + floor).to(flow)


class MotionError:
    """How far latents are from those of their neighbours along the flow, where both are seen (SDATC, Eq. 12), and its gradient.

    Args:
        flow: (N, T, 4, h, w) in pixels of the latents: to the next frame, then to the previous one.
    """

    def __init__(self, flow: Tensor) -> None:
        # Restoring runs without gradients, and tensors that are made so can have none.
        with torch.inference_mode(False), torch.no_grad():
            flow = flow.detach().clone()
            self._ahead, self._behind = flow[:, :-1, :2].flatten(0, 1), flow[:, 1:, 2:].flatten(0, 1)
            self._seen = seen(self._ahead, self._behind), seen(self._behind, self._ahead)

    def __call__(self, latents: Tensor) -> Tensor:
        """The sum of absolute differences of (N, T, C, h, w), a scalar."""
        first, second = latents[:, :-1].flatten(0, 1), latents[:, 1:].flatten(0, 1)
        there = self._seen[0] * (flow_warp(second, self._ahead, padding="border") - first)
        back = self._seen[1] * (flow_warp(first, self._behind, padding="border") - second)
        return there.abs().sum() + back.abs().sum()

    def gradient(self, latents: Tensor) -> Tensor:
        """Of the error by the latents, of their shape and without a gradient of its own."""
        with torch.inference_mode(False), torch.enable_grad():
            wanted = latents.detach().clone().requires_grad_()
            return torch.autograd.grad(self(wanted), wanted)[0]

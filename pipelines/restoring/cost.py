"""What a method costs: parameters, and multiply-accumulate operations per frame."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from models import Network
from models.parts.deform import ModulatedDeformConv
from pipelines.errors import VSRError
from pipelines.priors import kinds

SHORT = 4
"""Frames of a clip that is long enough for the next ones to cost the same: more than any network looks back."""


def cost(network: Network, height: int, width: int, frames: int = 100, size: tuple[int, int] | None = None) -> dict[str, float]:
    """Count a network's parameters and operations without computing anything.

    The convention of the published tables: convolutions and matrix products are counted, interpolation,
    warping and element-wise operations are not, and the operations of a clip of `frames` frames are
    divided evenly among those that it becomes (so that BasicVSR's two flows between neighbours count as 2 (T-1)/T, and
    EDVR, which restores every frame from a window of its own, counts one window per frame).

    Args:
        network: a registered network.
        height: of the LR frame, in pixels.
        width: of the LR frame, in pixels.
        frames: of the clip.
        size: (H, W) of the restored frames, for networks that restore at any scale.

    Returns:
        `parameters`; `gmacs`, 10^9 multiply-accumulates per restored frame; `gmacs_without_deform`, the same
        without the deformable convolutions themselves (their offset convolutions stay), as some tables
        have it.

    Raises:
        VSRError: the clip is shorter than the network needs, or its frames are too small for it.
    """
    if frames < network.min_frames or min(height, width) < 1:
        raise VSRError(
            f"the cost of {network.name} on {frames} frames of {width}x{height} is not defined: "
            f"give at least {network.min_frames} frames of at least 1x1."
        )
    shapes_only = copy.deepcopy(network).to("meta").eval()
    total, deform = _clip_flops(shapes_only, frames, height, width, size)
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gmacs": total / (2e9 * network.made(frames)),
        "gmacs_without_deform": (total - deform) / (2e9 * network.made(frames)),
    }


def _clip_flops(network: Network, frames: int, height: int, width: int, size: tuple[int, int] | None) -> tuple[int, int]:
    """Operations of a clip, and those of them in deformable convolutions, a multiply-add being two.

    A network that restores the middle of a window does the same for every frame. In others, every
    further `period` of frames costs the same, so long clips are extrapolated.
    """
    if network.window:
        total, deform = _count(network, network.window, height, width, size)
        return frames * total, frames * deform
    short = max(SHORT, network.min_frames, network.chunk)
    short += (frames - short) % network.period
    periods = (frames - short) // network.period
    if periods < 2:
        return _count(network, frames, height, width, size)
    once, twice = (_count(network, count, height, width, size) for count in (short, short + network.period))
    total, deform = (one + periods * (other - one) for one, other in zip(once, twice, strict=True))
    return total, deform


def _count(network: Network, frames: int, height: int, width: int, size: tuple[int, int] | None = None) -> tuple[int, int]:
    deform = _deform_operator(network)
    counter = FlopCounterMode(display=False, custom_mapping={deform: _deform_flops} if deform else {})
    clip = _shaped(3, frames, height, width)
    inputs: dict[str, Any] = {name: _shaped(kinds.get(name).channels, frames, height, width) for name in network.priors}
    if size is not None:
        inputs["size"] = size
    try:
        with torch.no_grad(), counter:
            network(clip, **inputs)
    except ValueError as error:
        raise VSRError(str(error)) from error
    return counter.get_total_flops(), counter.get_flop_counts().get("Global", {}).get(deform, 0)


def _deform_operator(network: Network) -> Any:
    """torchvision's operator, None for networks without it: importing it takes longer than most counts."""
    if not any(isinstance(module, ModulatedDeformConv) for module in network.modules()):
        return None
    import torchvision.ops  # noqa: F401 - registers the operator

    return torch.ops.torchvision.deform_conv2d


def _shaped(channels: int, frames: int, height: int, width: int) -> Tensor:
    return torch.empty(1, frames, channels, height, width, device="meta")


def _deform_flops(x: Any, weight: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Twice the multiplications of the convolution; sampling is not counted, like all interpolation."""
    return 2 * math.prod(out_shape) * math.prod(weight[1:])

"""Memory for time: activations that gradients need are computed again instead of being kept.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv:1604.06174. Gradients are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from models.parts.any_scale import Head
from models.parts.blocks import ResidualBlockNoBN, SubPixelNetwork
from models.parts.deform import SecondOrderDeformAlignment
from models.parts.edvr import PCDAlignment

_KINDS = (SecondOrderDeformAlignment, PCDAlignment, Head)


def recompute(network: nn.Module) -> None:
    """Let a network keep only what goes into its chains of residual blocks, its alignments by deformable
    convolutions, and what enlarges features, in place."""
    for module in _heavy(network):
        module.forward = partial(_again, module.forward)
    if isinstance(network, SubPixelNetwork):
        network.upsample = partial(_again, network.upsample)  # type: ignore[method-assign]


def _heavy(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules of which activations are worth it."""
    chain = (
        isinstance(module, nn.Sequential) and len(module) > 0 and all(isinstance(block, ResidualBlockNoBN) for block in module)
    )
    if chain or isinstance(module, _KINDS):
        yield module
    else:
        for child in module.children():
            yield from _heavy(child)


# A function with its method as an argument and no closure: a copy of the network then calls its own method.
def _again(method: Callable[..., Any], *arguments: Any) -> Any:
    if not torch.is_grad_enabled():
        return method(*arguments)
    return checkpoint(method, *arguments, use_reentrant=False)

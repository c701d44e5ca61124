"""Faster ways to run a network, which change its results by rounding alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from models import Network
from models.parts.any_scale import Head
from pipelines.errors import VSRError, unknown

Precision = Literal["float32", "bfloat16"]

RECOMPILE_LIMIT = 64
"""Shapes that a compiled module is made for before it falls back to eager execution."""


@dataclass(frozen=True)
class Speed:
    """How a network is run; the default is as it is defined.

    Args:
        compile: by machine code made for it on the first frames of every size, which takes a minute and a C++ compiler.
        precision: of convolutions and matrix products. "bfloat16" keeps 8 bits of them; flow and the positions of samples
            stay in single precision.

    Raises:
        VSRError: there is no such precision.
    """

    compile: bool = False
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise unknown("precision", self.precision, get_args(Precision))


PLAIN = Speed()


def accelerate(network: Network, speed: Speed) -> Network:
    """Prepare a network that is on its device, in place; one that has been compiled stays so.

    Its larger parts are compiled, not the whole: a recurrent network would be unrolled over all frames of the clip.
    """
    for parameter in network.parameters():
        if parameter.dim() == 4:  # of a convolution: faster where the channels of a pixel lie side by side
            together = speed.precision != "float32" or parameter.device.type == "cpu"
            layout = torch.channels_last if together else torch.contiguous_format
            parameter.data = parameter.data.contiguous(memory_format=layout)
    if speed.compile:
        for module in _parts(network):
            if module._compiled_call_impl is None:
                # Frames have one size, and shapes that are known make faster code.
                module.compile(dynamic=False, recompile_limit=RECOMPILE_LIMIT)
    return network


@contextmanager
def running(speed: Speed, device: torch.device | str) -> Iterator[None]:
    """Where a network that was prepared by `accelerate` runs.

    Raises:
        VSRError: it cannot be compiled on this machine.
    """
    half = speed.precision == "bfloat16"
    try:
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=half):
            yield
    except Exception as error:
        if not speed.compile or not _of_the_compiler(error):
            raise
        cause = getattr(error, "inner_exception", error)
        reason = " ".join(str(cause).split())[:200]
        raise VSRError(
            f"the network cannot be compiled on this machine ({type(cause).__name__}: {reason}): "
            "install a C++ compiler such as g++, or run it without compiling."
        ) from error


def _of_the_compiler(error: Exception) -> bool:
    # Imported where it is needed: it takes longer than PyTorch itself.
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def _parts(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts that are called as one and are more than a layer; not heads, whose loops over pieces of a frame
    would be unrolled and compiled for minutes."""
    for child in module.children():
        if isinstance(child, Head):
            continue
        if isinstance(child, (nn.ModuleDict, nn.ModuleList)):
            yield from _parts(child)
        elif any(True for _ in child.children()):
            yield child

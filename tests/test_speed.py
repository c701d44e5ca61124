"""Faster ways to run a network: what they change, and what is told where they cannot be."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._inductor.exc import InductorError, InvalidCxxCompiler

import models
from models import Network
from models.parts import deform
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.errors import VSRError
from pipelines.metrics import psnr
from pipelines.restoring.restore import neighbours, restore
from pipelines.restoring.speed import Speed, accelerate, running

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


def clip(count: int = 5) -> list[np.ndarray]:
    """Waves that move."""
    y, x = np.mgrid[:16, :24].astype(float)
    return [
        np.stack([128 + 90 * np.sin(a * (x + t) + b * y) for a, b in ((0.5, 0.2), (0.3, -0.4), (0.1, 0.7))], -1).astype(np.uint8)
        for t in range(count)
    ]


def network(name: str) -> Network:
    torch.manual_seed(0)
    small: dict[str, dict[str, Any]] = {
        "basicvsr": {"channels": 8, "blocks": 1},
        "basicvsr_plusplus": {"channels": 8, "blocks": 1, "outer_blocks": 1, "groups": 2},
        "edvr_m": {"channels": 8, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2},
        "basicvsr_liif": {"channels": 8, "blocks": 1, "hidden": 16},
    }
    found = models.create(name, **small[name])
    for module in found.modules():  # samples move, as they do after training
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    return found


def restored(name: str, speed: Speed) -> np.ndarray:
    return np.stack(list(restore(network(name), clip(), window=5, overlap=0, speed=speed)))


def as_defined(name: str) -> np.ndarray:
    """What the network itself makes, with its parameters as they lie and deformable convolution by torchvision's operator."""
    made, seen = network(name).eval(), to_tensor(clip())[None]
    if made.window:
        seen = torch.stack([seen[0, neighbours(t, made.window, len(clip()))] for t in range(len(clip()))])
    with torch.inference_mode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(deform, "by_gather", deform.by_operator)
        return np.stack([to_frame(frame) for frame in made(seen).view(len(clip()), 3, 64, 96)])


@pytest.mark.parametrize("name", ["basicvsr", "basicvsr_plusplus", "edvr_m", "basicvsr_liif"])
def test_results_differ_by_rounding(name: str) -> None:
    plain = as_defined(name)
    found = restored(name, Speed())
    off = np.abs(found.astype(int) - plain)
    assert off.max() <= 1 and np.mean(off > 0) < 1e-3
    half = restored(name, Speed(precision="bfloat16"))
    assert not np.array_equal(half, plain) and psnr(half.astype(float), plain.astype(float)) > 45


class Spy(Network):
    """Says in what its convolution was computed."""

    name = "spy"

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.seen: list[tuple[torch.dtype, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv(x.flatten(0, 1))
        self.seen.append((made.dtype, self.conv.weight.is_contiguous(memory_format=torch.channels_last)))
        return made.unflatten(0, x.shape[:2])


def test_a_network_runs_as_it_is_told() -> None:
    spy = Spy()
    for speed, expected in (
        (Speed(precision="bfloat16"), (torch.bfloat16, True)),
        (Speed(), (torch.float32, True)),
    ):
        (frame,) = restore(spy, clip(1), window=2, overlap=0, speed=speed)
        assert spy.seen.pop() == expected and frame.dtype == np.uint8
        assert not torch.is_autocast_enabled("cpu")


def test_an_unknown_precision() -> None:
    with pytest.raises(VSRError, match="unknown precision 'float16': did you mean 'bfloat16'"):
        Speed(precision="float16")  # type: ignore[arg-type]


def test_parts_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[nn.Module] = []

    def compile_module(module: nn.Module, **how: Any) -> None:
        asked.append(module)
        module._compiled_call_impl = module._call_impl

    monkeypatch.setattr(nn.Module, "compile", compile_module)
    plus = network("basicvsr_plusplus")
    accelerate(plus, Speed())
    assert not asked
    accelerate(accelerate(plus, Speed(compile=True)), Speed(compile=True))
    names = {name for name, module in plus.named_modules() if module in asked}
    branches = ("backward_1", "forward_1", "backward_2", "forward_2")
    aligned = {f"{part}.{branch}" for part in ("deform_align", "backbone") for branch in branches}
    assert names == {"spynet", "feat_extract", "reconstruction", *aligned} and len(asked) == len(names)


def test_a_compiler_that_is_not_there() -> None:
    told = r"^the network cannot be compiled on this machine \(InvalidCxxCompiler: No working C\+\+ compiler.*\): install a C\+\+ compiler"
    with pytest.raises(VSRError, match=told), running(Speed(compile=True), "cpu"):
        raise InductorError(InvalidCxxCompiler(), None)
    with pytest.raises(ZeroDivisionError), running(Speed(compile=True), "cpu"):
        raise ZeroDivisionError


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network() -> None:
    plain = restored("basicvsr", Speed())
    off = np.abs(restored("basicvsr", Speed(compile=True)).astype(int) - plain)
    assert off.max() <= 1 and np.mean(off > 0) < 1e-3

"""Writes a network as ONNX, and holds what onnxruntime makes of it against PyTorch."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import Network
from pipelines.errors import VSRError
from pipelines.exporting.calls import Call, Size, call, drawn, rendered

OPSET = 20
"""DeformConv came with 19, what `GridSample` is called in with 20."""

METADATA = "vsr"

TOLERANCE = 1e-3
"""The largest difference of a value in [0, 1]: a quarter of an 8-bit level."""

STEPS = 5
"""Frames that an online network is held against PyTorch on."""


@dataclass(frozen=True)
class Agreement:
    """What two runs of a network gave: the largest difference of values in [0, 1], PSNR in dB of one against the other, and
    milliseconds of a call of each, once both are warm."""

    frames: str
    difference: float
    psnr: float
    torch_ms: float
    onnx_ms: float


def export(network: Network, target: Path, lr: Size, frames: int, size: Size | None = None) -> list[Agreement]:
    """Write a network.

    Args:
        network: with its parameters.
        target: the file; it appears when it was held against PyTorch.
        lr: (h, w) of the frames that it will take.
        frames: of the clips that it will take, unless it takes single frames or windows.
        size: (H, W) of the restored frames, for networks that restore at any scale.

    Returns:
        What came of random frames and of some of the embedded corpus.

    Raises:
        VSRError: a package lacks, the network cannot be exported, or onnxruntime gives something else than PyTorch.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise VSRError(f"ONNX files need {' and '.join(missing)}: `pip install 'vsr[onnx]'`.")
    if network.window is None and frames < network.min_frames:
        raise VSRError(f"{network.name} needs {network.min_frames} frames: give --frames of at least that.")
    network = network.eval().cpu()
    try:
        made = call(network, frames, lr, size)
        # Once for real: what sizes alone decide is kept by the network, and becomes constants of the graph.
        clip, priors = drawn(network, made.frames or 1, lr)
        with torch.no_grad():
            made.module(*made.arguments(clip, priors, 0, made.state))
    except ValueError as error:
        raise VSRError(str(error)) from error
    target.parent.mkdir(parents=True, exist_ok=True)
    files = {target: made} | ({beginning(target): made.first} if made.first else {})
    partial = {path: path.with_name(f".{path.name}.{os.getpid()}.partial") for path in files}
    try:
        for path, one in files.items():
            _write(network, one, partial[path], lr, size)
        found = list(_compare(network, made, [partial[path] for path in files], lr))
        worst = max(one.difference for one in found)
        if not worst <= TOLERANCE:  # nor if it is no number
            raise VSRError(
                f"onnxruntime makes something else of {network.name} than PyTorch, by up to {worst:.2g} where {TOLERANCE:g} is "
                "rounding: no file is left; use PyTorch for it."
            )
        for path in files:
            os.replace(partial[path], path)
    except OSError as error:
        raise VSRError(f"{target} cannot be written ({error.strerror}): free some space or choose another place.") from error
    finally:
        for path in files:
            partial[path].unlink(missing_ok=True)
    return found


def beginning(target: Path) -> Path:
    """The file beside an online network's step that begins a clip."""
    return target.with_name(f"{target.stem}.first{target.suffix}")


def _write(network: Network, made: Call, path: Path, lr: Size, size: Size | None) -> None:
    from pipelines.exporting.operators import TABLE

    clip, priors = drawn(network, made.frames or 1, lr)
    arguments = made.arguments(clip, priors, 0, made.state)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(made.module, arguments, strict=False)
            graph = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=made.inputs,
                output_names=made.outputs,
                custom_translation_table=TABLE,
                verbose=False,
            )
    except Exception as error:  # whatever torch's tracer or exporter stops at
        raise VSRError(
            f"{network.name} cannot be written as ONNX, torch's exporter stops at {_reason(error)}: use PyTorch."
        ) from error
    assert graph is not None
    holds = {"network": network.name, "options": network.options, "lr": lr, "size": size, "frames": made.frames}
    graph.model.metadata_props[METADATA] = json.dumps({**holds, "torch": torch.__version__, "opset": OPSET}, sort_keys=True)
    graph.save(path)


def _compare(network: Network, made: Call, files: Sequence[Path], lr: Size) -> Iterator[Agreement]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = [onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"]) for path in files]

    def by_onnx(call: Call, *arguments: Tensor) -> list[Tensor]:
        session = sessions[call is made.first]
        given = {name: part.numpy() for name, part in zip(call.inputs, arguments, strict=True)}
        known = {node.name for node in session.get_inputs()}  # what a graph does not look at is no input of it
        return [torch.from_numpy(np.asarray(part)) for part in session.run(None, {k: v for k, v in given.items() if k in known})]

    def by_torch(call: Call, *arguments: Tensor) -> list[Tensor]:
        results = call.module(*arguments)
        return list(results) if isinstance(results, tuple) else [results]

    for name, take in (("random", drawn), ("embedded corpus", rendered)):
        clip, priors = take(network, made.frames or STEPS, lr)
        one, torch_ms = _run(by_torch, made, clip, priors)
        other, onnx_ms = _run(by_onnx, made, clip, priors)
        wrong = (one - other).double()
        error = float(wrong.square().mean())
        yield Agreement(name, float(wrong.abs().max()), -10 * math.log10(error) if error else math.inf, torch_ms, onnx_ms)


@torch.no_grad()
def _run(step: Callable[..., list[Tensor]], made: Call, clip: Tensor, priors: Sequence[Tensor]) -> tuple[Tensor, float]:
    """What comes of a clip, and how many milliseconds a call took that was not the first of its kind."""
    restored, spent = [], []
    state: Sequence[Tensor] = ()
    for t in [0, 0] if made.frames else range(clip.shape[1]):
        call = made.first if made.first and t == 0 else made
        began = time.perf_counter()
        frame, *state = step(call, *call.arguments(clip, priors, t, state))
        spent.append(1e3 * (time.perf_counter() - began))
        restored.append(frame)
    kept = spent[1:] if made.first is None else spent[2:]
    return torch.stack(restored), sum(kept) / len(kept)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of its own work."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _reason(error: BaseException) -> str:
    """The first line of what was wrong at last."""
    while error.__cause__ is not None:
        error = error.__cause__
    line: Any = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__} ({line[:200].rstrip('.')})"

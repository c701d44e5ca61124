"""What a training goes on from after an interruption, and what it leaves in the end."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pipelines.errors import VSRError

State = dict[str, Any]
"""`step` (steps done), `frozen` (the sha256 of what was loaded from files and does not learn, by name) and `learners`, the
state of each by its name: see `pipelines.training.learners.Learner.state`."""


def final_weights(state: State) -> dict[str, Tensor]:
    """The weights that a training is for, its first learner's: the averaged ones if there are any, else the plain ones."""
    first = next(iter(state["learners"].values()))
    return first["network"] if first["average"] is None else first["average"]


def save(state: State, path: Path) -> None:
    """Write a state so that `path` is either whole or as it was; the one that it had is kept beside it, for `newest`.

    Raises:
        VSRError: the disk does not take it; what was written is as it was.
    """
    _write(path, lambda file: torch.save(state, file))


def packed(state: State) -> bytes:
    """What `save` writes, for `put`."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def put(data: bytes, path: Path) -> None:
    """`save` of what was packed elsewhere."""
    _write(path, lambda file: file.write(data))


def _write(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            write(file)
        if path.exists():
            os.replace(path, _before(path))
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch closes what it could not write, which fails with an error of its own
        partial.unlink(missing_ok=True)
        refused = error if isinstance(error, OSError) else error.__context__
        if not isinstance(refused, OSError):
            raise
        raise VSRError(
            f"the training state {path} cannot be written ({refused.strerror or refused}): make room on its disk and run again, "
            "which goes on from the state before it."
        ) from error


def newest(path: Path, say: Callable[[str], None]) -> State | None:
    """The state that a training goes on from: that of `path`, where it cannot be read the one before it, which is said; None if
    there is neither.

    Raises:
        VSRError: there is only one, and it cannot be read.
    """
    before = _before(path)
    if not path.is_file():
        return load(before) if before.is_file() else None
    try:
        return load(path)
    except VSRError as error:
        if not before.is_file():
            raise
        state = load(before)
        say(f"the state before it is taken, of step {state['step']}: {str(error).partition(': remove')[0]}")
        return state


def _before(path: Path) -> Path:
    return path.with_name("before_" + path.name)


def load(path: Path) -> State:
    """Read a state onto the CPU.

    Raises:
        VSRError: it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for each kind of damage
        raise VSRError(
            f"the training state {path} cannot be read ({' '.join(str(error).split())[:200] or type(error).__name__}): "
            "remove it to start over."
        ) from error

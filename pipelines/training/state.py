"""What a training goes on from after an interruption, and what it leaves in the end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
    """Write a state so that `path` is either whole or as it was."""
    partial = path.with_name(path.name + ".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> State:
    """Read a state onto the CPU.

    Raises:
        VSRError: it cannot be read.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a different kind for each kind of damage
        raise VSRError(
            f"the training state {path} cannot be read ({' '.join(str(error).split())[:200]}): remove it to start over."
        ) from error

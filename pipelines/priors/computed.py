"""Priors that are computed of frames, whichever kind: what computes one, and what a network sees of footage."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from pipelines import params
from pipelines.clips.store import Frame
from pipelines.priors import flows, kinds, masks

Model = params.MaskModel | params.FlowModel


def kind_of(model: Model) -> str:
    """The kind of the prior that a model computes."""
    return "masks" if isinstance(model, params.MaskModel) else "flow"


def worker(model: Model, device: str) -> masks.Masks | flows.Flows:
    """What computes a prior, on a device, e.g. `cpu` or `cuda`.

    Raises:
        VSRError: its weights cannot be used.
    """
    return masks.Masks(model, device) if isinstance(model, params.MaskModel) else flows.Flows(model, device)


def of_footage(
    making: masks.Masks | flows.Flows, names: Sequence[str], frames: Iterable[np.ndarray], size: tuple[int, int]
) -> tuple[Iterator[np.ndarray], Mapping[str, Iterator[np.ndarray]]]:
    """The frames of a clip, and its priors as a network sees them when they come from a store.

    Args:
        making: see `worker`.
        names: of the kinds that are wanted.
        frames: (H, W, 3) uint8 RGB, each taken once.
        size: (H, W).
    """
    seen, looked_at = itertools.tee(frames)
    made = itertools.tee(map(_as_stored, making.stream(looked_at, size)), len(names))
    return seen, {name: map(partial(kinds.planes, kinds.get(name)), columns) for name, columns in zip(names, made, strict=True)}


def _as_stored(frame: Frame) -> Frame:
    """The columns as a store gives them back."""
    steps = flows.SCALES
    return {
        name: np.rint(array / steps[name]).astype(np.float32) * np.float32(steps[name]) if name in steps else array
        for name, array in frame.items()
    }

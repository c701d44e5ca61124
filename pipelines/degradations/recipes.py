"""Recipes: the steps of a degradation, one after the other, over a stream of frames."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipelines import params
from pipelines.clips import video
from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.degradations import codec, resize


def scale_of(recipe: params.Recipe) -> float:
    """The size of HR over that of LR."""
    return math.prod(step.scale for step in recipe if isinstance(step, params.Bicubic))


def lr_size(recipe: params.Recipe, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of LR frames for those of HR.

    Raises:
        VSRError: a step cannot take the size that it is given, or a scale is not above 0.
    """
    for step in recipe:
        if isinstance(step, params.Bicubic):
            size = resize.lr_size(size, step.scale)
        else:
            codec.check_size(size)
    return size


def check(recipe: params.Recipe) -> None:
    """Make sure that this machine can run a recipe.

    Raises:
        VSRError: it needs x264 and there is none; says what to run.
    """
    if any(isinstance(step, params.X264) for step in recipe):
        video.check_x264()


def degrade_frames(
    recipe: params.Recipe, frames: Iterable[np.ndarray], fps: Fraction | float, size: tuple[int, int]
) -> tuple[Iterator[np.ndarray], dict[str, Any]]:
    """Degrade a clip, streamed.

    Args:
        recipe: the steps.
        frames: HR, (H, W, 3) uint8 RGB.
        fps: frames per second, which LR keeps.
        size: (H, W) of HR.

    Returns:
        The LR frames, (h, w, 3) uint8 RGB, and the clip's parameters: `scale`, and under `steps` one
        entry per step of the recipe with all that was set, drawn and measured. What a coder measures
        is there once the first LR frame is.

    Raises:
        VSRError: the recipe cannot take this size (before any work).
    """
    lr_size(recipe, size)
    steps = [step.model_dump() for step in recipe]
    return _stream(recipe, frames, fps, steps), {"scale": scale_of(recipe), "steps": steps}


def _stream(
    recipe: params.Recipe, frames: Iterable[np.ndarray], fps: Fraction | float, steps: list[dict[str, Any]]
) -> Iterator[np.ndarray]:
    with contextlib.ExitStack() as stack:
        for step, done in zip(recipe, steps, strict=True):
            if isinstance(step, params.Bicubic):
                frames = map(partial(resize.bicubic, scale=step.scale), frames)
            else:
                frames, measured = stack.enter_context(codec.compress(step, frames, fps))
                done.update(measured)
        yield from frames


@dataclass(frozen=True)
class ClipJob:
    """A clip of a store to degrade."""

    store: Path
    clip: str


class Degrade:
    """A worker that makes the LR clips of a degradation.

    Its call yields lists of frames (`rgb`) and last the LR clip's attributes, whose `parameters` are those
    of `degrade_frames` with the degradation's name.

    Args:
        recipe: the steps.
        name: what params.yaml calls the degradation.

    Raises:
        VSRError: this machine lacks what the recipe needs; a clip's size does not fit the recipe.
    """

    def __init__(self, recipe: params.Recipe, name: str) -> None:
        check(recipe)
        self.recipe = recipe
        self.name = name

    def __call__(self, job: ClipJob) -> Iterator[list[Frame] | ClipAttributes]:
        store = Store(job.store)
        frames = store.frames(job.clip)
        attributes = store.clips[job.clip].attributes
        size = (attributes.height, attributes.width)
        degraded, parameters = degrade_frames(self.recipe, frames, attributes.fps, size)
        yield from batches({"rgb": frame} for frame in degraded)
        height, width = lr_size(self.recipe, size)
        yield ClipAttributes(
            attributes.split, attributes.fps, height, width, attributes.source, {"degradation": self.name, **parameters}
        )

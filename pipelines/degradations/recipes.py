"""Recipes: degradations made of steps, for clips of a store, for footage, and inside a training step.

A recipe is drawn for a clip (`draw`) and the drawn one is applied to it (`apply`). What was drawn stands in the manifest of
the LR clips and is enough to make the clip again, or one frame of it.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines import params
from pipelines.clips.levels import quantise
from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.degradations import codec
from pipelines.degradations.apply import run
from pipelines.degradations.draw import CODECS, at, crop_size, draw, rng
from pipelines.degradations.resize import lr_size
from pipelines.errors import VSRError

Drawn = dict[str, Any]
"""What `draw` gives: all that a recipe does to one clip."""


def check(recipe: params.Recipe) -> None:
    """Make sure that this machine can run a recipe.

    Raises:
        VSRError: it needs an encoder that is not there; says what to run.
    """
    codec.check(_ops(recipe))


def _ops(steps: Sequence[params.Step]) -> set[str]:
    options = [option for step in steps if isinstance(step, params.Choice) for option in step.of]
    return {step.op for step in steps}.union(*(_ops(option.steps) for option in options))


def degrade(
    recipe: params.Recipe,
    frames: Iterable[np.ndarray],
    *,
    degradation: str,
    clip: str,
    count: int,
    size: tuple[int, int],
    fps: Fraction | float,
) -> tuple[Iterator[np.ndarray], Drawn]:
    """Degrade a clip, streamed.

    Args:
        recipe: the steps.
        frames: HR, (H, W, 3) uint8 RGB.
        degradation: what the recipe is called; with the name of the clip it decides what is drawn.
        clip: what the clip is called.
        count: the number of HR frames.
        size: (H, W) of HR.
        fps: frames per second of HR.

    Returns:
        The LR frames, (h, w, 3) uint8 RGB, and what was drawn. What a coder measures is in its entry once
        the first LR frame is there.

    Raises:
        VSRError: the recipe cannot take this size or length (before any work).
    """
    drawn = draw(recipe, rng(degradation, clip), count, size, float(fps))
    return remake(drawn, frames), drawn


def kept(drawn: Drawn) -> range:
    """Which HR frames the LR frames lie on."""
    first, factor = drawn["time"]["first"], drawn["time"]["factor"]
    return range(first, first + factor * drawn["count"], factor)


def remake(drawn: Drawn, frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The LR clip of HR frames, (H, W, 3) uint8 RGB, from what was drawn for it: bit for bit the same every time.

    Computed in float64, one frame at a time; only coders see more.
    """
    with contextlib.ExitStack() as stack:
        chunks = ([_tensor(frame, drawn)] for frame in frames)
        yield from map(quantise, itertools.chain.from_iterable(run(drawn["steps"], chunks, _pixels, stack)))


def remake_frame(drawn: Drawn, frames: Sequence[np.ndarray], index: int) -> np.ndarray:
    """One LR frame, (h, w, 3) uint8 RGB, from the HR frames that it is made of; coders need the clip from its start.

    Args:
        drawn: what was drawn for the clip.
        frames: all HR frames, (H, W, 3) uint8 RGB; no others than needed are read.
        index: which LR frame.
    """
    if any(entry["op"] in CODECS for entry in drawn["steps"]):
        made = remake(drawn, (frames[number] for number in range(len(frames))))
        return next(itertools.islice(made, index, None))
    start, stop = index, index + 1
    for entry in reversed(drawn["steps"]):
        if entry["op"] == "temporal":
            start, stop = start * entry["factor"], (stop - 1) * entry["factor"] + entry["window"]
    with contextlib.ExitStack() as stack:
        chunks = ([_tensor(frames[number], drawn)] for number in range(start, stop))
        (frame,) = itertools.chain.from_iterable(run(drawn["steps"], chunks, _pixels, stack, start=start))
    return quantise(frame)


def apply(drawn: Drawn, clip: Tensor) -> Tensor:
    """The LR clip of an HR clip in memory, all frames at once: what a training step does with a batch, clip by clip.

    Args:
        drawn: what was drawn for the clip.
        clip: (T, C, H, W) on any device, in 8-bit levels 0 to 255, of a floating type that is computed in. Coders run on
            the CPU, whatever the device.

    Returns:
        (t, C, h, w), rounded to 8-bit levels, on the same device and of the same type. It is within one level of what
        `remake` gives where no coder follows: arithmetic of less than float64 may fall on the other side of a tie.
    """
    height, width = drawn["crop"]

    def tensor(frame: np.ndarray) -> Tensor:
        return _pixels(frame).to(clip.device, clip.dtype)

    with contextlib.ExitStack() as stack:
        chunks = iter([list(clip[..., :height, :width].unbind())])
        made = itertools.chain.from_iterable(run(drawn["steps"], chunks, tensor, stack, size=len(clip)))
        return torch.stack(list(made)).add(0.5).floor().clamp(0, 255)


AGAIN = ("bicubic", "gaussian", "anisotropic")
"""Steps that do the same to frames of any size."""


def spatial(drawn: Drawn, size: tuple[int, int]) -> Drawn:
    """What was drawn for a clip, for frames of (H, W) `size` and without its temporal steps: of the frames that were left out, or once
    more of what it made.

    Raises:
        VSRError: it does more than reduce frames by one kernel.
    """
    for entry in drawn["steps"]:
        if entry["op"] not in (*AGAIN, "temporal") or "frames" in entry:
            raise VSRError(
                f"the step {entry['op']} cannot be done again on what it made: use a degradation of temporal, {', '.join(AGAIN)} "
                "steps that are the same for all frames."
            )
    scale = tuple(drawn["scale"])
    steps = [entry for entry in drawn["steps"] if entry["op"] != "temporal"]
    return {**drawn, "crop": list(crop_size(size, scale)), "size": list(lr_size(size, scale)), "steps": steps}


def temporal(drawn: Drawn, size: tuple[int, int]) -> Drawn:
    """The temporal steps alone of what was drawn for a clip, for frames of (H, W) `size`."""
    steps = [entry for entry in drawn["steps"] if entry["op"] == "temporal"]
    return {**drawn, "scale": [1, 1], "crop": list(size), "size": list(size), "steps": steps}


def stages(drawn: Drawn, frames: Sequence[np.ndarray], index: int) -> list[tuple[dict[str, Any], np.ndarray]]:
    """What each step of a recipe leaves of one frame, for looking at it.

    Args:
        drawn: what was drawn for the clip.
        frames: HR frames from the clip's first on, (H, W, 3) uint8 RGB; all are held in memory.
        index: which of them.

    Returns:
        The entry of each step, as it stands for that frame, and the frame after it, (h, w, 3) uint8 RGB.
    """
    found = []
    with contextlib.ExitStack() as stack:
        chunk = [_tensor(frame, drawn) for frame in frames]
        for entry in drawn["steps"]:
            chunk = list(itertools.chain.from_iterable(run([entry], iter([chunk]), _pixels, stack)))
            index = min(index // entry["factor"], len(chunk) - 1) if entry["op"] == "temporal" else index
            found.append((at(entry, index), quantise(chunk[index])))
    return found


def _pixels(frame: np.ndarray) -> Tensor:
    """(H, W, C) uint8 as (C, H, W), not copied."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a store's frames are read-only, and so are they here
        return torch.from_numpy(frame).permute(2, 0, 1)


def _tensor(frame: np.ndarray, drawn: Drawn) -> Tensor:
    height, width = drawn["crop"]
    return _pixels(frame)[:, :height, :width]


@dataclass(frozen=True)
class ClipJob:
    """A clip of a store to degrade."""

    store: Path
    clip: str


class Degrade:
    """A worker that makes the LR clips of a degradation.

    Its call yields lists of frames (`rgb`) and last the LR clip's attributes, whose `parameters` are what was drawn,
    with the degradation's name.

    Args:
        recipe: the steps.
        name: what params.yaml calls the degradation.

    Raises:
        VSRError: this machine lacks what the recipe needs; a clip's size or length does not fit the recipe.
    """

    def __init__(self, recipe: params.Recipe, name: str) -> None:
        check(recipe)
        self.recipe = recipe
        self.name = name
        self._store = lru_cache(maxsize=1)(Store)  # of many clips, opened once

    def __call__(self, job: ClipJob) -> Iterator[list[Frame] | ClipAttributes]:
        store = self._store(job.store)
        clip = store.clips[job.clip]
        of = clip.attributes
        frames, drawn = degrade(
            self.recipe,
            store.frames(job.clip),
            degradation=self.name,
            clip=job.clip,
            count=clip.frames,
            size=(of.height, of.width),
            fps=of.fps,
        )
        yield from batches({"rgb": frame} for frame in frames)
        height, width = drawn["size"]
        yield ClipAttributes(of.split, drawn["fps"], height, width, of.source, {"degradation": self.name, **drawn})

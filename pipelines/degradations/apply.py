"""What the entries of a drawn recipe do to frames: on a GPU or a CPU, a whole clip at a time or frame after frame.

Frames are (C, H, W) tensors in 8-bit levels, 0 to 255, neither rounded nor clipped between steps; a clip on its way is a
list of them, because a real-world recipe may give every frame a size of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.clips.levels import quantise
from pipelines.degradations import codec, filtering, jpeg, kernels, noise, sharpen
from pipelines.degradations.draw import CODECS, Entry, at
from pipelines.degradations.interpolate import interpolate
from pipelines.degradations.resize import bicubic

Chunk = list[Tensor]
"""Neighbouring frames."""


def run(
    entries: Sequence[Entry],
    chunks: Iterator[Chunk],
    tensor: Callable[[np.ndarray], Tensor],
    stack: ExitStack,
    *,
    start: int = 0,
    size: int = 1,
) -> Iterator[Chunk]:
    """Put a clip through the steps of a drawn recipe.

    Args:
        entries: the steps, see `draw`. What a coder measures goes into its entry as `measured`, as soon as it is entered.
        chunks: the clip, cut to `crop`, a few frames at a time.
        tensor: makes an 8-bit frame (H, W, C) that a coder gives a (C, H, W) tensor like those of the clip.
        stack: holds coders open for as long as the frames are read.
        start: the number in the clip of the first frame given.
        size: how many frames at a time go on from a step that regroups them.

    Returns:
        The LR clip, likewise.

    Raises:
        VSRError: a coder cannot take the frames, see `codec`.
    """
    for entry in entries:
        if entry["op"] == "temporal":
            chunks = _regroup(_sample(entry, itertools.chain.from_iterable(chunks)), size)
            start //= entry["factor"]
        elif entry["op"] in CODECS:
            frames = map(quantise, itertools.chain.from_iterable(chunks))
            coded, measured = stack.enter_context(codec.compress(entry, frames, entry["fps"]))
            entry["measured"] = measured
            chunks = _regroup(map(tensor, coded), size)
        else:
            chunks = _through(entry, chunks, start)
    return chunks


def _sample(entry: Entry, frames: Iterator[Tensor]) -> Iterator[Tensor]:
    """Every factor-th window's mean; a window of one is its frame itself, to the bit."""
    window: list[Tensor] = []
    skip = 0
    for frame in frames:
        if skip:
            skip -= 1
            continue
        window.append(frame)
        if len(window) == entry["window"]:
            whole = [each if each.is_floating_point() else each.double() for each in window] if len(window) > 1 else window
            yield torch.stack(whole).mean(0) if len(window) > 1 else frame
            skip = max(0, entry["factor"] - entry["window"])
            del window[: entry["factor"]]


def _regroup(frames: Iterator[Tensor], size: int) -> Iterator[Chunk]:
    while chunk := list(itertools.islice(frames, size)):
        yield chunk


def _through(entry: Entry, chunks: Iterator[Chunk], start: int) -> Iterator[Chunk]:
    for chunk in chunks:
        values = [at(entry, start + index) for index in range(len(chunk))]
        yield _apply(values, chunk)
        start += len(chunk)


def _apply(values: Sequence[Entry], chunk: Chunk) -> Chunk:
    """A step on frames, those of one size and one goal together."""
    out: Chunk = []
    keys = [(frame.shape, value.get("height"), value.get("width")) for frame, value in zip(chunk, values, strict=True)]
    for _, run_ in itertools.groupby(range(len(chunk)), key=keys.__getitem__):
        indices = list(run_)
        # One frame alone stays where it lies, in a store.
        clip = torch.stack([chunk[index] for index in indices]) if len(indices) > 1 else chunk[indices[0]][None]
        out += _step([values[index] for index in indices], clip).unbind()
    return out


def _step(values: Sequence[Entry], clip: Tensor) -> Tensor:
    """One step on frames of one size; `values` are its entries, one per frame."""
    one = values[0]
    if one["op"] == "bicubic":
        return bicubic(clip, tuple(one["scale"]))
    if not clip.is_floating_point():
        clip = clip.double()
    match one["op"]:
        case "gaussian":
            return filtering.bd(clip, one["sigma"], one["scale"], one["convention"])
        case "anisotropic":
            shapes = torch.tensor([value["kernel"] for value in values], dtype=torch.float64)
            return filtering.anisotropic(clip, shapes, one["scale"])
        case "blur":
            return filtering.blur(clip, torch.stack([_kernel(value) for value in values]))
        case "resize":
            return interpolate(clip, one["height"], one["width"], one["mode"])
        case "sharpen":
            return sharpen.unsharp(clip, one["weight"], one["radius"], one["threshold"])
        case "gaussian_noise":
            sigmas = [value["sigma"] for value in values]
            return noise.gaussian(clip, sigmas, one["grey"], one["seed"], [value["frame"] for value in values])
        case "poisson_noise":
            scales = [value["scale"] for value in values]
            return noise.poisson(clip, scales, one["grey"], one["seed"], [value["frame"] for value in values])
        case "jpeg":
            return jpeg.jpeg(clip, [value["quality"] for value in values])
    raise AssertionError(one["op"])


def _kernel(value: Entry) -> Tensor:
    shape: dict[str, Any] = {name: value.get(name) for name in ("sigma_x", "sigma_y", "theta", "beta", "cutoff")}
    return kernels.make(value["kind"], value["size"], **shape)

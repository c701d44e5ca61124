"""What a published corpus promises, and whether what is found keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.clips.layouts.clips import Frames, fault_of, png_names
from pipelines.clips.places import Place
from pipelines.errors import VSRError

_SHOWN = 8


@dataclass(frozen=True)
class Shape:
    """A clip of `frames` frames of `height` x `width` pixels."""

    frames: int
    height: int
    width: int


@dataclass(frozen=True)
class Alike:
    """`count` clips of one shape, under names that the publisher's copy and its mirrors do not share."""

    count: int
    shape: Shape


@dataclass(frozen=True)
class Promise:
    """What the corpus `title` is published with: its clips by name, or their number."""

    title: str
    clips: Mapping[str, Shape] | Alike


def keep(promise: Promise, found: Mapping[str, tuple[Place, Sequence[str]]], place: Place, subset: str) -> dict[str, Frames]:
    """The frames of every clip, where names and counts are as promised.

    Args:
        promise: what has to be there.
        found: the folder and the files of each clip that is there.
        place: the corpus, for errors.
        subset: what to do where it is meant to be incomplete, for errors.

    Raises:
        VSRError: clips are missing or too many, or one has not its number of frames; says which.
    """
    shapes = _shapes(promise, found, place, subset)
    faults = []
    for name, shape in shapes.items():
        names = png_names(found[name][1])
        fault = fault_of(names)
        if not fault and len(names) != shape.frames:
            fault = f"has {len(names)} frames instead of {shape.frames}"
        if fault:
            faults.append(f"{name} {fault}")
    if faults:
        raise VSRError(f"{promise.title} in {place} is not as published, {shown('clip', faults)}: unpack it again.")
    return {
        name: Frames(found[name][0], png_names(found[name][1]), (shape.height, shape.width)) for name, shape in shapes.items()
    }


def shown(kind: str, items: Sequence[str]) -> str:
    """`clips a, b`, with the first few of many."""
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return f"{kind if len(items) == 1 else kind + 's'} {', '.join(items[:_SHOWN])}{more}"


def _shapes(promise: Promise, found: Mapping[str, tuple[Place, Sequence[str]]], place: Place, subset: str) -> Mapping[str, Shape]:
    if isinstance(promise.clips, Alike):
        if len(found) != promise.clips.count:
            raise VSRError(
                f"{promise.title} in {place} has {len(found)} clips instead of {promise.clips.count}: unpack it again, or {subset}."
            )
        return dict.fromkeys(found, promise.clips.shape)
    missing = [name for name in promise.clips if name not in found]
    if missing:
        raise VSRError(f"{promise.title} in {place} lacks the {shown('clip', missing)}: unpack it again, or {subset}.")
    extra = [name for name in found if name not in promise.clips]
    if extra:
        raise VSRError(
            f"{promise.title} in {place} has the {shown('clip', extra)}, which it is not published with: move them out."
        )
    return promise.clips

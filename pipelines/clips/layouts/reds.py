"""REDS (Nah et al., NTIRE 2019): 240 training and 30 validation clips of 100 frames.

`train/train_sharp/000` to `239` and `val/val_sharp/000` to `029`, or both folders directly in the source. The validation
clips are numbered on, 240 to 269, as EDVR did ("regrouping"), and may already be so in `train_sharp`. Two partitions are
in use, whose numbers cannot be compared: REDS4, four clips of the original training set (Wang et al., EDVR, CVPRW 2019),
and the publisher's own.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines import params
from pipelines.clips.layouts.clips import SourceClip
from pipelines.clips.layouts.published import Promise, Shape, keep
from pipelines.clips.places import Place
from pipelines.errors import VSRError

FPS = 24.0

TRAIN, VALIDATION = 240, 30
REDS4 = ("000", "011", "015", "020")

PROMISE = Promise("REDS", {f"{number:03d}": Shape(100, 720, 1280) for number in range(TRAIN + VALIDATION)})


def clips(corpus: params.Reds, place: Place, promise: Promise = PROMISE) -> list[SourceClip]:
    """All clips, split by the corpus's partition.

    Raises:
        VSRError: there is no folder train_sharp, or REDS is not there as published.
    """
    train = _part(place, "train/train_sharp", "train_sharp")
    if train is None:
        raise VSRError(f"{place} has no folder train/train_sharp or train_sharp: give the folder that REDS was unpacked to.")
    found = _numbered(place, train, 0)
    validation = _part(place, "val/val_sharp", "val_sharp")
    if validation is not None:
        renumbered = _numbered(place, validation, TRAIN)
        twice = sorted(found.keys() & renumbered.keys())
        if twice:
            raise VSRError(f"REDS in {place} has clip {twice[0]} in {train} and again in {validation}: remove one of them.")
        found |= renumbered
    located = {name: (place / path, files) for name, (path, files) in found.items()}
    subset = f"give the clips that are there as a corpus of `kind: frames` with the source {place / train}"
    kept = keep(promise, located, place, subset)
    return [SourceClip(name, _split(corpus, name), found[name][0], FPS, frames) for name, frames in kept.items()]


def _split(corpus: params.Reds, name: str) -> params.Split:
    if corpus.partition == "reds4":
        return "test" if name in REDS4 else "train"
    return "train" if int(name) < TRAIN else "validation"


def _numbered(place: Place, part: str, first: int) -> dict[str, tuple[str, Sequence[str]]]:
    """The path and the files of the clips in a part, by their numbers counted on from `first`."""
    return {
        f"{int(name) + first:03d}" if name.isdecimal() and len(name) == 3 else name: (f"{part}/{name}", files)
        for name, files in (place / part).tree().items()
    }


def _part(place: Place, *paths: str) -> str | None:
    """The first of these folders that is there."""
    return next((path for path in paths if (place / path).exists()), None)

"""Vid4, UDM10 and SPMCS, whose clips are all tested on.

Two forms of them go round: `GT/<clip>/<frame>.png`, as mmagic and BasicSR use them, and
`<clip>/truth/<frame>.png`, as the authors of SPMCS and PFNL publish them. Names of frames differ, their order does not.
Sources of the figures: docs/datasets.md.
"""

from __future__ import annotations

from collections.abc import Mapping

from pipelines import params
from pipelines.clips.layouts.clips import FRAMES_FPS, SourceClip
from pipelines.clips.layouts.published import Alike, Promise, Shape, keep
from pipelines.clips.places import Place, at_once
from pipelines.errors import VSRError

PROMISES: Mapping[str, Promise] = {
    "vid4": Promise(
        "Vid4",
        {
            "calendar": Shape(41, 576, 720),
            "city": Shape(34, 576, 704),
            "foliage": Shape(49, 480, 720),
            "walk": Shape(47, 480, 720),
        },
    ),
    "udm10": Promise("UDM10", Alike(10, Shape(32, 720, 1272))),
    "spmcs": Promise("SPMCS", Alike(30, Shape(31, 540, 960))),
}


def clips(corpus: params.TestSet, place: Place, promise: Promise | None = None) -> list[SourceClip]:
    """The clips of a test set.

    Raises:
        VSRError: it is in neither form, or not as published.
    """
    promise = promise or PROMISES[corpus.kind]
    folders = place.entries().folders
    if "GT" in folders:
        found = {name: (f"GT/{name}", files) for name, files in (place / "GT").tree().items()}
        subset = f"give the clips that are there as a corpus of `kind: frames` with the source {place / 'GT'}"
    else:
        paths = {name: f"{name}/truth" for name in folders}
        there = at_once(lambda path: (place / path).exists(), paths.values())
        paths = {name: path for (name, path), exists in zip(paths.items(), there, strict=True) if exists}
        if not paths:
            raise VSRError(
                f"{place} has neither `GT/<clip>/<frame>.png` nor `<clip>/truth/<frame>.png`: give the folder of {promise.title} above these."
            )
        files = at_once(lambda path: (place / path).entries().files, paths.values())
        found = {name: (path, names) for (name, path), names in zip(paths.items(), files, strict=True)}
        subset = f"move its folders `<clip>/truth` to `GT/<clip>` and give {place / 'GT'} as a corpus of `kind: frames`"
    kept = keep(promise, {name: (place / path, files) for name, (path, files) in found.items()}, place, subset)
    return [SourceClip(name, "test", found[name][0], FRAMES_FPS, frames) for name, frames in kept.items()]

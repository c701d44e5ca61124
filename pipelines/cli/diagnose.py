"""Commands that go from footage to what degraded it, to a recipe, and to a method: diagnose, pick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.errors import VSRError
from pipelines.threads import wait_passively

if TYPE_CHECKING:
    from pipelines.clips.footage import Footage
    from pipelines.diagnosis import Diagnosis

Clips = Annotated[
    list[Path], typer.Argument(metavar="CLIP…", help="Video files, folders of frames, or folders of such.", show_default=False)
]


def diagnose(
    clips: Clips,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the spectrum, kernel, noise, quantisers and cuts of the clip.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Add a recipe that makes such footage of clean HR, and a suite of the methods in use on it."
        ),
    ] = None,
    scale: Annotated[int, typer.Option(min=1, help="By how much the recipe reduces HR.")] = 4,
) -> None:
    """What degraded footage: what its stream says, and blur, noise, coding, enlargement, fields, doubled frames and cuts by estimate, each
    with the interval that holds nine of ten, or why it cannot be told."""
    if picture is not None and (picture.suffix.lower() != ".png" or picture.exists()):
        what = (
            "already exists: remove it or choose another name" if picture.exists() else "is no .png: give a name that ends in it"
        )
        raise VSRError(f"{picture} {what}.")
    found = _diagnosed(clips)
    if picture is not None and len(found) > 1:
        raise VSRError(f"--picture draws one clip, and {len(found)} are given: give one.")
    if as_json:
        typer.echo(json.dumps({"clips": {name: one.as_json() for name, one in found.items()}}, ensure_ascii=False))
    else:
        typer.echo("\n\n".join(_lines(one) for one in found.values()))
    if picture is not None:
        from pipelines.diagnosis.picture import draw

        draw(picture, next(iter(found.values())))
    if recipe is not None:
        from pipelines import params
        from pipelines.diagnosis.recipe import add

        said = add(params.find(), recipe, list(found.values()), scale)
        typer.echo(said, err=True)


def _diagnosed(clips: list[Path]) -> dict[str, Diagnosis]:
    """The diagnoses of clips by name."""
    wait_passively()
    from pipelines.clips import footage
    from pipelines.clips.images import PICTURES
    from pipelines.diagnosis import diagnose as look
    from pipelines.runtime.progress import Progress

    opened: dict[str, Footage] = {}
    for path in clips:
        if path.is_file() and path.suffix.lower() in PICTURES:
            raise VSRError(
                f"{path} is a picture: give a video or a folder of frames, since coding and noise show between frames."
            )
        if path.is_file() and not path.stat().st_size:
            raise VSRError(f"{path} is empty: give a video file.")
        for name, clip in footage.open_source(path, reading=footage.Reading(deep=True, opaque=True)).items():
            if name in opened:
                raise VSRError(f"{opened[name].path} and {clip.path} are both called {name!r}: rename one.")
            opened[name] = clip
    found = {}
    with Progress("diagnose", len(opened)) as progress:
        for name, clip in opened.items():
            found[name] = look(clip, progress.counted)
            progress.clip()
    return found


def _lines(one: Diagnosis) -> str:
    """A diagnosis for a terminal."""
    from pipelines.diagnosis.words import rows

    told = rows(one)
    width = max(len(label) for label, _ in told)
    return "\n".join([one.name, *(f"  {label:<{width}}  {text}" for label, text in told)])


def pick(
    clip: Annotated[Path, typer.Argument(metavar="CLIP", help="A video file or a folder of frames.")],
    metric: Annotated[str, typer.Option(help="By which methods are ordered.")] = "psnr",
    scale: Annotated[int, typer.Option(min=1, help="To restore by.")] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The method for a clip by the results that are there: those on the tested degradation that is nearest to the clip's, how near that is,
    and the command that makes it sure."""
    from pipelines import params, results
    from pipelines.report import pick as picking

    chosen = params.load()
    cells = results.load(params.find().parent / "results")
    if not cells:
        raise VSRError(
            f"there are no results to pick a method by: run `make demo`, or `vsr diagnose {clip} --recipe mine` and `vsr repro`."
        )
    found = list(_diagnosed([clip]).values())
    if len(found) > 1:
        raise VSRError(f"{clip} holds {len(found)} clips: give one of them.")
    answer: Any = picking.pick(found[0], chosen, cells, metric, str(clip), params.find().parent, scale)
    typer.echo(json.dumps(answer.as_json(), ensure_ascii=False) if as_json else answer.text())

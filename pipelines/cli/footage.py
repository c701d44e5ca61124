"""Commands that make footage of footage, or of a clip store: degrade, restore, export."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.cli import live, networks
from pipelines.errors import VSRError, unknown
from pipelines.threads import wait_passively

Source = Annotated[Path, typer.Argument(metavar="SRC", help="A video file, a folder of frames, or a folder of such.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="What to write; must not exist yet.")]


def degrade(
    source: Source,
    destination: Destination,
    recipe: Annotated[str, typer.Option(help="A recipe of params.yaml, e.g. bi_x4.")],
    preview: Annotated[
        bool, typer.Option("--preview", help="Write a sheet of what each step does to a frame, to DST, which ends in .png.")
    ] = False,
) -> None:
    """Make the LR version of footage: PNG frames, which lose nothing, or a video if DST is named like one."""
    wait_passively()
    from pipelines import params
    from pipelines.clips import footage
    from pipelines.degradations import recipes
    from pipelines.runtime.progress import Progress

    steps = params.entry("recipe", params.load().recipes, recipe)
    recipes.check(steps)
    if preview:
        return _preview(source, destination, recipe, steps)

    lossless = footage.Writing(lossless=True)

    def work(clip: footage.Footage, progress: Progress) -> None:
        frames, drawn = recipes.degrade(
            steps, clip.frames(), degradation=recipe, clip=clip.name, count=clip.count, size=clip.size, fps=clip.rate
        )
        target, _ = footage.write_like(destination, clip, progress.counted(frames), recipes.kept(drawn), lossless)
        _record_of(target).write_text(json.dumps({"degradation": recipe, **drawn}) + "\n")

    _check_name(destination)
    clips = footage.open_source(source)
    _check_apart(source, destination)
    for target in footage.check_destination(destination, clips, lossless).values():
        if _record_of(target.path).exists():
            raise VSRError(f"{_record_of(target.path)} already exists: remove it or choose another name.")
    _each(clips, destination, work)


def restore(
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="A video file, a folder of frames, a folder of such; - for standard input.")
    ],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="What to write; must not exist yet; - for standard output.")],
    method: Annotated[
        str | None, typer.Option(help="A network, e.g. bicubic or basicvsr; by default the one that --weights are of.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="Its parameters: a file of this project, of BasicSR or mmagic, or of a network of single images."),
    ] = None,
    scale: networks.Scale = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Instead of --scale: what frames are restored to, whatever their shape.")
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(help="Masks or flows of params.yaml, for networks that see them; by default those it was trained with."),
    ] = None,
    adapt: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="STEPS",
            help="Learn from every clip for so many steps first; by default as the experiment that was trained does.",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Restore as what this protocol scores: whole clips in one pass, forwards and backwards if it says so."),
    ] = None,
    window: Annotated[
        int | None, typer.Option(min=1, help="Frames restored in one pass; fewer need less memory; 30 by default.")
    ] = None,
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Frames that a pass drops at each end where another one goes on; 5 by default, or what a short --window leaves.",
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(min=4, help="Restore tiles of so many pixels a side, a multiple of 4; smaller ones need less memory."),
    ] = None,
    tile_overlap: Annotated[
        int, typer.Option(min=0, help="Pixels that a tile drops at each side where another one goes on.")
    ] = 16,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; the GPU by default, if there is one.")] = None,
    compile_network: Annotated[
        bool, typer.Option("--compile", help="Compile the network first, which takes a minute or more and a C++ compiler.")
    ] = False,
    precision: Annotated[str, typer.Option(help="float32, or the faster and coarser bfloat16.")] = "float32",
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="WxH:FORMAT@FPS", help="The stream has no header, and frames of this size, e.g. 320x180:yuv420p@24."
        ),
    ] = None,
    matrix: Annotated[
        str | None, typer.Option(help="What the colours of a stream are coded by, bt601 or bt709; bt601 by default.")
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(help="What a video is coded by: h264, hevc, av1, ffv1 or prores; h264, or hevc for more than 8 bits."),
    ] = None,
    crf: Annotated[int | None, typer.Option(help="Its constant rate factor; less is finer and larger.")] = None,
    fps: Annotated[
        str | None, typer.Option(help="Frames per second of a video that is made of frames, e.g. 24 or 30000/1001.")
    ] = None,
    no_sound: Annotated[bool, typer.Option("--no-sound", help="Leave sound out.")] = False,
    no_alpha: Annotated[bool, typer.Option("--no-alpha", help="Leave transparency out, which is else an error.")] = False,
    cuts: Annotated[
        str, typer.Option(help="auto: scenes are restored one by one, nothing is carried over a cut; off: the clip is one scene.")
    ] = "auto",
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE.json", help="Write what the videos were held against, and what is other on purpose."),
    ] = None,
) -> None:
    """Super-resolve footage. A video stays a video, and nothing of it changes but its frames; frames stay PNG frames. Space-time networks
    double the frame rate: T frames become 2T - 1, and the sound keeps its time.

    A video that was made is opened again and held against its source: every frame's time, sound, colours and the rest. An
    interrupted command goes on from its last finished part when it is called again.

    `vsr restore - -` restores a stream frame by frame as it arrives: YUV4MPEG2 (ffmpeg's -f yuv4mpegpipe) from standard input
    to standard output. Networks that look ahead to the end of a clip do so to the end of a --window.
    """
    wait_passively()
    import torch

    from pipelines.clips import footage
    from pipelines.evaluation import protocols
    from pipelines.restoring import scenes
    from pipelines.restoring.speed import Speed
    from pipelines.runtime.progress import Progress

    speed = Speed(compile_network, precision)  # type: ignore[arg-type]  # it checks the precision
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if place not in ("cpu", "cuda"):
        raise unknown("device", place, ("cpu", "cuda"))
    if place == "cuda" and not torch.cuda.is_available():
        raise VSRError("this machine has no CUDA device: leave --device out.")
    if protocol is not None and (window, overlap, tile) != (None, None, None):
        raise VSRError("--protocol restores whole clips and frames: leave --window, --overlap and --tile out.")
    mirrored = protocol is not None and protocols.get(protocol).mirrored
    passed = window or 30
    dropped = min(5, (passed - 1) // 2) if overlap is None else overlap
    network = networks.chosen(method, weights)
    sized = networks.sized(network, scale, size)
    if cuts not in ("auto", "off"):
        raise unknown("--cuts", cuts, ("auto", "off"))
    if live.asked(source, destination, raw, matrix):
        if (tile, prior, protocol, adapt) != (None, None, None, None):
            raise VSRError(
                "a stream is restored in whole frames, without priors and as it comes: leave --tile, --prior, --protocol and --adapt out."
            )
        return live.restore(network, sized, raw, matrix or "bt601", passed, dropped, place, speed)
    guided = networks.guiding(network, weights, prior, place)
    adapted = networks.adapting(network, weights, adapt, place)
    writing = footage.Writing(codec=codec, crf=crf, fps=_rate(fps), silent=no_sound)
    if report is not None and report.exists():
        raise VSRError(f"{report} already exists: remove it or choose another name.")
    identity = {"network": repr(network.options), "name": network.name, "weights": _stamp(weights), "prior": prior}
    identity |= {"passes": [passed, dropped, protocol, tile, tile_overlap, adapt], "speed": repr(speed), "device": place}
    _check_name(destination)
    clips = footage.open_source(source, reading=footage.Reading(deep=not network.priors, opaque=no_alpha))
    _check_apart(source, destination)
    reports = {}

    def restored_size(clip: footage.Footage) -> tuple[int, int]:
        height, width = clip.size
        return sized(clip.size) or (round(network.scale * height), round(network.scale * width))

    def work(clip: footage.Footage, progress: Progress) -> None:
        frames_of_pass, dropped_frames = (passed, dropped) if protocol is None else (max(clip.count, 1), 0)
        divided = cuts == "auto" and protocol is None and scenes.looks_around(network)
        found = scenes.cuts(clip.frames()) if divided else []
        if found:
            progress.note(
                f"{clip.path.name}: {len(found)} cuts, before frames {', '.join(map(str, found))}: nothing is carried over them."
            )

        learnt = adapted(clip, frames_of_pass)

        def frames(first: int) -> Iterator[Any]:
            seen, priors = guided(clip)
            restored = scenes.restore_scenes(
                learnt,
                seen,
                found,
                window=frames_of_pass,
                overlap=dropped_frames,
                mirrored=mirrored,
                device=place,
                priors=priors,
                size=sized(clip.size),
                tile=tile,
                tile_overlap=tile_overlap,
                speed=speed,
                begin=first,
            )
            yield from progress.counted(restored)

        try:
            _, made = footage.write_like(
                destination,
                clip,
                frames,
                None,
                writing,
                restored_size(clip),
                {**identity, "cuts": found},
                progress.note,
                network.time_scale,
            )
            reports[clip.name] = {**made, "cuts": found}
        except torch.OutOfMemoryError as error:
            height, width = clip.size
            raise VSRError(
                f"{clip.path}: {frames_of_pass} frames of {width}x{height} at once do not fit into the memory of the GPU: "
                "give a smaller --window or --tile, or --device cpu."
            ) from error
        if network.time_scale > 1:
            typer.echo(_doubled(clip, network), err=True)

    told = json.dumps([identity, repr(writing)])
    finished = _finished(destination, clips, told)
    targets = footage.check_destination(destination, clips, writing, restored_size, finished)
    for name, target in targets.items():
        for note in target.plan.notes if target.plan and name not in finished else ():
            typer.echo(f"{clips[name].path.name}: {note}.", err=True)
    if finished:
        typer.echo(f"{len(finished)} of {len(clips)} clips are in {destination}: the others follow.", err=True)
    with _unfinished(destination, clips, told):
        _each({name: clip for name, clip in clips.items() if name not in finished}, destination, work)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(reports, indent=2, ensure_ascii=False) + "\n")


def _rate(text: str | None) -> Any:
    """--fps as a fraction."""
    from fractions import Fraction

    if text is None:
        return None
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise VSRError(f"--fps is {text}: give frames per second, e.g. 24 or 30000/1001.")
    return rate


def _stamp(file: Path | None) -> list[Any] | None:
    """What tells a file from what stood there before."""
    return None if file is None else [str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns]


MARK = ".unfinished"
"""A hidden file in DST while the clips of a folder are restored into it: it says of which command."""


def _finished(destination: Path, clips: Mapping[str, Any], command: str) -> frozenset[str]:
    """The clips of a folder that an interrupted run of the same command has finished."""
    from pipelines.clips import footage

    mark = destination / MARK
    if not mark.is_file() or mark.read_text() != command:
        return frozenset()
    targets = footage.check_destination(destination, clips, kept=frozenset(clips))
    return frozenset(name for name, target in targets.items() if target.there)


@contextlib.contextmanager
def _unfinished(destination: Path, clips: Mapping[str, Any], command: str) -> Iterator[None]:
    """Mark DST until all clips of a folder are in it, or none."""
    if all(clip.alone for clip in clips.values()):
        yield
        return
    new = not destination.exists()
    destination.mkdir(parents=True, exist_ok=True)
    (destination / MARK).write_text(command)
    try:
        yield
    except BaseException:
        if all(entry.name == MARK for entry in destination.iterdir()):
            (destination / MARK).unlink()
            if new:
                destination.rmdir()
        raise
    (destination / MARK).unlink()


def _doubled(clip: Any, network: Any) -> str:
    """What is said of a clip that was given frames in between."""
    rate = f", {float(clip.fps):g} per second became {float(clip.fps * network.time_scale):g}" if clip.fps else ""
    sound = ", and its sound keeps its time" if clip.has_audio else ""
    return f"{clip.name}: {clip.count} frames became {network.made(clip.count)}{rate}{sound}"


def export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="A clip store, e.g. data/lr/parallax/bi_x4.")],
    destination: Destination,
    clip: Annotated[list[str] | None, typer.Option(help="Only this clip; may be repeated.")] = None,
    video: Annotated[bool, typer.Option("--video", help="Write <clip>.mp4 instead of PNG frames.")] = False,
) -> None:
    """Write the frames of a clip store as PNG folders or videos, for other tools."""
    from pipelines.clips.export import export as write
    from pipelines.clips.store import Store
    from pipelines.runtime.progress import Progress

    opened = Store(store)
    names = list(dict.fromkeys(clip or opened.clips))
    with Progress("export", len(names)) as progress:

        def counted(frames: Iterable[Any]) -> Iterator[Any]:
            yield from progress.counted(frames)
            progress.clip()

        write(opened, names, destination, video, counted)


def _check_apart(source: Path, destination: Path) -> None:
    """SRC stays what it is."""
    if source.is_dir() and source.resolve() in destination.resolve().parents:
        raise VSRError(
            f"DST {destination} lies in SRC {source}, which could not be read with it the next time: choose another place."
        )


def _check_name(destination: Path) -> None:
    """Such a folder cannot be replaced by a finished one."""
    if destination.name in ("", ".."):
        raise VSRError(f"DST is {str(destination)!r}: give the name of a new folder or video.")


def _each(clips: Mapping[str, Any], destination: Path, work: Callable[[Any, Any], None]) -> None:
    """Every clip through `work` into DST; a clip that fails does not keep the others from theirs."""
    from pipelines.runtime.progress import Progress

    new = not destination.exists()
    failures = {}
    try:
        with Progress(destination.name, len(clips)) as progress:
            for name, clip in clips.items():
                try:
                    work(clip, progress)
                    progress.clip()
                except VSRError as error:
                    if len(clips) == 1:
                        raise
                    failures[name] = str(error)
    finally:
        if new:
            with contextlib.suppress(OSError):  # DST holds a finished clip, or is one
                destination.rmdir()
    if failures:
        reasons = "".join(f"\n  {name}: {reason}" for name, reason in failures.items())
        others = f", the others are in {destination}" if len(failures) < len(clips) else ""
        raise VSRError(f"{len(failures)} of {len(clips)} clips failed{others}:{reasons}")


def _record_of(target: Path) -> Path:
    """Where what was drawn for a degraded clip is written: beside it, as a folder of frames holds frames."""
    return target.with_name(f"{target.name}.json")


PREVIEWED = 9
"""Frames that a preview degrades: what coders and walks do takes some frames to show."""


def _preview(source: Path, destination: Path, name: str, recipe: Any) -> None:
    """The sheet of what a recipe does to a frame of the first clip of SRC."""
    import itertools

    from pipelines.cli.preview import caption, sheet
    from pipelines.clips import footage
    from pipelines.clips.images import write_png
    from pipelines.degradations import recipes
    from pipelines.degradations.draw import draw, rng

    if destination.suffix.lower() != ".png":
        raise VSRError(f"--preview writes one picture, and DST is {str(destination)!r}: give a name that ends in .png.")
    if destination.exists():
        raise VSRError(f"{destination} already exists: remove it or choose another name.")
    clip = next(iter(footage.open_source(source).values()))
    frames = list(itertools.islice(clip.frames(), PREVIEWED))
    drawn = draw(recipe, rng(name, clip.name), len(frames), clip.size, float(clip.rate))
    shown = len(frames) // 2
    after = [(caption(entry), frame) for entry, frame in recipes.stages(drawn, frames, shown)]
    height, width = drawn["crop"]
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_png(destination, sheet([("HR", frames[shown][:height, :width]), *after], f"{name} · {clip.name}"))

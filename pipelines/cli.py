"""The `vsr` command."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.errors import VSRError, unknown
from pipelines.threads import wait_passively

app = typer.Typer(
    help="Video super-resolution: degrade, restore, score, and reproduce the comparison of params.yaml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

INTERRUPTED = {128 + signal.SIGINT, 128 + signal.SIGTERM}
FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}

# What a command needs is imported inside it, so that `vsr --help` answers at once.

Source = Annotated[Path, typer.Argument(metavar="SRC", help="A video file, a folder of frames, or a folder of such.")]
Scale = Annotated[float | None, typer.Option(min=1, help="For networks that restore at any scale, e.g. 2.5; 4 by default.")]
Destination = Annotated[Path, typer.Argument(metavar="DST", help="What to write; must not exist yet.")]


@app.command()
def repro(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Methods, to train and evaluate them and report on what there is, or stages; with all they depend on. "
            "The whole graph if none.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages that may run side by side.")] = 1,
) -> None:
    """Run what is stale, like `dvc repro`, with ready stages side by side on one Ray cluster."""
    from pipelines import params
    from pipelines.runtime.repro import repro as reproduce

    params.load()
    if not reproduce(params.find().parent, jobs, targets or ()):
        raise typer.Exit(1)


@app.command()
def report() -> None:
    """Write the report from whatever results there are, and print its tables."""
    from pipelines import params
    from pipelines.report import page

    root = params.find().parent
    page.publish(params.load(), root)
    print(f"\nReport: {os.path.relpath(root / 'report' / 'index.html')}")


@app.command()
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

    def work(clip: footage.Footage, progress: Progress) -> None:
        frames, drawn = recipes.degrade(
            steps, clip.frames(), degradation=recipe, clip=clip.name, count=clip.count, size=clip.size, fps=clip.rate
        )
        target = footage.write_like(destination, clip, progress.counted(frames), recipes.kept(drawn), lossless=True)
        _record_of(target).write_text(json.dumps({"degradation": recipe, **drawn}) + "\n")

    _transform(source, destination, work, lossless=True)


@app.command()
def restore(
    source: Source,
    destination: Destination,
    method: Annotated[
        str | None, typer.Option(help="A network, e.g. bicubic or basicvsr; by default the one that --weights are of.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Its parameters: a file of this project, of BasicSR or of mmagic.")] = None,
    scale: Scale = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Instead of --scale: what frames are restored to, whatever their shape.")
    ] = None,
    masks: Annotated[str | None, typer.Option(help="A segmenter of params.yaml, for networks that masks guide.")] = None,
    window: Annotated[int, typer.Option(min=1, help="Frames restored in one pass; fewer need less memory.")] = 30,
    overlap: Annotated[int, typer.Option(min=0, help="Frames that a pass drops at each end where another one goes on.")] = 5,
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
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Keep a pixel's channels together in memory.")] = False,
    precision: Annotated[str, typer.Option(help="float32, or the faster and coarser bfloat16.")] = "float32",
) -> None:
    """Super-resolve footage. A video stays a video, with its frame rate and sound; frames stay PNG frames."""
    wait_passively()
    import torch

    from pipelines.clips import footage
    from pipelines.evaluation.restore import restore as restore_frames
    from pipelines.evaluation.speed import Speed
    from pipelines.runtime.progress import Progress

    speed = Speed(compile_network, channels_last, precision)  # type: ignore[arg-type]  # it checks the precision
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if place not in ("cpu", "cuda"):
        raise unknown("device", place, ("cpu", "cuda"))
    if place == "cuda" and not torch.cuda.is_available():
        raise VSRError("this machine has no CUDA device: leave --device out.")
    network = _network(method, weights)
    sized = _sized(network, scale, size)
    mask = _masking(network, masks, place)

    def work(clip: footage.Footage, progress: Progress) -> None:
        seen, *priors = mask(clip.frames())
        frames = restore_frames(
            network,
            seen,
            window=window,
            overlap=overlap,
            device=place,
            priors=priors,
            size=sized(clip.size),
            tile=tile,
            tile_overlap=tile_overlap,
            speed=speed,
        )
        try:
            footage.write_like(destination, clip, progress.counted(frames))
        except torch.OutOfMemoryError as error:
            height, width = clip.size
            raise VSRError(
                f"{clip.path}: {window} frames of {width}x{height} at once do not fit into the memory of the GPU: "
                "give a smaller --window or --tile, or --device cpu."
            ) from error

    _transform(source, destination, work)


@app.command()
def score(
    restored: Annotated[Path | None, typer.Argument(metavar="SR", help="Restored footage.")] = None,
    truth: Annotated[Path | None, typer.Argument(metavar="GT", help="The footage it should equal.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="How a paper scores, e.g. vid4: channel, border and frames at once.")
    ] = None,
    channel: Annotated[str | None, typer.Option(help="y or rgb; y without it.")] = None,
    crop: Annotated[int | None, typer.Option(min=0, help="Pixels left out at each border.")] = None,
    skip: Annotated[int | None, typer.Option(min=0, help="Frames left out at each end of a clip.")] = None,
    metrics: Annotated[str, typer.Option(help="Comma-separated metrics.")] = "psnr,ssim",
    list_metrics: Annotated[
        bool, typer.Option("--list-metrics", help="Print all metrics, and which cannot be computed here.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """PSNR, SSIM and other metrics of restored footage: mean of frames, then of clips.

    Grey frames count as RGB with three equal channels; frames with transparency are refused. A clip that cannot be scored
    does not keep the others from it.
    """
    if list_metrics:
        return _list_metrics(as_json)
    if restored is None or truth is None:
        raise typer.BadParameter("give restored footage SR and the footage GT that it should equal.")
    from pipelines.clips import footage
    from pipelines.evaluation.score import available, score_clip, summarise
    from pipelines.runtime.progress import Progress

    chosen = _protocol(protocol, channel, crop, skip)
    measured, skipped = available([name.strip() for name in metrics.split(",")])
    failures: dict[str, str] = {}
    ours, theirs = (footage.open_source(path, failures) for path in (restored, truth))
    pairs = _pairs(ours, theirs, failures) if ours.keys() & theirs.keys() or not failures else {}
    scores = []
    with Progress("score", len(pairs)) as progress:
        for clip, (one, other) in pairs.items():
            try:
                frames = progress.counted(one.frames())
                scores.append(score_clip(frames, other.frames(), chosen, measured, clip=clip, frames=other.count))
                progress.clip()
            except VSRError as error:
                failures[clip] = str(error)
    total = len(scores) + len(failures)
    if scores:
        found = summarise(scores, skipped)
        print(json.dumps(_flat(found, failures)) if as_json else "\n".join(_score_lines(found, total)))
    if failures:
        if total == 1:
            raise VSRError(*failures.values())
        reasons = "".join(f"\n  {clip}: {reason}" for clip, reason in failures.items())
        others = ", the others are scored" if scores else ""
        raise VSRError(f"{len(failures)} of {total} clips failed{others}:{reasons}")


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Experiments and baselines; the first is the reference.")],
    corpus: Annotated[list[str] | None, typer.Option(help="Only this tested corpus; may be repeated.")] = None,
    degradation: Annotated[list[str] | None, typer.Option(help="Only this tested degradation; may be repeated.")] = None,
    protocol: Annotated[str | None, typer.Option(help="How clips were scored; the corpus's leading protocol by default.")] = None,
    metrics: Annotated[str, typer.Option(help="Comma-separated metrics.")] = "psnr,ssim",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Results side by side: differences of the clips from the first RUN, with their interval, and cost."""
    from rich.console import Console

    from pipelines import params
    from pipelines.report import compare as comparing
    from pipelines.report import results

    if as_json and as_csv:
        raise VSRError("--json and --csv do not go together: choose one.")
    found = comparing.compare(
        params.load(),
        results.load(params.find().parent / "results"),
        runs,
        [name.strip() for name in metrics.split(",")],
        corpora=corpus or (),
        degradations=degradation or (),
        protocol=protocol,
    )
    if as_json:
        print(json.dumps(comparing.records(found), allow_nan=False))
    elif as_csv:
        print(comparing.as_csv(found), end="")
    else:
        for one in found:
            Console().print(comparing.terminal(one))


@app.command()
def card(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A network, e.g. basicvsr.")],
    lr: Annotated[str, typer.Option(metavar="HxW", help="Size of the LR frame.")] = "180x320",
    frames: Annotated[int, typer.Option(min=1, help="Length of the clip that the cost is spread over.")] = 100,
    scale: Scale = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """A network's parameters and multiply-accumulates per frame, as published."""
    from pipelines import networks
    from pipelines.evaluation.cost import cost

    height, width = _pixels("--lr", lr)
    network = networks.restorer(networks.create(method))
    size = _sized(network, scale, None)((height, width))
    found = cost(network, height, width, frames, size)
    if as_json:
        print(json.dumps({"method": method, **found}))
        return
    enlarged = f" to {size[0]}x{size[1]}" if size else ""
    print(f"{method} at {height}x{width}{enlarged}, per frame of a clip of {frames}")
    print(f"  parameters                          {found['parameters']:,}")
    print(f"  GMAC                                {found['gmacs']:.1f}")
    print(f"  GMAC without deformable convolution {found['gmacs_without_deform']:.1f}")


@app.command()
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
        write(opened, names, destination, video, progress)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen on this machine.")] = 5000) -> None:
    """Open MLflow's pages on this machine."""
    from pipelines.runtime import tracking

    tracking.preflight()
    where = os.environ.get("MLFLOW_TRACKING_URI", "")
    if where.startswith("http"):
        raise VSRError("MLFLOW_TRACKING_URI names a server: open its address in a browser.")
    for suite, address in tracking.views().items():
        print(f"{suite}: http://127.0.0.1:{port}/{address}", flush=True)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        tracking.uri(),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    os.execv(sys.executable, command)


@app.command()
def doctor() -> None:
    """Check what the pipeline needs of this machine, and say how to mend what is missing."""
    from pipelines.runtime.doctor import examine

    healthy = True
    for check in examine():
        mark = "ok" if check.ok else "NO" if check.needed else "--"
        print(f"{mark}  {check.name}: {check.found}", flush=True)
        healthy &= mark != "NO"
    if not healthy:
        raise VSRError("what is marked NO has to be mended before the pipeline can run.")


def _record_of(target: Path) -> Path:
    """Where what was drawn for a degraded clip is written: beside it, as a folder of frames holds frames."""
    return target.with_name(f"{target.name}.json")


def _transform(source: Path, destination: Path, work: Callable[[Any, Any], None], lossless: bool = False) -> None:
    """Every clip of SRC through `work` into DST; a clip that fails does not keep the others from theirs."""
    from pipelines.clips import footage
    from pipelines.runtime.progress import Progress

    if destination.name in ("", ".."):  # such a folder cannot be replaced by a finished one
        raise VSRError(f"DST is {str(destination)!r}: give the name of a new folder or video.")
    clips = footage.open_source(source)
    for target in footage.check_destination(destination, clips, lossless=lossless).values():
        if lossless and _record_of(target).exists():
            raise VSRError(f"{_record_of(target)} already exists: remove it or choose another name.")
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


PREVIEWED = 9
"""Frames that a preview degrades: what coders and walks do takes some frames to show."""


def _preview(source: Path, destination: Path, name: str, recipe: Any) -> None:
    """The sheet of what a recipe does to a frame of the first clip of SRC."""
    import itertools

    from pipelines.clips import footage
    from pipelines.clips.images import write_png
    from pipelines.degradations import recipes
    from pipelines.degradations.draw import draw, rng
    from pipelines.degradations.preview import caption, sheet

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


def _protocol(name: str | None, channel: str | None, crop: int | None, skip: int | None) -> Any:
    """What is scored: a paper's protocol, or what the options say."""
    from pipelines.evaluation import protocols

    options = {"--channel": channel, "--crop": crop, "--skip": skip}
    if name is None:
        return protocols.Protocol("score", channel or "y", crop or 0, skip or 0)  # type: ignore[arg-type]  # it checks the channel
    found = protocols.get(name)
    given = [option for option, value in options.items() if value is not None]
    if given:
        raise VSRError(f"{' and '.join(given)} cannot be given beside --protocol {name}, which says it: leave one out.")
    if found.motion is not None:
        raise VSRError(
            f"the protocol {name!r} scores the clips of {found.motion} motion, which footage does not tell: "
            f"give these clips alone, with --protocol {'vimeo90k_t' if found.channel == 'y' else 'vimeo90k_rgb'}."
        )
    return found


def _pairs(ours: dict[str, Any], theirs: dict[str, Any], failures: dict[str, str]) -> dict[str, tuple[Any, Any]]:
    """Restored clips with their truths, by name; two lone clips belong together whatever they are called.

    `failures` are clips that cannot be opened on either side; they have no pair.
    """
    if len(ours) == len(theirs) == 1 and not failures:
        (one,), ((name, other),) = ours.values(), theirs.items()
        return {name: (one, other)}
    for missing, where in ((set(theirs) - set(ours), "the restored footage"), (set(ours) - set(theirs), "its truth")):
        if missing - set(failures):
            raise VSRError(f"{where} lacks the clip {sorted(missing - set(failures))[0]!r}: give folders with the same clips.")
    return {name: (ours[name], theirs[name]) for name in theirs if name in ours}


def _flat(found: dict[str, Any], failures: dict[str, str]) -> dict[str, Any]:
    """Scores as `score --json` prints them."""
    counts = "frames", "lossless"
    clips = {clip: {**values["metrics"], **{count: values[count] for count in counts}} for clip, values in found["clips"].items()}
    shown = {**found["metrics"], **{count: found[count] for count in counts}, "skipped": found["skipped"], "clips": clips}
    return {**shown, "failed": failures} if failures else shown


def _score_lines(found: dict[str, Any], total: int) -> list[str]:
    """Scores as `score` prints them; `total` are the clips that were to be scored."""
    clips = found["clips"]

    def line(label: str, values: dict[str, Any], names: list[str]) -> str:
        lossless = f", {values['lossless']} lossless" if values["lossless"] else ""
        shown = ", ".join(f"{name} {values['metrics'][name]:.4f}" for name in names)
        return f"{label}: {shown} ({values['frames']} frames{lossless})"

    framewise = list(next(iter(clips.values()))["metrics"])
    lines = [line(clip, values, framewise) for clip, values in clips.items() if framewise]
    if total > 1 and framewise:
        lines.append(line("mean" if len(clips) == total else f"mean of {len(clips)} of {total} clips", found, framewise))
    of_set = [name for name in found["metrics"] if name not in framewise]
    if of_set:
        lines.append(line("all clips together", found, of_set))
    return [*lines, *(f"skipped {name}: {reason}" for name, reason in found["skipped"].items())]


def _list_metrics(as_json: bool) -> None:
    """The registry of metrics as a table."""
    import math

    from pipelines.evaluation.metrics import METRICS, unavailable

    entries: list[dict[str, Any]] = [
        {
            "name": metric.name,
            "what": metric.label + (f" in {metric.unit}" if metric.unit else ""),
            "better": "higher" if metric.higher_is_better else "lower",
            "range": [metric.low, metric.high if math.isfinite(metric.high) else None],
            "reference": metric.reference,
            "weights": list(metric.weights),
            "unavailable": unavailable(metric),
            "licence": metric.licence,
            "source": metric.source,
        }
        for metric in METRICS.values()
    ]
    if as_json:
        print(json.dumps(entries))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("metric", "what", "better", "range", "truth", "weights", "here", "licence"):
        table.add_column(heading, overflow="fold")
    for entry in entries:
        low, high = entry["range"]
        cells = (
            entry["name"],
            entry["what"],
            entry["better"],
            f"{low:g} to {high:g}" if high is not None else f"from {low:g}",
            "needed" if entry["reference"] else "not needed",
            ", ".join(entry["weights"]) or "none",
            "no" if entry["unavailable"] else "yes",
            entry["licence"],
        )
        table.add_row(*(Text(cell) for cell in cells))
    # A pipe has no width: what reads it gets every line whole.
    Console(width=None if sys.stdout.isatty() else 1000).print(table)
    for entry in entries:
        if entry["unavailable"]:
            print(f"{entry['name']} cannot be computed here: {entry['unavailable']}")


def _network(method: str | None, weights: Path | None) -> Any:
    from pipelines import networks

    if weights is not None:
        return networks.restorer(networks.load(weights, expect=method))
    if method is None:
        raise VSRError("it is not said what to restore by: give --weights FILE, or a --method that needs none, such as bicubic.")
    network = networks.restorer(networks.create(method))
    if any(True for _ in network.parameters()):
        raise VSRError(f"{method} has to be trained: give its parameters with --weights FILE.")
    return network


def _sized(network: Any, scale: float | None, size: str | None) -> Callable[[tuple[int, int]], tuple[int, int] | None]:
    """What frames of a size are restored to, by the options; None where the network says it."""
    import math

    if scale is None and size is None:
        return lambda lr: None
    if scale is not None and size is not None:
        raise VSRError("--scale and --size do not go together: choose one.")
    if not network.any_scale:
        raise VSRError(
            f"{network.name} enlarges {network.scale:g} times and no other: leave {'--scale' if size is None else '--size'} out, "
            "or choose a network that restores at any scale, e.g. bicubic."
        )
    if size is not None:
        fixed = _pixels("--size", size)
        return lambda lr: fixed
    if not math.isfinite(factor := scale or 1):
        raise VSRError(f"--scale is {scale}: give a number of at least 1.")
    return lambda lr: (round(factor * lr[0]), round(factor * lr[1]))


def _pixels(option: str, text: str) -> tuple[int, int]:
    """(height, width) as an option gives it."""
    height, _, width = text.partition("x")
    if not (text.isascii() and height.isdigit() and width.isdigit() and int(height) and int(width)):
        raise VSRError(f"{option} is {text!r}: give height x width in pixels, e.g. 180x320.")
    return int(height), int(width)


def _masking(network: Any, name: str | None, device: str) -> Callable[[Any], Sequence[Any]]:
    """Makes of the frames of a clip what the network sees: the frames, and their masks if they guide it."""
    import itertools

    from pipelines import params
    from pipelines.priors.masks import Masks, planes

    known = params.load().masks if name is not None or network.priors else {}
    if not network.priors:
        if name is not None:
            raise VSRError(f"{network.name} is not guided by masks: leave --masks out.")
        return lambda frames: (frames,)
    if name is None:
        raise VSRError(
            f"{network.name} is guided by masks of the frames: name what makes them with --masks, one of {', '.join(known)}."
        )
    worker = Masks(params.entry("masks", known, name).model, device)

    def both(frames: Any) -> Sequence[Any]:
        seen, segmented = itertools.tee(frames)
        return seen, (planes(worker.frame(frame)["masks"]) for frame in segmented)

    return both


def _terminated(number: int, frame: object) -> None:
    """End as Ctrl-C does, so that what is half-written is taken away."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command; what a user can mend is told in one sentence."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text in any encoding
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(prog_name="vsr")
    except VSRError as error:
        sys.exit(f"error: {error}")
    except SystemExit as ended:
        if ended.code in INTERRUPTED:  # typer makes this of Ctrl-C, without a word
            print("interrupted: what was finished is kept, nothing is left half-written.", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno in FULL:
            sys.exit(f"error: the disk is full ({error.filename or 'while writing'}): free some space and run again.")
        if error.errno in REFUSED and error.filename:
            sys.exit(f"error: {error.filename} cannot be used ({error.strerror}): check the path and its permissions.")
        raise


if __name__ == "__main__":
    main()

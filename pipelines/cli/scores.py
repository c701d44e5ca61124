"""Commands that put numbers on restored footage: score, compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.metrics import print_metrics
from pipelines.errors import VSRError

if TYPE_CHECKING:
    from pipelines.results import ClipScores, Scores


SCALE = 4
"""By which footage was reduced at most: its truth may have fewer than so many rows and columns more, at the right and below, which gave no
whole LR pixel."""


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
        return print_metrics(as_json)
    if restored is None or truth is None:
        raise typer.BadParameter("give restored footage SR and the footage GT that it should equal.")
    from pipelines.clips import fit, footage
    from pipelines.evaluation.score import available, score_clip, summarise
    from pipelines.runtime.progress import Progress

    chosen = _protocol(protocol, channel, crop, skip)
    measured, skipped = available(
        [name.strip() for name in metrics.split(",")], "needs the LR clips of a tested pair and the recipe that made them"
    )
    failures: dict[str, str] = {}
    ours, theirs = (footage.open_source(path, failures) for path in (restored, truth))
    pairs = _pairs(ours, theirs, failures) if ours.keys() & theirs.keys() or not failures else {}
    scores = []
    with Progress("score", len(pairs)) as progress:
        for clip, (one, other) in pairs.items():
            try:
                frames, wanted = progress.counted(one.frames()), other.frames()
                if one.size != other.size and fit.covers(other.size, one.size, SCALE):
                    height, width = one.size
                    progress.note(f"{clip}: of its truth {width}x{height} are scored, the rest gave no whole LR pixel.")
                    wanted = (frame[:height, :width] for frame in wanted)
                scores.append(score_clip(frames, wanted, chosen, measured, clip=clip, frames=other.count))
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

    from pipelines import params, results
    from pipelines.report import answer
    from pipelines.report import compare as comparing

    if as_json and as_csv:
        raise VSRError("--json and --csv do not go together: choose one.")
    cells = results.load(params.find().parent / "results")
    found = comparing.compare(
        params.load(),
        cells,
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
        console = Console()
        pairs, leading = [one.pair for one in found], found[0].metrics[0].name
        console.print(answer.terminal(answer.answers(pairs, runs, cells, leading, runs[0]), console.width))
        for one in found:
            console.print(comparing.terminal(one))


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


def _flat(found: Scores, failures: dict[str, str]) -> dict[str, Any]:
    """Scores as `score --json` prints them."""

    def of(scores: ClipScores) -> dict[str, Any]:
        return {**scores.metrics, "frames": scores.frames, "lossless": scores.lossless}

    shown = {**of(found), "skipped": found.skipped, "clips": {clip: of(scores) for clip, scores in found.clips.items()}}
    return {**shown, "failed": failures} if failures else shown


def _score_lines(found: Scores, total: int) -> list[str]:
    """Scores as `score` prints them; `total` are the clips that were to be scored."""
    clips = found.clips

    def line(label: str, scores: ClipScores, names: list[str]) -> str:
        lossless = f", {scores.lossless} lossless" if scores.lossless else ""
        shown = ", ".join(f"{name} {scores.metrics[name]:.4f}" for name in names)
        return f"{label}: {shown} ({scores.frames} frames{lossless})"

    framewise = list(next(iter(clips.values())).metrics)
    lines = [line(clip, values, framewise) for clip, values in clips.items() if framewise]
    if total > 1 and framewise:
        lines.append(line("mean" if len(clips) == total else f"mean of {len(clips)} of {total} clips", found, framewise))
    of_set = [name for name in found.metrics if name not in framewise]
    if of_set:
        lines.append(line("all clips together", found, of_set))
    return [*lines, *(f"skipped {name}: {reason}" for name, reason in found.skipped.items())]

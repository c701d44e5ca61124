"""The report: one self-contained page, the same in Markdown, and every value as CSV."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.atomic import atomic_folder
from pipelines.params import Params
from pipelines.report import answer, charts, dvc_metrics, facts, families, formats, overview, pictures, statistics, tables
from pipelines.report.versions import versions
from pipelines.results import Cell, load

ABOUT = "Which video super-resolution method restores footage degraded like this best, and what it costs."

Tested = Sequence[tuple[tables.Pair, Sequence[Cell]]]
"""Test pairs and the applicable results on each, in the order of the methods."""


def publish(params: Params, root: Path) -> list[Cell]:
    """Write `report/` of the repository `root` from its `results/`, whole.

    Returns:
        All results that there are.

    Raises:
        VSRError: a result is damaged.
    """
    with atomic_folder(root / "report") as out:
        write(params, root / "results", out, versions())
    return load(root / "results")


@dataclass(frozen=True)
class Titled:
    """A chart, with a title that says what it is of and what it shows; `of` are the corpus, degradation and metric, as far as it is
    of one. It is None where there is too little to draw."""

    title: str
    shows: str
    of: dict[str, str]
    chart: Markup | None


@dataclass(frozen=True)
class Shown:
    """Everything that the page shows of one test pair."""

    anchor: str
    pair: tables.Pair
    missing: str
    styles: list[charts.Series]
    album: pictures.Album
    overviews: list[overview.Overview]
    tables: list[tables.ClipTable]
    frames: list[Titled]


def write(params: Params, results: Path, out: Path, versions: dict[str, str]) -> None:
    """Write index.html, report.md, results.csv and what DVC shows into `out` from the results that params.yaml names.

    A result that is not there, or does not apply, is shown as such; a result that params.yaml no
    longer names is passed over. The same inputs give the same bytes.

    Raises:
        VSRError: a result is damaged, or a suite names a metric that there is not.
    """
    methods = list(params.tested)
    pairs = tables.tested_pairs(params)
    named = set(itertools.product(methods, params.tests.corpora, params.tests.degradations))
    cells = [cell for cell in load(results) if (cell.method, cell.corpus, cell.degradation) in named]
    cells.sort(key=lambda cell: methods.index(cell.method))
    styles = charts.series(methods, set(params.baselines))
    tested = [
        (pair, [cell for cell in cells if (cell.corpus, cell.degradation) == (pair.corpus, pair.degradation) and cell.applicable])
        for pair in pairs
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["typeset"] = _typeset
    found = answer.answers(pairs, methods, cells)
    costly, costs = _costly(tested, styles), facts.costs(methods, cells)
    script = "".join(environment.get_template(name).render() for name in ("viewer.js.j2", "picker.js.j2"))
    content = {
        "about": ABOUT,
        "answers": found,
        "sentence": answer.sentence(found) if found else "",
        "gained": answer.gained,
        "highlight": _highlight(found, cells),
        "unrun": answer.missing(params, cells),
        "choices": _choices(pairs, cells),
        "script": Markup(script),
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "suites": [tables.suite(params, key, cells) for key in params.suites],
        "psnr": tables.heading("psnr"),
        "room": {
            "pictures": pictures.PICTURES // 1_000_000,
            "videos": pictures.VIDEOS // 1_000_000,
            "filmed": pictures.FILMED,
            "covered": pictures.COVERED,
        },
        "costly": costly,
        "leading": _leading(found, costly),
        "perceived": _perceived(tested, styles),
        "robust": _robust(params, cells, styles),
        "shown": [
            _shown(f"pair-{index}", params, pair, on_pair, cells, styles, album)
            for index, ((pair, on_pair), album) in enumerate(zip(tested, pictures.albums(tested), strict=True))
        ],
        "styles": [one for one in styles if any(cell.method == one.method and cell.applicable for cell in cells)],
        "elsewhere": facts.elsewhere(params, methods, cells),
        "costs": costs,
        "real_time": facts.real_time(costs),
        "priors": facts.priors(params),
        "starts": facts.starts(params),
        "trained": facts.trained(params),
        "recipes": facts.recipes(params),
        "versions": versions,
        "inputs": facts.inputs(cells),
        "human": facts.human,
        "duration": facts.duration,
    }
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "index.html", environment.get_template("page.html.j2").render(content))
    _write(out / "report.md", _markdown(params, cells, versions))
    _write(out / "results.csv", overview.csv(params, pairs, methods, cells))
    dvc_metrics.write(cells, params, out / "dvc")


def _choices(pairs: Sequence[tables.Pair], cells: Sequence[Cell]) -> list[tuple[str, str, list[str]]]:
    """What the page can be narrowed to: of each kind its name, its label and its values."""
    found = [cell for cell in cells if cell.applicable]
    tested = [pair for pair in pairs if any((cell.corpus, cell.degradation) == (pair.corpus, pair.degradation) for cell in found)]
    metrics = {metric for cell in found for scores in cell.protocols.values() for metric in scores.metrics}
    values = {
        ("corpus", "Footage"): [pair.corpus for pair in tested],
        ("degradation", "Degradations"): [pair.degradation for pair in tested],
        ("method", "Methods"): [cell.method for cell in found],
        ("metric", "Metrics"): [metric.name for metric in tables.headings(metrics)],
    }
    return [(kind, label, list(dict.fromkeys(names))) for (kind, label), names in values.items()]


def _typeset(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _highlight(found: Sequence[answer.Answer], cells: Sequence[Cell]) -> pictures.Highlight | None:
    """Of the first pair: the reference, the second and the best."""
    if not found:
        return None
    first, known = found[0], tables.find(cells)
    shown = dict.fromkeys((first.reference, first.second.method, first.best.method))
    keys = [(method, first.pair.corpus, first.pair.degradation) for method in shown]
    return pictures.highlight(
        first.pair, [known[key] for key in keys if key in known and first.pair.protocol in known[key].protocols]
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _drawn(found: Iterable[Titled]) -> list[Titled]:
    return [one for one in found if one.chart is not None]


def _of(pair: tables.Pair) -> dict[str, str]:
    return {"corpus": pair.corpus, "degradation": pair.degradation}


def _costly(tested: Tested, styles: Sequence[charts.Series]) -> list[list[Titled]]:
    """PSNR against each cost, pair after pair."""
    drawn = [
        [
            Titled(
                pair.label,
                f"PSNR against {said}",
                _of(pair),
                charts.quality_against_cost(pair, found, styles, cost, f"{cost}-{index}"),
            )
            for index, (pair, found) in enumerate(tested)
        ]
        for cost, said in (("seconds", "latency"), ("delay", "delay"), ("parameters", "parameters"))
    ]
    return [some for each in drawn if (some := _drawn(each))]


def _perceived(tested: Tested, styles: Sequence[charts.Series]) -> list[Titled]:
    """How frames look against how near they are, pair after pair."""
    return _drawn(
        Titled(
            pair.label,
            "PSNR against how frames look",
            _of(pair),
            charts.perception_against_distortion(pair, found, styles, f"perceived-{index}"),
        )
        for index, (pair, found) in enumerate(tested)
    )


def _leading(found: Sequence[answer.Answer], costly: list[list[Titled]]) -> Titled | None:
    """Of the first pair that is answered, the chart of quality against the first cost, taken from those that stand further below."""
    place = next((i for i, each in enumerate(costly[0]) if found and each.of == _of(found[0].pair)), None) if costly else None
    return None if place is None else costly[0].pop(place)


def _robust(params: Params, cells: Sequence[Cell], styles: Sequence[charts.Series]) -> list[Titled]:
    """The metrics that suites show against what the tested degradations of each family differ in."""
    drawn: list[Titled] = []
    for corpus, test in params.tests.corpora.items():
        for family in families.families(params.recipes, params.tests.degradations):
            metrics = dict.fromkeys(
                name
                for _, degradation in family.of
                for name in tables.shown_metrics(params, tables.Pair(corpus, degradation, test.protocols[0]))
            )
            for metric in tables.headings(metrics):
                chart = charts.robustness(corpus, test.protocols[0], family, metric, cells, styles, f"robust-{len(drawn)}")
                of = {"corpus": corpus, "metric": metric.name}
                drawn.append(Titled(corpus, f"{metric.label} against {family.label}", of, chart))
    return _drawn(drawn)


def _shown(
    anchor: str,
    params: Params,
    pair: tables.Pair,
    found: Sequence[Cell],
    cells: Sequence[Cell],
    styles: Sequence[charts.Series],
    album: pictures.Album,
) -> Shown:
    methods = [one.method for one in styles]
    clips = pictures.few(sorted({clip for cell in found for scores in cell.protocols.values() for clip in scores.clips}))
    frames = {cell.method: cell.frames() for cell in found}
    drawn = [
        Titled(
            clip, "PSNR over the frames", {}, charts.quality_over_frames(pair, clip, frames, styles, f"{anchor}-frames-{place}")
        )
        for place, clip in enumerate(clips)
    ]
    return Shown(
        anchor,
        pair,
        tables.missing(params, pair, cells),
        [one for one in styles if one.method in frames],
        album,
        overview.overviews(pair, methods, found, statistics.replicates(params)),
        tables.clip_tables(pair, methods, found, tables.shown_metrics(params, pair)),
        _drawn(drawn),
    )


def _markdown(params: Params, cells: Sequence[Cell], versions: dict[str, str]) -> str:
    text, grid = formats.escape, formats.grid
    answers = answer.answers(tables.tested_pairs(params), list(params.tested), cells)
    said = [answer.sentence(answers)] if answers else []
    parts = ["# Video super-resolution report\n", ABOUT + "\n", *(text(line) + "\n" for line in said)]
    parts += [text(line) + "\n" for line in filter(None, [answer.missing(params, cells)])]
    for key in params.suites:
        found = tables.suite(params, key, cells)
        parts += [
            f"## {text(found.title)}\n",
            formats.markdown(found),
            "Means of the clips; best **bold**, second <ins>underlined</ins>."
            + (" Below a value the published figure, = in the same setting, ≠ in another.\n" if found.published else "\n"),
        ]
    parts += ["## Cost\n", _costs(params, cells)]
    if params.masks or params.flows:
        parts.append("## Priors\n")
        for prior in facts.priors(params):
            stand_in = f" – a classical stand-in for {prior.stand_in_for}, which was not used" if prior.stand_in_for else ""
            guides = f"; guides {', '.join(map(text, prior.experiments))}" if prior.experiments else ""
            parts.append(f"- {prior.kind} of {text(prior.pair)}: {text(prior.model)}{stand_in}{guides}")
        parts[-1] += "\n"
    if params.starts:
        parts.append("## Flow networks\n")
        for start in facts.starts(params):
            used = f"; used by {', '.join(map(text, start.experiments))}" if start.experiments else ""
            parts.append(f"- {text(start.name)} ({text(start.network)}): {text(start.origin)}{used}")
        parts[-1] += "\n"
    parts += [
        "## What was run\n",
        grid(["degradation", "steps"], [[text(name), text(steps)] for name, steps in facts.recipes(params).items()]),
    ]
    if params.experiments:
        rows = [
            [text(one.name), text(one.method), text(one.pair), text(one.start), text(one.recipe)] for one in facts.trained(params)
        ]
        parts.append(grid(["experiment", "method", "trained on", "begins with", "recipe"], rows))
    parts.append(grid(["program", "version"], [[text(name), text(version)] for name, version in versions.items()]))
    digests = facts.inputs(cells)
    if digests:
        parts.append(grid(["input", "DVC digest"], [[text(path), f"`{digest}`"] for path, digest in digests]))
    return "\n".join(parts)


def _costs(params: Params, cells: Sequence[Cell]) -> str:
    text, found = formats.escape, facts.costs(list(params.tested), cells)
    rows = [
        [
            text(row.method),
            f"{row.cost.lr[1]} × {row.cost.lr[0]}",
            f"{row.cost.parameters:,}",
            facts.human(row.cost.gmacs),
            facts.human(row.cost.gmacs_without_deform),
            facts.duration(row.timing.seconds_per_frame),
            facts.human(row.timing.throughput),
            facts.duration(row.timing.delay),
            text(row.timing.place),
        ]
        for row in found
    ]
    header = [
        "method",
        "LR size",
        "parameters",
        "GMAC per frame",
        "GMAC without deformable convolution",
        "time per frame",
        "frames per second, disk to disk",
        "delay",
        "on",
    ]
    held = [text(said) for said in facts.real_time(found)]
    return "\n\n".join([formats.grid(header, rows), *held])

"""A suite as a table: methods by test pairs, ranked, for the page, Markdown, CSV, pandas and the terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pipelines.params import Params
from pipelines.report.results import Cell, ClipScores, Scores

Mark = Literal["best", "second", ""]


@dataclass(frozen=True)
class Metric:
    """How a metric is written: its heading, the decimals shown, and which end is better."""

    key: str
    label: str
    unit: str
    decimals: int
    higher: bool

    def write(self, value: float) -> str:
        """The value as it is shown."""
        return f"{value:.{self.decimals}f}"


METRICS = (Metric("psnr", "PSNR", "dB", 2, True), Metric("ssim", "SSIM", "", 4, True))


@dataclass(frozen=True)
class Pair:
    """A corpus under a degradation, scored by its lead protocol."""

    corpus: str
    degradation: str
    protocol: str

    @property
    def label(self) -> str:
        return f"{self.corpus} · {self.degradation}"


@dataclass(frozen=True)
class Entry:
    """A value under one metric, with its rank."""

    metric: Metric
    value: float
    mark: Mark

    @property
    def text(self) -> str:
        return self.metric.write(self.value)


@dataclass(frozen=True)
class Place:
    """A row's values for one column group (one entry per metric), or why there are none."""

    entries: tuple[Entry, ...]
    missing: str | None = None
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """A method (or a clip) with its places; `notes` are the footnotes that hold for all of them."""

    name: str
    detail: str
    places: tuple[Place, ...]
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """A suite: one row per method, one column group per pair; footnotes count from 1."""

    key: str
    title: str
    pairs: tuple[Pair, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ClipTable:
    """A pair under one protocol: one row per clip and one for their mean, one column group per method.

    `left_out` is the number of clips that are only in the CSV.
    """

    pair: Pair
    methods: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: int


def rank(values: Sequence[float | None], metric: Metric) -> list[Mark]:
    """Which of a column's values are best and second.

    Values that read the same are equal: all of the highest are best, all of the next are second. A
    value that stands alone is not ranked.
    """
    shown = [None if value is None else round(value, metric.decimals) for value in values]
    steps = sorted({value for value in shown if value is not None}, reverse=metric.higher)
    if sum(value is not None for value in shown) < 2:
        return ["" for _ in values]
    marks: dict[float, Mark] = {steps[0]: "best"}
    if len(steps) > 1:
        marks[steps[1]] = "second"
    return ["" if value is None else marks.get(value, "") for value in shown]


def find(cells: Iterable[Cell]) -> dict[tuple[str, str, str], Cell]:
    """Cells by (method, corpus, degradation)."""
    return {(cell.method, cell.corpus, cell.degradation): cell for cell in cells}


def tested_pairs(params: Params) -> list[Pair]:
    """The test pairs of params.yaml with their lead protocol."""
    return [
        Pair(corpus, degradation, test.protocols[0])
        for corpus, test in params.tests.corpora.items()
        for degradation in params.tests.degradations
    ]


def suite(params: Params, key: str, cells: Iterable[Cell]) -> Table:
    """The table of the suite `key`."""
    chosen, known = params.suites[key], find(cells)
    pairs = tuple(
        Pair(corpus, degradation, params.tests.corpora[corpus].protocols[0])
        for corpus in chosen.corpora
        for degradation in chosen.degradations
    )
    notes: list[str] = []
    columns = [[known.get((method, pair.corpus, pair.degradation)) for method in chosen.methods] for pair in pairs]
    ranked = [_column(column, pair.protocol) for column, pair in zip(columns, pairs, strict=True)]
    rows = []
    for index, method in enumerate(chosen.methods):
        found = [column[index] for column in columns]
        said = [cell.notes for cell in found if cell is not None and cell.applicable]
        shared = [note for note in said[0] if all(note in other for other in said)] if said else []
        common = _footnotes(shared, notes)
        places = []
        for pair, cell, (entries, reason) in zip(pairs, found, [column[index] for column in ranked], strict=True):
            own = [note for note in cell.notes if note not in shared] if cell and not reason else []
            own += _lossless(cell.protocols[pair.protocol]) if cell and not reason else []
            places.append(Place(entries, reason, _footnotes(own, notes)))
        rows.append(Row(method, _trained_on(found), tuple(places), common))
    return Table(key, chosen.title, pairs, tuple(rows), tuple(notes))


def _column(column: Sequence[Cell | None], protocol: str) -> list[tuple[tuple[Entry, ...], str | None]]:
    """The entries of one pair for every method, ranked, or why one has none."""
    reasons = [why_missing(cell, protocol) for cell in column]
    scores = [cell.protocols[protocol] if cell and not reason else None for cell, reason in zip(column, reasons, strict=True)]
    return list(zip(_rank_scores(scores), reasons, strict=True))


def why_missing(cell: Cell | None, protocol: str) -> str | None:
    """Why a cell shows no values, or None where it does."""
    if cell is None:
        return "not evaluated yet"
    if not cell.applicable:
        return f"not applicable: {cell.reason}"
    return None if protocol in cell.protocols else f"not evaluated yet by protocol {protocol}"


def missing(pair: Pair, methods: Iterable[str], cells: Iterable[Cell]) -> dict[str, str]:
    """The methods without values on a pair, and why."""
    known = find(cells)
    reasons = {method: why_missing(known.get((method, pair.corpus, pair.degradation)), pair.protocol) for method in methods}
    return {method: reason for method, reason in reasons.items() if reason}


def _rank_scores(scores: Sequence[ClipScores | None]) -> list[tuple[Entry, ...]]:
    """Scores that stand beside each other as entries, ranked per metric; no entries where there are no scores."""
    marks = {
        metric: rank([None if score is None else getattr(score, metric.key) for score in scores], metric) for metric in METRICS
    }
    return [
        tuple(Entry(metric, getattr(score, metric.key), marks[metric][index]) for metric in METRICS) if score else ()
        for index, score in enumerate(scores)
    ]


def _lossless(score: Scores) -> list[str]:
    """What is to be said of frames whose PSNR is not finite."""
    said = f"{score.lossless} of {score.frames} frames are equal to the truth and count with the greatest PSNR that is given"
    return [said] if score.lossless else []


def _footnotes(texts: Iterable[str], notes: list[str]) -> tuple[int, ...]:
    """The numbers of `texts` among `notes`, which grows by those that are new."""
    numbers = []
    for text in texts:
        if text not in notes:
            notes.append(text)
        numbers.append(notes.index(text) + 1)
    return tuple(sorted(set(numbers)))


def _trained_on(cells: Iterable[Cell | None]) -> str:
    pairs = sorted({cell.trained_on for cell in cells if cell is not None and cell.trained_on})
    return "trained on " + ", ".join(pair.replace("/", " · ") for pair in pairs) if pairs else ""


def clip_tables(pair: Pair, methods: Sequence[str], cells: Iterable[Cell], limit: int = 100) -> list[ClipTable]:
    """The values of each clip of a pair, one table per protocol, lead first; at most `limit` clips are listed."""
    known = find(cells)
    found = [cell for method in methods if (cell := known.get((method, pair.corpus, pair.degradation))) and cell.applicable]
    names = dict.fromkeys([pair.protocol, *(protocol for cell in found for protocol in cell.protocols)])
    tables = []
    for protocol in names:
        scored = [cell for cell in found if protocol in cell.protocols]
        if not scored:
            continue
        scores = [cell.protocols[protocol] for cell in scored]
        clips = sorted({clip for score in scores for clip in score.clips})
        rows = [_clip_row(clip, [score.clips.get(clip) for score in scores]) for clip in clips[:limit]]
        tables.append(
            ClipTable(
                Pair(pair.corpus, pair.degradation, protocol),
                tuple(cell.method for cell in scored),
                (*rows, _clip_row("mean of clips", scores)),
                max(0, len(clips) - limit),
            )
        )
    return tables


def _clip_row(name: str, scores: Sequence[ClipScores | None]) -> Row:
    frames = sorted({score.frames for score in scores if score is not None})
    places = [Place(entries, None if entries else "not evaluated yet") for entries in _rank_scores(scores)]
    return Row(name, f"{' or '.join(map(str, frames))} frames", tuple(places))


# ---------------------------------------------------------------- as pandas, CSV, Markdown and on the terminal


def frame(table: Table) -> pd.DataFrame:
    """The values of a suite: one row per method, columns (corpus, degradation, metric), NaN where there are none."""
    columns = [(pair.corpus, pair.degradation, metric.key) for pair in table.pairs for metric in METRICS]
    values = [
        [
            entry.value
            for place in row.places
            for entry in (place.entries or [Entry(metric, float("nan"), "") for metric in METRICS])
        ]
        for row in table.rows
    ]
    index = pd.Index([row.name for row in table.rows], name="method")
    names = ["corpus", "degradation", "metric"]
    return pd.DataFrame(values, index, pd.MultiIndex.from_tuples(columns, names=names), dtype=float)


def long(cells: Iterable[Cell]) -> pd.DataFrame:
    """Every value, one per row: method x corpus x degradation x protocol x metric x clip, `clip` empty for the mean."""
    columns = ["method", "corpus", "degradation", "split", "trained_on", "protocol", "metric", "clip", "frames", "value", "notes"]
    rows = [
        (cell.method, cell.corpus, cell.degradation, cell.split, cell.trained_on or "", protocol, metric.key, clip)
        + (score.frames, getattr(score, metric.key), "; ".join(cell.notes))
        for cell in cells
        for protocol, scores in cell.protocols.items()
        for metric in METRICS
        for clip, score in [("", scores), *sorted(scores.clips.items())]
    ]
    return pd.DataFrame(rows, columns=columns).astype({"value": float})


def csv(cells: Iterable[Cell]) -> str:
    """`long` as CSV, values in full."""
    return long(cells).to_csv(index=False, lineterminator="\n")


def escape(text: str) -> str:
    """Text as it reads in Markdown, on one line; `_` inside a word is left alone, as GitHub does."""
    flat = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*\[\]|~#$]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", flat)


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 0) -> str:
    """A Markdown table of ready cells; the last `numbers` columns are aligned right."""
    ruler = ["---"] * (len(header) - numbers) + ["--:"] * numbers
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ruler, *rows]) + "\n"


def markdown(table: Table) -> str:
    """A suite as a Markdown table with its footnotes: best bold, second underlined."""

    def notes(numbers: Iterable[int]) -> str:
        joined = ", ".join(map(str, numbers))
        return f" <sup>{joined}</sup>" if joined else ""

    def value(entry: Entry) -> str:
        return {"best": f"**{entry.text}**", "second": f"<ins>{entry.text}</ins>", "": entry.text}[entry.mark]

    header = ["method"] + [
        f"{escape(pair.label)}<br>{metric.label} ({escape(pair.protocol)}){', ' + metric.unit if metric.unit else ''}"
        for pair in table.pairs
        for metric in METRICS
    ]
    rows = []
    for row in table.rows:
        cells = [escape(row.name) + notes(row.notes) + (f"<br>{escape(row.detail)}" if row.detail else "")]
        for place in row.places:
            if place.missing:
                cells += [f"*{escape(place.missing)}*"] + ["–"] * (len(METRICS) - 1)
            else:
                texts = [value(entry) for entry in place.entries]
                cells += [*texts[:-1], texts[-1] + notes(place.notes)]
        rows.append(cells)
    listed = [f"<sup>{number}</sup> {escape(note)}<br>" for number, note in enumerate(table.notes, 1)]
    return "\n".join([grid(header, rows, len(header) - 1), *listed, ""] if listed else [grid(header, rows, len(header) - 1)])


def terminal(table: Table) -> RichTable:
    """A suite for the terminal: best bold, second underlined, footnotes below."""
    style = {"best": "bold", "second": "underline", "": ""}
    drawn = RichTable(title=Text(table.title), title_justify="left", caption_justify="left")
    drawn.add_column("method")
    for pair in table.pairs:
        drawn.add_column(
            Text(f"{pair.label}\n" + " / ".join(metric.label for metric in METRICS) + f" ({pair.protocol})"), justify="right"
        )
    for row in table.rows:
        cells = [Text(row.name + "".join(f" [{number}]" for number in row.notes))]
        for place in row.places:
            if place.missing:
                cells.append(Text(place.missing, style="dim italic"))
                continue
            parts = [Text(entry.text, style[entry.mark]) for entry in place.entries]
            cells.append(Text(" / ").join(parts) + Text("".join(f" [{number}]" for number in place.notes)))
        drawn.add_row(*cells)
    if table.notes:
        drawn.caption = Text("\n".join(f"[{number}] {note}" for number, note in enumerate(table.notes, 1)))
    return drawn


def show(params: Params, cells: Sequence[Cell], console: Console | None = None) -> None:
    """Print the table of every suite."""
    console = console or Console()
    for key in params.suites:
        console.print(terminal(suite(params, key, cells)))

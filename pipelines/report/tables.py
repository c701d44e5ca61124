"""A suite as a table: methods by test pairs, ranked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

from pipelines import metrics as registry
from pipelines.params import Params
from pipelines.report import published
from pipelines.report.comparable import comparable, other_prior, other_profile
from pipelines.report.statistics import Verdict
from pipelines.results import Cell, ClipScores, Scores

Mark = Literal["best", "second", ""]


@dataclass(frozen=True)
class Heading:
    """How a metric is written: its name on top, the decimals shown, and which end is better, if that is known."""

    name: str
    label: str
    unit: str
    decimals: int
    higher: bool | None

    def write(self, value: float) -> str:
        """The value as it is shown."""
        return f"{value:.{self.decimals}f}"

    def write_difference(self, value: float) -> str:
        """A difference of two values, with its sign: +0.31, −0.02, 0.00."""
        text = f"{value:+.{self.decimals}f}"
        return text[1:] if float(text) == 0 else text.replace("-", "−")

    @property
    def arrow(self) -> str:
        """The way to what is better."""
        return {True: "↑", False: "↓", None: ""}[self.higher]


def heading(name: str) -> Heading:
    """That of a metric; a name that the registry does not know, from an older result, stands for itself and is not ranked."""
    metric = registry.METRICS.get(name)
    if metric is None:
        return Heading(name, name, "", 4, None)
    return Heading(name, metric.label, metric.unit, metric.decimals, metric.higher_is_better)


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
class Beside:
    """A published figure, as printed, and the measured one less it, None where it is a misprint; `comparable` is whether the
    setting is the same, which the footnotes `notes` explain."""

    text: str
    value: float
    difference: float | None
    comparable: bool
    notes: tuple[int, ...] = ()

    @property
    def sign(self) -> str:
        """What stands for `comparable`."""
        return "=" if self.comparable else "≠"


@dataclass(frozen=True)
class Difference:
    """How far a method is from the reference, in the mean over their clips, with its interval of confidence, which a single
    clip does not have."""

    mean: float
    low: float | None
    high: float | None
    verdict: Verdict


@dataclass(frozen=True)
class Entry:
    """A value under one metric with its rank; None where there is none, which the footnotes `notes` explain."""

    metric: Heading
    value: float | None
    mark: Mark
    notes: tuple[int, ...] = ()
    published: Beside | None = None
    difference: Difference | None = None

    @property
    def text(self) -> str:
        return "–" if self.value is None else self.metric.write(self.value)


@dataclass(frozen=True)
class Place:
    """A row's values for one column group (one entry per metric), or why there are none."""

    entries: tuple[Entry, ...]
    missing: str | None = None
    notes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Row:
    """A method (or a clip) with its places; `notes` are the footnotes that hold for all of them, `tag` is what nobody may
    overlook."""

    name: str
    detail: str
    places: tuple[Place, ...]
    notes: tuple[int, ...] = ()
    tag: str = ""


@dataclass(frozen=True)
class Group:
    """A column group: a column for each metric, and what all of them are values of."""

    metrics: tuple[Heading, ...]
    data: dict[str, str]

    @property
    def span(self) -> int:
        """How many columns it has."""
        return len(self.metrics)

    @property
    def columns(self) -> str:
        """Its metrics by name."""
        return " ".join(metric.name for metric in self.metrics)


@dataclass(frozen=True)
class Table:
    """A suite: one row per method, one column group per pair; footnotes count from 1."""

    key: str
    title: str
    metrics: tuple[Heading, ...]
    pairs: tuple[Pair, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows that have any values."""
        return tuple(row for row in self.rows if any(place.entries for place in row.places))

    @property
    def absent(self) -> str:
        """Which methods have no row, and why."""
        return named((row.name, [place.missing for place in row.places]) for row in self.rows if row not in self.shown)

    @property
    def published(self) -> bool:
        """Whether a published figure stands beside any value."""
        return any(entry.published for row in self.rows for place in row.places for entry in place.entries)

    @property
    def groups(self) -> list[Group]:
        """Of the columns, one per pair."""
        return [Group(self.metrics, asdict(pair)) for pair in self.pairs]


@dataclass(frozen=True)
class ClipTable:
    """A pair under one protocol: one row per clip and one for their mean, one column group per method.

    `left_out` is the number of clips that are only in the CSV.
    """

    pair: Pair
    metrics: tuple[Heading, ...]
    methods: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    left_out: int

    @property
    def groups(self) -> list[Group]:
        """Of the columns, one per method."""
        return [Group(self.metrics, {"method": method}) for method in self.methods]


def rank(values: Sequence[float | None], metric: Heading) -> list[Mark]:
    """Which of a column's values are best and second.

    Values that read the same are equal: all of the highest are best, all of the next are second. A
    value that stands alone is not ranked, nor is a metric of which it is not known which end is better.
    """
    shown = [None if value is None else round(value, metric.decimals) for value in values]
    if metric.higher is None or sum(value is not None for value in shown) < 2:
        return ["" for _ in values]
    steps = sorted({value for value in shown if value is not None}, reverse=metric.higher)
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


def headings(names: Iterable[str]) -> tuple[Heading, ...]:
    """The headings of metrics in the registry's order, then those that it does not know by name."""
    wanted = set(names)
    known = [name for name in registry.METRICS if name in wanted]
    return tuple(map(heading, [*known, *sorted(wanted.difference(known))]))


def shown_metrics(params: Params, pair: Pair) -> tuple[str, ...]:
    """The metrics that the suites show of a pair, PSNR and SSIM where none has it."""
    found = [
        name
        for chosen in params.suites.values()
        if pair.corpus in chosen.corpora and pair.degradation in chosen.degradations
        for name in chosen.metrics
    ]
    return tuple(dict.fromkeys(found or ("psnr", "ssim")))


def suite(params: Params, key: str, cells: Iterable[Cell]) -> Table:
    """The table of the suite `key`.

    Raises:
        VSRError: the suite names a metric that there is not.
    """
    chosen, known = params.suites[key], find(cells)
    metrics = tuple(heading(registry.get(name).name) for name in chosen.metrics)
    pairs = tuple(
        Pair(corpus, degradation, params.tests.corpora[corpus].protocols[0])
        for corpus in chosen.corpora
        for degradation in chosen.degradations
    )
    notes: list[str] = []
    columns = [[known.get((method, pair.corpus, pair.degradation)) for method in chosen.methods] for pair in pairs]
    reasons = [[why_missing(cell, pair.protocol) for cell in column] for column, pair in zip(columns, pairs, strict=True)]
    ranked = [
        rank_scores([_scores(cell, pair.protocol) for cell in column], metrics)
        for column, pair in zip(columns, pairs, strict=True)
    ]
    rows = []
    for index, method in enumerate(chosen.methods):
        found = [column[index] for column in columns]
        said = [cell.notes for cell in found if cell is not None and cell.applicable]
        shared = [note for note in said[0] if all(note in other for other in said)] if said else []
        common = footnotes(shared, notes)
        places = []
        for place, (pair, cell) in enumerate(zip(pairs, found, strict=True)):
            scores = _scores(cell, pair.protocol)
            if cell is None or scores is None:
                places.append(Place((), reasons[place][index]))
                continue
            own = [note for note in cell.notes if note not in shared] + _lossless(scores)
            entries = explained(ranked[place][index], scores, notes)
            entries = tuple(replace(entry, published=beside(params, cell, pair.protocol, entry, notes)) for entry in entries)
            places.append(Place(entries, None, footnotes(own, notes)))
        rows.append(Row(method, _trained_on(found), tuple(places), common, _other(params, found)))
    return Table(key, chosen.title, metrics, pairs, tuple(rows), tuple(notes))


def _scores(cell: Cell | None, protocol: str) -> Scores | None:
    return cell.protocols.get(protocol) if cell and cell.applicable else None


def why_missing(cell: Cell | None, protocol: str) -> str | None:
    """Why a cell shows no values, or None where it does."""
    if cell is None:
        return "not run"
    if not cell.applicable:
        return f"not applicable: {cell.reason}"
    return None if protocol in cell.protocols else f"not scored by protocol {protocol}"


def named(said: Iterable[tuple[str, Iterable[str | None]]]) -> str:
    """What is said of methods, each text once, after the names of those that it is said of: `a, b (not run); c (too small)`."""
    names: dict[str, list[str]] = {}
    for name, texts in said:
        for text in dict.fromkeys(filter(None, texts)):
            names.setdefault(text, []).append(name)
    return "; ".join(f"{', '.join(found)} ({text})" for text, found in names.items())


def missing(params: Params, pair: Pair, cells: Sequence[Cell]) -> str:
    """The methods that have results and no values on this pair, and why."""
    known, there = find(cells), {cell.method for cell in cells}
    return named(
        (method, [why_missing(known.get((method, pair.corpus, pair.degradation)), pair.protocol)])
        for method in params.tested
        if method in there
    )


def rank_scores(scores: Sequence[ClipScores | None], metrics: Sequence[Heading]) -> list[tuple[Entry, ...]]:
    """Scores that stand beside each other as entries, ranked per metric; no entries where there are no scores."""
    values = {metric: [score.metrics.get(metric.name) if score else None for score in scores] for metric in metrics}
    marks = {metric: rank(values[metric], metric) for metric in metrics}
    return [
        tuple(Entry(metric, values[metric][index], marks[metric][index]) for metric in metrics) if score else ()
        for index, score in enumerate(scores)
    ]


def explained(entries: Iterable[Entry], scores: Scores, notes: list[str]) -> tuple[Entry, ...]:
    """The entries, those without a value with the footnote that says why."""
    return tuple(
        entry if entry.value is not None else replace(entry, notes=footnotes([_why_skipped(entry.metric, scores)], notes))
        for entry in entries
    )


def _why_skipped(metric: Heading, scores: Scores) -> str:
    reason = scores.skipped.get(metric.name)
    return f"{metric.label} was skipped: {reason}" if reason else f"{metric.label} is not among the metrics that were computed"


UNITS = {"1e-3": "10⁻³"}  # as published, and as the registry has it


def beside(params: Params, cell: Cell, protocol: str, entry: Entry, notes: list[str]) -> Beside | None:
    """The first figure that was published for a value; a footnote says where, and what else was."""
    if entry.value is None:
        return None
    figures = published.beside(cell.network, cell.corpus, cell.degradation, protocol, entry.metric.name)
    figures = [figure for figure in figures if UNITS.get(figure.unit, figure.unit) == entry.metric.unit]
    if not figures:
        return None
    like, why = comparable(cell, params.methods, protocol)
    first, *others = figures
    said = [f"published in {first.where} ({first.setting})", first.note, first.doubt]
    said += [f"also {other.text} in {other.where}" for other in others]
    said.append(f"{'comparable' if like else 'not comparable'}: {why}")
    return Beside(
        first.text,
        first.value,
        None if first.misprint else entry.value - first.value,
        like and not first.misprint,
        footnotes(["; ".join(filter(None, said))], notes),
    )


def _lossless(score: Scores) -> list[str]:
    """What is to be said of frames whose PSNR is not finite."""
    said = f"{score.lossless} of {score.frames} frames are equal to the truth and count with the greatest PSNR that is given"
    return [said] if score.lossless else []


def footnotes(texts: Iterable[str], notes: list[str]) -> tuple[int, ...]:
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


def _other(params: Params, cells: Iterable[Cell | None]) -> str:
    """How a method is not the one that the papers have."""
    found = [cell for cell in cells if cell]
    profiles = {f"profile {cell.profile}" for cell in found if other_profile(cell, params.methods)}
    priors = {other for cell in found for other in other_prior(cell)}
    return "; ".join([*sorted(profiles), *sorted(priors)])


def scored(pair: Pair, methods: Sequence[str], cells: Iterable[Cell]) -> list[tuple[str, list[tuple[Cell, Scores]]]]:
    """Of each protocol by which methods were scored on a pair, its lead first, those in their order with their scores."""
    known = find(cells)
    found = [cell for method in methods if (cell := known.get((method, pair.corpus, pair.degradation))) and cell.applicable]
    names = dict.fromkeys([pair.protocol, *(protocol for cell in found for protocol in cell.protocols)])
    by_protocol = [(name, [(cell, cell.protocols[name]) for cell in found if name in cell.protocols]) for name in names]
    return [(name, those) for name, those in by_protocol if those]


def clip_tables(
    pair: Pair, methods: Sequence[str], cells: Iterable[Cell], metrics: Sequence[str] = ("psnr", "ssim"), limit: int = 100
) -> list[ClipTable]:
    """The values of each clip of a pair, one table per protocol, lead first; at most `limit` clips are listed.

    A metric that no method has by a protocol is not among its columns.
    """
    tables = []
    for protocol, found in scored(pair, methods, cells):
        scores = [one for _, one in found]
        heads = tuple(heading(name) for name in metrics if any(name in one.metrics or name in one.skipped for one in scores))
        notes: list[str] = []
        clips = sorted({clip for one in scores for clip in one.clips})
        rows = [_clip_row(clip, [one.clips.get(clip) for one in scores], heads) for clip in clips[:limit]]
        mean = _clip_row("mean of clips", scores, heads)
        places = [
            replace(place, entries=explained(place.entries, one, notes)) for place, one in zip(mean.places, scores, strict=True)
        ]
        tables.append(
            ClipTable(
                Pair(pair.corpus, pair.degradation, protocol),
                heads,
                tuple(cell.method for cell, _ in found),
                (*rows, replace(mean, places=tuple(places))),
                tuple(notes),
                max(0, len(clips) - limit),
            )
        )
    return tables


def _clip_row(name: str, scores: Sequence[ClipScores | None], metrics: Sequence[Heading]) -> Row:
    frames = sorted({score.frames for score in scores if score is not None})
    places = [Place(entries, None if entries else "not run") for entries in rank_scores(scores, metrics)]
    return Row(name, f"{' or '.join(map(str, frames))} frames", tuple(places))

"""The answer: which method is best on each test pair, how sure that is, and what it costs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipelines.params import Params
from pipelines.report import facts, tables
from pipelines.report.overview import difference
from pipelines.report.statistics import LEVEL
from pipelines.report.tables import Difference, Heading, Pair
from pipelines.results import Cell, Scores


@dataclass(frozen=True)
class Contender:
    """A method on a pair: its mean over the clips, and how far that is from the reference, which has no such distance itself."""

    method: str
    value: float
    gain: Difference | None
    cell: Cell


@dataclass(frozen=True)
class Answer:
    """The best method on a pair by one metric, and the one after it; `apart` is how far they are from each other."""

    pair: Pair
    metric: Heading
    reference: str
    best: Contender
    second: Contender
    apart: Difference | None

    @property
    def sure(self) -> bool:
        """Whether the best and the second can be told apart."""
        return self.apart is not None and self.apart.verdict != "not distinguishable"


def answers(
    pairs: Iterable[Pair], methods: Sequence[str], cells: Sequence[Cell], metric: str = "psnr", reference: str | None = None
) -> list[Answer]:
    """One for each pair on which two methods or more have the metric.

    Args:
        pairs: with the protocol that counts.
        methods: in their order.
        cells: results; those of other methods or pairs are passed over.
        metric: by which it is decided.
        reference: the method that others are held against: by default the first with the network `bicubic` or, if there is
            none, the first of all.
    """
    found, head = [], tables.heading(metric)
    if reference is None:
        plain = {cell.method for cell in cells if cell.network == "bicubic"}
        reference = next((method for method in methods if method in plain), methods[0])
    for pair in pairs:
        scored = next((those for protocol, those in tables.scored(pair, methods, cells) if protocol == pair.protocol), [])
        having = [(cell, scores) for cell, scores in scored if metric in scores.metrics]
        if len(having) < 2 or head.higher is None:
            continue
        against = next((scores for cell, scores in having if cell.method == reference), None)
        ranked = sorted(having, key=lambda each: each[1].metrics[metric], reverse=head.higher)
        first, second = (_contender(cell, scores, against, head) for cell, scores in ranked[:2])
        apart = difference(ranked[0][1], ranked[1][1], head)
        found.append(Answer(pair, head, reference, first, second, apart))
    return found


def _contender(cell: Cell, scores: Scores, against: Scores | None, metric: Heading) -> Contender:
    gain = difference(scores, against, metric) if against is not None and against is not scores else None
    return Contender(cell.method, scores.metrics[metric.name], gain, cell)


def sentence(found: Sequence[Answer]) -> str:
    """The answer on the first pair in words, and on how many of the pairs the same method is best."""
    one = found[0]
    best, metric = one.best, one.metric
    said = f"{best.method} is best on {one.pair.label} with {_with_unit(metric, metric.write(best.value))}"
    if best.gain:
        said += f", {_with_unit(metric, gained(metric, best.gain))} over {one.reference}"
    if best.cell.timing:
        said += f", at {facts.duration(best.cell.timing.seconds_per_frame)} per frame"
    said += f"; {one.second.method} is next and {'is told apart from it' if one.sure else 'cannot be told apart from it'}"
    same = sum(other.best.method == best.method for other in found)
    return f"{said}." + (f" It is best on {same} of {len(found)} pairs." if len(found) > 1 else "")


def gained(metric: Heading, gain: Difference) -> str:
    """A difference with its interval, +1.21 ± 0.29; a single clip has none."""
    text = metric.write_difference(gain.mean)
    return text if gain.high is None else f"{text} ± {metric.write(gain.high - gain.mean)}"


def _with_unit(metric: Heading, text: str) -> str:
    return f"{text} {metric.unit}" if metric.unit else f"{metric.label} {text}"


def not_run(params: Params, cells: Iterable[Cell]) -> list[str]:
    """The methods of params.yaml of which there is no result."""
    there = {cell.method for cell in cells}
    return [method for method in params.tested if method not in there]


def missing(params: Params, cells: Iterable[Cell]) -> str:
    """The line on what was not run; empty where all was."""
    names = not_run(params, cells)
    if not names:
        return ""
    what = f"{len(names)} methods" if len(names) > 1 else f"the method {names[0]}"
    return f"Not run: {what} of params.yaml (make demo-all runs all of them, vsr repro METHOD one)."


def terminal(found: Sequence[Answer], width: int) -> Group | Text:
    """The answers for a terminal of a width: of each pair its best and, below it, the next."""
    if not found:
        return Text("No pair has results of two methods yet.")
    corpora = {one.pair.corpus for one in found}
    first = found[0]
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name, right in [
        ("", False),
        ("best, and next", False),
        (" ".join(filter(None, (first.metric.label, first.metric.unit))), True),
    ]:
        drawn.add_column(name, no_wrap=True, justify="right" if right else "left")
    drawn.add_column(f"over {first.reference}", no_wrap=True, justify="right")
    costs = [("a frame", lambda cell: facts.duration(cell.timing.seconds_per_frame) if cell.timing else "–")]
    if width >= 120:
        costs += [
            ("delay", lambda cell: facts.duration(cell.timing.delay) if cell.timing else "–"),
            ("GMAC", lambda cell: facts.human(cell.cost.gmacs) if cell.cost else "–"),
            ("parameters", lambda cell: f"{cell.cost.parameters:,}" if cell.cost else "–"),
        ]
    for name, _ in costs:
        drawn.add_column(name, no_wrap=True, justify="right")
    for one in found:
        label = one.pair.degradation if len(corpora) == 1 else one.pair.label
        for place, contender in enumerate((one.best, one.second)):
            head = label if place == 0 else "  told apart" if one.sure else "  not told apart"
            drawn.add_row(
                Text(head, style="" if place == 0 else "dim"),
                Text(contender.method, style="bold" if place == 0 else ""),
                one.metric.write(contender.value),
                gained(one.metric, contender.gain) if contender.gain else "",
                *(write(contender.cell) for _, write in costs),
            )
    where = sorted({one.best.cell.timing.place for one in found if one.best.cell.timing})
    about = f"±: interval of {LEVEL:.0%} confidence, over the clips."
    about += f" A frame: seconds of the network, on {'; '.join(where)}." if where else ""
    corpus = f" on {corpora.pop()}" if len(corpora) == 1 else ""
    lines: list[RenderableType] = [
        Text(f"Which method is best{corpus}", style="bold"),
        drawn,
        *map(Text, textwrap.wrap(about, width)),
    ]
    return Group(*lines)

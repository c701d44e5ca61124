"""Methods against one of them, pair by pair: differences of clips with their interval, and cost; for the terminal, JSON and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines import metrics as registry
from pipelines.errors import VSRError, unknown
from pipelines.evaluation import protocols
from pipelines.params import Params
from pipelines.report import statistics, tables
from pipelines.report.facts import significant
from pipelines.report.statistics import Paired, Spread, Verdict
from pipelines.results import Cell, Scores


@dataclass(frozen=True)
class Value:
    """A method under one metric. `difference` is from the reference, over the clips of both, and `verdict` what it means; the
    reference and metrics of a whole test set have none. Without a `value`, `why` says why."""

    value: float | None
    difference: Paired | None = None
    verdict: Verdict | None = None
    why: str | None = None


@dataclass(frozen=True)
class Standing:
    """A method on the pair: a value per metric, or why it has none at all."""

    method: str
    cell: Cell | None
    values: tuple[Value, ...]
    missing: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Methods on a test pair, the first of them the reference. `seeds` are the means over the seeds of those that were
    repeated, by method and metric."""

    pair: tables.Pair
    metrics: tuple[tables.Heading, ...]
    rows: tuple[Standing, ...]
    seeds: Mapping[str, Mapping[str, Spread]]


def compare(
    params: Params,
    cells: Sequence[Cell],
    methods: Sequence[str],
    metrics: Sequence[str] = ("psnr", "ssim"),
    *,
    corpora: Sequence[str] = (),
    degradations: Sequence[str] = (),
    protocol: str | None = None,
) -> list[Comparison]:
    """Compare methods on every test pair on which at least two of them are tested and one has a result.

    Args:
        params: params.yaml, which names the methods and the pairs.
        cells: the results.
        methods: experiments and baselines; the first is what the others are held against.
        metrics: names of metrics.
        corpora, degradations: only these; all that are tested if empty.
        protocol: how clips were scored; each corpus's leading protocol if None.

    Raises:
        VSRError: a name is not known, a method has no result on any of these pairs, or two have no clip in common.
    """
    methods = list(dict.fromkeys(methods))
    _check(params, methods, corpora, degradations)
    heads = tuple(tables.heading(registry.get(name).name) for name in dict.fromkeys(metrics))
    pairs = [
        tables.Pair(pair.corpus, pair.degradation, protocols.get(protocol or pair.protocol).name)
        for pair in tables.tested_pairs(params)
        if pair.corpus in (corpora or [pair.corpus]) and pair.degradation in (degradations or [pair.degradation])
    ]
    found = tables.find(cells)
    for method in methods:
        own = [cell for pair in pairs if (cell := found.get((method, pair.corpus, pair.degradation)))]
        if not any(cell.applicable for cell in own):
            raise _no_result(method, pairs, own)
    repeated = {name: names for names in statistics.replicates(params).values() for name in names if name in methods}
    compared = []
    for pair in pairs:
        here = [found.get((method, pair.corpus, pair.degradation)) for method in methods]
        able = [cell for cell in here if cell is None or cell.applicable]
        if len(able) > 1 and any(able):
            seeds = {method: _over_seeds(repeated[method], found, pair) for method in methods if method in repeated}
            rows = tuple(_row(method, cell, here[0], heads, pair) for method, cell in zip(methods, here, strict=True))
            compared.append(Comparison(pair, heads, rows, seeds))
    return compared


def _check(params: Params, methods: Sequence[str], corpora: Sequence[str], degradations: Sequence[str]) -> None:
    """All names are known, and there is something to compare."""
    if len(methods) == 1 and methods[0] in params.tested or not methods:
        raise VSRError(
            f"{methods[0] if methods else 'nothing'} is all there is to compare: name two experiments or baselines at least."
        )
    for kind, names, known in (
        ("experiment or baseline", methods, params.tested),
        ("tested corpus", corpora, params.tests.corpora),
        ("tested degradation", degradations, params.tests.degradations),
    ):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)


def _over_seeds(names: Sequence[str], found: Mapping[tuple[str, str, str], Cell], pair: tables.Pair) -> dict[str, Spread]:
    cells = (cell for name in names if (cell := found.get((name, pair.corpus, pair.degradation))))
    return statistics.over_seeds(cells, pair.protocol)


def _no_result(method: str, pairs: Sequence[tables.Pair], cells: Sequence[Cell]) -> VSRError:
    where = f"{pairs[0].corpus}/{pairs[0].degradation}" + (f" and {len(pairs) - 1} more" if len(pairs) > 1 else "")
    if len(cells) == len(pairs):
        return VSRError(f"{method} cannot be tested on {where} ({cells[0].reason}): choose other pairs.")
    return VSRError(f"{method} has no result on {where}: run `vsr repro {method}`.")


def _row(
    method: str, cell: Cell | None, reference: Cell | None, metrics: Sequence[tables.Heading], pair: tables.Pair
) -> Standing:
    missing = tables.why_missing(cell, pair.protocol)
    if cell is None or missing:
        return Standing(method, cell, (), missing)
    against = _scores(reference, pair.protocol) if reference is not None and reference is not cell else None
    values = []
    for metric in metrics:
        try:
            values.append(_value(metric, cell.protocols[pair.protocol], against))
        except VSRError as error:
            assert reference is not None
            raise VSRError(f"{method} and {reference.method} on {pair.label}: {error}") from error
    return Standing(method, cell, tuple(values))


def _scores(cell: Cell, protocol: str) -> Scores | None:
    return cell.protocols.get(protocol) if cell.applicable else None


def _value(metric: tables.Heading, scores: Scores, against: Scores | None) -> Value:
    value = scores.metrics.get(metric.name)
    if value is None:
        reason = scores.skipped.get(metric.name)
        return Value(None, why=f"skipped, {reason}" if reason else "not among the metrics that were computed")
    if against is None or metric.name not in against.metrics:
        return Value(value)
    one, other = _of_clips(metric.name, scores), _of_clips(metric.name, against)
    if not one and not other:  # a metric of the whole set
        return Value(value)
    difference = statistics.paired(one, other)
    assert metric.higher is not None  # the registry knows it
    return Value(value, difference, statistics.verdict(difference, metric.higher, 0.5 * 10**-metric.decimals))


def _of_clips(metric: str, scores: Scores) -> dict[str, float]:
    return {clip: found.metrics[metric] for clip, found in scores.clips.items() if metric in found.metrics}


# ---------------------------------------------------------------- for the terminal, JSON and CSV

COLUMNS = (
    *("corpus", "degradation", "protocol", "method", "reference", "metric", "value", "difference", "low", "high", "clips"),
    *("verdict", "why", "seeds", "seeds_mean", "seeds_deviation"),
    *("parameters", "gmacs", "seconds_per_frame", "device", "lr_height", "lr_width"),
)


def records(compared: Iterable[Comparison]) -> list[dict[str, Any]]:
    """One mapping of `COLUMNS` per pair, method and metric; what there is not, and an end that is infinite, is None."""
    found = []
    for each in compared:
        for row in each.rows:
            values = row.values or tuple(Value(None, why=row.missing) for _ in each.metrics)
            for metric, value in zip(each.metrics, values, strict=True):
                repeated = each.seeds.get(row.method, {}).get(metric.name)
                filled: dict[str, Any] = {
                    "corpus": each.pair.corpus,
                    "degradation": each.pair.degradation,
                    "protocol": each.pair.protocol,
                    "method": row.method,
                    "reference": each.rows[0].method,
                    "metric": metric.name,
                    "value": value.value,
                    "verdict": value.verdict,
                    "why": value.why,
                    **_difference(value.difference),
                    **_cost(row.cell),
                }
                if repeated is not None:
                    filled |= {"seeds": repeated.n, "seeds_mean": repeated.mean, "seeds_deviation": repeated.deviation}
                found.append({column: filled.get(column) for column in COLUMNS})
    return found


def _difference(difference: Paired | None) -> dict[str, Any]:
    if difference is None:
        return {}
    low, high = (end if math.isfinite(end) else None for end in (difference.low, difference.high))
    return {"difference": difference.mean, "low": low, "high": high, "clips": difference.clips}


def _cost(cell: Cell | None) -> dict[str, Any]:
    cost, timing = (cell.cost, cell.timing) if cell is not None else (None, None)
    size = cost or timing
    found: dict[str, Any] = {"lr_height": size.lr[0], "lr_width": size.lr[1]} if size else {}
    if cost:
        found |= {"parameters": cost.parameters, "gmacs": cost.gmacs}
    if timing:
        found |= {"seconds_per_frame": timing.seconds_per_frame, "device": timing.device}
    return found


def as_csv(compared: Iterable[Comparison]) -> str:
    """`records` as CSV with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records(compared))
    return text.getvalue()


def terminal(compared: Comparison) -> Table:
    """A comparison for the terminal: under each value the difference with its interval and the verdict, footnotes below."""
    pair, reference = compared.pair, compared.rows[0].method
    notes: list[str] = []
    drawn = Table(
        title=Text(f"{pair.label} ({pair.protocol}), differences from {reference}"), title_justify="left", caption_justify="left"
    )
    drawn.add_column("method", no_wrap=True)
    for metric in compared.metrics:
        drawn.add_column(
            Text(f"{metric.label} {metric.arrow}" + (f"\n{metric.unit}" if metric.unit else "")), justify="right", overflow="fold"
        )
    drawn.add_column(Text("parameters,\nper frame"), justify="right", overflow="fold")
    for row in compared.rows:
        cells = [Text(row.method)]
        if row.missing:
            cells += [Text(row.missing, style="dim italic"), *(Text("") for _ in compared.metrics[1:])]
        cells += [_text(metric, value, notes) for metric, value in zip(compared.metrics, row.values, strict=False)]
        drawn.add_row(*cells, _costs(row.cell), end_section=True)
    notes += _repeated(compared)
    counts = sorted({value.difference.clips for row in compared.rows for value in row.values if value.difference})
    over = f" over {' or '.join(map(str, counts))} {'clip' if counts == [1] else 'clips'}" if counts else ""
    lines = [f"[{number}] {note}" for number, note in enumerate(notes, 1)]
    drawn.caption = Text("\n".join([f"[…] {statistics.LEVEL:.0%} interval of the paired difference{over}", *lines]))
    return drawn


_STYLES = {"better": "green", "worse": "red", "not distinguishable": "dim"}


def _text(metric: tables.Heading, value: Value, notes: list[str]) -> Text:
    if value.value is None:
        (number,) = tables.footnotes([f"{metric.label}: {value.why}"], notes)
        return Text(f"– [{number}]")
    text = Text(metric.write(value.value))
    if value.difference is None or value.verdict is None:
        return text
    ends = [_signed(metric, end) for end in (value.difference.low, value.difference.high)]
    interval = f"\n[{ends[0]}, {ends[1]}]" if math.isfinite(value.difference.low) else ""
    text.append(f"\n{_signed(metric, value.difference.mean)}{interval}")
    return text.append(f"\n{value.verdict}", style=_STYLES[value.verdict])


def _signed(metric: tables.Heading, value: float) -> str:
    """The value with its sign, one decimal more than the metric itself is shown with."""
    return f"{value:+.{metric.decimals + 1}f}"


def _costs(cell: Cell | None) -> Text:
    cost, timing = (cell.cost, cell.timing) if cell is not None else (None, None)
    lines = [f"{cost.parameters:,}", f"{significant(cost.gmacs, 4)} GMAC"] if cost else []
    lines += [f"{significant(timing.seconds_per_frame)} s {timing.device}"] if timing else []
    return Text("\n".join(lines) or "–")


def _repeated(compared: Comparison) -> list[str]:
    """What the means over seeds are, a line for each method that was repeated and evaluated more than once."""
    heads = {metric.name: metric for metric in compared.metrics}
    lines = []
    for method, spreads in compared.seeds.items():
        found = {name: one for name, one in spreads.items() if name in heads and one.deviation is not None}
        if found:
            values = ", ".join(
                f"{heads[name].label} {heads[name].write(one.mean)} ± {one.deviation:.{heads[name].decimals + 1}f}"
                for name, one in found.items()
            )
            lines.append(f"{method} over {next(iter(found.values())).n} seeds, mean ± deviation: {values}")
    return lines

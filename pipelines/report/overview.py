"""All metrics of the methods on a pair, each with its difference to a reference, and every value as CSV."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from pipelines.params import Params
from pipelines.report import tables
from pipelines.report.statistics import Spread, over_seeds, paired, verdict
from pipelines.report.tables import Difference, Group, Heading, Pair, Place, Row
from pipelines.results import Cell, Scores


@dataclass(frozen=True)
class Overview:
    """A pair under one protocol: one row per method, one column per metric; differences are to the method `reference`."""

    pair: Pair
    reference: str | None
    metrics: tuple[Heading, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    seeds: tuple[tuple[str, dict[str, Spread]], ...]

    @property
    def groups(self) -> list[Group]:
        """Of the columns, one."""
        return [Group(self.metrics, {})]


def overviews(
    pair: Pair, methods: Sequence[str], cells: Iterable[Cell], replicates: Mapping[str, Sequence[str]]
) -> list[Overview]:
    """One per protocol, lead first; the first method that was scored by it is the reference.

    Args:
        pair: which results.
        methods: in their order.
        cells: results; those of other methods or pairs are passed over.
        replicates: experiments that differ by their seed alone, under a name.
    """
    return [
        _overview(Pair(pair.corpus, pair.degradation, protocol), found, replicates)
        for protocol, found in tables.scored(pair, methods, cells)
    ]


def _overview(pair: Pair, found: Sequence[tuple[Cell, Scores]], replicates: Mapping[str, Sequence[str]]) -> Overview:
    scores = [one for _, one in found]
    metrics = tables.headings(name for one in scores for name in (*one.metrics, *one.skipped))
    notes: list[str] = []
    rows = []
    for (cell, one), entries in zip(found, tables.rank_scores(scores, metrics), strict=True):
        explained = tables.explained(entries, one, notes)
        if one is not scores[0]:
            explained = tuple(replace(entry, difference=difference(one, scores[0], entry.metric)) for entry in explained)
        rows.append(Row(cell.method, "", (Place(explained),)))
    reference = found[0][0].method if len(found) > 1 else None
    seeds = [
        (name, over_seeds([cell for cell, _ in found if cell.method in same], pair.protocol)) for name, same in replicates.items()
    ]
    several = [(name, spreads) for name, spreads in seeds if any(spread.n > 1 for spread in spreads.values())]
    return Overview(pair, reference, metrics, tuple(rows), tuple(notes), tuple(several))


def difference(one: Scores, reference: Scores, metric: Heading) -> Difference | None:
    """Of two methods in a metric, over the clips that both have; None where there are none, as for a metric of whole sets."""
    values = [
        {clip: found.metrics[metric.name] for clip, found in each.clips.items() if metric.name in found.metrics}
        for each in (one, reference)
    ]
    if metric.higher is None or not values[0].keys() & values[1].keys():
        return None
    found = paired(*values)
    low, high = (end if math.isfinite(end) else None for end in (found.low, found.high))
    return Difference(found.mean, low, high, verdict(found, metric.higher, 0.5 * 10**-metric.decimals))


COLUMNS = [
    "method",
    "corpus",
    "degradation",
    "split",
    "trained_on",
    "protocol",
    "metric",
    "clip",
    "frames",
    "lossless",
    "value",
    "missing",
]
COLUMNS += ["reference", "difference", "low", "high", "published", "comparable", "notes"]


def long(params: Params, pairs: Iterable[Pair], methods: Sequence[str], cells: Sequence[Cell]) -> pd.DataFrame:
    """Every value, one per row: method x corpus x degradation x protocol x metric x clip, `clip` empty for the mean.

    `missing` says why there is no value; a method that does not apply to a pair has one row. On the rows of means stand the
    `difference` to the method `reference` with the ends of its interval, and the `published` figure with whether it is
    comparable. What a method costs is there as metrics without a protocol.
    """
    rows = [row for pair in pairs for row in _rows(params, pair, methods, cells)]
    numbers = ["value", "difference", "low", "high", "published"]
    return (
        pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(numbers, float)).astype({"frames": "Int64", "lossless": "Int64"})
    )


def csv(params: Params, pairs: Iterable[Pair], methods: Sequence[str], cells: Sequence[Cell]) -> str:
    """`long` as CSV, values in full."""
    return long(params, pairs, methods, cells).to_csv(index=False, lineterminator="\n")


def _rows(params: Params, pair: Pair, methods: Sequence[str], cells: Sequence[Cell]) -> Iterator[dict[str, Any]]:
    here = [cell for cell in cells if (cell.corpus, cell.degradation) == (pair.corpus, pair.degradation)]
    for cell in here:
        if not cell.applicable:
            yield {**_of(cell), "missing": f"not applicable: {cell.reason}"}
        costs = cell.cost.model_dump(exclude={"lr"}) if cell.cost else {}
        if cell.timing:
            costs["seconds_per_frame"] = cell.timing.seconds_per_frame
        for name, value in costs.items():
            yield {**_of(cell), "metric": name, "value": value}
    for table in overviews(pair, methods, here, {}):
        for row in table.rows:
            (cell,) = (cell for cell in here if cell.method == row.name)
            scores = cell.protocols[table.pair.protocol]
            for entry in row.places[0].entries:
                key = {**_of(cell), "protocol": table.pair.protocol, "metric": entry.metric.name}
                mean = {**key, "clip": "", "frames": scores.frames, "lossless": scores.lossless, "value": entry.value}
                if entry.value is None:
                    mean["missing"] = "; ".join(table.notes[number - 1] for number in entry.notes)
                if entry.difference:
                    mean |= {"reference": table.reference, "difference": entry.difference.mean}
                    mean |= {"low": entry.difference.low, "high": entry.difference.high}
                if beside := tables.beside(params, cell, table.pair.protocol, entry, []):
                    mean |= {"published": beside.value, "comparable": "yes" if beside.comparable else "no"}
                yield mean
                for clip, one in sorted(scores.clips.items()):
                    if entry.metric.name in one.metrics:
                        yield {
                            **key,
                            "clip": clip,
                            "frames": one.frames,
                            "lossless": one.lossless,
                            "value": one.metrics[entry.metric.name],
                        }


def _of(cell: Cell) -> dict[str, Any]:
    about = {"method": cell.method, "corpus": cell.corpus, "degradation": cell.degradation, "split": cell.split}
    return about | {"trained_on": cell.trained_on, "notes": "; ".join(cell.notes)}

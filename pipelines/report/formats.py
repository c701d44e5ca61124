"""A suite's table as pandas, Markdown and on the terminal."""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.console import Console, Group
from rich.table import Table as RichTable
from rich.text import Text

from pipelines.params import Params
from pipelines.report import answer
from pipelines.report.tables import Entry, Place, Row, Table, named, suite, tested_pairs
from pipelines.results import Cell


def frame(table: Table) -> pd.DataFrame:
    """The values of a suite: one row per method, columns (corpus, degradation, metric), NaN where there are none."""
    columns = [(pair.corpus, pair.degradation, metric.name) for pair in table.pairs for metric in table.metrics]
    none = [None] * len(table.metrics)
    values = [[value for place in row.places for value in ([one.value for one in place.entries] or none)] for row in table.rows]
    index = pd.Index([row.name for row in table.rows], name="method")
    names = ["corpus", "degradation", "metric"]
    return pd.DataFrame(values, index, pd.MultiIndex.from_tuples(columns, names=names), dtype=float)


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
        text = {"best": f"**{entry.text}**", "second": f"<ins>{entry.text}</ins>", "": entry.text}[entry.mark]
        if (printed := entry.published) is None:
            return text + notes(entry.notes)
        less = "" if printed.difference is None else entry.metric.write_difference(printed.difference) + " "
        return f"{text}<br>{printed.text} {less}{printed.sign}{notes(printed.notes)}"

    header = ["method"] + [
        f"{escape(pair.label)}<br>{metric.label} ({escape(pair.protocol)}){', ' + metric.unit if metric.unit else ''}"
        for pair in table.pairs
        for metric in table.metrics
    ]
    rows = []
    for row in table.shown:
        cells = [escape(row.name) + notes(row.notes) + "".join(f"<br>{escape(said)}" for said in (row.detail, row.tag) if said)]
        for place in row.places:
            if place.missing:
                cells += [f"*{escape(place.missing)}*"] + ["–"] * (len(table.metrics) - 1)
            else:
                texts = [value(entry) for entry in place.entries]
                cells += [*texts[:-1], texts[-1] + notes(place.notes)]
        rows.append(cells)
    listed = [f"<sup>{number}</sup> {escape(note)}<br>" for number, note in enumerate(table.notes, 1)]
    listed += [f"Not here: {escape(table.absent)}<br>"] if table.absent else []
    return "\n".join([grid(header, rows, len(header) - 1), *listed, ""] if listed else [grid(header, rows, len(header) - 1)])


def terminal(table: Table, width: int) -> Group:
    """A suite of which something was run, for a terminal of a width: what was, best bold, second underlined, and the footnotes below.

    Where it is too wide with methods as rows and pairs as columns, it shows its first metric alone, and then as many pairs
    beside each other as fit.
    """
    heading = Text(table.title, style="bold")
    rows = table.shown
    pairs = [index for index in range(len(table.pairs)) if any(row.places[index].entries for row in rows)]
    metrics = len(table.metrics)
    columns = _columns(table, rows, pairs, metrics)
    if metrics > 1 and _width(columns) > width:
        metrics = 1
        columns = _columns(table, rows, pairs, metrics)
    shown = table.metrics[:metrics]
    labels = " / ".join(" ".join(filter(None, (metric.label, metric.unit))) for metric in shown)
    protocols = ", ".join(dict.fromkeys(table.pairs[index].protocol for index in pairs))
    heading.append(f" ({labels}; protocol {protocols})", style="not bold")
    drawn, rest = [], columns[1:]
    while rest:
        count = max([n for n in range(1, len(rest) + 1) if _width([columns[0], *rest[:n]]) <= width], default=1)
        drawn.append(_drawn([columns[0], *rest[:count]]))
        rest = rest[count:]
    said = [f"[{number}] {table.notes[number - 1]}" for number in _notes_of(rows, pairs, metrics)]
    said += filter(None, [named((row.name, [row.tag]) for row in rows)])
    said += [
        f"– {line}" for line in filter(None, [named((row.name, [row.places[index].missing for index in pairs]) for row in rows)])
    ]
    if left := table.metrics[metrics:]:
        said.append(f"{', '.join(metric.label for metric in left)}: in a wider terminal, or in report.md.")
    return Group(heading, *drawn, *(Text(line, style="dim") for note in said for line in textwrap.wrap(note, width)))


Column = tuple[Text, list[Text]]
"""A heading, and what stands below it."""


def _columns(table: Table, rows: Sequence[Row], pairs: Sequence[int], metrics: int) -> list[Column]:
    """The methods, and of each pair their values under the first metrics."""
    corpora = {table.pairs[index].corpus for index in pairs}
    names = [Text(row.name + _brackets(row.notes)) for row in rows]
    columns = [(Text("method" if len(corpora) > 1 else f"on {table.pairs[pairs[0]].corpus}"), names)]
    for index in pairs:
        pair = table.pairs[index]
        label = Text(pair.degradation if len(corpora) == 1 else f"{pair.corpus}\n{pair.degradation}")
        columns.append((label, [_place(row.places[index], metrics) for row in rows]))
    return columns


def _place(place: Place, metrics: int) -> Text:
    if not place.entries:
        return Text("–", style="dim")
    parts = [_entry(entry) for entry in place.entries[:metrics]]
    return Text(" / ").join(parts) + Text(_brackets(place.notes))


def _entry(entry: Entry) -> Text:
    text = Text(entry.text, {"best": "bold", "second": "underline", "": ""}[entry.mark])
    printed = entry.published
    beside = f" ({printed.sign} {printed.text}){_brackets(printed.notes)}" if printed else _brackets(entry.notes)
    return text.append(beside, style="not bold not underline")


def _brackets(numbers: Iterable[int]) -> str:
    return "".join(f" [{number}]" for number in numbers)


def _width(columns: Sequence[Column]) -> int:
    """Of the table of these columns, two spaces between them."""
    longest = [max(line.cell_len for text in (head, *cells) for line in text.split("\n")) for head, cells in columns]
    return sum(longest) + 2 * (len(columns) - 1)


def _drawn(columns: Sequence[Column]) -> RichTable:
    drawn = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for place, (head, _) in enumerate(columns):
        drawn.add_column(head, no_wrap=True, justify="right" if place else "left")
    for cells in zip(*(cells for _, cells in columns), strict=True):
        drawn.add_row(*cells)
    return drawn


def _notes_of(rows: Sequence[Row], pairs: Sequence[int], metrics: int) -> list[int]:
    """The numbers of the footnotes of what is shown."""
    found: set[int] = set()
    for row in rows:
        places = [row.places[index] for index in pairs]
        entries = [entry for place in places for entry in place.entries[:metrics]]
        found.update(row.notes, *(place.notes for place in places), *(entry.notes for entry in entries))
        found.update(*(entry.published.notes for entry in entries if entry.published))
    return sorted(found)


def show(params: Params, cells: Sequence[Cell], console: Console | None = None) -> None:
    """Print the answer, and the tables of the suites as far as they were run, in the width that there is."""
    console = console or Console()
    found = answer.answers(tested_pairs(params), list(params.tested), cells)
    parts = [answer.terminal(found, console.width)]
    made = [suite(params, key, cells) for key in params.suites]
    parts += [
        terminal(table, console.width) for table in made if any(place.entries for row in table.rows for place in row.places)
    ]
    for part in parts:
        console.print(part)
        console.print()
    if line := answer.missing(params, cells):
        console.print(line, markup=False, highlight=False)

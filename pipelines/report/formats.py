"""A suite's table as pandas, Markdown and on the terminal."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from pipelines.params import Params
from pipelines.report.tables import Entry, Table, suite
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
    for row in table.rows:
        cells = [escape(row.name) + notes(row.notes) + "".join(f"<br>{escape(said)}" for said in (row.detail, row.tag) if said)]
        for place in row.places:
            if place.missing:
                cells += [f"*{escape(place.missing)}*"] + ["–"] * (len(table.metrics) - 1)
            else:
                texts = [value(entry) for entry in place.entries]
                cells += [*texts[:-1], texts[-1] + notes(place.notes)]
        rows.append(cells)
    listed = [f"<sup>{number}</sup> {escape(note)}<br>" for number, note in enumerate(table.notes, 1)]
    return "\n".join([grid(header, rows, len(header) - 1), *listed, ""] if listed else [grid(header, rows, len(header) - 1)])


def terminal(table: Table) -> RichTable:
    """A suite for the terminal: best bold, second underlined, footnotes below."""

    def brackets(numbers: Iterable[int]) -> str:
        return "".join(f" [{number}]" for number in numbers)

    style = {"best": "bold", "second": "underline", "": ""}
    drawn = RichTable(title=Text(table.title), title_justify="left", caption_justify="left")
    drawn.add_column("method")
    for pair in table.pairs:
        drawn.add_column(
            Text(f"{pair.label}\n" + " / ".join(metric.label for metric in table.metrics) + f" ({pair.protocol})"),
            justify="right",
        )
    for row in table.rows:
        cells = [Text(row.name + brackets(row.notes)).append(f"\n{row.tag}" if row.tag else "", style="dim")]
        for place in row.places:
            if place.missing:
                cells.append(Text(place.missing, style="dim italic"))
                continue
            parts = [
                Text(entry.text, style[entry.mark]).append(
                    f" ({printed.sign} {printed.text}){brackets(printed.notes)}"
                    if (printed := entry.published)
                    else brackets(entry.notes),
                    style="not bold not underline",
                )
                for entry in place.entries
            ]
            cells.append(Text(" / ").join(parts) + Text(brackets(place.notes)))
        drawn.add_row(*cells)
    if table.notes:
        drawn.caption = Text("\n".join(f"[{number}] {note}" for number, note in enumerate(table.notes, 1)))
    return drawn


def show(params: Params, cells: Sequence[Cell], console: Console | None = None) -> None:
    """Print the table of every suite."""
    console = console or Console()
    for key in params.suites:
        console.print(terminal(suite(params, key, cells)))

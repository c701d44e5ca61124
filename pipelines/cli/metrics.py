"""The list of metrics, as `vsr score --list-metrics` prints it."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_metrics(as_json: bool) -> None:
    """The registry of metrics as a table."""
    import math

    from pipelines.metrics import METRICS, unavailable

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

"""What `dvc metrics` and `dvc plots` read of the report: dvc.yaml's top-level `metrics` and `plots` name these files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.params import Params
from pipelines.results import Cell


def write(cells: Sequence[Cell], params: Params, out: Path) -> None:
    """Write `metrics/<method>.json` and `scores.json`, each value under its corpus's lead protocol.

    `metrics/<method>.json` has the metrics that the suites show, as `corpus: {degradation: {metric: value}}`, so that
    `dvc metrics show` has a line for each method; `scores.json` has a row with all metrics and the cost of each result.

    Args:
        cells: the results, in the order that they should have.
        params: params.yaml, which says the suites' metrics.
        out: a folder to make.
    """
    shown = list(dict.fromkeys(name for suite in params.suites.values() for name in suite.metrics))
    rows: list[dict[str, Any]] = []
    by_method: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for cell in cells:
        if not cell.applicable or cell.lead_protocol is None:
            continue
        scores = cell.protocols[cell.lead_protocol].metrics
        kept = {name: scores[name] for name in shown if name in scores}
        by_method.setdefault(cell.method, {}).setdefault(cell.corpus, {})[cell.degradation] = kept
        row = {"method": cell.method, "pair": f"{cell.corpus}/{cell.degradation}", "protocol": cell.lead_protocol, **scores}
        if cell.cost:
            row |= {"parameters": cell.cost.parameters, "gmacs": cell.cost.gmacs}
        if cell.timing:
            row["seconds_per_frame"] = cell.timing.seconds_per_frame
        rows.append(row)
    (out / "metrics").mkdir(parents=True, exist_ok=True)
    for method, found in by_method.items():
        _write(out / "metrics" / f"{method}.json", found)
    _write(out / "scores.json", rows)


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8", newline="\n")

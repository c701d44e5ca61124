"""Report: the comparison as one page, as Markdown and as CSV."""

from __future__ import annotations

from argparse import Namespace

from pipelines.report import answer, page, tables
from pipelines.runtime import tracking
from pipelines.runtime.lineage import verify_outputs
from stages import tracked
from stages.common import ROOT, begin, end, main


def report(arguments: Namespace) -> None:
    """Make `report/` from whatever results there are, and keep it in MLflow."""
    stage, loaded = begin("report")
    tracking.preflight()
    cells = page.publish(loaded, ROOT)
    verify_outputs(stage)
    tracked.report(ROOT / "report", cells, loaded)
    found = answer.answers(tables.tested_pairs(loaded), list(loaded.tested), cells)
    print(f"report: {answer.sentence(found)} `vsr report` prints the tables." if found else "report: nothing to compare yet.")
    end(stage)


if __name__ == "__main__":
    main(report, about="Write the report from the results that there are.")

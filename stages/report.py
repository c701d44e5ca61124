"""Report: the comparison as one page, as Markdown and as CSV."""

from __future__ import annotations

from argparse import Namespace

from pipelines import params
from pipelines.report import page
from pipelines.runtime import tracking
from stages import tracked
from stages.common import ROOT, main


def report(arguments: Namespace) -> None:
    """Make `report/` from whatever results there are, and keep it in MLflow."""
    loaded = params.load()
    tracking.preflight()
    cells = page.publish(loaded, ROOT)
    tracked.report(ROOT / "report", cells, loaded)


if __name__ == "__main__":
    main(report, about="Write the report from the results that there are.")

"""Report: the comparison as one page, as Markdown and as CSV."""

from __future__ import annotations

from argparse import Namespace

from pipelines import params, whole
from pipelines.report import page, results, tables
from pipelines.report.versions import versions
from stages.common import ROOT, main


def report(arguments: Namespace) -> None:
    """Make `report/` from whatever results there are."""
    loaded = params.load()
    with whole.folder(ROOT / "report") as out:
        page.write(loaded, ROOT / "results", out, versions())
    tables.show(loaded, results.load(ROOT / "results"))


if __name__ == "__main__":
    main(report, about="Write the report from the results that there are.")

"""Report: the comparison as one page, as Markdown and as CSV."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace

from pipelines import params
from pipelines.report import page
from pipelines.report.versions import versions
from stages.common import ROOT, main


def report(arguments: Namespace) -> None:
    """Make `report/` from whatever results there are."""
    out = ROOT / "report"
    building = ROOT / ".vsr" / "report"
    shutil.rmtree(building, ignore_errors=True)
    page.write(params.load(), ROOT / "results", building, versions())
    shutil.rmtree(out, ignore_errors=True)
    os.replace(building, out)


if __name__ == "__main__":
    main(report, about="Write the report from the results that there are.")

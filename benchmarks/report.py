"""The report of 30 methods on 10 degradations of 4 clips: its size and the time to write it, of the demo's results under other names."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from itertools import cycle
from pathlib import Path

from pipelines import params, results
from pipelines.params import Suite
from pipelines.report import page
from pipelines.report.versions import versions
from pipelines.results import MEASURED

METHODS, DEGRADATIONS = 30, 10
REFERENCE = "bicubic"


def main() -> None:
    """Print the page's size and the seconds that it takes."""
    loaded = params.load()
    cells = [cell for cell in results.load(params.ROOT / "results") if cell.corpus == "parallax" and cell.applicable]
    if not cells:
        return print("  there are no results, run `make demo` first")
    methods = [REFERENCE, *(name for name in loaded.tested if name != REFERENCE)][:METHODS]
    degradations = loaded.tests.degradations[:DEGRADATIONS]
    suite = Suite(title="All", methods=methods, corpora=["parallax"], degradations=degradations, metrics=["psnr", "ssim"])
    sources = cycle(cells)
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "results", Path(folder) / "report"
        for method in methods:
            for degradation in degradations:
                _copy(next(sources), root / method / "parallax" / degradation)
        out.mkdir()
        began = time.perf_counter()
        page.write(loaded.model_copy(update={"suites": {"all": suite}}), root, out, versions())
        seconds = time.perf_counter() - began
        size = (out / "index.html").stat().st_size / 1e6
    print(f"  {len(methods)} methods on {len(degradations)} degradations: {size:.1f} MB, written in {seconds:.1f} s")


def _copy(cell: results.Cell, folder: Path) -> None:
    """A result, and what the method costs, as if of another method under another degradation."""
    shutil.copytree(cell.folder, folder)
    kept = json.loads((folder / "metrics.json").read_text())
    (folder / "metrics.json").write_text(json.dumps({**kept, "method": folder.parts[-3], "degradation": folder.name}))
    measured = cell.folder.with_name(MEASURED)
    if measured.is_dir() and not folder.with_name(MEASURED).exists():
        shutil.copytree(measured, folder.with_name(MEASURED))

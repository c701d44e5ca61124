"""A reproduction that finds nothing to do, after `make demo-all`."""

from __future__ import annotations

import subprocess
import sys
import time

from pipelines.params import ROOT


def main() -> None:
    """Print seconds of `dvc repro` and `vsr repro` with nothing stale."""
    stale = subprocess.run([sys.executable, "-m", "dvc", "status", "--quiet"], cwd=ROOT, capture_output=True).returncode
    if stale:
        return print("  something is stale, run `make demo-all` first")
    for name, command in {"dvc repro": ["-m", "dvc", "repro"], "vsr repro": ["-m", "pipelines.cli", "repro"]}.items():
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=True)
        print(f"  {name} {time.perf_counter() - start:6.1f} s")

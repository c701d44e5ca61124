"""A reproduction that finds nothing to do, after `make demo`."""

from __future__ import annotations

import subprocess
import sys
import time

from pipelines.params import ROOT


def main() -> None:
    """Print seconds of `dvc repro` and `vsr repro` with nothing stale."""
    for name, command in {"dvc repro": ["-m", "dvc", "repro"], "vsr repro": ["-m", "pipelines.cli", "repro"]}.items():
        start = time.perf_counter()
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True)
        if done.returncode or "up to date" not in done.stdout:
            print(f"  {name}: something is stale, run `make demo` first")
        else:
            print(f"  {name} {time.perf_counter() - start:6.1f} s")

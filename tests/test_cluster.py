"""The cluster that the work runs on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = """
import ray
from pipelines.runtime.cluster import connect
with connect():
    print(ray.cluster_resources()["CPU"], len(ray.nodes()))
"""


def test_an_own_cluster_is_never_another_one() -> None:
    """Ray keeps the address of the last cluster on a machine in a file, and would join it."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # a socket's path has to be short
        (Path(folder) / "ray").mkdir()
        (Path(folder) / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment |= {"RAY_TMPDIR": folder, "VSR_WORKERS": "1"}
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout == "1.0 1\n", done

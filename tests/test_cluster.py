"""The cluster that the work runs on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

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


WAITING = """
import sys, time
import psutil, ray
from pipelines.faults import translate_errors
from pipelines.runtime.cluster import connect
with translate_errors(), connect():
    actor = ray.remote(lambda: time.sleep(1000)).remote()
    (victim,) = [child for child in psutil.Process().children(recursive=True) if child.name() == sys.argv[1]]
    print(" ".join(str(child.pid) for child in psutil.Process().children(recursive=True)), flush=True)
    victim.kill()
    ray.get(actor)
"""


@pytest.mark.parametrize("name", ["raylet", pytest.param("gcs_server", marks=pytest.mark.long)])
def test_a_process_of_ray_that_is_killed_is_told_and_nothing_stays(name: str) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | {"VSR_WORKERS": "1"}
    done = subprocess.run([sys.executable, "-c", WAITING, name], env=environment, capture_output=True, text=True, timeout=100)
    said = done.stderr.splitlines()  # Ray shows the end of its own log before
    assert done.returncode == 1 and said[-1].startswith(f"error: Ray's {name} has ended on this machine"), done
    assert not [pid for pid in map(int, done.stdout.splitlines()[0].split()) if psutil.pid_exists(pid)]

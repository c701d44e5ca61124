"""Workers are forked from a process that has imported the libraries and nothing of this project."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest
import ray

from pipelines.runtime.cluster import connect
from pipelines.runtime.fork_server import ADDRESS, PRELOADED

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")


def test_workers_are_forked_with_the_libraries_and_without_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSR_WORKERS", "2")

    @ray.remote
    def seen() -> tuple[list[str], list[str], int, str]:
        import sys

        import psutil
        import torch

        names = {name.partition(".")[0] for name in sys.modules}
        ours = [name for name in sys.modules if name.partition(".")[0] in ("pipelines", "stages", "models")]
        parent = psutil.Process().parent()
        return sorted(names), ours, torch.get_num_threads(), "" if parent is None else " ".join(parent.cmdline())

    with connect():
        folder = Path(os.environ[ADDRESS]).parent
        names, ours, threads, parent = ray.get(seen.remote())
        assert {name.partition(".")[0] for name in PRELOADED} <= {*names}
        assert ours == [] and threads == 1 and "fork_server.py" in parent
        # A runtime environment is set up by Ray's own script.
        *_, parent = ray.get(seen.options(runtime_env={"env_vars": {"VSR_TEST": "1"}}).remote())
        assert "raylet" in parent
        # The server may be killed for want of memory: workers are started as Ray does, and only later.
        (server,) = servers()
        server.kill()
        server.wait()
        actors = [ray.remote(Parent).options(num_cpus=0).remote() for _ in range(4)]  # more than there are idle workers
        assert any("raylet" in parent for parent in ray.get([actor.name.remote() for actor in actors]))
    assert ADDRESS not in os.environ and not folder.exists() and not servers()


class Parent:
    def name(self) -> str:
        parent = psutil.Process().parent()
        return "" if parent is None else " ".join(parent.cmdline())


def servers() -> list[psutil.Process]:
    """Those of this process."""
    return [process for process in psutil.Process().children() if "fork_server.py" in " ".join(process.cmdline())]


def test_a_server_leaves_nothing_however_the_program_ends(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from pipelines.runtime.fork_server import ADDRESS, forked_workers\n"
        "with forked_workers():\n"
        "    print(os.environ[ADDRESS], flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with psutil.Popen([sys.executable, "-c", code], stdout=-1, text=True) as program:
        folder = Path(program.stdout.readline().strip()).parent
        assert folder.name.startswith("vsr-")
    for _ in range(600):
        if not folder.exists():
            break
        time.sleep(0.1)
    assert not folder.exists()

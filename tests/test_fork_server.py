"""Workers and stages are forked from a process that has imported the libraries and nothing of this project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from pipelines.runtime.cluster import connect
from pipelines.runtime.fork_server import ADDRESS, PRELOADED, forked_python, forked_workers

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


PROBE = """
import os, signal, sys, time
ours = [name for name in sys.modules if name.partition(".")[0] in ("pipelines", "stages", "models", "ray")]
print(__name__, sys.argv[1:], os.getcwd(), os.environ["WORD"], "torch" in sys.modules, ours, flush=True)
match sys.argv[1]:
    case "fail":
        sys.exit("error: told")
    case "die":
        os.kill(os.getpid(), signal.SIGKILL)
    case "wait":
        try:
            print(os.getpid(), flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            sys.exit(7)
"""


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a module, while there is a server."""
    folder = tmp_path_factory.mktemp("probe")
    (folder / "probe.py").write_text(PROBE)
    with forked_workers():
        yield folder


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [forked_python() or "", "-m", "probe", *words],
        cwd=folder,
        env={**os.environ, "WORD": "as given"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def said(folder: Path, *words: str) -> str:
    return f"__main__ {[*words]} {folder} as given True []\n"


def test_a_module_runs_as_by_python(probe: Path) -> None:
    process = started(probe, "pass", "a b")
    assert process.communicate() == (said(probe, "pass", "a b"), "") and process.returncode == 0
    process = started(probe, "fail")
    assert process.communicate() == (said(probe, "fail"), "error: told\n") and process.returncode == 1
    process = started(probe, "die")
    assert process.communicate() == (said(probe, "die"), "") and process.returncode == -signal.SIGKILL
    missing = subprocess.run([forked_python() or "", "-m", "missing"], cwd=probe, capture_output=True, text=True)
    assert missing.returncode == 1 and "No module named missing" in missing.stderr


def test_a_module_gets_the_signals_and_ends_with_who_asked(probe: Path) -> None:
    process = started(probe, "wait")
    assert process.stdout and process.stdout.readline() == said(probe, "wait")
    program = psutil.Process(int(process.stdout.readline()))
    assert "fork_server.py" in " ".join(program.cmdline())
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) == 7 and not program.is_running()

    process = started(probe, "wait")
    assert process.stdout and process.stdout.readline() == said(probe, "wait")
    program = psutil.Process(int(process.stdout.readline()))
    process.kill()
    program.wait(30)
    process.communicate()


def test_a_module_may_have_more_threads(probe: Path) -> None:
    """A measurement takes all cores, and in a fork as many as outside of it."""
    (probe / "threads.py").write_text(
        "from pipelines.threads import all_threads; import os, torch; first = torch.get_num_threads()\n"
        "torch.set_num_threads(all_threads()); a = torch.rand(2000, 2000); a @ a\n"
        "print(first, torch.get_num_threads(), len(os.listdir('/proc/self/task')) >= all_threads())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    forked, real = (
        subprocess.run([python, "-m", "threads"], cwd=probe, env=environment, capture_output=True, text=True, check=True).stdout
        for python in (forked_python() or "", sys.executable)
    )
    count = real.split()[0]
    assert forked == f"1 {count} True\n" and real == f"{count} {count} True\n"


def test_a_module_runs_without_a_server_too(probe: Path) -> None:
    (server,) = servers()
    server.kill()
    server.wait()
    process = started(probe, "pass")
    assert process.communicate() == (said(probe, "pass").replace("True", "False"), "") and process.returncode == 0

"""Two Ray nodes on this machine, started as separate processes; the second sees neither this checkout nor a workspace."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CODE = [REPOSITORY / name for name in ("models", "pipelines", "stages")]


def blinds() -> bool:
    """Whether this user may hide folders from a process."""
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0


@contextmanager
def nodes(hidden: Path, cpus: Sequence[int] = (1, 1)) -> Iterator[dict[str, str]]:
    """A head and a second node, of that many cores; gives what their driver has in its environment.

    Args:
        hidden: the folder that the second node does not see.
    """
    ray = shutil.which("ray", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert ray
    with tempfile.TemporaryDirectory(prefix="vsr") as folder, socket.socket() as free:  # a socket's path has to be short
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "PYTHONPATH", "VSR_"))}
        environment |= {"RAY_AUTH_MODE": "disabled", "RAY_memory_monitor_refresh_ms": "0", "RAY_DISABLE_DOCKER_CPU_WARNING": "1"}
        common = ["--disable-usage-stats", "--block", "--object-store-memory", str(2**28)]
        started: list[subprocess.Popen[bytes]] = []

        def start(name: str, *command: str) -> None:
            home = Path(folder, name)
            (home / "tmp").mkdir(parents=True)
            with Path(folder, f"{name}.log").open("wb") as log:
                own = {"TMPDIR": str(home / "tmp"), "HOME": str(home)}
                started.append(
                    subprocess.Popen(
                        command, cwd=home, env={**environment, **own}, stdout=log, stderr=log, start_new_session=True
                    )
                )

        head = [ray, "start", "--head", "--port", address.rpartition(":")[2], "--num-cpus", str(cpus[0]), "--temp-dir", folder]
        second = [ray, "start", "--address", address, "--num-cpus", str(cpus[1]), *common]
        hide = " && ".join(f"mount -t tmpfs none '{path}'" for path in (*CODE, hidden))
        try:
            start("head", *head, "--include-dashboard", "false", *common)
            wait(address, folder)
            start("second", "unshare", "-m", "sh", "-c", f"{hide} && exec {' '.join(second)}")
            yield {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "disabled", "NODES": folder}
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def wait(address: str, folder: str) -> None:
    """Until something listens."""
    host, _, port = address.rpartition(":")
    for _ in range(300):
        with socket.socket() as tried:
            if not tried.connect_ex((host, int(port))):
                return
        time.sleep(0.1)
    raise AssertionError(Path(folder, "head.log").read_text())

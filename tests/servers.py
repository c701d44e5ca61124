"""MLflow servers for tests."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens at.

    None of those that the system gives away itself, nor of the 10002 to 19999 that Ray's workers take: what else runs on
    this machine would now and then have it before the server that it is for.
    """
    first = int(_EPHEMERAL.read_text().split()[0]) if _EPHEMERAL.is_file() else 32768
    while True:
        port = random.SystemRandom().randrange(20000, max(first, 21000))
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


def wait_for_mlflow(process: subprocess.Popen, address: str, log: Path) -> None:
    """Wait until the server answers; what it logged if it ends before, or takes minutes."""
    end = time.monotonic() + 150
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(f"{address}/health", timeout=10).text == "OK":
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[tuple[str, subprocess.Popen]]:
    """A server that keeps its runs in a folder, where another one finds them: its address and process."""
    backend = f"sqlite:///{folder / 'server.db'}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(
            [*command, "--backend-store-uri", backend, "--artifacts-destination", str(folder / "artifacts")],
            cwd=folder,
            env={**environment, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for_mlflow(process, address, folder / "server.log")
            yield address, process
        finally:
            stop(process)


def stop(process: subprocess.Popen) -> None:
    """End the server with the workers that it started, which are its session."""
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()

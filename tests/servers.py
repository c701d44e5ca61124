"""MLflow servers for tests."""

from __future__ import annotations

import random
import socket
import subprocess
import time
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

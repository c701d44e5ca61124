"""Ray's workers and the stages of `vsr repro`, forked from one process that has imported the libraries, instead of each importing
them for seconds.

The server is this file as a program: it imports `PRELOADED`, then forks for every request a child that becomes the program that
was asked for. Nothing of this project is imported before, so a child has the code that is there when it begins; nor is Ray, which takes
some of its settings from the environment while it is imported. `fork_client.py` asks, in the place of Ray's script that starts a worker
and of `python -m MODULE`; where no server answers it starts that, so that only time is lost.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

ADDRESS = "VSR_FORK_SERVER"
"""The environment variable that has the path of the server's socket."""

CLIENT = Path(__file__).with_name("fork_client.py")

PRELOADED = (
    "torch",
    "cv2",
    "pandas",
    "pyarrow.parquet",
    "av",
    "rich.progress",
    "mlflow.store.tracking.sqlalchemy_store",
    "dvc.cli.parser",
    "dvc.dvcfile",
    "dvc.parsing",
    "dvc.repo.fetch",
    "pyparsing",
    "scmrepo.git",
)
"""What workers, stages and DVC import: all that takes long, and starts no thread."""


@contextmanager
def forked_workers() -> Iterator[None]:
    """Let the cluster that `ray.init` starts in the block fork its workers, for as long as the block lasts. On Linux alone:
    elsewhere libraries do not bear it."""
    if sys.platform != "linux":
        yield
        return
    from ray._private import parameter

    class Settings(parameter.RayParams):
        def __init__(self, *values: Any, **named: Any) -> None:
            super().__init__(*values, **{"setup_worker_path": str(CLIENT), **named})

    folder = tempfile.mkdtemp(prefix="vsr-", dir="/tmp")
    address = os.path.join(folder, "fork")  # the path of a socket has to be short
    server = _start(address)
    python = Path(folder, "python")
    python.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-IS", str(CLIENT)])} "$@"\n')
    python.chmod(0o700)
    os.environ[ADDRESS] = address
    try:
        with patch.object(parameter, "RayParams", Settings):
            yield
    finally:
        del os.environ[ADDRESS]
        server.communicate()  # the end of its input is its end
        shutil.rmtree(folder, ignore_errors=True)


def forked_python() -> Path | None:
    """A `python` whose `-m MODULE` is forked, None where there is no server."""
    address = os.environ.get(ADDRESS)
    return Path(address).with_name("python") if address else None


def _start(address: str) -> subprocess.Popen[bytes]:
    from pipelines.threads import PASSIVE

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)  # requests wait here until the server takes them
        listener.listen(1024)
        # One thread, as Ray has it: sums are formed in one order.
        environment = {**PASSIVE, **os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", __file__, address, str(listener.fileno())]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[listener.fileno()], env=environment, start_new_session=True
        )


def serve(address: str, listener: socket.socket) -> None:
    """Fork a child for every request, until the standard input ends, however the program at its other end does.

    Returns in the child, as what was asked for.
    """
    for name in PRELOADED:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()  # else the collector would copy all of it into every child
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children leave nothing behind that has to be waited for
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(os.path.dirname(address), ignore_errors=True)
            sys.exit()
        connection, _ = listener.accept()
        request, files = _received(connection)
        if request and os.fork() == 0:
            break
        connection.close()
        for file in files:
            os.close(file)
    listener.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    asked = json.loads(request)
    if asked["arguments"][0] == "-m":
        _wait_beside(connection, files)
    connection.close()
    os.setpgid(0, 0)  # Ray kills what is left of the group of a worker that ends
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = asked["arguments"]


def _wait_beside(client: socket.socket, files: list[int]) -> None:
    """Fork once more and return in the child. This process says to the client which process the child is and how it ends, and ends
    it when the client has ended."""
    program = os.fork()
    if program == 0:
        return
    for file in files:
        os.close(file)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    with suppress(PermissionError):  # it has done so, and begun
        os.setpgid(program, program)
    client.sendall(b"%d\n" % program)
    ended, poll = os.pidfd_open(program), select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(client, 0)  # tells of its end
    if ended not in dict(poll.poll()):
        os.killpg(program, signal.SIGKILL)
    _, status = os.waitpid(program, 0)
    with suppress(OSError):
        client.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _received(connection: socket.socket) -> tuple[bytes, list[int]]:
    """A request, and the files that are to be the standard input, output and error."""
    request, files, _, _ = socket.recv_fds(connection, 2**16, 3)
    while more := connection.recv(2**16):
        request += more
    return request, files


if __name__ == "__main__":
    serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
    if sys.argv[0] == "-m":
        sys.path[:0] = [os.getcwd()]
        name = sys.argv.pop(1)
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")

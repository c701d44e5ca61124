"""Ask the fork server for a process, see `fork_server.py`: in the place of Ray's script that starts a worker, or of `python -m MODULE`.

It runs for every worker and every stage, so it imports next to nothing. Where no server answers, what was asked for is started in
the usual way, and only time is lost.
"""

import contextlib
import io
import json
import os
import signal
import socket
import sys

CONTEXT = "--serialized-runtime-env-context"
"""What a runtime environment is told by, which Ray's script sets up."""


def ask(arguments: list[str]) -> socket.socket | None:
    """The connection that a request was sent on, None where no server answers."""
    request = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(os.environ["VSR_FORK_SERVER"])
        server.sendall(request[socket.send_fds(server, [request], [0, 1, 2]) :])
        server.shutdown(socket.SHUT_WR)
    except (KeyError, OSError):
        return None
    return server


def worker() -> None:
    """A worker of Ray, by the arguments of its `setup_worker.py`."""
    plain = [argument for argument in sys.argv[1:] if not argument.startswith("--language")]
    if any(argument.startswith(CONTEXT) for argument in plain) or not ask(plain):
        import ray

        script = os.path.join(os.path.dirname(ray.__file__), "_private", "workers", "setup_worker.py")
        os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])


def module() -> None:
    """`python -m MODULE …`: pass signals on to it, and end as it does."""
    passed = [number for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) != signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, passed)  # until there is whom to pass them on to
    server = ask(sys.argv[1:])
    answers = server.makefile() if server else None
    started = _line(answers)
    if not started:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, passed)
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
    for number in passed:
        signal.signal(number, lambda number, frame: _signal(int(started), number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, passed)
    code = int(_line(answers) or 1)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _line(answers: io.TextIOWrapper | None) -> str:
    """The next answer, none where the server has ended."""
    try:
        return answers.readline() if answers else ""
    except OSError:
        return ""


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have just ended
        os.killpg(group, number)


module() if sys.argv[1:2] == ["-m"] else worker()

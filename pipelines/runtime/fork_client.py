"""Ask the fork server for a worker of Ray, see `fork_server.py`: takes the arguments of Ray's `setup_worker.py`.

It runs for every worker, so it imports next to nothing.
"""

import json
import os
import socket
import sys

CONTEXT = "--serialized-runtime-env-context"
"""What a runtime environment is told by, which Ray's script sets up."""


def ask() -> bool:
    """Whether the server takes it over."""
    if any(argument.startswith(CONTEXT) for argument in sys.argv):
        return False
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--language")]
    request = json.dumps({"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}).encode()
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(os.environ["VSR_FORK_SERVER"])
            server.sendall(request[socket.send_fds(server, [request], [0, 1, 2]) :])
    except (KeyError, OSError):
        return False
    return True


if not ask():
    import ray

    script = os.path.join(os.path.dirname(ray.__file__), "_private", "workers", "setup_worker.py")
    os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])

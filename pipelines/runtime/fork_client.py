"""Ask the fork server for a worker of Ray, see `fork_server.py`: takes the arguments of Ray's `setup_worker.py`.

It runs for every worker, so it imports next to nothing.
"""

import json
import os
import socket
import sys

# Ray's script sets up a runtime environment, of which an own cluster has none, and hands on the rest.
arguments = [argument for argument in sys.argv[1:] if not argument.startswith(("--serialized-runtime-env-context", "--language"))]
request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
try:
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(os.environ["VSR_FORK_SERVER"])
        text = json.dumps(request).encode()
        server.sendall(text[socket.send_fds(server, [text], [0, 1, 2]) :])
except (KeyError, OSError):
    import ray

    script = os.path.join(os.path.dirname(ray.__file__), "_private", "workers", "setup_worker.py")
    os.execv(sys.executable, [sys.executable, script, *sys.argv[1:]])

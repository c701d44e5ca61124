"""One command at a time that changes a workspace: the second waits, and says for whom."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = Path(".vsr") / "command.lock"


@contextmanager
def alone(root: Path, command: str) -> Iterator[None]:
    """Hold the workspace for the time of the block, as soon as no other command does. A command that is killed holds it no more.

    Args:
        root: of the workspace.
        command: what others are told that they wait for.
    """
    path = root / _LOCK
    path.parent.mkdir(exist_ok=True)
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for {_holder(path)} in this workspace to end", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"`{command}` (process {os.getpid()})")
        lock.flush()
        yield


def _holder(path: Path) -> str:
    return path.read_text() or "another command"

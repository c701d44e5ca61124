"""The driver's files, where they are read: a path is a name, and what is opened is the file here.

On the driver's node, and outside of clusters, the two are one. A worker on another node, which does not see the driver's disk, is
told by the runtime where copies come from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Copies(Protocol):
    """Files of another node."""

    def local(self, path: Path) -> Path:
        """A copy of a file, or of a folder with its files; the path itself where there is none of that name."""
        ...

    def head(self, path: Path, count: int) -> bytes:
        """The first bytes of a file."""
        ...


_copies: Copies | None = None


def elsewhere(copies: Copies) -> None:
    """From now on, all paths are those of another node."""
    global _copies
    _copies = copies


def far() -> bool:
    """Whether the driver's files are on another node."""
    return _copies is not None


def local(path: Path) -> Path:
    """Where a file lies on this node, or a folder with all of its files; to be opened at once, for copies make room for others.

    Raises:
        VSRError: it cannot be copied to this node.
    """
    return path if _copies is None else _copies.local(path)


def head(path: Path, count: int) -> bytes:
    """The first `count` bytes of a file, all of them where it has fewer or `count` is -1; no copy of it is kept here.

    Raises:
        OSError: it cannot be read.
    """
    if _copies is not None:
        return _copies.head(path, count)
    with path.open("rb") as file:
        return file.read(count)

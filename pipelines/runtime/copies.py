"""Copies of another node's files on this one: as many as there is room for, those that were not used for longest make room."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import VSRError

VARIABLE = "VSR_NODE_CACHE"
"""How many GB copies may take on a node; by default half of what its disk has room for."""

_FRESH = 10.0
"""Seconds for which a copy stays after it was asked for: its user is about to open it, after which it may go."""


Fetch = Callable[[Path, int], Iterable[bytes]]
"""Gives a file of so many bytes in pieces."""


@dataclass(frozen=True)
class Copy:
    """What is copied: a path, its files by their names in it (of a file one, without a name), and of each its size in bytes, and what else
    changes with its content."""

    path: Path
    files: Mapping[str, tuple[int, int, int]]

    @property
    def bytes(self) -> int:
        """How much it is."""
        return sum(size for size, *_ in self.files.values())

    @property
    def key(self) -> str:
        """A name that changes when a file does."""
        return hashlib.sha256(repr((str(self.path), sorted(self.files.items()))).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Cache:
    """A folder of copies that all workers of a node share.

    Args:
        folder: where they are: each in a folder of its key, under its own name.
        room: how many bytes they may take, beside those that are just asked for.
    """

    folder: Path
    room: int

    @staticmethod
    def of_this_node() -> Cache:
        """In the folder for temporary files.

        Raises:
            VSRError: `VSR_NODE_CACHE` is no number of GB.
        """
        folder = Path(tempfile.gettempdir()) / f"vsr-copies-{os.getuid()}"
        folder.mkdir(parents=True, exist_ok=True)
        setting = os.environ.get(VARIABLE)
        if not setting:
            taken = sum(size for _, size, _ in _kept(folder))
            return Cache(folder, (shutil.disk_usage(folder).free + taken) // 2)
        try:
            room = int(float(setting) * 1e9)
        except (ValueError, OverflowError):
            room = 0
        if room <= 0:
            raise VSRError(f"{VARIABLE} is {setting!r}: give the GB that copies of files may take on a node, above 0.")
        return Cache(folder, room)

    def get(self, copy: Copy, fetch: Fetch) -> Path:
        """Where a copy is; it is made if there is none.

        Args:
            copy: what is wanted.
            fetch: gives its files.

        Raises:
            VSRError: there is no room for it, or its files change.
        """
        entry = self.folder / copy.key
        with _alone(self.folder / f"{copy.key[:2]}.lock"):
            if not entry.is_dir():
                self._make_room(copy)
                self._fetch(copy, entry, fetch)
            os.utime(entry)
        return entry / copy.path.name

    def _fetch(self, copy: Copy, entry: Path, fetch: Fetch) -> None:
        partial = entry.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
        try:
            for name, (size, *_) in copy.files.items():
                target = partial / copy.path.name / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    for piece in fetch(copy.path / name, size):
                        file.write(piece)
                if target.stat().st_size != size:
                    raise VSRError(f"{copy.path / name} changed while it was copied to {self.folder}: run it again.")
            partial.rename(entry)
        except OSError as error:
            raise VSRError(
                f"{copy.path} cannot be copied to {self.folder} ({error.strerror or error}): make room there, or set {VARIABLE} "
                "on this node to fewer GB."
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _make_room(self, copy: Copy) -> None:
        """Remove what was not used for longest, until there is room."""
        if copy.bytes > self.room:
            raise VSRError(
                f"{copy.path} has {copy.bytes / 1e9:.3g} GB, and copies may take {self.room / 1e9:.3g} GB on this node: set {VARIABLE} "
                "there to more."
            )
        kept = _kept(self.folder)
        taken = sum(size for _, size, _ in kept)
        for used, size, entry in kept:
            if taken + copy.bytes <= self.room or time.time() - used < _FRESH:
                break
            shutil.rmtree(entry, ignore_errors=True)
            taken -= size


def _kept(folder: Path) -> list[tuple[float, int, Path]]:
    """The copies of a folder, the one that was not used for longest first: when each was last asked for, and how much it is."""
    kept = []
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # another process makes room as well
            if not entry.suffix:
                size = sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())
                kept.append((entry.stat().st_mtime, size, entry))
    return sorted(kept)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock among the processes of this node."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

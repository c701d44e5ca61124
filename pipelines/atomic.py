"""Outputs that appear whole or not at all, and names for them."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LONGEST = 200
"""Bytes that a name takes in a file system; these have 255, and what is built beside its place adds some."""


def file_name(name: str) -> str:
    """Any text as the name of a file that is in its folder: quoted, and where that is too long cut, with a hash of the whole."""
    return shortened(urllib.parse.quote(name, safe=" ()"), name)


def shortened(name: str, whole: str) -> str:
    """A file's name, cut to `LONGEST` bytes where it is longer, with a hash of the `whole`."""
    if len(name.encode()) <= LONGEST:
        return name
    kept = name.encode()[: LONGEST - 17].decode(errors="ignore")
    return f"{kept}~{hashlib.sha256(whole.encode()).hexdigest()[:16]}"


def beside(path: Path, end: str) -> Path:
    """A hidden name beside a path, for what is to become it."""
    return path.with_name(f".{shortened(path.name, path.name)}{end}")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` when the block ends without an error.

    Where an empty folder is there that nothing can take the place of, as a mount point, a link or one in a folder that may not be
    written, it is filled.
    """
    fixed = _fixed(path)
    building = path / ".partial" if fixed else beside(path, ".partial")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    if fixed:
        for file in sorted(building.iterdir()):
            os.replace(file, path / file.name)
        building.rmdir()
    else:
        shutil.rmtree(path, ignore_errors=True)
        os.replace(building, path)


def _fixed(path: Path) -> bool:
    if not path.is_dir() or any(entry.name != ".partial" for entry in path.iterdir()):
        return False
    return path.is_symlink() or os.path.ismount(path) or not os.access(path.parent, os.W_OK)

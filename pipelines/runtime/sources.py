"""Which files each network is made of, as folders of links that DVC can depend on.

The dependencies in dvc.yaml cannot be conditional, so a stage that makes a network depends on the folder `models/sources/<network>`: links to
every file of `models/` that the network imports. DVC hashes what they lead to. The links are in git; `vsr sources` writes them anew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from pipelines.errors import VSRError
from pipelines.runtime.imports import file_of, follow

FOLDER = "models/sources"


def links(network: str, root: Path) -> dict[str, str]:
    """The links of a network: where each leads, relative to the network's folder, by the name of the module, e.g.
    `parts.warp` for `models/parts/warp.py` and `__init__` for `models/__init__.py`."""
    folder = root / FOLDER / network
    found = follow(f"models.{network}", root)
    return {name.removeprefix("models").lstrip(".") or "__init__": os.path.relpath(file, folder) for name, file in found.items()}


def outdated(network: str, root: Path) -> bool:
    """Whether the links of a network are not those of what it imports now."""
    folder = root / FOLDER / network
    there = {path.name: os.readlink(path) if path.is_symlink() else "" for path in folder.iterdir()} if folder.is_dir() else {}
    return there != (links(network, root) if file_of(f"models.{network}", root) else {})


def linked(root: Path) -> list[str]:
    """The networks that have links."""
    folder = root / FOLDER
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def check(networks: Iterable[str], root: Path) -> None:
    """Make sure that the links of networks are up to date.

    Raises:
        VSRError: some are not.
    """
    old = [f"{FOLDER}/{network}" for network in networks if outdated(network, root)]
    if old:
        raise VSRError(f"{' and '.join(old)} does not list what the network imports now: run `vsr sources`, which mends it.")


def write(networks: list[str], root: Path) -> list[str]:
    """Bring the links of all networks up to date, and take away those of networks that there are no more.

    Returns:
        The networks whose links were not up to date.
    """
    gone = [network for network in linked(root) if network not in networks]
    changed = [network for network in networks if outdated(network, root)]
    for network in gone + changed:
        shutil.rmtree(root / FOLDER / network, ignore_errors=True)
    for network in changed:
        folder = root / FOLDER / network
        folder.mkdir(parents=True)
        for name, target in links(network, root).items():
            (folder / name).symlink_to(target)
    return sorted(gone + changed)

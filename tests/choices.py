"""params.yaml and the files beside it as one tree, to be changed and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipelines.params import FILES, ROOT

Tree = dict[str, Any]


def shipped(root: Path = ROOT) -> Tree:
    """What a repository has, the maps that have files of their own among it."""
    tree = yaml.safe_load((root / "params.yaml").read_text())
    return tree | {name: yaml.safe_load((root / file).read_text()) for name, file in FILES.items()}


def put(folder: Path, tree: Tree) -> Path:
    """Write a tree; returns the path of its params.yaml."""
    for name, file in FILES.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(yaml.safe_dump(tree[name], sort_keys=False))
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in tree.items() if name not in FILES}, sort_keys=False))
    return path

"""Work folders that no run needs any more."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.runtime import lineage


@dataclass(frozen=True)
class Removed:
    """A work folder that is gone: its run key, the stage it was of if known, and its size in bytes."""

    key: str
    stage: str
    size: int


def clean(root: Path) -> list[Removed]:
    """Remove the work folders of runs that nothing goes on with: of stages as they are not any more.

    A stage whose dependencies are not there has no run key until they are made; its folders are kept, and so are
    those that do not say whose they are as long as there is such a stage.
    """
    work = root / ".vsr" / "work"
    if not work.is_dir():
        return []
    keys, unknown = lineage.run_keys(root)
    removed = []
    for folder in sorted(folder for folder in work.iterdir() if folder.is_dir()):
        stage = lineage.worker_of(folder)
        if folder.name in keys or (stage in unknown if stage else unknown):
            continue
        size = sum(file.lstat().st_size for file in folder.rglob("*"))
        shutil.rmtree(folder)
        removed.append(Removed(folder.name, stage or "an unknown stage", size))
    return removed

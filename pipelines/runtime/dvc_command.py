"""The `dvc` that `vsr repro` runs: DVC's own, but dvc.lock is written at the cost of the stage that ends.

DVC reads and writes the whole of dvc.lock with all its formatting for every stage: two seconds of a core for the hundred stages of the
demo, several for all. Here the text of the other stages stays as it is. What is written says the same, to the byte but for values that
a stage has twice, which DVC writes once with an alias.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dvc import cli
from dvc.dvcfile import Lockfile
from dvc.stage.serialize import to_lockfile
from dvc.utils.serialize import dumps_yaml

from pipelines.atomic import beside

HEAD = "schema: '2.0'\nstages:\n"


def with_entries(text: str, entries: Mapping[str, Any]) -> str | None:
    """dvc.lock with entries of stages in the place of those that it has, new ones last; None where it is not as DVC writes it.

    Args:
        text: of dvc.lock, empty where there is none.
        entries: by stage.
    """
    head, body = text[: len(HEAD)] or HEAD, text[len(HEAD) :]
    if head != HEAD or re.search(r"^(?!  \S|   )", body.removesuffix("\n"), re.MULTILINE) and body:
        return None
    blocks = {block.partition("\n")[0]: block for block in re.split(r"^(?=  \S)", body, flags=re.MULTILINE) if block}
    for name, entry in entries.items():
        block = dumps_yaml({"stages": {name: _unshared(entry)}}).partition("\n")[2]
        blocks[block.partition("\n")[0]] = block
    return head + "".join(blocks.values())


def _unshared(value: Any) -> Any:
    """The same with every list and mapping an object of its own: an alias could have a name that another stage's has."""
    if isinstance(value, Mapping):
        return {key: _unshared(each) for key, each in value.items()}
    return [_unshared(each) for each in value] if isinstance(value, list) else value


def _dump_stages(lock: Lockfile, stages: Sequence[Any], **options: Any) -> None:
    path = Path(lock.path)
    text = path.read_text() if path.exists() else ""
    entries: dict[str, Any] = {}
    for stage in stages:
        entries |= to_lockfile(stage, **options)
    new = with_entries(text, entries)
    if new is None:
        return _dump_all(lock, stages, **options)
    if new != text:
        building = beside(path, f".{os.getpid()}")
        building.write_text(new)
        building.replace(path)
        lock.repo.scm_context.track_file(lock.relpath)


_dump_all = Lockfile.dump_stages

if __name__ == "__main__":
    Lockfile.dump_stages = _dump_stages
    sys.exit(cli.main())

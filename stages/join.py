"""Join: two trained networks in one folder, for one that starts from both."""

from __future__ import annotations

import json
import shutil
from argparse import Namespace

from pipelines import params
from pipelines.atomic import atomic_folder
from pipelines.runtime.lineage import verify
from pipelines.training import product
from stages.common import begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/trained/<join>`: the weights of both, and a record whose `parts` are their records, each with its `file`."""
    name = arguments.join
    stage, loaded = begin(f"join@{name}")
    join = params.entry("join", loaded.joins, name)
    folders = {"first": data("trained", join.first), "second": data("trained", join.second)}
    parts = {f"{place}.safetensors": product.read(folder) for place, folder in folders.items()}
    record = {
        "name": name,
        "notes": [f"{part['name']}: {note}" for part in parts.values() for note in part["notes"]],
        "parts": [{**part, "file": file} for file, part in parts.items()],
    }
    verify(stage)
    with atomic_folder(data("trained", name)) as building:
        for file, folder in zip(parts, folders.values(), strict=True):
            shutil.copyfile(folder / product.WEIGHTS, building / file)
        (building / product.RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    end(stage)


if __name__ == "__main__":
    main(run, "join", about="Put two trained networks together, to start from both.")

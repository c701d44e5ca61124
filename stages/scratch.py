"""Scratch: the start of networks that start from nothing, so that every network that is trained has one."""

from __future__ import annotations

import json
from argparse import Namespace

from pipelines.atomic import atomic_folder
from pipelines.params.references import SCRATCH
from stages.common import data, main


def run(arguments: Namespace) -> None:
    """Make `data/trained/scratch`: a record, as a network's, of no weights."""
    record = {"name": SCRATCH, "notes": [], "parts": []}
    with atomic_folder(data("trained", SCRATCH)) as building:
        # `product.RECORD`, without PyTorch, which takes longer to import than all this.
        (building / "model.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(run, about="Make the start of what starts from nothing.")

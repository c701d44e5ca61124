"""Scratch: the start of networks that start from nothing, so that every network that is trained has one."""

from __future__ import annotations

import json
from argparse import Namespace

from pipelines import whole
from pipelines.params.references import SCRATCH
from pipelines.runtime.lineage import verify
from stages.common import begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/trained/scratch`: a record, as a network's, of no weights."""
    stage, _ = begin("scratch")
    record = {"name": SCRATCH, "notes": [], "parts": []}
    verify(stage)
    with whole.folder(data("trained", SCRATCH)) as building:
        # `product.RECORD`, without PyTorch, which takes longer to import than all this.
        (building / "model.json").write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    end(stage)


if __name__ == "__main__":
    main(run, about="Make the start of what starts from nothing.")

"""Scratch: what experiments name that begin with no network, or see no prior, so that every one of them has both."""

from __future__ import annotations

import json
from argparse import Namespace

from pipelines.atomic import atomic_folder
from pipelines.params.references import NO_PRIOR, SCRATCH
from stages.common import begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/trained/scratch`, a record, as a network's, of no weights, and `data/priors/none`, which says that it is none."""
    stage, _ = begin("scratch")
    records = {
        data("trained", SCRATCH) / "model.json": {"name": SCRATCH, "notes": [], "parts": []},
        data("priors", NO_PRIOR) / "prior.json": {"name": NO_PRIOR},
    }
    for path, record in records.items():
        with atomic_folder(path.parent) as building:
            # Without `product` and its `RECORD`, which imports PyTorch: that takes longer than all this.
            (building / path.name).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    end(stage)


if __name__ == "__main__":
    main(run, about="Make the start of what starts from nothing, and the prior of what sees none.")

"""In step: what stands for the LR clips of a corpus where training degrades HR crops in every step."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace

from pipelines.atomic import atomic_folder
from pipelines.params.references import IN_STEP
from pipelines.runtime import sources
from stages.common import ROOT, begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/lr/<corpus>/in_step`: no clips, but the sha256 of the code that degrades.

    DVC's dependencies cannot be conditional. Trainings that degrade in the step depend on this folder as others do on their LR
    clips, so that an edit of that code trains them again and no others.
    """
    stage, _ = begin(f"in_step@{arguments.corpus}")
    code = {name: hashlib.sha256(file.read_bytes()).hexdigest() for name, file in sources.of_stage(IN_STEP, ROOT).items()}
    with atomic_folder(data("lr", arguments.corpus, IN_STEP)) as building:
        (building / "code.json").write_text(json.dumps(code, indent=2) + "\n")
    end(stage)


if __name__ == "__main__":
    main(run, "corpus", about="Make what stands for the LR clips of a corpus that are degraded in the step.")

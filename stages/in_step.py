"""In step: what stands for the LR clips of a corpus where training degrades HR crops in every step."""

from __future__ import annotations

from argparse import Namespace

from pipelines.atomic import atomic_folder
from pipelines.params.references import IN_STEP
from stages.common import data, main


def run(arguments: Namespace) -> None:
    """Make `data/lr/<corpus>/in_step`, which holds no clips: DVC's dependencies cannot be conditional."""
    with atomic_folder(data("lr", arguments.corpus, IN_STEP)) as building:
        (building / "none.txt").write_text("HR crops are degraded in every step: there are no LR clips.\n")


if __name__ == "__main__":
    main(run, "corpus", about="Make what stands for the LR clips of a corpus that are degraded in the step.")

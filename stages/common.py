"""What every stage does: say what went wrong in one sentence, and know its place in the graph."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from pipelines import params
from pipelines.errors import VSRError
from pipelines.faults import translate_errors
from pipelines.runtime import lineage
from stages import STARTED

ROOT = params.ROOT


def main(work: Callable[[argparse.Namespace], None], *arguments: str, about: str) -> None:
    """Run a stage from the command line: `python -m stages.<stage> --<argument> NAME …`.

    Exits with status 1 and one sentence when something the user can mend is wrong, see `translate_errors`.
    """
    parser = argparse.ArgumentParser(description=about)
    for argument in arguments:
        parser.add_argument(f"--{argument}", required=True, metavar="NAME")
    with translate_errors():
        work(parser.parse_args())


def begin(name: str) -> tuple[lineage.Stage, params.Params]:
    """Identify the stage that is running and make its work folder; what the stage does, it does with these params.

    Raises:
        VSRError: params.yaml is wrong, DVC cannot identify the stage, or its code was edited while it was imported.
    """
    params.load()  # says better than DVC what is wrong in it
    stage = lineage.stage(name, ROOT)
    loaded = params.load()  # after the key, so that an edit in between is found at the end
    edited = lineage.edited_since(stage, STARTED)
    if edited:
        raise VSRError(f"{name}: {' and '.join(edited)} changed while the stage was starting: run it again.")
    lineage.start_work(stage)
    return stage, loaded


def end(stage: lineage.Stage) -> None:
    """Check, now that its outputs are in place, that the stage is still the one that began, and delete its work folder.

    Raises:
        VSRError: it is not; the outputs are taken away.
    """
    lineage.verify_outputs(stage)
    shutil.rmtree(stage.work, ignore_errors=True)


def data(*parts: str) -> Path:
    """A path under the repository's data folder."""
    return ROOT.joinpath("data", *parts)


def prior_store(prior: str, frames: str) -> Path:
    """Where a prior lies, of frames that are `lr/<corpus>/<degradation>` or `hr/<corpus>`."""
    return data("priors", prior, frames)

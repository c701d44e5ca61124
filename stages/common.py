"""What every stage does: say what went wrong in one sentence, and know its place in the graph."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from pipelines import params
from pipelines.faults import translate_errors
from pipelines.runtime import lineage

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


def begin(name: str) -> lineage.Stage:
    """Identify the stage that is running and make its work folder."""
    stage = lineage.stage(name, ROOT)
    stage.work.mkdir(parents=True, exist_ok=True)
    return stage


def end(stage: lineage.Stage) -> None:
    """The outputs are in place: the work folder has served."""
    shutil.rmtree(stage.work, ignore_errors=True)


def data(*parts: str) -> Path:
    """A path under the repository's data folder."""
    return ROOT.joinpath("data", *parts)


def prior_store(prior: str, frames: str) -> Path:
    """Where a prior lies, of frames that are `lr/<corpus>/<degradation>` or `hr/<corpus>`."""
    return data("priors", prior, frames)

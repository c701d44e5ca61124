"""What every stage does: say what went wrong in one sentence, and know its place in the graph."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines import params
from pipelines.errors import VSRError
from pipelines.runtime import lineage

ROOT = params.ROOT


def main(work: Callable[[argparse.Namespace], None], *arguments: str, about: str) -> None:
    """Run a stage from the command line: `python -m stages.<stage> --<argument> NAME …`.

    Exits with status 1 and one sentence when something the user can mend is wrong.
    """
    parser = argparse.ArgumentParser(description=about)
    for argument in arguments:
        parser.add_argument(f"--{argument}", required=True, metavar="NAME")
    try:
        work(parser.parse_args())
    except VSRError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: what is finished is kept, the same command goes on from there.")


def begin(name: str) -> lineage.Stage:
    """Identify the stage that is running and make its work folder."""
    stage = lineage.stage(name, ROOT)
    stage.work.mkdir(parents=True, exist_ok=True)
    return stage


def end(stage: lineage.Stage) -> None:
    """The outputs are in place: delete the work folder."""
    shutil.rmtree(stage.work, ignore_errors=True)


def data(*parts: str) -> Path:
    """A path under the repository's data folder."""
    return ROOT.joinpath("data", *parts)

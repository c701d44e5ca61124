"""Whether the code that runs is that of the checkout it is asked to work on."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import VSRError

CODE = Path(__file__).resolve().parent.parent
"""The checkout that this code is of."""


def check() -> None:
    """Make sure that the working directory is not in another checkout, as in a second worktree with the first one's environment.

    Raises:
        VSRError: it is, and the code of one would run on the files of the other.
    """
    here = Path.cwd()
    there = next((folder for folder in (here, *here.parents) if (folder / "pipelines" / "errors.py").is_file()), CODE)
    if there != CODE:
        raise VSRError(
            f"this `vsr` runs the code of {CODE} and the working directory is in another checkout, {there}: "
            f"run `make setup` there and `source {there}/.venv/bin/activate`, or work in {CODE}."
        )

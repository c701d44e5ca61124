"""The `vsr` command.

A command is a function of a module beside this one. What it needs is imported inside it, so that `vsr --help` answers at once.
"""

from __future__ import annotations

import errno
import io
import signal
import sys

import typer

from pipelines.cli.footage import degrade, export, restore
from pipelines.cli.networks import card
from pipelines.cli.project import doctor, report, repro, sources, ui
from pipelines.cli.scores import compare, score
from pipelines.errors import VSRError

INTERRUPTED = {128 + signal.SIGINT, 128 + signal.SIGTERM}
FULL = {errno.ENOSPC, errno.EDQUOT}
REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}

app = typer.Typer(
    help="Video super-resolution: degrade, restore, score, and reproduce the comparison of params.yaml.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (repro, report, degrade, restore, score, compare, card, export, ui, doctor, sources):  # as the help lists them
    app.command()(command)


def _terminated(number: int, frame: object) -> None:
    """End as Ctrl-C does, so that what is half-written is taken away."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command; what a user can mend is told in one sentence."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text in any encoding
    signal.signal(signal.SIGTERM, _terminated)
    try:
        app(prog_name="vsr")
    except VSRError as error:
        sys.exit(f"error: {error}")
    except SystemExit as ended:
        if ended.code in INTERRUPTED:  # typer makes this of Ctrl-C, without a word
            print("interrupted: what was finished is kept, nothing is left half-written.", file=sys.stderr)
        raise
    except OSError as error:
        if error.errno in FULL:
            sys.exit(f"error: the disk is full ({error.filename or 'while writing'}): free some space and run again.")
        if error.errno in REFUSED and error.filename:
            sys.exit(f"error: {error.filename} cannot be used ({error.strerror}): check the path and its permissions.")
        raise

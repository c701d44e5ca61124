"""The `vsr` command.

A command is a function of a module beside this one. What it needs is imported inside it, so that `vsr --help` answers at once.
"""

from __future__ import annotations

import io
import sys

from pipelines.faults import translate_errors


def main() -> None:
    """Run the command; what a user can mend is told in one sentence."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be no text in any encoding
    with translate_errors():
        _run()


def _run() -> None:
    from pipelines import checkout

    if sys.argv[1:2] != ["doctor"]:  # which says it among all else
        checkout.check()
    import typer  # here, so that Ctrl-C is met while it is imported

    from pipelines.cli.cluster import jobs, submit
    from pipelines.cli.diagnose import diagnose, pick
    from pipelines.cli.footage import degrade, export, restore
    from pipelines.cli.networks import card, export_network
    from pipelines.cli.project import clean, doctor, report, repro, sources, ui
    from pipelines.cli.scores import compare, score

    app = typer.Typer(
        help="Video super-resolution: degrade, restore, score, and reproduce the comparison of params.yaml.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    listed = (
        repro,
        report,
        submit,
        jobs,
        diagnose,
        pick,
        degrade,
        restore,
        score,
        compare,
        card,
        export,
        export_network,
        ui,
        doctor,
        clean,
        sources,
    )
    for command in listed:  # as the help shows them
        app.command()(command)
    app(prog_name="vsr")

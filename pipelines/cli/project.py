"""Commands for the project that params.yaml describes, and for the machine it runs on: repro, report, ui, doctor, clean, sources."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.errors import VSRError

if TYPE_CHECKING:
    from pipelines.params import Params
    from pipelines.results import Cell


def repro(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Methods, to train them, test them where suites show them and report on what there is, or stages; "
            "with all they depend on. The whole graph if none.",
        ),
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option(help="Test only where this suite shows it; may be repeated. Without a NAME, all methods of the suite."),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages that may run side by side.")] = 1,
    dry: Annotated[bool, typer.Option("--dry", help="Only say what is stale and how long it will take.")] = False,
    pull: Annotated[
        bool, typer.Option("--pull", help="Take from the DVC remote what was made before, here or elsewhere.")
    ] = False,
) -> None:
    """Run what is stale, like `dvc repro`, with ready stages side by side on one Ray cluster, and print what the report says."""
    from pipelines import params, results
    from pipelines.evaluation import protocols
    from pipelines.runtime.repro import REPORT
    from pipelines.runtime.repro import repro as reproduce

    root, loaded = params.find().parent, params.load()
    protocols.check(loaded)
    suites = [params.entry("suite", loaded.suites, name) for name in suite or loaded.suites]
    if suite:
        targets = _of_suites(loaded, suite, targets or [])
    if not reproduce(root, jobs, targets or (), suites, dry=dry, pull=pull):
        raise typer.Exit(1)
    if not dry and (not targets or {*targets} & {*loaded.tested, REPORT}):
        print()
        _show(loaded, results.load(root / "results"), root)


def _of_suites(loaded: Params, suites: list[str], targets: list[str]) -> list[str]:
    """What is asked for, by default all methods of the suites.

    Raises:
        VSRError: a method is in none of them.
    """
    methods = dict.fromkeys(method for name in suites for method in loaded.suites[name].methods)
    for target in targets:
        if target in loaded.tested and target not in methods:
            raise VSRError(f"{target} is not a method of {' or '.join(suites)}: name a suite that has it, by `--suite`.")
    return targets or list(methods)


def report() -> None:
    """Write the report from whatever results there are, and print the answer and its tables."""
    from pipelines import params
    from pipelines.report import page

    root, loaded = params.find().parent, params.load()
    _show(loaded, page.publish(loaded, root), root)


def _show(loaded: Params, cells: list[Cell], root: Path) -> None:
    """Print the answer and its tables, and where the report is."""
    from pipelines.report import formats

    formats.show(loaded, cells)
    print(f"\nReport:  {os.path.relpath(root / 'report' / 'index.html')} (open it in a browser)")


def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Where to listen on this machine.")] = 5000) -> None:
    """Open MLflow's pages on this machine."""
    from pipelines.runtime import tracking

    tracking.preflight()
    where = os.environ.get("MLFLOW_TRACKING_URI", "")
    if where.startswith("http"):
        raise VSRError("MLFLOW_TRACKING_URI names a server: open its address in a browser.")
    for suite, address in tracking.views().items():
        print(f"{suite}: http://127.0.0.1:{port}/{address}", flush=True)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        tracking.uri(),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    os.execv(sys.executable, command)


def doctor() -> None:
    """Check what the pipeline needs of this machine, and say how to mend what is missing, or what to do next."""
    from pipelines import params
    from pipelines.runtime.doctor import examine, following

    healthy = True
    for check in examine():
        mark = "ok" if check.ok else "NO" if check.needed else "--"
        print(f"{mark}  {check.name}: {check.found}", flush=True)
        healthy &= mark != "NO"
    if not healthy:
        raise VSRError("what is marked NO has to be mended before the pipeline can run.")
    print(f"\nNext: {following(params.find().parent)}")


def clean() -> None:
    """Remove the work folders of interrupted runs that nothing goes on with any more, because what they depend on was edited."""
    from pipelines import params
    from pipelines.runtime import cleaning, turns

    root = params.find().parent
    params.load()  # says better than DVC what is wrong in it
    with turns.alone(root, "vsr clean"):
        removed = cleaning.clean(root)
    for one in removed:
        print(f"removed .vsr/work/{one.key} of {one.stage} ({one.size / 2**20:.1f} MiB)")
    print(
        f"{len(removed)} work folders, {sum(one.size for one in removed) / 2**20:.1f} MiB."
        if removed
        else "There is nothing to remove."
    )


def sources() -> None:
    """Write anew which files stages and networks are made of (stages/sources, models/sources), after an import changed."""
    import models
    from pipelines import params
    from pipelines.runtime.sources import write

    changed = write(models.names(), params.find().parent)
    print(f"wrote {', '.join(map(str, changed))}." if changed else "All links are up to date.")

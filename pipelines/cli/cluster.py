"""Commands for work on a cluster elsewhere: submit, jobs."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer

from pipelines.errors import VSRError

Address = Annotated[
    str | None, typer.Option(help="The cluster's dashboard, e.g. http://127.0.0.1:8265; else RAY_API_SERVER_ADDRESS.")
]


def submit(
    targets: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="As of `vsr repro`.")] = None,
    address: Address = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Stages that may run side by side there.")] = 1,
) -> None:
    """Have a Ray cluster reproduce this commit with what was edited since, and bring dvc.lock home.

    The same again shows the job that there is. Results are in the DVC remote then: `vsr repro --pull` has them here.
    """
    from pipelines import params
    from pipelines.evaluation import protocols
    from pipelines.runtime import submit as submitting

    logging.disable(logging.INFO)  # Ray says what it uploads
    protocols.check(params.load())
    root = params.find().parent
    wanted = submitting.submission(root, targets or (), jobs)
    client = submitting.connect(address)
    lock = root / "dvc.lock"
    before = lock.read_bytes() if lock.is_file() else None
    name, new = submitting.attach_or_start(client, wanted)
    print(f"{name}: {wanted.described()}" + ("" if new else " (there already)"), flush=True)
    if new and (kept := submitting.not_carried()):
        print(f"not sent, the cluster has its own: {', '.join(kept)}", flush=True)
    try:
        state, made = submitting.follow(client, name, lambda line: print(line, flush=True))
    except KeyboardInterrupt:
        if sys.stdin.isatty() and not typer.confirm(f"\nLeave {name} running?", default=True):
            submitting.stop(client, name)
            print(f"{name} is stopped; what it has finished is kept.")
        else:
            print(f"{name} goes on: the same command shows it again, and `vsr jobs` its state.")
        raise
    if made is not None:
        place = submitting.bring_home(root, name, before, made)
        print(f"{name}: {place.relative_to(root)} is that of the job; `vsr repro --pull` brings what it made.")
    if state != "SUCCEEDED":
        raise VSRError(
            f"{name} has {'failed' if state == 'FAILED' else 'been stopped'}: mend what its log says; the same command goes on."
        )


def jobs(address: Address = None) -> None:
    """List the jobs that were submitted to a cluster, with their state."""
    from pipelines.runtime import submit as submitting

    logging.disable(logging.INFO)
    found = submitting.listed(submitting.connect(address))
    for one in found:
        print(f"{one.id}  {one.state:9}  {one.began}  {one.what}" + (f"  {one.message}" if one.state == "FAILED" else ""))
    if not found:
        print("There are no jobs.")

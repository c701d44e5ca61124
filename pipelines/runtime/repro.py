"""`dvc repro` with ready stages side by side, on one Ray cluster.

Each stale stage runs as `dvc repro --single-item`; a failed stage loses nothing but its dependents.
The result is the dvc.lock that `dvc repro` writes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager, nullcontext, suppress
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import unknown
from pipelines.params import Suite
from pipelines.runtime import sources, turns
from pipelines.runtime.display import Lines, display
from pipelines.runtime.plan import MEASURE, Graph, Times, announced
from pipelines.runtime.stage_graph import StageGraph

DVC = "pipelines.runtime.dvc_command"
"""The module that is DVC's command here."""

REPORT = "report"
"""The stage that shows what results there are."""

TIMES = Path(".vsr/times.json")
"""How long each stage took when it last ran here."""
TICK = 1.0
"""Seconds after which what is shown is brought up to date."""

_DVC_CHATTER = (
    "Running stage",
    "> python",
    "Generating lock",
    "Updating lock",
    "To track",
    "\tgit add",
    "To enable",
    "\tdvc",
    "Use `dvc",
)
_running: set[subprocess.Popen[str]] = set()
"""The commands of the stages that run."""


def repro(
    root: Path, jobs: int, targets: Iterable[str] = (), suites: Sequence[Suite] = (), *, dry: bool = False, pull: bool = False
) -> bool:
    """Reproduce what is stale, as soon as no other command does in this repository; see `_repro`."""
    with turns.alone(root, " ".join(["vsr repro", *targets])):
        return _repro(root, jobs, targets, suites, dry, pull)


def _repro(root: Path, jobs: int, targets: Iterable[str], suites: Sequence[Suite], dry: bool, pull: bool) -> bool:
    """Say what is stale and how long it takes to reproduce, and reproduce it.

    Args:
        root: the repository.
        jobs: how many stages may run at once.
        targets: what to reproduce with all it depends on, empty for the whole graph: stages, or methods by their name, which
            stand for the stages that make them and test them where `suites` show them, and last the report on what results
            there are then.
        suites: tables of the report. A method that is in none of them is tested on every pair.
        dry: only say it.
        pull: take from the DVC remote what was made before.

    Returns:
        Whether nothing failed; the failed and skipped stages are printed.

    Raises:
        VSRError: the graph cannot be read or has no such target, or the links of a network are not up to date.
    """
    sources.check(sources.linked(root), root)
    graph, todo, reported, has_remote = _asked(root, targets, suites)
    if not todo and not reported:
        print("Everything is up to date.")
        return True
    all_of_it, times = todo | ({REPORT} if reported else set()), Times(root / TIMES)
    print(*announced(graph, all_of_it, times, jobs), sep="\n", flush=True)
    if dry:
        return True
    from pipelines.runtime.cluster import connect, preflight

    preflight()
    if not pull and has_remote:
        print("There is a DVC remote: `vsr repro --pull` takes from it what was made before.")
    with nullcontext() if os.environ.get("RAY_ADDRESS") else connect():
        environment = _environment(jobs)
        with display(graph, all_of_it, times, jobs) as shown:
            failed, skipped = _run(root, graph, todo, jobs, environment, pull, shown)
            if reported:
                failed |= _run(root, graph, {REPORT}, 1, environment, pull, shown)[0]
    for stage in sorted(failed):
        print(f"failed: {stage}")
    for stage in sorted(skipped):
        print(f"not run, it depends on a failed stage: {stage}")
    return not failed


class _Asked(NamedTuple):
    """The graph, which of its stages are to run, whether the report follows, and whether there is a DVC remote."""

    graph: Graph
    todo: set[str]
    reported: bool
    has_remote: bool


def _asked(root: Path, targets: Iterable[str], suites: Sequence[Suite]) -> _Asked:
    """What has to run for the targets. DVC's stages, which take much memory, are let go of."""
    with closing(StageGraph(root)) as stages:
        graph = stages.needs
        methods = _methods(graph, suites)
        wanted = _upstream(graph, methods, targets) if targets else set(graph)
        changed = stages.changed(wanted | ({REPORT} & graph.keys()))
        todo = {stage for stage in _stale(graph, changed) if stage in wanted}
        # The report depends on all results, so it is not among what methods need.
        reported = bool(todo or REPORT in changed) and REPORT not in todo and any(target in methods for target in targets)
        return _Asked(graph, todo, reported, stages.has_remote)


def _stale(graph: Graph, changed: set[str]) -> set[str]:
    """The changed stages and all that depend on them."""
    stale = set(changed)
    while grown := {stage for stage, needs in graph.items() if needs & stale} - stale:
        stale |= grown
    return stale


def _methods(graph: Graph, suites: Sequence[Suite]) -> dict[str, list[str]]:
    """The stages that make, restore, score and measure by each method, by its name: `train…@NAME`, `adopt@NAME`, `restore…@NAME-…`."""
    listed = {method for suite in suites for method in suite.methods}
    cells = {cell for suite in suites for cell in product(suite.methods, suite.corpora, suite.degradations)}
    methods: dict[str, list[str]] = {}
    for stage in graph:
        group, _, key = stage.partition("@")
        method, *pair = key.split("-")
        tests = group.startswith(("restore", "score"))
        if group.startswith(("train", "adopt", "measure")) or (tests and (method not in listed or (method, *pair) in cells)):
            methods.setdefault(method, []).append(stage)
    return methods


def _upstream(graph: Graph, methods: Mapping[str, list[str]], targets: Iterable[str]) -> set[str]:
    found: set[str] = set()
    queue = [stage for target in targets for stage in _named(graph, methods, target)]
    while queue:
        stage = queue.pop()
        if stage not in found:
            found.add(stage)
            queue.extend(graph[stage])
    return found


def _named(graph: Graph, methods: Mapping[str, list[str]], target: str) -> list[str]:
    if target in methods:
        return methods[target]
    stages = [stage for stage in graph if stage == target or stage.startswith(target + "@")]
    if not stages:
        raise unknown("stage or method", target, [*graph, *methods])
    return stages


def _run(
    root: Path, graph: Graph, todo: set[str], jobs: int, environment: Mapping[str, str], pull: bool, shown: Lines
) -> tuple[set[str], set[str]]:
    waiting, unmade = set(todo), set(todo)
    running: dict[Future[int], str] = {}
    failed: set[str] = set()
    order = [stage for stage in _order(graph) if stage in todo]
    with ThreadPoolExecutor(jobs) as threads, _interrupted_with_us():
        while True:
            ready = [stage for stage in order if stage in waiting and not graph[stage] & unmade]
            for stage in _side_by_side(ready, list(running.values()), jobs):
                waiting.discard(stage)
                shown.start(stage)
                running[threads.submit(_reproduce, root, stage, environment, pull, shown)] = stage
            if not running:
                return failed, waiting
            for future in wait(running, timeout=TICK, return_when=FIRST_COMPLETED).done:
                stage = running.pop(future)
                if future.result():
                    failed.add(stage)
                else:
                    unmade.discard(stage)
                shown.end(stage, well=stage not in failed)
            shown.tick()


def _side_by_side(ready: Sequence[str], running: Sequence[str], jobs: int) -> list[str]:
    """Which of the stages that are ready can start beside those that run: what is measured has the machine to itself."""
    others = [stage for stage in ready if not stage.startswith(MEASURE)]
    if running and running[0].startswith(MEASURE):
        return []
    return others[: jobs - len(running)] if others or running else list(ready[:1])


def _order(graph: Graph) -> list[str]:
    """Stages by how much work waits for them: the longest chain of dependents first."""
    chain = dict.fromkeys(graph, 1)
    for stage in reversed([*TopologicalSorter(graph).static_order()]):
        for need in graph[stage]:
            chain[need] = max(chain[need], 1 + chain[stage])
    return sorted(graph, key=lambda stage: (-chain[stage], stage))


@contextmanager
def _interrupted_with_us() -> Iterator[None]:
    """Interrupt the commands that run when the block is, and wait for their end."""
    try:
        yield
    except BaseException:
        for process in list(_running):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        raise


def _reproduce(root: Path, stage: str, environment: Mapping[str, str], pull: bool, shown: Lines) -> int:
    # Side by side, DVC's commands wait for each other's lock on the repository instead of giving up.
    command = ["python", "-m", DVC, "--wait-for-lock", "repro", "--single-item", *(["--pull"] if pull else []), stage]
    process = subprocess.Popen(
        command,
        cwd=root,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # interrupted by us alone, and with all that it started
    )
    _running.add(process)
    assert process.stdout
    for line in process.stdout:
        if _worth_saying(line):
            shown.say(stage, line.rstrip())
    _running.discard(process)
    return process.wait()


def _worth_saying(line: str) -> bool:
    return bool(line.strip()) and not line.startswith(_DVC_CHATTER)


def _environment(jobs: int) -> dict[str, str]:
    """The stages' environment: this interpreter, forked where it can be, first on PATH, the cluster that is up, and a share of the
    cores for each training, so that as many as there are jobs fit side by side."""
    import ray

    from pipelines.runtime.cluster import cores
    from pipelines.runtime.fork_server import forked_python

    environment = dict(os.environ)
    environment.setdefault("VSR_TRAIN_CPUS", str(max(1, cores() // jobs)))
    pythons = [python.parent for python in (forked_python(), Path(sys.executable)) if python]
    environment["PATH"] = os.pathsep.join([*map(str, pythons), environment.get("PATH", "")])
    if ray.is_initialized():
        environment["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    return environment

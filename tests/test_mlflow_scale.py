"""With hundreds of runs, the project's queries stay as few and as indexed as with twenty, and MLflow's pages open."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

import fabricated
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import sync_playwright
from sqlalchemy import event
from sqlalchemy.engine import Engine
from test_tracked import stage

from pipelines.params import ROOT, Params
from pipelines.results import load, read
from pipelines.runtime import tracking
from stages import tracked

PAIRS = 4
SIZES = [20, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(600)])]


@pytest.fixture(scope="module")
def screenshots() -> ModuleType:
    """The script that takes the pictures of docs/mlflow.md, which opens the same pages."""
    path = ROOT / "docs" / "mlflow" / "screenshots.py"
    spec = importlib.util.spec_from_file_location("screenshots", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["screenshots"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=SIZES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A store with that many evaluations of one suite, and its report; gives how many."""
    count: int = request.param
    folder = tmp_path_factory.mktemp(f"runs{count}")
    degradations = [f"crf{index}_x4" for index in range(PAIRS)]
    names = {f"method_{index:03}": "basicvsr" for index in range(count // PAIRS)}
    cells = load(fabricated.results(folder / "results", names, degradations))
    tree = fabricated.params().model_dump()
    tree["recipes"] |= {name: [{"op": "bicubic", "scale": 4}] for name in degradations}
    tree["degradations"] = tree["tests"]["degradations"] = degradations
    tree["suites"]["first_look"] |= {"methods": list(names), "degradations": degradations}
    params = Params.model_validate(tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        tracking.preflight()
        for cell in cells:
            done = stage(f"score@{cell.method}-{cell.degradation}", folder / "work")
            tracked.scores(done, read(cell.folder), cell.folder, params)
        (folder / "report").mkdir()
        tracked.report(folder / "report", cells, params)
        yield count


@contextmanager
def statements() -> Iterator[list[tuple[str, tuple[object, ...]]]]:
    """The SQL that is run meanwhile."""
    seen: list[tuple[str, tuple[object, ...]]] = []

    def note(_connection: object, _cursor: object, sql: str, values: tuple[object, ...], *_: object) -> None:
        if not sql.startswith("PRAGMA"):
            seen.append((sql, values))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def query(name: str, count: int, ask: Callable[[], int]) -> list[tuple[str, tuple[object, ...]]]:
    ask()  # whatever is done once per process
    with statements() as seen:
        start = time.perf_counter()
        found = ask()
    print(f"{name}: {time.perf_counter() - start:.3f} s, {len(seen)} statements, {found} of {count} runs")
    return seen


def test_queries_are_few_and_use_indices(filled: int) -> None:
    where = tracking.uri()

    def by_key() -> int:
        key = "key of score@method_001-crf2_x4"
        tracking.Run.find_or_create(
            name="method_001 on parallax/crf2_x4", run_key=key, params={}, tags={}, inputs=[], experiment=tracked.EVALUATIONS
        )
        return 1

    def of_suite() -> int:
        return len(tracking.runs(tracked.EVALUATIONS, tracked.of_suite("first_look")))

    def once_more() -> int:
        (run, *_) = tracking.runs(tracked.EVALUATIONS, "tags.`vsr.name` = 'method_001'")
        run.metrics(0, {"y/psnr": 1.0})
        return 1

    assert of_suite() == filled
    seen = {
        "find by run key": query("find by run key", filled, by_key),
        "runs of a suite": query("runs of a suite", filled, of_suite),
        "log again": query("log again", filled, once_more),
    }
    # The same bounds at 20 and at 200 runs: what is asked does not grow with what there is.
    assert len(seen["find by run key"]) <= 30 and len(seen["runs of a suite"]) <= 15 and len(seen["log again"]) <= 30, {
        name: len(asked) for name, asked in seen.items()
    }
    with sqlite3.connect(where.removeprefix("sqlite:///")) as database:
        for name, asked in seen.items():
            for sql, values in asked:
                if not sql.startswith("SELECT") or not re.search(r"\b(tags|metrics|latest_metrics|params)\b", sql):
                    continue
                plan = [str(step[-1]) for step in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
                scans = [step for step in plan if re.match(r"SCAN (tags|metrics|latest_metrics|params)\b", step)]
                assert not scans, f"{name}: {sql}: {plan}"


def test_the_pages_of_the_documentation_open(filled: int, screenshots: ModuleType) -> None:
    try:
        with sync_playwright() as playwright:
            playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]).close()
    except PlaywrightError:
        pytest.skip("needs Chromium: apt-get install chromium, or playwright install chromium")
    client = MlflowClient(tracking.uri())
    experiment = client.get_experiment_by_name(tracked.EVALUATIONS).experiment_id
    runs = [run.id for run in tracking.runs(tracked.EVALUATIONS)]
    broken: list[str] = []
    with screenshots.server(tracking.uri()) as address, screenshots.browser() as page:
        page.on("pageerror", lambda error: broken.append(str(error)))
        page.on("response", lambda response: broken.append(response.url) if response.status >= 500 else None)
        table = screenshots.view(experiment, len(runs[:100]), "first_look")
        for name, place in {
            "table": table,
            "charts": screenshots.view(experiment, len(runs), "first_look", charts=True),
            "compare": screenshots.compare(experiment, runs),
        }.items():
            start = time.perf_counter()
            screenshots.visit(page, address, place)
            print(f"{name} of {filled} runs: {time.perf_counter() - start:.1f} s")
        page.locator(".js-plotly-plot").first.wait_for()
    assert not broken

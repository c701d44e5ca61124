"""Takes the pictures of docs/mlflow.md: MLflow's own pages, opened by a headless Chromium.

Run by hand after `make demo-all`, whose runs they show: `.venv/bin/python docs/mlflow/screenshots.py`. The browser is
the `chromium` of this machine, else Playwright's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Page, Route, sync_playwright

from pipelines.errors import VSRError
from pipelines.runtime import tracking
from stages.tracked import EVALUATIONS, METHODS, MODEL, of_suite

OUT = Path(__file__).parent
SUITE = "robustness"
TRAINED = "basicvsr_bi"
SIZE = {"width": 1280, "height": 800}
PATIENCE = 120_000
"""Milliseconds: MLflow's pages load much, and the machine may be busy."""

# As a person leaves it after choosing "Model training" above the menu and closing MLflow's assistant.
_SETTLED = """
if (location.protocol === 'http:') {
  localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
  localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
  localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
}
"""


@dataclass(frozen=True)
class Place:
    """A page of MLflow: its address after `#/`, and a text that is there once it is loaded."""

    address: str
    shows: str | re.Pattern[str]


def view(experiment: str, runs: int, suite: str = SUITE, *, charts: bool = False) -> Place:
    """The saved view of a suite, as a table or as charts."""
    mode = "&compareRunsMode=CHART" if charts else ""
    address = f"experiments/{experiment}/runs?viewStateShareKey={suite}{mode}"
    # The number of runs stands below the table, in an element of its own.
    return Place(address, "cost/parameters vs." if charts else re.compile(rf"^{runs} matching runs?$"))


def compare(experiment: str, runs: Sequence[str]) -> Place:
    """The comparison of runs, as the button `Compare` opens it."""
    ids = json.dumps(list(runs), separators=(",", ":"))
    return Place(f'compare-runs?runs={ids}&experiments=["{experiment}"]', re.compile(rf"^Comparing {len(runs)} Runs"))


@contextmanager
def server(store: str) -> Iterator[str]:
    """MLflow on the runs of a store for a while; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 180
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise VSRError(f"the MLflow server does not start: {log.read().decode(errors='replace')[-500:]}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def browser() -> Iterator[Page]:
    """A page of a headless Chromium that opens addresses of this machine only."""

    def here(route: Route) -> None:
        if route.request.url.startswith(("http://127.0.0.1", "data:", "blob:")):
            route.continue_()
        else:
            route.abort()

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        context = chromium.new_context(viewport=SIZE, locale="en-GB")
        context.set_default_timeout(PATIENCE)
        context.add_init_script(_SETTLED)
        context.route("**/*", here)
        try:
            yield context.new_page()
        finally:
            chromium.close()


def visit(page: Page, address: str, place: Place) -> None:
    """Open a page and wait until it shows what it should."""
    page.goto("about:blank")  # or else a change after `#` would keep what the page before it had loaded
    page.goto(f"{address}/#/{place.address}")
    page.get_by_text(place.shows).first.wait_for()


def picture(page: Page, name: str) -> None:
    """Take the page as it is now, in few colours, which makes the file small."""
    page.wait_for_timeout(4000)  # charts are drawn, and move into place
    path = OUT / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as taken:
        taken.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path} ({path.stat().st_size // 1000} kB)")


def enlarge(page: Page, search: str, chart: int) -> None:
    """Show one of the charts that a search finds as large as the page."""
    page.get_by_placeholder("Search metric charts").fill(search)
    page.wait_for_timeout(2000)
    page.locator("[data-component-id=fullscreen_button_chartcard]").nth(chart).click()


def main() -> None:
    """Take every picture."""
    store = tracking.uri()
    runs = tracking.runs(EVALUATIONS, of_suite(SUITE))
    training = [run.id for run in tracking.runs(METHODS, f"tags.`vsr.name` = '{TRAINED}'")]
    if not runs or not training:
        raise VSRError(f"MLflow has no runs of the suite {SUITE}: run `make demo-all` first.")
    client = MlflowClient(store)
    evaluations, methods = (client.get_experiment_by_name(name).experiment_id for name in (EVALUATIONS, METHODS))
    with server(store) as address, browser() as page:
        visit(page, address, view(evaluations, len(runs)))
        picture(page, "table")
        visit(page, address, view(evaluations, len(runs), charts=True))
        picture(page, "charts")
        enlarge(page, "restored", 0)
        picture(page, "methods")
        visit(page, address, compare(evaluations, [run.id for run in runs]))
        picture(page, "compare")
        curves = Place(f"experiments/{methods}/runs/{training[0]}/model-metrics", "psnr")
        visit(page, address, curves)
        picture(page, "curves")
        page.set_viewport_size({"width": 900, "height": 900})  # the page puts pictures in the middle of a square
        enlarge(page, "restored", 2)  # after bicubic and LR
        last = max(point.step for point in client.get_metric_history(training[0], "validation/psnr"))
        step = page.get_by_role("dialog").locator("input")
        step.fill(str(last))
        step.press("Tab")
        picture(page, "images")
        page.set_viewport_size(SIZE)
        visit(page, address, Place(f"models/{MODEL}", f"best-{SUITE}"))
        picture(page, "model")


if __name__ == "__main__":
    try:
        main()
    except VSRError as error:
        sys.exit(f"error: {error}")

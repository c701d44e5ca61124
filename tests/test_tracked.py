"""What stages log is what was measured, tagged to be found, few names, and nothing twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fabricated
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from pipelines import metrics
from pipelines import results as results_
from pipelines.clips.images import read_picture
from pipelines.params import Params
from pipelines.results import Cell, Cost, Result, Scores, Timing, load
from pipelines.runtime import tracking
from pipelines.runtime.lineage import Stage
from stages import tracked

DIGEST = "d41d8cd98f00b204e9800998ecf8427e.dir"


@pytest.fixture
def client(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")


def record(name: str) -> dict[str, Any]:
    trained = {} if name == "bicubic" else {"corpus": "parallax", "degradation": "bi_x4", "trained_on": "parallax/bi_x4"}
    return {
        "name": name,
        "method": fabricated.METHODS[name],
        "run_key": f"key of {name}",
        "notes": [fabricated.NOTE, "a second note"],
        "params": {"profile": "small"} | ({"training.seed": 3, "training.rate": 2e-4} if trained else {}),
        **trained,
    }


def stage(name: str, work: Path) -> Stage:
    work.mkdir(parents=True, exist_ok=True)
    return Stage(name, work, f"key of {name}", {}, {"data/lr/parallax/bi_x4": DIGEST}, (), work, 0)


def runs(client: MlflowClient, experiment: str) -> dict[str, Run]:
    found = client.get_experiment_by_name(experiment)
    listed = client.search_runs([found.experiment_id]) if found else []
    assert len({run.info.run_name for run in listed}) == len(listed)
    return {run.info.run_name: run for run in listed}


def log(results: Path, params: Params, work: Path) -> list[Cell]:
    cells = load(results)
    for cell in cells:
        done = stage(f"score@{cell.method}-{cell.corpus}-{cell.degradation}", work)
        tracked.scores(done, results_.read(cell.folder), cell.folder, params)
    return cells


def state(client: MlflowClient, experiment: str) -> dict[str, Any]:
    """Everything that a second logging could double."""
    return {
        name: (
            run.data.tags,
            run.data.params,
            {
                key: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, key)]
                for key in run.data.metrics
            },
            sorted(file.path.split("+timestamp")[0].split("+")[0] for file in client.list_artifacts(run.info.run_id, "images")),
            sorted(file.path for file in client.list_artifacts(run.info.run_id)),
        )
        for name, run in runs(client, experiment).items()
    }


def test_an_evaluation_is_one_run_however_often_it_is_repeated(client: MlflowClient, tmp_path: Path) -> None:
    params = fabricated.params()
    results = fabricated.results(tmp_path / "results", extra=("lpips_alex",))
    cells = log(results, params, tmp_path / "work")
    before = state(client, tracked.EVALUATIONS)
    assert len(before) == len(cells) == 6
    log(results, params, tmp_path / "work")
    assert state(client, tracked.EVALUATIONS) == before

    (cell,) = (cell for cell in cells if (cell.method, cell.degradation) == ("basicvsr_bi", "crf25_x4"))
    run = runs(client, tracked.EVALUATIONS)["basicvsr_bi on parallax/crf25_x4"]
    assert run.info.status == "FINISHED"
    y, rgb = cell.protocols["y"].metrics, cell.protocols["rgb"].metrics
    assert run.data.metrics == {
        "y/psnr": y["psnr"],
        "y/ssim": y["ssim"],
        "y/lossless_frames": 0.0,
        "lpips_alex": y["lpips_alex"],
        "rgb/psnr": rgb["psnr"],
        "rgb/ssim": rgb["ssim"],
        "rgb/lossless_frames": 0.0,
    }
    tags = {key.removeprefix("vsr."): value for key, value in run.data.tags.items() if key.startswith("vsr.")}
    assert tags == {
        "name": "basicvsr_bi",
        "method": "basicvsr",
        "profile": "small",
        "corpus": "parallax",
        "degradation": "crf25_x4",
        "trained_on": "parallax/bi_x4",
        "seed": "3",
        "suite": "|first_look|",
        "skipped": "vmaf: ffmpeg has no libvmaf: install one that has, & say so",
        "network": "key of basicvsr_bi",
        "run_key": "key of score@basicvsr_bi-parallax-crf25_x4",
    }
    assert run.data.params["degradation"] == "crf25_x4"
    assert run.data.tags["mlflow.note.content"] == f"- {fabricated.NOTE}"

    table = pd.read_csv(client.download_artifacts(run.info.run_id, "clips.csv", str(tmp_path)))
    assert list(table["clip"]) == [*fabricated.CLIPS, *fabricated.CLIPS] and list(table.protocol) == ["y"] * 3 + ["rgb"] * 3
    assert table.psnr.tolist() == [clip.metrics["psnr"] for scores in cell.protocols.values() for clip in scores.clips.values()]
    (restored,) = (
        file.path
        for file in client.list_artifacts(run.info.run_id, "images")
        if file.path.startswith("images/parallax~city~restored+step+0+") and file.path.endswith(".png")
    )
    logged = read_picture(Path(client.download_artifacts(run.info.run_id, restored, str(tmp_path))))
    assert np.array_equal(logged, read_picture(cell.folder / "samples" / "city" / "restored.png"))


def test_a_run_has_few_metrics_whatever_is_measured() -> None:
    scores = Scores(metrics=dict.fromkeys(metrics.METRICS, 1.0), frames=1, clips={})
    about = {"method": "m", "network": "n", "corpus": "c", "degradation": "d", "split": "test", "applicable": True}
    values = tracked._values(Result(**about, lead_protocol="a", protocols=dict.fromkeys("abcdefghij", scores)))
    costs = tracked._costs(Cost(parameters=1, gmacs=2, gmacs_without_deform=2, lr=(9, 9)), Timing(**fabricated.TIMING, lr=(9, 9)))
    assert len(values) + len(costs) < tracked.NAMES == 40 and len(costs) == tracked._COSTS
    assert {name if metric.channel != "protocol" else f"a/{name}" for name, metric in metrics.METRICS.items()} <= set(values)
    of_b = {f"b/{name}" for name, metric in metrics.METRICS.items() if metric.channel == "protocol"}
    assert of_b <= set(values) or not of_b & set(values)


def test_a_measurement_is_one_run(client: MlflowClient, tmp_path: Path) -> None:
    cost = Cost(parameters=1, gmacs=2.5, gmacs_without_deform=2, lr=(18, 24))
    timing = Timing(**{**fabricated.TIMING, "peak_memory": None}, lr=(18, 24))
    for _ in range(2):
        done = stage("measure@basicvsr_bi-parallax", tmp_path / "work")
        tracked.measurement(done, record("basicvsr_bi"), "parallax", cost, timing)
    (run,) = runs(client, tracked.MEASUREMENTS).values()
    assert run.data.metrics == {
        "cost/parameters": 1.0,
        "cost/gmacs": 2.5,
        "cost/cpu_seconds_per_frame": 0.0123,
        "cost/cpu_seconds_p95": 1.5,
        "cost/cpu_seconds_p99": 1.75,
        "cost/cpu_throughput": 12.5,
        "cost/cpu_delay": 2.25,
    }
    assert (run.data.params["lr"], run.data.params["threads"], run.data.params["window"]) == ("24x18", "2", "30")
    assert run.data.tags["vsr.corpus"] == "parallax" and run.info.run_name == "basicvsr_bi on parallax"


def test_a_training_is_tagged_and_its_model_registered_once(client: MlflowClient) -> None:
    params = fabricated.params()
    for _ in range(2):
        run = tracked.training(record("basicvsr_bi"), {"data/hr/parallax": DIGEST}, params)
        run.model("basicvsr_bi", "data/trained/basicvsr_bi/model.safetensors", "0" * 64, registered=tracked.MODEL)
    made = runs(client, tracked.METHODS)["basicvsr_bi"]
    wanted = {"name": "basicvsr_bi", "method": "basicvsr", "profile": "small", "seed": "3", "suite": "|first_look|"}
    assert {key: made.data.tags[f"vsr.{key}"] for key in wanted} == wanted
    assert made.data.params["training.rate"] == "0.0002"
    assert len(client.search_model_versions(f"name = '{tracked.MODEL}'")) == 1


def test_the_report_brings_suites_and_their_best_up_to_date(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = fabricated.params()
    cells = log(fabricated.results(tmp_path / "results"), params, tmp_path / "work")
    for name in ("basicvsr_bi", "basicvsr_crf25"):
        run = tracked.training(record(name), {}, params)
        run.model(name, f"data/trained/{name}/model.safetensors", f"{name:0<64}", registered=tracked.MODEL)
    folder = tmp_path / "report"
    (folder / "dvc").mkdir(parents=True)
    (folder / "index.html").write_text("<p>the report</p>")
    (folder / "dvc" / "scores.json").write_text("[]")

    slower = [
        cell.model_copy(update={"timing": cell.timing.model_copy(update={"seconds_per_frame": 9.0})})
        for cell in cells
        if cell.timing
    ]
    assert len(slower) == len(cells)
    for measured in (cells, cells, slower):
        tracked.report(folder, measured, params)
    (kept,) = runs(client, tracked.REPORTS).values()
    drawn = runs(client, tracked.EVALUATIONS)["basicvsr_bi on parallax/bi_x4"].data.metrics  # quality and cost in one run
    (cell,) = (one for one in cells if (one.method, one.degradation) == ("basicvsr_bi", "bi_x4"))
    assert cell.cost and cell.timing and drawn["y/psnr"] == cell.protocols["y"].metrics["psnr"]
    assert drawn["cost/gmacs"] == cell.cost.gmacs
    assert drawn["cost/cpu_seconds_per_frame"] == cell.timing.seconds_per_frame
    assert {file.path for file in client.list_artifacts(kept.info.run_id)} == {"index.html", "dvc"}

    means = {
        name: np.mean([cell.protocols["y"].metrics["psnr"] for cell in cells if cell.method == name])
        for name in ("basicvsr_bi", "basicvsr_crf25")
    }
    best = max(means, key=lambda name: means[name])
    assert client.get_model_version_by_alias(tracked.MODEL, "best-first_look").tags["vsr.model.name"] == best

    suites = params.suites
    suites["half"] = suites["first_look"].model_copy(update={"degradations": ["bi_x4"], "methods": ["bicubic", "basicvsr_bi"]})
    suites["first"] = suites["first_look"].model_copy(update={"methods": []})
    of_others = tracking.Run.find_or_create(
        name="theirs", run_key="theirs", params={}, tags={"vsr.suite": "|theirs|"}, inputs=[], experiment=tracked.EVALUATIONS
    )
    tracked.report(folder, cells, params)
    assert list(tracking.runs(tracked.EVALUATIONS, tracked.of_suite("theirs"))) == [of_others]
    in_half = tracking.runs(tracked.EVALUATIONS, tracked.of_suite("half"))
    assert {(tags["vsr.name"], tags["vsr.degradation"]) for tags in in_half.values()} == {
        ("bicubic", "bi_x4"),
        ("basicvsr_bi", "bi_x4"),
    }
    assert len(tracking.runs(tracked.EVALUATIONS, tracked.of_suite("first_look"))) == 6
    assert not tracking.runs(tracked.EVALUATIONS, tracked.of_suite("first"))  # not a part of a name
    assert client.get_model_version_by_alias(tracked.MODEL, "best-half").tags["vsr.model.name"] == "basicvsr_bi"
    assert "MLflow has no model" not in capsys.readouterr().out


def test_the_best_is_an_experiment_measured_on_every_pair(tmp_path: Path, client: MlflowClient) -> None:
    params = fabricated.params()
    cells = load(fabricated.results(tmp_path / "results"))
    suite = params.suites["first_look"]

    def scored(values: dict[tuple[str, str], float], metric: str = "psnr") -> list[Cell]:
        changed = []
        for cell in cells:
            scores = cell.protocols["y"].model_copy(update={"metrics": {metric: values[cell.method, cell.degradation]}})
            changed.append(cell.model_copy(update={"protocols": {"y": scores}}))
        return changed

    pairs = [(method, degradation) for method in fabricated.METHODS for degradation in fabricated.DEGRADATIONS]
    values = dict(zip(pairs, [40.0, 40.0, 30.0, 20.0, 24.0, 25.0], strict=True))
    assert tracked.best(suite, scored(values), params) == "basicvsr_bi"  # 25 against 24.5; bicubic is no experiment
    assert tracked.best(suite, scored({**values, ("basicvsr_bi", "bi_x4"): 28.0}), params) == "basicvsr_crf25"
    assert tracked.best(suite, scored({**values, ("basicvsr_bi", "bi_x4"): 29.0}), params) == "basicvsr_bi"  # a tie
    lower = suite.model_copy(update={"metrics": ["lpips_alex"]})
    assert tracked.best(lower, scored(values, "lpips_alex"), params) == "basicvsr_crf25"
    missing = [cell for cell in scored(values) if (cell.method, cell.degradation) != ("basicvsr_bi", "crf25_x4")]
    assert tracked.best(suite, missing, params) == "basicvsr_crf25"
    assert tracked.best(suite, [], params) is None
    # One that takes over the network of another is no network of its own.
    other = params.experiments["basicvsr_crf25"].model_copy(update={"method": "cascade", "profile": "small_basicvsr"})
    taken = params.model_copy(update={"experiments": {**params.experiments, "basicvsr_crf25": other}})
    values["basicvsr_bi", "bi_x4"] = 28.0
    assert tracked.best(suite, scored(values), params) == "basicvsr_crf25"
    assert tracked.best(suite, scored(values), taken) == "basicvsr_bi"


def test_a_best_that_was_trained_elsewhere_is_said(
    client: MlflowClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report").mkdir()
    cells = load(fabricated.results(tmp_path / "results"))
    tracked.report(tmp_path / "report", cells, fabricated.params())
    assert "MLflow has no model of basicvsr_" in capsys.readouterr().out

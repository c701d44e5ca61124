"""The front door: the real `dvc repro` on a tiny corpus in a clone of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import choices
import pytest
from project import Project, clone, one_cluster, stage_process, wait_for

from pipelines import results
from pipelines.clips.store import Store

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.timeout(1200)  # the first test waits for the whole graph


def stages_run(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def tiny(params: dict[str, Any]) -> None:
    """Seconds instead of minutes, a network of each kind: sizes and steps that prove nothing but that it works."""
    params["corpora"] = {"parallax": params["corpora"]["parallax"]}
    params["corpora"]["parallax"] |= {"height": 64, "width": 96, "frames": 6, "clips": {"train": 2, "validation": 1, "test": 1}}
    training = {"initial": "near_base", "groups": [{"prefix": "spynet.", "rate": 0.125, "frozen": 2}]}
    training |= {"losses": [{"kind": "charbonnier", "weight": 1, "reduction": "mean"}], "precision": "float32"}
    training |= {"optimiser": {"kind": "adam", "betas": [0.9, 0.99], "decay": 0}, "mirror": False, "recompute": False}
    training |= {"iterations": 6, "batch": 2, "crop": 8, "clip_length": 3, "rate": 1e-3, "final_rate": 1e-6, "ema": 0.9}
    training |= {"clip_gradients": 1.0, "validate_every": 3, "seed": 0}
    any_scale = [{"op": "bicubic", "scale": {"low": 1, "high": 4}}]
    options = {"channels": 4, "blocks": 1, "base": "bicubic"}
    params["methods"] = {
        "bicubic": params["methods"]["bicubic"],
        "seem_basicvsr": {"small": {"options": {**options, "upsample_channels": 4}, "training": training}},
        "basicvsr_dcgu": {"small": {"options": {**options, "hidden": 16}, "training": {**training, "degradation": any_scale}}},
    }
    start = {**params["starts"]["spynet_parallax"], "corpus": "parallax"}
    params["starts"] = {"spynet_parallax": start}
    start["training"] |= {"iterations": 2, "batch": 2, "crop": 32, "validate_every": 2}
    made = {"profile": "small", "corpus": "parallax", "degradation": "bi_x4", "prior": "none", "start": "spynet_parallax"}
    params["experiments"] = {
        "seem": {**made, "method": "seem_basicvsr", "prior": "segments", "start": "both"},
        "dcgu": {**made, "method": "basicvsr_dcgu", "degradation": "in_step", "start": "scratch"},
    }
    params["flows"] = {"motion_parallax_bi_x4": {"prior": "motion", "frames": "lr/parallax/bi_x4"}}
    params["joins"] = {"both": {"first": "spynet_parallax", "second": "dcgu"}}
    params["baselines"] = {"bicubic": {"method": "bicubic", "profile": "published", "prior": "none"}}
    params["degradations"] = ["bi_x4", "bi_x2_5"]
    test = {"split": "test", "protocols": ["y", "rgb"], "metrics": ["psnr", "ssim"], "passes": {"window": 100, "overlap": 10}}
    params["tests"] = {"corpora": {"parallax": test}, "degradations": ["bi_x4", "bi_x2_5"]}
    methods = ["bicubic", "seem", "dcgu"]
    shown = {
        "title": "All",
        "methods": methods,
        "corpora": ["parallax"],
        "degradations": ["bi_x4", "bi_x2_5"],
        "metrics": ["psnr", "ssim"],
    }
    params["suites"] = {"all": shown}


ALONE = {"RAY_ADDRESS": "", "VSR_WORKERS": "1"}
"""A cluster of its own, of one worker."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = clone(tmp_path_factory.mktemp("clone"), tiny)
    project.run("vsr", "repro", "--jobs", "2")
    with one_cluster(project):
        yield project


EVALUATED = {
    "seem": ["bi_x4"],
    "dcgu": ["bi_x4", "bi_x2_5"],
    "bicubic": ["bi_x4", "bi_x2_5"],
}


def test_every_layer_has_left_its_mark(project: Project) -> None:
    page = (project.root / "report/index.html").read_text()
    for method, degradations in EVALUATED.items():
        for degradation in degradations:
            metrics = json.loads((project.root / "results" / method / "parallax" / degradation / "metrics.json").read_text())
            assert metrics["applicable"] and metrics["protocols"]["y"]["frames"] == 6, (method, degradation)
        assert f'<tr data-method="{method}">' in page
    evaluated = [f"{method} on parallax/{each}" for method, degradations in EVALUATED.items() for each in degradations]
    networks, priors = (
        ["spynet_parallax", "seem", "dcgu"],
        ["flows@motion_parallax_bi_x4", "masks@segments_parallax_bi_x4"],
    )
    measured = [f"{method} on parallax" for method in EVALUATED]
    assert {name for name, _ in project.runs()} == {*networks, *evaluated, *measured, *priors, "report"}
    for method in EVALUATED:
        cost, timing = results.read_measured(project.root / "results" / method / "parallax" / "_measured")
        assert cost and timing and cost.lr == timing.lr == (16, 24)
    assert not list((project.root / ".vsr" / "work").iterdir())


def test_networks_say_what_they_began_with_and_what_guided_them(project: Project) -> None:
    joined, guided, free = (
        json.loads((project.root / "data/trained" / name / "model.json").read_text()) for name in ("both", "seem", "dcgu")
    )
    assert [part["name"] for part in joined["parts"]] == ["spynet_parallax", "dcgu"]
    assert any("spynet_parallax" in note and "dcgu" in note for note in guided["notes"])
    assert guided["prior"]["model"]["backend"] == "felzenszwalb"
    assert free["trained_on"] == "parallax/any scale (1 to 4)" and "its spynet begins at random" in free["notes"]
    assert not any("begins with" in note for note in free["notes"])


def test_what_stages_side_by_side_left_is_up_to_date_for_dvc(project: Project) -> None:
    before = (project.root / "dvc.lock").read_bytes()
    assert "up to date" in project.run("dvc", "repro")
    assert "up to date" in project.run("vsr", "repro", "--jobs", "2")
    assert (project.root / "dvc.lock").read_bytes() == before


def test_a_metric_without_weights_is_skipped_and_a_clip_that_fails_is_named(project: Project, tmp_path: Path) -> None:
    stage, path = "score_baseline@bicubic-parallax-bi_x4", project.root / "results/bicubic/parallax/bi_x4/metrics.json"
    params, plain = (project.root / "params.yaml").read_bytes(), json.loads(path.read_text())

    def measure(*metrics: str) -> None:
        project.change(lambda params: params["tests"]["corpora"]["parallax"].update(metrics=list(metrics)))

    measure("psnr", "niqe", "tof_farneback")
    changed = json.loads(project.run("dvc", "status", "--json"))
    assert {name.partition("@")[0] for name in changed} == {"score", "score_baseline", "report"}
    shown = project.run("dvc", "repro", stage, XDG_CACHE_HOME=str(tmp_path))
    assert stages_run(shown) == {stage}  # nothing is restored
    found = json.loads(path.read_text())["protocols"]
    (clip,) = found["y"]["clips"]
    assert found["y"]["metrics"]["psnr"] == plain["protocols"]["y"]["metrics"]["psnr"]
    assert set(found["y"]["metrics"]) == set(found["y"]["clips"][clip]["metrics"]) == {"psnr", "tof_farneback"}
    assert set(found["rgb"]["metrics"]) == {"psnr"} and found["rgb"]["skipped"] == {}  # the others do not depend on the protocol
    assert list(found["y"]["skipped"]) == ["niqe"] and "niqe_pris_params.npz" in found["y"]["skipped"]["niqe"]
    assert f"skipped niqe, {found['y']['skipped']['niqe']}" in shown
    measure("psnr", "ms_ssim")
    shown = project.run("dvc", "repro", "--single-item", stage, status=255)
    assert f"clip '{clip}' frame 0 is 96x64, too small for protocol 'y' with psnr and ms_ssim" in shown
    assert "Traceback" not in shown and not path.exists()
    (project.root / "params.yaml").write_bytes(params)
    project.run("dvc", "repro", "--single-item", stage)
    assert json.loads(path.read_text()) == plain and "up to date" in project.run("dvc", "repro")


def test_outputs_name_no_machine(project: Project) -> None:
    for folder in ("data", "results", "report"):
        for path in (project.root / folder).rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert str(project.root).encode() not in content, path
                assert os.uname().nodename.encode() not in content or len(os.uname().nodename) < 6, path


def test_data_bytes_do_not_depend_on_the_workers(project: Project) -> None:
    data = ["ingest@parallax", "masks@segments_parallax_bi_x4", "flows@motion_parallax_bi_x4"]  # degrade is below
    before = {name: project.locked()[name] for name in data}
    project.run("dvc", "repro", "--force", "--single-item", "--no-run-cache", *data, **ALONE)
    assert {name: project.locked()[name] for name in data} == before


def test_a_new_degradation_line_runs_only_its_stages(project: Project) -> None:
    project.change(lambda params: params["degradations"].append("realworld_x4"))  # everything is random in it
    assert stages_run(project.run("dvc", "repro")) == {"degrade@parallax-realworld_x4"}
    assert Store(project.root / "data/lr/parallax/realworld_x4").split("test")[0].attributes.width == 24


MANY = 12


def _killed_and_resumed(project: Project, name: str, finished: str, out: str) -> None:
    """A stage over `MANY` clips is killed, goes on without those that are `finished` in its work folder, and leaves the bytes
    that it leaves undisturbed."""

    def done() -> int:
        return len(list((project.root / ".vsr" / "work").glob(finished)))

    process = project.start("dvc", "repro", "--single-item", name, **ALONE)
    stage = stage_process(process, f"stages.{name.partition('@')[0].partition('_')[0]}")
    wait_for(lambda: done() >= 1, process)
    stage.send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    kept = done()
    assert process.returncode != 0 and 1 <= kept < MANY
    assert not (project.root / out).exists()
    output = project.run("dvc", "repro", "--single-item", name)
    assert f"/{MANY - kept} clips" in output
    resumed = project.locked()[name]
    project.run("dvc", "repro", "--force", "--single-item", "--no-run-cache", name, **ALONE)
    assert project.locked()[name] == resumed


def test_a_killed_degrade_stage_goes_on_and_ends_with_the_same_bytes(project: Project) -> None:
    def add(params: dict[str, Any]) -> None:
        params["corpora"]["many"] = {**params["corpora"]["parallax"], "clips": {"test": MANY}, "height": 128, "width": 192}

    project.change(add)
    project.run("dvc", "repro", "ingest@many")
    _killed_and_resumed(project, "degrade@many-realworld_x4", "*/lr/*.json", "data/lr/many/realworld_x4")


@pytest.mark.parametrize("stage", [pytest.param("restore", marks=pytest.mark.long), "score"])
def test_a_killed_test_of_a_pair_goes_on_and_ends_with_the_same_bytes(project: Project, stage: str) -> None:
    """In the short form clips are restored undisturbed: what they are stored by is that of the degraded ones above."""
    before = (project.root / "params.yaml").read_bytes()

    def add(params: dict[str, Any]) -> None:
        params["tests"]["corpora"]["many"] = params["tests"]["corpora"]["parallax"]

    project.change(add)
    pair, finished, out = "bicubic-many-bi_x4", "*/restored/*.json", "data/restored/bicubic/many/bi_x4"
    try:
        project.run("dvc", "repro", "--single-item", "degrade@many-bi_x4", "guide_baseline@bicubic")
        if stage == "score":
            project.run("dvc", "repro", "--single-item", f"restore_baseline@{pair}")
            finished, out = "*/scored-*/*.pickle", "results/bicubic/many/bi_x4"
        _killed_and_resumed(project, f"{stage}_baseline@{pair}", finished, out)
    finally:
        (project.root / "params.yaml").write_bytes(before)


def test_a_killed_training_goes_on_in_the_same_mlflow_run(project: Project) -> None:
    name = "train@longer"

    def add(params: dict[str, Any]) -> None:
        longer = {**params["methods"]["seem_basicvsr"]["small"]}
        longer["training"] = {**longer["training"], "iterations": 200, "validate_every": 20}
        params["methods"]["seem_basicvsr"]["longer"] = longer
        params["experiments"]["longer"] = {**params["experiments"]["seem"], "profile": "longer"}

    project.change(add)
    project.run("dvc", "repro", "--single-item", "guide@longer")
    process = project.start("dvc", "repro", "--single-item", name, RAY_ADDRESS="")  # a cluster that ends with it
    wait_for(lambda: bool(list((project.root / ".vsr/work").glob("*/last.pt"))), process)
    stage_process(process, "stages.train").send_signal(signal.SIGKILL)
    process.communicate(timeout=120)
    assert process.returncode != 0
    output = project.run("dvc", "repro", "--single-item", name)
    resumed = re.search(r"going on from step (\d+)/200", output)
    assert resumed and int(resumed[1]) >= 20, output
    assert [run for run, _ in project.runs()].count("longer") == 1
    record = json.loads((project.root / "data/trained/longer/model.json").read_text())
    assert ("longer", record["run_key"]) in project.runs()


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (
            lambda params: params["recipes"].update(bi_x4=[{"op": "bicubic", "scale": 0}]),
            "recipes/degradations.yaml: 'bi_x4.0.scale' is 0",
        ),
        (lambda params: params["corpora"]["parallax"].update(widht=96), "did you mean 'width'?"),
    ],
)
def test_bad_params_end_the_stage_with_one_sentence(
    project: Project, edit: Callable[[dict[str, Any]], None], sentence: str
) -> None:
    before = choices.shipped(project.root)
    project.change(edit)
    try:
        output = project.run(sys.executable, "-m", "stages.degrade", "--corpus", "parallax", "--degradation", "bi_x4", status=1)
        assert sentence in output and "Traceback" not in output and len(output.strip().splitlines()) == 1
    finally:
        choices.put(project.root, before)


def test_an_unreachable_mlflow_is_told_before_the_training(project: Project) -> None:
    name = "train@seem"
    command = ("dvc", "repro", "--force", "--single-item", name)
    output = project.run(*command, status=255, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "error: " in output and "127.0.0.1:9" in output and "Traceback" not in output
    project.run("dvc", "checkout", name)


def test_a_method_by_its_name_is_tested_and_reported(project: Project) -> None:
    output = project.run("vsr", "repro", "--jobs", "2", "longer")
    assert "[score@longer-parallax-bi_x4] done" in output and "[measure@longer-parallax] done" in output and "@many" not in output
    shown = (project.root / "report/results.csv").read_text()
    assert "longer" in shown and "bicubic,parallax,bi_x4" in shown

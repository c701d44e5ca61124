"""`dvc metrics` and `dvc plots` show the results: the real commands in a repository with this one's sections of dvc.yaml."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import fabricated
import pytest
import yaml

from pipelines.params import ROOT
from pipelines.report import dvc_metrics
from pipelines.results import Cell, load


def dvc(root: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[Cell]:
    return load(fabricated.results(tmp_path_factory.mktemp("results"), extra=("lpips_alex",)))


def test_the_metrics_shown_are_those_of_the_suites_under_the_lead_protocol(cells: list[Cell], tmp_path: Path) -> None:
    dvc_metrics.write(cells, fabricated.params(metrics=["psnr", "lpips_alex"]), tmp_path / "dvc")
    for cell in cells:
        found = json.loads((tmp_path / "dvc" / "metrics" / f"{cell.method}.json").read_text())
        means = json.loads((cell.folder / "metrics.json").read_text())["protocols"]["y"]["metrics"]
        assert found[cell.corpus][cell.degradation] == {name: means[name] for name in ("psnr", "lpips_alex")}
    rows = json.loads((tmp_path / "dvc" / "scores.json").read_text())
    assert [(row["method"], row["pair"]) for row in rows] == [
        (cell.method, f"{cell.corpus}/{cell.degradation}") for cell in cells
    ]
    assert {"psnr", "ssim", "lpips_alex", "parameters", "gmacs", "seconds_per_frame"} <= set(rows[0])


def test_what_does_not_apply_is_left_out(cells: list[Cell], tmp_path: Path) -> None:
    changes = {"applicable": False, "reason": "the scale differs", "lead_protocol": None, "protocols": {}, "cost": None}
    inapplicable = cells[0].model_copy(update={**changes, "method": "other"})
    dvc_metrics.write([inapplicable], fabricated.params(), tmp_path / "dvc")
    assert json.loads((tmp_path / "dvc" / "scores.json").read_text()) == []
    assert not list((tmp_path / "dvc" / "metrics").iterdir())


def test_the_commands_show_what_the_report_has(cells: list[Cell], tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "-q")
    shutil.copytree(ROOT / ".dvc" / "plots", tmp_path / ".dvc" / "plots")
    sections = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    # The report is a cached output here as there: what is shown lies inside it.
    report = {"cmd": "mv made report", "outs": ["report"]}
    kept = {"metrics": sections["metrics"], "plots": sections["plots"], "stages": {"report": report}}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump(kept, sort_keys=False))
    dvc_metrics.write(cells, fabricated.params(), tmp_path / "made" / "dvc")
    dvc(tmp_path, "repro", "-q")
    shown = json.loads(dvc(tmp_path, "metrics", "show", "--json"))[""]["data"]
    assert {Path(path).stem for path in shown} == set(fabricated.METHODS)
    for cell in cells:
        (found,) = (value["data"] for path, value in shown.items() if Path(path).stem == cell.method)
        means = cell.protocols["y"].metrics
        assert found[cell.corpus][cell.degradation] == {"psnr": means["psnr"], "ssim": means["ssim"]}
    plots = json.loads(dvc(tmp_path, "plots", "show", "--json"))
    assert not plots.get("errors"), plots["errors"]
    assert set(plots["data"]) == {name for plot in sections["plots"] for name in plot}
    for name, (plot,) in plots["data"].items():
        drawn = plot["content"]["data"]["values"]
        y = plot["content"]["encoding"]["y"]["field"]
        assert {(row["method"], row["pair"], row[y]) for row in drawn} == {
            (cell.method, f"{cell.corpus}/{cell.degradation}", cell.protocols["y"].metrics[y]) for cell in cells
        }, name
        assert "<DVC" not in json.dumps(plot["content"]), name
    dvc(tmp_path, "plots", "show", "--out", "page")
    assert "PSNR against cost" in (tmp_path / "page" / "index.html").read_text()


def test_the_sections_name_what_the_report_stage_makes() -> None:
    loaded = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    named = [*loaded["metrics"], *(path for plot in loaded["plots"] for shown in plot.values() for path in shown["y"])]
    assert {Path(path).parts[0] for path in named} == set(loaded["stages"]["report"]["outs"])
    assert "cache: false" not in (ROOT / "dvc.yaml").read_text()

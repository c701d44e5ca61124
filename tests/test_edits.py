"""What is edited while a stage runs: nothing is recorded for inputs that the stage did not have."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from project import IDENTITY, Project, clone, one_cluster, stage_process, wait_for

from pipelines.params import FILES

pytestmark = pytest.mark.timeout(1200)

DEGRADE, TRAIN = "degrade@parallax-bi_x4", "train@basicvsr_bi"
SCORE = "score_baseline@bicubic-parallax-bi_x4"
DEGRADATIONS, METHODS = (str(FILES[name]) for name in ("recipes", "methods"))


def smallest(params: dict[str, Any]) -> None:
    """A recurrent network and none, on one pair."""
    params["corpora"] = {"parallax": params["corpora"]["parallax"]}
    params["corpora"]["parallax"] |= {"height": 64, "width": 96, "frames": 4, "clips": {"train": 2, "validation": 1, "test": 1}}
    training = {
        "iterations": 4,
        "batch": 2,
        "crop": 8,
        "clip_length": 3,
        "rate": 1e-3,
        "final_rate": 1e-6,
        "precision": "float32",
    }
    training |= {"initial": "near_base", "ema": 0.9, "clip_gradients": 1.0, "validate_every": 2, "seed": 0}
    training |= {"losses": [{"kind": "charbonnier", "weight": 1, "reduction": "mean"}], "mirror": False, "recompute": False}
    training |= {"optimiser": {"kind": "adam", "betas": [0.9, 0.99], "decay": 0}}
    options = {"channels": 4, "blocks": 1, "upsample_channels": 4}
    params["methods"] = {
        "bicubic": params["methods"]["bicubic"],
        "basicvsr": {"small": {"options": options, "training": training}},
    }
    made = {"profile": "small", "corpus": "parallax", "degradation": "bi_x4", "prior": "none", "start": "scratch"}
    params["experiments"] = {"basicvsr_bi": {**made, "method": "basicvsr"}}
    params["baselines"] = {"bicubic": {"method": "bicubic", "profile": "published", "prior": "none"}}
    for empty in ("masks", "flows", "starts", "joins", "suites"):
        params[empty] = {}
    params["degradations"] = ["bi_x4"]
    test = {"split": "test", "passes": {"window": 100, "overlap": 10}, "protocols": ["y"], "metrics": ["psnr"]}
    params["tests"] = {"corpora": {"parallax": test}, "degradations": ["bi_x4"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = clone(tmp_path_factory.mktemp("clone"), smallest)
    project.environment["VSR_TRAIN_CPUS"] = "1"  # the cores that a training has beside another stage
    with one_cluster(project):
        project.run("vsr", "repro", "--jobs", "2", TRAIN, SCORE)
        yield project


def edit(path: Path, old: str, new: str) -> Callable[[], None]:
    """Replaces text in a file; gives what undoes it."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    return lambda: None if path.write_text(before) else None


def comment(path: Path) -> Callable[[], None]:
    """Adds a comment to a file of code."""
    before = path.read_text()
    path.write_text(before + "# edited\n")
    return lambda: None if path.write_text(before) else None


def stray(folder: Path) -> Callable[[], None]:
    """Puts another file into a store."""
    (folder / "stray").write_text("not there before")
    return (folder / "stray").unlink


def during(project: Project, stage: str, work: Callable[[], None], *command: str) -> str:
    """Run a stage and do something as soon as it has its run key; it is refused. What it said."""
    before = (project.root / "dvc.lock").read_bytes()
    held = {path.name for path in (project.root / ".vsr/work").iterdir()}
    process = project.start(*(command or ("dvc", "repro", "--force", "--no-run-cache", "--single-item", stage)))
    wait_for(lambda: {path.name for path in (project.root / ".vsr/work").iterdir()} != held, process)
    running = stage_process(process, f"stages.{re.split('[@_]', stage)[0]}")
    running.send_signal(signal.SIGSTOP)
    work()
    running.send_signal(signal.SIGCONT)
    said, _ = process.communicate(timeout=240)
    assert process.returncode, said
    assert "Traceback" not in said and said.count("error: ") == 1
    assert (project.root / "dvc.lock").read_bytes() == before
    return said


def again(project: Project, stage: str) -> str:
    """Run the stage once more, without what DVC remembers of earlier runs; it leaves the bytes of the first run."""
    before = project.locked()[stage]
    said = project.run("dvc", "repro", "--force", "--no-run-cache", "--single-item", stage)
    assert project.locked()[stage] == before
    assert not list((project.root / ".vsr/work").iterdir())
    return said


def test_edits_during_a_degradation_are_refused(project: Project) -> None:
    undo: list[Callable[[], None]] = []
    root, out = project.root, project.root / "data/lr/parallax/bi_x4"

    def edits() -> None:
        undo.append(edit(root / DEGRADATIONS, "scale: 4", "scale: 3"))
        undo.append(comment(root / "models/parts/resize.py"))
        undo.append(stray(root / "data/hr/parallax"))

    said = during(project, DEGRADE, edits)
    assert f"{DEGRADE} was edited while it ran" in said and f"undo the edit and `dvc repro {DEGRADE}` goes on" in said
    for edited in (
        f"{DEGRADATIONS}: bi_x4 was [{{'op': 'bicubic', 'scale': 4}}] and now is [{{'op': 'bicubic', 'scale': 3}}]",
        "models/parts/resize.py changed",
        "data/hr/parallax changed",
    ):
        assert edited in said
    assert not out.exists()
    for each in undo:
        each()
    kept = list((root / ".vsr/work").glob("*/lr/*.json"))
    assert len(kept) == 4
    assert "clips" not in again(project, DEGRADE)  # all were done


def test_a_checkout_of_another_commit_is_refused(project: Project) -> None:
    root = project.root
    edit(root / DEGRADATIONS, "scale: 4", "scale: 2")
    comment(root / "models/parts/resize.py")
    project.run("git", "checkout", "--quiet", "-b", "other")
    project.run("git", *IDENTITY, "commit", "--quiet", "--all", "--message", "other")
    project.run("git", "checkout", "--quiet", "-")
    said = during(project, DEGRADE, lambda: None if project.run("git", "checkout", "--quiet", "other") else None)
    assert "bi_x4 was" in said and "models/parts/resize.py changed" in said
    assert not (root / "data/lr/parallax/bi_x4").exists()
    project.run("git", "checkout", "--quiet", "-")
    again(project, DEGRADE)


def test_edits_during_a_training_are_refused(project: Project) -> None:
    undo: list[Callable[[], None]] = []
    root, out = project.root, project.root / "data/trained/basicvsr_bi"

    def edits() -> None:
        undo.append(edit(root / METHODS, "rate: 0.001", "rate: 0.005"))
        undo.append(comment(root / "models/parts/recurrent.py"))
        undo.append(stray(root / "data/lr/parallax/bi_x4"))

    said = during(project, TRAIN, edits)
    for edited in (
        f"{METHODS}: basicvsr.small.training.rate was 0.001 and now is 0.005",
        "models/parts/recurrent.py changed",
        "data/lr/parallax/bi_x4 changed",
    ):
        assert edited in said
    assert f"`dvc repro {TRAIN}` goes on with what is done, kept in .vsr/work/" in said and not out.exists()
    runs = project.runs()
    for each in undo:
        each()
    again(project, TRAIN)
    assert project.runs() == runs  # the same run of MLflow went on


def test_edits_during_a_scoring_side_by_side_with_others_are_refused(project: Project) -> None:
    undo: list[Callable[[], None]] = []
    root, out = project.root, project.root / "results/bicubic/parallax/bi_x4"

    def psnr() -> float:
        return json.loads((out / "metrics.json").read_text())["protocols"]["y"]["metrics"]["psnr"]

    before = psnr()
    edit(root / "params.yaml", "- psnr\n", "- psnr\n      - ssim\n")  # stale

    def edits() -> None:
        undo.append(edit(root / "params.yaml", "window: 100", "window: 50"))
        undo.append(comment(root / "models/parts/resize.py"))
        undo.append(stray(root / "data/lr/parallax/bi_x4"))

    said = during(project, SCORE, edits, "vsr", "repro", "--jobs", "2", SCORE)
    for edited in (
        "params.yaml: tests.corpora.parallax.passes.window was 100 and now is 50",
        "models/parts/resize.py changed",
        "data/lr/parallax/bi_x4 changed",
    ):
        assert edited in said
    assert f"failed: {SCORE}" in said and not out.exists()
    for each in undo:
        each()
    project.run("dvc", "repro", "--single-item", SCORE)
    again(project, SCORE)
    assert psnr() == before


def test_stale_is_what_an_edit_can_change(project: Project) -> None:
    def stale() -> set[str]:
        return set(json.loads(project.run("dvc", "status", "--json")))

    project.run("vsr", "repro", "--jobs", "2", TRAIN, SCORE)
    before = stale()  # what was never run
    assert not before & {TRAIN, SCORE, DEGRADE}
    undo = edit(project.root / "models/parts/recurrent.py", '"""', '"""Edited: ')
    assert stale() - before == {TRAIN}
    undo()
    undo = edit(project.root / "pipelines/runtime/progress.py", '"""', '"""Edited: ')
    assert stale() == before
    undo()


def test_a_stage_whose_links_are_not_up_to_date_is_refused(project: Project) -> None:
    undo = edit(project.root / "models/bicubic.py", "import math\n", "import math\n\nimport models.parts.warp\n")
    said = project.run("dvc", "repro", "--single-item", "adopt@bicubic", status=255)
    assert "models/sources/bicubic does not list what is imported now: run `vsr sources`" in said
    assert "wrote models/sources/bicubic." in project.run("vsr", "sources")
    assert "parts.warp" in {path.name for path in (project.root / "models/sources/bicubic").iterdir()}
    project.run("dvc", "repro", "--single-item", "adopt@bicubic")
    undo()
    assert "wrote models/sources/bicubic." in project.run("vsr", "sources") and "up to date" in project.run("vsr", "sources")
    project.run("dvc", "repro", "--single-item", "adopt@bicubic")

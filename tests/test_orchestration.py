"""Run keys and stages side by side, in a small DVC project of stub commands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from pipelines.errors import VSRError
from pipelines.params import Suite
from pipelines.runtime import lineage, turns
from pipelines.runtime.cleaning import clean
from pipelines.runtime.repro import Graph, _methods, _side_by_side, repro

GRAPH = """
stages:
  make:
    foreach: ${corpora}
    do:
      cmd: python work.py ${key} ${item.value} > hr_${key}
      params: ["corpora.${key}"]
      deps: [work.py]
      outs: ["hr_${key}"]
  degrade:
    matrix:
      corpus: ${corpora}
      degradation: ${degradations}
    cmd: cat hr_${item.corpus} > lr_${item.corpus}_${item.degradation}
    params: ["degradations.${item.degradation}"]
    deps: ["hr_${item.corpus}"]
    outs: ["lr_${item.corpus}_${item.degradation}"]
  report:
    cmd: cat lr_one_x2 lr_two_x2 > report
    deps: [lr_one_x2, lr_two_x2]
    outs: [report]
"""
METHODS = """
stages:
  train:
    foreach: [first, second]
    do:
      cmd: echo ${item} > net_${item}
      deps: [work.py]
      outs: ["net_${item}"]
  restore:
    matrix:
      method: [first, second]
      degradation: [x2, x4]
    cmd: cp net_${item.method} restored_${item.method}_${item.degradation}
    deps: ["net_${item.method}"]
    outs: ["restored_${item.method}_${item.degradation}"]
  score:
    matrix:
      method: [first, second]
      degradation: [x2, x4]
    cmd: mkdir -p results && cp restored_${item.method}_${item.degradation} results/${item.method}_${item.degradation}
    deps: ["restored_${item.method}_${item.degradation}"]
    outs: ["results/${item.method}_${item.degradation}"]
  measure:
    foreach: [first, second]
    do:
      cmd: mkdir -p results && cp net_${item} results/${item}_measured
      deps: ["net_${item}"]
      outs: ["results/${item}_measured"]
  report:
    cmd: cat results/* > report
    deps: [results]
    outs: [report]
"""
WORK = """
import sys
if sys.argv[2] == "13":
    sys.exit("error: thirteen.")
print(*sys.argv[1:])
"""
SLOW = """
import pathlib, sys, time
from pipelines.faults import translate_errors
path = pathlib.Path(f"working-{sys.argv[1]}")
path.touch()
try:
    with translate_errors():
        time.sleep(300)
finally:
    path.unlink()
"""


def dvc(root: Path, *words: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # the stages say `python`
    subprocess.run(
        [sys.executable, "-m", "dvc", *words], cwd=root, check=True, capture_output=True, env={**os.environ, "PATH": path}
    )


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAY_ADDRESS", "no stage here needs a cluster")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    dvc(tmp_path, "init", "--quiet")
    (tmp_path / "dvc.yaml").write_text(GRAPH)
    (tmp_path / "work.py").write_text(WORK)
    set_params(tmp_path)
    return tmp_path


def set_params(root: Path, one: int = 1, two: int = 2, degradations: tuple[str, ...] = ("x2", "x4")) -> None:
    corpora = {"one": {"value": one}, "two": {"value": two}}
    params = {"corpora": corpora, "degradations": {name: {"scale": name} for name in degradations}}
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def locked(root: Path) -> dict[str, object]:
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


def test_the_run_key_is_of_all_that_the_result_depends_on(root: Path) -> None:
    (root / "hr_one").write_text("one")
    first = lineage.stage("degrade@one-x2", root)
    assert first.inputs.keys() == {"hr_one"} and first.params == {"params.yaml": {"degradations.x2": {"scale": "x2"}}}
    assert first.work.is_relative_to(root) and lineage.stage("degrade@one-x2", root) == first
    set_params(root, one=5, degradations=("x2", "x4", "x8"))  # nothing of this stage
    assert lineage.stage("degrade@one-x2", root).run_key == first.run_key
    assert lineage.stage("degrade@one-x4", root).run_key != first.run_key
    (root / "hr_one").write_text("two")
    changed = lineage.stage("degrade@one-x2", root)
    assert changed.run_key != first.run_key and changed.inputs != first.inputs
    before = lineage.stage("make@one", root).run_key
    (root / "work.py").write_text(WORK + "# changed\n")
    assert lineage.stage("make@one", root).run_key != before


def test_a_stage_that_dvc_cannot_identify(root: Path) -> None:
    with pytest.raises(VSRError, match="has no such stage"):
        lineage.stage("degrade@three-x2", root)
    with pytest.raises(VSRError, match="hr_one is not there"):
        lineage.stage("degrade@one-x2", root)


def test_what_was_edited_since_a_stage_began_is_told(root: Path) -> None:
    (root / "hr_one").write_text("one")
    begun = lineage.stage("degrade@one-x2", root)
    lineage.verify(begun)
    (root / "hr_one").touch()  # the same content
    set_params(root, one=5)  # nothing of this stage
    lineage.verify(begun)
    set_params(root, one=5, degradations=("x4",))
    with pytest.raises(VSRError, match="degrade@one-x2: dvc.yaml has no such stage"):
        lineage.verify(begun)
    (root / "params.yaml").write_text("corpora: {one: {value: 1}}\ndegradations: {x2: {scale: {by: 3, of: x2}}}\n")
    (root / "hr_one").write_text("two")
    with pytest.raises(
        VSRError, match="params.yaml: degradations.x2.scale was 'x2' and now is nothing, .*x2.scale.by was nothing and now is 3"
    ):
        lineage.verify(begun)
    with pytest.raises(VSRError, match="and 1 more.* `dvc repro degrade@one-x2` runs with the old inputs"):
        lineage.verify(begun)
    set_params(root)
    begun.work.mkdir(parents=True)
    (begun.work / "last.pt").touch()
    with pytest.raises(VSRError, match=f"hr_one changed.* goes on with what is done, kept in .vsr/work/{begun.run_key}"):
        lineage.verify(begun)
    (root / "hr_one").unlink()
    with pytest.raises(VSRError, match="hr_one is not there"):
        lineage.verify(begun)
    (root / "hr_one").write_text("one")
    lineage.verify(begun)


def test_outputs_of_a_stage_that_was_edited_are_taken_away(root: Path) -> None:
    (root / "hr_one").write_text("one")
    begun, out = lineage.stage("degrade@one-x2", root), root / "lr_one_x2"
    out.write_text("made")
    lineage.verify_outputs(begun)
    assert out.exists()
    (root / "hr_one").write_text("two")
    with pytest.raises(VSRError, match="hr_one changed"):
        lineage.verify_outputs(begun)
    assert not out.exists()
    out.mkdir()  # a store
    with pytest.raises(VSRError, match="hr_one changed"):
        lineage.verify_outputs(begun)
    assert not out.exists()


def test_code_that_is_edited_while_a_stage_imports_it_is_told(root: Path) -> None:
    (root / "pipelines").mkdir()
    (root / "pipelines/work.py").write_text("one = 1\n")
    (root / "dvc.yaml").write_text("stages: {make: {cmd: 'true', deps: [pipelines, work.py]}}\n")
    begun = lineage.stage("make", root)
    changed = (root / "pipelines/work.py").stat().st_ctime
    assert lineage.edited_since(begun, changed) == []
    assert lineage.edited_since(begun, changed - 1) == ["pipelines/work.py"]
    (root / "pipelines/work.py").write_text("one = 2\n")
    with pytest.raises(VSRError, match="pipelines/work.py changed"):
        lineage.verify(begun)


def test_work_that_no_run_needs_is_removed(root: Path) -> None:
    assert clean(root) == []
    (root / "hr_one").write_text("one")
    begun = [lineage.stage(name, root) for name in ("make@one", "make@two", "degrade@one-x2")]
    lost = lineage.stage("degrade@one-x4", root)
    for stage in (*begun, lost):
        lineage.start_work(stage)
        (stage.work / "last.pt").write_bytes(bytes(1000))
    old = root / ".vsr/work/0123456789abcdef"
    old.mkdir()  # does not say whose it is
    assert clean(root) == []  # degrade@two-x2 has no run key until hr_two is there
    set_params(root, two=5)
    (removed,) = clean(root)
    assert (removed.key, removed.stage) == (begun[1].run_key, "make@two") and removed.size >= 1000
    (root / "hr_one").unlink()  # made again, it would be the same
    assert clean(root) == [] and lost.work.is_dir()
    (root / "hr_one").write_text("one")
    (root / "hr_two").write_text("two")
    for name in ("lr_one_x2", "lr_two_x2"):
        (root / name).write_text("x")
    assert [one.key for one in clean(root)] == [old.name]
    assert {path.name for path in (root / ".vsr/work").iterdir()} == {begun[0].run_key, begun[2].run_key, lost.run_key}


def test_a_second_command_waits_and_says_for_whom(root: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from pathlib import Path; from pipelines.runtime.repro import repro\nprint(repro(Path.cwd(), 1))",
    ]
    with turns.alone(root, "vsr repro first"):
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr
        assert process.stderr.readline() == f"waiting for `vsr repro first` (process {os.getpid()}) in this workspace to end\n"
        assert process.poll() is None and not (root / "dvc.lock").exists()
    said, _ = process.communicate(timeout=200)
    assert said.splitlines()[-1] == "True" and len(locked(root)) == 7


def test_what_a_remote_has_is_taken_from_it(
    root: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc(root, "remote", "add", "--default", "store", str(tmp_path_factory.mktemp("remote")))
    assert repro(root, jobs=2)
    assert "There is a DVC remote: `vsr repro --pull` takes from it" in capsys.readouterr().out
    dvc(root, "push", "--run-cache")
    made = locked(root)
    for path in root.iterdir():
        if path.name in ("dvc.lock", "report") or path.name.startswith(("hr_", "lr_")):
            path.unlink()
    shutil.rmtree(root / ".dvc" / "cache")
    (root / "work.py").write_text(WORK)
    assert repro(root, jobs=2, pull=True)
    said = capsys.readouterr().out
    assert "There is a DVC remote" not in said and "Running stage" not in said
    assert locked(root) == made and (root / "report").read_text() == "one 1\ntwo 2\n"


def test_side_by_side_gives_the_lock_of_dvc_repro(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    serial = tmp_path_factory.mktemp("serial") / "clone"
    shutil.copytree(root, serial)
    dvc(serial, "repro")
    assert repro(root, jobs=3)
    assert locked(root) == locked(serial)
    assert (root / "report").read_text() == "one 1\ntwo 2\n"


def test_a_failed_stage_loses_only_its_dependents(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_params(root, two=13)
    assert not repro(root, jobs=2)
    said = capsys.readouterr().out
    assert "failed: make@two" in said and "error: thirteen." in said
    assert set(locked(root)) == {"make@one", "degrade@one-x2", "degrade@one-x4"}
    for lost in ("degrade@two-x2", "degrade@two-x4", "report"):
        assert f"not run, it depends on a failed stage: {lost}" in said
    set_params(root, two=3)
    assert repro(root, jobs=2)
    assert "make@one" not in capsys.readouterr().out and len(locked(root)) == 7


def test_only_what_is_stale_and_asked_for_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert repro(root, jobs=2, targets=["degrade@one-x2"])
    assert set(locked(root)) == {"make@one", "degrade@one-x2"}
    assert repro(root, jobs=2)
    capsys.readouterr()
    assert repro(root, jobs=2)
    assert capsys.readouterr().out == "Everything is up to date.\n"
    with pytest.raises(VSRError, match="did you mean 'make@one'"):
        repro(root, jobs=1, targets=["make@onne"])


def test_a_method_is_made_tested_and_shown_with_what_there_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "dvc.yaml").write_text(METHODS)
    assert repro(root, jobs=2, targets=["first"])
    assert set(locked(root)) == {
        *("train@first", "measure@first", "report"),
        *(f"{group}@first-{degradation}" for group in ("restore", "score") for degradation in ("x2", "x4")),
    }
    assert (root / "report").read_text() == "first\n" * 3
    capsys.readouterr()
    assert repro(root, jobs=2, targets=["first"])
    assert capsys.readouterr().out == "Everything is up to date.\n"
    (root / "report").unlink()
    assert repro(root, jobs=2, targets=["first", "train@second"])
    assert (root / "report").read_text() == "first\n" * 3 and set(locked(root)) >= {"report", "train@second"}
    assert not any(stage.startswith(("restore@second", "score@second")) for stage in locked(root))
    with pytest.raises(VSRError, match="unknown stage or method 'fist': did you mean 'first'"):
        repro(root, jobs=1, targets=["fist"])


def test_a_method_by_its_name_is_tested_where_a_suite_shows_it() -> None:
    def suite(method: str, *degradations: str) -> Suite:
        return Suite(title="", methods=[method], corpora=["clips"], degradations=[*degradations], metrics=["psnr"])

    made, tests = ["train@first", "measure@first-clips"], [f"restore@first-clips-x{scale}" for scale in (2, 3, 4)]
    graph: Graph = {stage: set() for stage in (*made, *tests, "degrade@clips-x2", "report")}
    for suites, tested in (
        ([], tests),
        ([suite("second", "x2")], tests),
        ([suite("first", "x2"), suite("first", "x2", "x4"), suite("second", "x3")], [tests[0], tests[2]]),
    ):
        assert _methods(graph, suites) == {"first": [*made, *tested]}


def test_nothing_runs_beside_a_measurement() -> None:
    both = ["measure@first", "train@second", "measure@second", "score@first-x2"]
    assert _side_by_side(both, [], 3) == ["train@second", "score@first-x2"]  # the others first
    assert _side_by_side(both, ["train@third"], 2) == ["train@second"]
    assert _side_by_side(["measure@first"], ["train@third"], 2) == []
    assert _side_by_side(["measure@first", "measure@second"], [], 2) == ["measure@first"]
    assert _side_by_side(both, ["measure@third"], 4) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "kill"])
def test_an_interruption_ends_the_stages_that_run(root: Path, stop: signal.Signals) -> None:
    """The command alone gets the signal; its stages end by theirs, and clean up."""
    (root / "work.py").write_text(SLOW)
    command = [
        sys.executable,
        "-c",
        "from pathlib import Path; from pipelines.faults import translate_errors; from pipelines.runtime.repro import repro\n"
        "with translate_errors(): repro(Path.cwd(), 2)",
    ]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while len(list(root.glob("working-*"))) < 2:
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.05)
        process.send_signal(stop)
        shown, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + stop
    assert "Traceback" not in shown and shown.splitlines()[-1].startswith("interrupted: ")
    assert not list(root.glob("working-*")) and not (root / "dvc.lock").exists()


def test_a_lock_that_is_being_written_is_waited_for(root: Path) -> None:
    """DVC writes dvc.lock in place when another stage ends."""
    (root / "hr_one").write_text("one")
    lock = root / "dvc.lock"
    whole = yaml.safe_dump({"schema": "2.0", "stages": {"old": {"cmd": "true", "outs": [{"path": "old", "md5": "0" * 32}]}}})
    key = lineage.stage("degrade@one-x2", root).run_key
    for part in (whole[: len(whole) // 2], "schema: '2.0'\nstages: ["):
        lineage._defined.cache_clear()
        lock.write_text(part)
        writer = threading.Timer(0.7, lock.write_text, [whole])
        writer.start()
        assert lineage.stage("degrade@one-x2", root).run_key == key
        writer.join()

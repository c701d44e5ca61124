"""dvc.lock as `vsr repro` writes it is dvc.lock as DVC does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.runtime.dvc_command import HEAD, with_entries

STAGES = """
stages:
  first:
    cmd: cp first.txt one.txt
    deps: [first.txt]
    outs: [one.txt]
  each:
    foreach: [a, b.c]
    do:
      cmd: cp one.txt ${item} && echo a command that is so long that it does not fit into one line of eighty characters
      deps: [one.txt]
      params: [values]
      outs: ["${item}"]
"""
PARAMS = "values: {list: &same [1, 2.5e-5, 'a: b', null, true], again: *same, empty: {}, text: \"# 'quoted'\"}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "first.txt").write_text("first")
    dvc(tmp_path, "dvc", "init", "--no-scm", "--quiet")
    return tmp_path


def dvc(folder: Path, module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], cwd=folder, check=True, capture_output=True)


def test_the_lock_is_the_one_that_dvc_writes(project: Path) -> None:
    """One stage after the other, in another order than that of the file, and one that is run again."""
    lock, written = project / "dvc.lock", {}
    for module in ("dvc", "pipelines.runtime.dvc_command"):
        lock.unlink(missing_ok=True)
        (project / "first.txt").write_text("first")
        for stage in ("first", "each@b.c", "each@a"):
            dvc(project, module, "repro", "--single-item", "--force", stage)
        (project / "first.txt").write_text("second")
        dvc(project, module, "repro", "--single-item", "first")
        written[module] = lock.read_text()
    theirs, ours = written.values()
    assert yaml.safe_load(ours) == yaml.safe_load(theirs) and "&id001" in theirs
    assert ours.partition("each@")[0] == theirs.partition("each@")[0]
    assert not list(project.glob(".dvc.lock*"))


def test_the_text_of_other_stages_stays() -> None:
    text = f"{HEAD}  a:\n    cmd: a   # by hand\n  'b: c':\n    cmd: b\n"
    assert with_entries(text, {"d": {"cmd": "d"}}) == f"{text}  d:\n    cmd: d\n"
    assert with_entries(text, {"b: c": {"cmd": "new"}}) == text.replace("cmd: b\n", "cmd: new\n")
    assert with_entries("", {"a": {"cmd": "a"}}) == f"{HEAD}  a:\n    cmd: a\n"


@pytest.mark.parametrize("text", ["stages: {}\n", f"{HEAD}  a:\n    cmd: a\ndatasets: []\n", "schema: '2.0'\nstages: {}\n"])
def test_what_dvc_has_not_written_so_is_left_to_it(text: str) -> None:
    assert with_entries(text, {"a": {"cmd": "new"}}) is None

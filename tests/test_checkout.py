"""One checkout's code works on that checkout's files, in an environment that was made there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from front_door import Vsr, error

from pipelines import checkout
from pipelines.params import ROOT


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is in another checkout."""
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "errors.py").touch()
    (tmp_path / "stages").mkdir()
    monkeypatch.chdir(tmp_path / "stages")
    return tmp_path


def test_another_checkout_is_told_at_once(vsr: Vsr, other: Path) -> None:
    told = error(vsr("report"))
    assert f"runs the code of {ROOT} and the working directory is in another checkout, {other}: run `make setup` there" in told
    assert f"NO  checkout: this `vsr` runs the code of {ROOT}" in vsr("doctor").out


def test_anywhere_else_is_no_other_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (tmp_path, ROOT, ROOT / "tests"):
        monkeypatch.chdir(folder)
        checkout.check()


@pytest.mark.parametrize("moved", [True, False])
def test_an_environment_that_was_moved_is_made_again(tmp_path: Path, moved: bool) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'VIRTUAL_ENV="{"/elsewhere" if moved else tmp_path}/.venv"\n')
    (tmp_path / ".venv" / ".ready").touch()
    shown = subprocess.run(["make", "--dry-run", "setup"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert ("rm -rf .venv" in shown and "-m venv .venv" in shown) == moved
    assert ("Nothing to be done" in shown) == (not moved)

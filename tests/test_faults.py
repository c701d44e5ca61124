"""What the machine refuses, and interruptions, told in one sentence, from a stage as from the command."""

from __future__ import annotations

import errno
import getpass
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_door import moving, put

from pipelines.errors import VSRError
from pipelines.faults import translate_errors

ROOT = Path(__file__).resolve().parent.parent
GRAPH = """
stages:
  ingest:
    foreach: [parallax]
    do:
      cmd: python -m stages.ingest --corpus ${item}
      params: ["corpora.${item}"]
      outs: ["data/hr/${item}", "data/truth/${item}"]
  scratch:
    cmd: python -m stages.scratch
    outs: [data/priors/none, data/trained/scratch]
"""
STAGE = (sys.executable, "-m", "stages.ingest", "--corpus", "parallax")
SCRATCH = (sys.executable, "-m", "stages.scratch")
REPRO = (sys.executable, "-m", "pipelines.cli", "repro")
REPORT = (sys.executable, "-m", "pipelines.cli", "report")


def file_error(number: int) -> OSError:
    return OSError(number, os.strerror(number), "/data/x")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (VSRError("the clip is damaged."), "error: the clip is damaged."),
        (file_error(errno.ENOSPC), "error: the disk is full (/data/x): free some space and run again"),
        (OSError(errno.ENOSPC, "Error writing bytes to file"), "error: the disk is full (while writing): free some space"),
        (file_error(errno.EROFS), "error: /data/x cannot be used (Read-only file system): check its path and permissions"),
        (PermissionError(errno.EACCES, "Permission denied", os.path.expanduser("~/.ray")), "set HOME, which is "),
        (PermissionError(errno.EACCES, "Permission denied", "/elsewhere/.ray"), "check its path and permissions"),
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.path.expanduser("~")), "set HOME, which is "),
        (
            OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
            "error: too many files are open (Too many open files): raise the limit",
        ),
        (KeyboardInterrupt(), 130),
        (SystemExit(3), 3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_user_can_mend_is_a_sentence(error: BaseException, told: str | int, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, translate_errors():
        raise error
    if isinstance(told, str):
        assert told in str(ended.value.code)
    else:
        assert ended.value.code == told
        assert capsys.readouterr().err.startswith("interrupted: ") == (told == 130)


@pytest.mark.parametrize("error", [ValueError("a bug"), FileNotFoundError(errno.ENOENT, "No such file", "x")])
def test_what_no_user_can_mend_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)), translate_errors():
        raise error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_the_block_and_are_given_back(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(number)
    signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended, translate_errors():
            os.kill(os.getpid(), number)
        assert ended.value.code == 128 + number and capsys.readouterr().err.startswith("interrupted: ")
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, before)


def test_a_home_that_is_the_root_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    for path, mend in (("/.ray", "set HOME, which is /, to a folder of yours"), ("/data/x", "check its path and permissions")):
        with pytest.raises(SystemExit, match=mend), translate_errors():
            raise PermissionError(errno.EACCES, "Permission denied", path)


def test_a_user_without_a_name_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is run under any number; getpass is how DVC asks."""
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 5)
    with pytest.raises(KeyError):
        getpass.getuser()
    with translate_errors():
        assert getpass.getuser() == f"user{2**31 - 5}"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code in a DVC repository of its own, with one stage."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("stages", "pipelines", "models", "recipes"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"), symlinks=True)
    shutil.copy(ROOT / "params.yaml", root)
    (root / "dvc.yaml").write_text(GRAPH)
    for command in (("git", "init", "--quiet"), (sys.executable, "-m", "dvc", "init", "--quiet")):
        subprocess.run(command, cwd=root, check=True)
    return root


def environment(clone: Path, **changed: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("VSR_", "RAY_", "MLFLOW_"))}
    return {**kept, "PYTHONPATH": str(clone), **changed}


def error(clone: Path, command: tuple[str, ...], **changed: str) -> str:
    """The one sentence that the command ends with, and its status 1."""
    done = subprocess.run(command, cwd=clone, env=environment(clone, **changed), capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return sentence


@pytest.mark.parametrize("command", [STAGE, REPRO], ids=["stage", "command"])
def test_folders_that_cannot_be_used(clone: Path, tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "file").touch()
    told = error(clone, command, HOME=str(tmp_path / "file"))
    assert (
        f"{tmp_path / 'file'}/." in told and "Not a directory" in told and f"set HOME, which is {tmp_path / 'file'}, to" in told
    )
    long = tmp_path / ("x" * 100)
    long.mkdir()
    told = error(clone, command, RAY_TMPDIR=str(long))
    assert f"the path of a socket is too long ({long}" in told and "set RAY_TMPDIR" in told


@pytest.mark.parametrize("command", [STAGE, REPRO], ids=["stage", "command"])
def test_a_cluster_that_does_not_answer(clone: Path, command: tuple[str, ...]) -> None:
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1" in error(clone, command, RAY_ADDRESS="127.0.0.1:1")


@pytest.fixture(params=["size=40k", "ro"], ids=["full", "read-only"])
def poor_disk(request: pytest.FixtureRequest, clone: Path) -> Iterator[tuple[Path, str]]:
    """The disk of what the commands make is full, or cannot be written; and what is to be said of it."""
    place = clone / "data" / "trained"
    place.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(place)]
    if os.geteuid() or not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        if request.param != "ro":
            (place / "fill").write_bytes(bytes(shutil.disk_usage(place).free))
        yield clone, "the disk is full" if request.param != "ro" else "cannot be used (Read-only file system)"
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_disk_that_takes_nothing(poor_disk: tuple[Path, str]) -> None:
    clone, told = poor_disk
    assert told in error(clone, SCRATCH)
    if not (clone / "frames").exists():
        put(clone / "frames", moving(1))
    degrade = (sys.executable, "-m", "pipelines.cli", "degrade", "frames", "data/trained/out", "--recipe", "bi_x4")
    assert re.search(r"cannot be (used|written) \((No space left on device|Read-only file system)\)", error(clone, degrade))


@pytest.mark.parametrize(
    ("command", "late"),
    [(STAGE, " numpy"), (STAGE, " ray._private"), (REPORT, " typer"), (REPORT, " pipelines.params")],
    ids=["stage-early", "stage", "command-early", "command"],
)
def test_an_interruption_while_modules_are_imported(clone: Path, command: tuple[str, ...], late: str) -> None:
    """`late` is part of a module's name after whose import the command gets Ctrl-C."""
    python, *words = command
    with subprocess.Popen(
        [python, "-X", "importtime", *words], cwd=clone, env=environment(clone), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if late in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    said = [line for line in rest.splitlines() if not line.startswith("import time:")]
    assert process.returncode == 130 and "Traceback" not in rest, said
    assert [line for line in said if line.startswith("interrupted: what is finished is kept")] == said[-1:]

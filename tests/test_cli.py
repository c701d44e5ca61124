"""The `vsr` command through its front door: its help, the params.yaml that counts, names of any kind, interruptions."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest
from front_door import VSR, Vsr, error, film, moving, pngs, put, resized, tree

from pipelines import params
from pipelines.clips import video
from pipelines.runtime.progress import Progress

CRUEL = ["-dash", "it's", 'a "b"', "semi;colon", "$(touch x)", "`touch x`", "two\nlines", "per%20cent", "%08d", "grün", "[red]"]


# ---------------------------------------------------------------- help


def test_help_is_quick_to_load() -> None:
    heavy = "torch", "ray", "mlflow", "cv2", "numpy", "pandas", "pyarrow", "pydantic", "ffmpeg"
    program = f"import sys, pipelines.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    shown = subprocess.run([VSR, "--help"], capture_output=True, text=True, check=True)
    assert shown.stderr == "" and "Traceback" not in shown.stdout
    for command in (
        "repro",
        "report",
        "degrade",
        "restore",
        "score",
        "card",
        "export",
        "ui",
        "doctor",
        "clean",
        "submit",
        "jobs",
        "sources",
    ):
        assert command in shown.stdout


def test_a_shell_completes_commands() -> None:
    asked = {"_VSR_COMPLETE": "complete_bash", "COMP_WORDS": "vsr re", "COMP_CWORD": "1"}
    shown = subprocess.run([VSR], capture_output=True, text=True, check=True, env={**os.environ, **asked})
    assert shown.stdout.split() == ["repro", "report", "restore"]


@pytest.mark.parametrize(
    "command",
    ["repro", "report", "degrade", "restore", "score", "card", "export", "ui", "doctor", "clean", "submit", "jobs", "sources"],
)
def test_every_command_has_help(vsr: Vsr, command: str) -> None:
    done = vsr(command, "--help")
    assert done.code == 0 and done.err == "" and f"vsr {command}" in done.out


@pytest.mark.parametrize(
    "words",
    [
        ["frobnicate"],
        ["degrade", "here"],
        ["degrade", "here", "out"],
        ["degrade", "here", "out", "--recipe", "bi_x4", "--sharpen"],
        ["restore", "here"],
        ["restore", "here", "out", "--method", "bicubic", "--window", "0"],
        ["restore", "here", "out", "--method", "bicubic", "--overlap", "-1"],
        ["restore", "here", "out", "--method", "bicubic", "--window", "many"],
        ["restore", "here", "out", "--method", "bicubic", "--scale", "0.5"],
        ["restore", "here", "out", "--method", "bicubic", "--scale", "nan"],
        ["restore", "here", "out", "--method", "bicubic", "--tile", "3"],
        ["restore", "here", "out", "--method", "bicubic", "--tile-overlap", "-1"],
        ["card", "bicubic", "--scale", "0"],
        ["score", "here", "there", "--crop", "-1"],
        ["score", "here", "there", "--skip", "half"],
        ["score", "here"],
        ["score"],
        ["card", "basicvsr", "--frames", "0"],
        ["repro", "-j", "0"],
        ["ui", "--port", "70000"],
    ],
)
def test_misuse_shows_the_usage(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    done = vsr(*words)
    assert done.code == 2 and "Usage: vsr" in done.err and "Traceback" not in done.err
    assert not tree(tmp_path)


# ---------------------------------------------------------------- params.yaml


def _project(folder: Path, old: str, new: str) -> None:
    """A folder with the shipped choices, but for an edit of the recipes."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(params.ROOT / name, folder)
    shutil.copytree(params.ROOT / "recipes", folder / "recipes")
    path = folder / params.FILES["recipes"]
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubic, scale: 0}]", "'bi_x4.0.scale' is 0"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubic, scale: -4}]", "'bi_x4.0.scale' is -4"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubik, scale: 4}]", "unknown op 'bicubik': did you mean 'bicubic'?"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [{op: bicubic, scal: 4}]", "did you mean 'scale'?"),
        ("bi_x4: [{op: bicubic, scale: 4}]", "bi_x4: [", "not valid YAML"),
    ],
)
def test_bad_params(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, told: str) -> None:
    """The params.yaml of the folder that the command is run in is the one that counts."""
    source = put(tmp_path / "hr", moving(2))
    _project(tmp_path, old, new)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert told in error(vsr("degrade", source, "lr", "--recipe", "bi_x4"))
    assert told in error(vsr("repro"))
    assert told in error(vsr("report"))
    assert tree(tmp_path) == before


def test_a_suite_is_asked_for_by_its_name_and_methods_are_of_it(vsr: Vsr) -> None:
    assert "unknown suite 'onlin': did you mean 'online'?" in error(vsr("repro", "--suite", "onlin"))
    said = error(vsr("repro", "--suite", "online", "--suite", "rendering", "dap_bi", "edvr_l_bi"))
    assert said == "error: edvr_l_bi is not a method of online or rendering: name a suite that has it, by `--suite`."


def test_own_params_are_used(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = put(tmp_path / "hr", moving(2))
    _project(tmp_path, "bi_x4: [", "half: [{op: bicubic, scale: 2}]\nbi_x4: [")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert vsr("degrade", source, "lr", "--recipe", "half").code == 0
    assert (pngs(Path("lr"))[1] == resized(pngs(source)[1], 1 / 2)).all()


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("name", CRUEL)
def test_names_are_only_names(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Nothing reaches a shell, and no pattern, option or markup is read into a name."""
    monkeypatch.chdir(tmp_path)
    film(Path(f"{name}.mp4"), 3)
    put(Path(f"{name} in"), moving(2))
    before = tree(tmp_path)
    assert vsr("restore", "--method", "bicubic", "--scale", 2, "--", f"{name}.mp4", f"{name} x.mp4").code == 0
    assert vsr("degrade", "--recipe", "bi_x4", "--", f"{name} in", f"{name} lr").code == 0
    done = vsr("score", "--json", "--", f"{name}.mp4", f"{name}.mp4")
    assert list(json.loads(done.out)["clips"]) == [name]
    made = {f"{name} x.mp4", f"{name} lr", f"{name} lr/000.png", f"{name} lr/001.png", f"{name} lr.json"}
    assert tree(tmp_path) - before == made
    assert video.probe(tmp_path / f"{name} x.mp4").frames == 3


def test_a_name_in_no_encoding(tmp_path: Path) -> None:
    """Names from old archives are bytes, and a pipe is strict where a terminal is not."""
    name = os.fsdecode(b"caf\xe9")
    source = put(tmp_path / name, moving(2))
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    shown = subprocess.run([VSR, "score", source, source], capture_output=True, text=True, env=environment)
    assert shown.returncode == 0 and r"caf\udce9: psnr 100.0000" in shown.stdout


def test_progress_takes_a_label_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress("[/b] [red]out[/red]", 1) as progress:
        progress.clip()
    assert "[/b] [red]out[/red]" in terminal.getvalue()


# ---------------------------------------------------------------- interruptions


@pytest.mark.parametrize(
    ("words", "stop", "code"),
    [
        (("restore", "film.mp4", "new/out.mp4", "--method", "bicubic"), signal.SIGINT, 130),
        (("degrade", "film.mp4", "new/out", "--recipe", "bi_x4"), signal.SIGTERM, 143),
    ],
    ids=["ctrl-c", "kill"],
)
def test_an_interrupted_run(tmp_path: Path, words: tuple[str, ...], stop: signal.Signals, code: int) -> None:
    film(tmp_path / "film.mp4", 1500, size="256x192", rate=Fraction(25))
    before = tree(tmp_path)
    process = subprocess.Popen([VSR, *words], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while not list(tmp_path.glob("new/.out*")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        os.killpg(process.pid, stop)  # as a terminal does: ffmpeg gets it too
        _, shown = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == code and "Traceback" not in shown
    assert shown.splitlines()[-1].startswith("interrupted: ") and shown.count("interrupted") == 1
    assert tree(tmp_path) - before <= {"new"}

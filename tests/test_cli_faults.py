"""What the `vsr` command says of bad footage and of a machine that lacks something, and that it leaves nothing behind."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import choices
import imageio_ffmpeg
import numpy as np
import pytest
from front_door import Vsr, cut, error, film, moving, nonsense, put, stored, tree
from PIL import Image

from pipelines import params
from pipelines.runtime.doctor import Check

# ---------------------------------------------------------------- bad footage


def _missing(tmp: Path) -> Path:
    return tmp / "nowhere"


def _empty(tmp: Path) -> Path:
    (tmp / "empty").mkdir()
    return tmp / "empty"


def _folder_of_empty(tmp: Path) -> Path:
    return _empty(tmp).parent


def _cut_png(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(3))
    cut(folder / "001.png", folder / "001.png")
    return folder


def _cut_mp4(tmp: Path) -> Path:
    return cut(film(tmp / "whole.mp4"), tmp / "cut.mp4")


def _text_mp4(tmp: Path) -> Path:
    return nonsense(tmp / "film.mp4")


def _text_file(tmp: Path) -> Path:
    return nonsense(tmp / "notes.txt")


def _sizes(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(3))
    Image.fromarray(moving(1, 40, 40)[0]).save(folder / "003.png")
    return folder


def _gap(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(4))
    (folder / "002.png").unlink()
    return folder


def _mixed(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(3))
    film(folder / "film.mp4", 3)
    return folder


def _deep(tmp: Path) -> Path:
    put(tmp / "clips/photos", moving(2))
    (tmp / "clips/more/photos").mkdir(parents=True)
    return tmp / "clips"


def _transparent(tmp: Path) -> Path:
    folder = put(tmp / "frames", moving(2))
    Image.fromarray(np.dstack([moving(1)[0], np.full((48, 64), 9, np.uint8)])).save(folder / "001.png")
    return folder


FOOTAGE = [
    (_missing, "nowhere does not exist: give a video"),
    (_empty, "empty has neither frames nor videos nor folders"),
    (_folder_of_empty, "empty has no frames, PNG or other pictures"),
    (_cut_png, r"001\.png is damaged or cut short"),
    (_cut_mp4, r"cut\.mp4 is damaged or cut short"),
    (_text_mp4, r"film\.mp4 is damaged or cut short"),
    (_text_file, r"notes\.txt is not a video file by its name"),
    (_sizes, r"003\.png is 40x40 but 000\.png is 64x48"),
    (_gap, r"frames lacks frame 2, after 001\.png"),
    (_mixed, "frames has frames, as 000.png, beside videos or folders"),
    (_deep, "more has no frames, PNG or other pictures"),
    (_transparent, r"001\.png has transparency"),
]


@pytest.mark.parametrize(("make", "told"), FOOTAGE, ids=[make.__name__ for make, _ in FOOTAGE])
def test_bad_footage(vsr: Vsr, tmp_path: Path, make: Callable[[Path], Path], told: str) -> None:
    source = make(tmp_path)
    good = put(tmp_path.with_name(tmp_path.name + "-good"), moving(3))
    before = tree(tmp_path)
    for words in (
        ("degrade", source, tmp_path / "out", "--recipe", "bi_x4"),
        ("restore", source, tmp_path / "new/out", "--method", "bicubic"),
        ("restore", source, tmp_path / "out.mp4", "--method", "bicubic"),
        ("score", source, good, "--json"),
        ("score", good, source),
    ):
        # A folder that was to hold the output may be left; the output, or a part of it, may not.
        assert re.search(told, error(vsr(*words)))
        assert tree(tmp_path) - before <= {"new"}


def test_damage_found_on_the_way_costs_no_other_clip(vsr: Vsr, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path / "in" / name, moving(3))
    cut(tmp_path / "in/b/002.png", tmp_path / "in/b/002.png")
    done = vsr("degrade", tmp_path / "in", tmp_path / "out", "--recipe", "bi_x4")
    assert done.code == 1 and "Traceback" not in done.err
    assert f"error: 1 of 3 clips failed, the others are in {tmp_path / 'out'}:\n  b: " in done.err
    assert tree(tmp_path / "out") == {
        *"ac",
        "a.json",
        "c.json",
        *(f"{clip}/00{index}.png" for clip in "ac" for index in range(3)),
    }
    for name in ("a", "c"):
        shutil.rmtree(tmp_path / "in" / name)
    put(tmp_path / "in/d", moving(3))
    cut(tmp_path / "in/d/000.png", tmp_path / "in/d/000.png", 0.9)
    assert "error: 2 of 2 clips failed:\n  b: " in vsr("degrade", tmp_path / "in", tmp_path / "none", "--recipe", "bi_x4").err
    assert not (tmp_path / "none").exists()


def test_recipes_that_cannot_run(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "odd", moving(2, 52, 64))
    put(tmp_path / "small", moving(2, 3, 64))
    before = tree(tmp_path)
    told = error(vsr("degrade", tmp_path / "odd", tmp_path / "out", "--recipe", "bi_xx4"))
    assert "unknown recipe 'bi_xx4': did you mean 'bi_x4'?" in told
    told = error(vsr("degrade", tmp_path / "odd", tmp_path / "odd" / "lr", "--recipe", "bi_x4"))
    assert "lies in SRC" in told and "choose another place" in told
    told = error(vsr("degrade", tmp_path / "small", tmp_path / "out", "--recipe", "bi_x4"))
    assert "frames of 64x3 cannot be reduced by 4" in told
    assert tree(tmp_path) == before


# ---------------------------------------------------------------- the machine


def noise(count: int, height: int, width: int) -> list[np.ndarray]:
    """Frames that no coder makes small."""
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8))


def test_a_full_disk(vsr: Vsr, tmp_path: Path, small_disk: Path) -> None:
    low, high = put(tmp_path / "lr", noise(3, 64, 64)), put(tmp_path / "hr", noise(3, 640, 640))
    store = stored(tmp_path / "store", {"clip": noise(3, 256, 256)})
    (small_disk / "fill").write_bytes(bytes(2**21 - 2**15))
    for words in (
        ("degrade", high, small_disk / "out", "--recipe", "bi_x4"),
        ("restore", low, small_disk / "out", "--method", "bicubic"),
        ("restore", low, small_disk / "out.mp4", "--method", "bicubic"),
        ("export", store, small_disk / "out"),
        ("export", store, small_disk / "out", "--video"),
    ):
        told = error(vsr(*words))
        assert re.search("No space left on device|the disk is full", told) and "free some space" in told
        assert tree(small_disk) == {"fill"}


def test_a_full_disk_for_the_report(vsr: Vsr, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(params.ROOT / name, small_disk)
    shutil.copytree(params.ROOT / "recipes", small_disk / "recipes")
    before = tree(small_disk)
    (small_disk / "fill").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    monkeypatch.chdir(small_disk)
    assert "the disk is full" in error(vsr("report"))
    assert tree(small_disk) == before | {"fill"}


def test_a_full_disk_for_the_coder(vsr: Vsr, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small_disk / "fill").write_bytes(bytes(2**21 - 2**13))
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    source = put(tmp_path / "hr", noise(4, 640, 640))
    told = error(vsr("degrade", source, tmp_path / "lr", "--recipe", "crf25_x4"))
    assert "the disk is full" in told and tree(small_disk) == {"fill"} and not (tmp_path / "lr").exists()


@pytest.fixture
def no_x264(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An ffmpeg that was built without libx264."""
    real, fake = imageio_ffmpeg.get_ffmpeg_exe(), tmp_path / "ffmpeg"
    fake.write_text(
        f'#!/bin/sh\ncase "$*" in *libx264*) echo "Unknown encoder \'libx264\'" >&2; exit 1;; esac\nexec "{real}" "$@"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(fake))
    return fake


def test_without_x264(vsr: Vsr, tmp_path: Path, no_x264: Path) -> None:
    source = put(tmp_path / "hr", moving(2, 64, 64))
    before = tree(tmp_path)
    mend = f"{no_x264} has no libx264: unset IMAGEIO_FFMPEG_EXE"
    assert mend in error(vsr("degrade", source, tmp_path / "lr", "--recipe", "crf25_x4"))
    assert mend in error(vsr("restore", source, tmp_path / "sr.mp4", "--method", "bicubic"))
    assert tree(tmp_path) == before
    assert vsr("degrade", source, tmp_path / "lr", "--recipe", "bi_x4").code == 0  # which needs none


def test_doctor(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_x264: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # where nothing listens
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path / "nowhere"))
    done = vsr("doctor")
    assert done.code == 1 and "Traceback" not in done.err
    found = {line[4:].split(":")[0]: line for line in done.out.splitlines()}
    for name, mending in (
        ("ffmpeg with x264 and MPEG-4", f"{no_x264} has no libx264: unset IMAGEIO_FFMPEG_EXE"),
        ("Ray", "unset RAY_ADDRESS"),
        ("weights", "nowhere is not a folder"),
    ):
        assert found[name].startswith("NO  ") and mending in found[name]
    for name in ("python", "torch", "params.yaml", "MLflow"):
        assert found[name].startswith("ok  ")
    monkeypatch.delenv("IMAGEIO_FFMPEG_EXE")
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.delenv("VSR_WEIGHTS")
    done = vsr("doctor")
    wrong = {line for line in done.out.splitlines() if line.startswith("NO  ")}
    assert {line[4:].split(":")[0] for line in wrong} <= {"disk", "memory"}  # this machine's, whatever it has
    assert done.code == bool(wrong)
    assert "--  weights: VSR_WEIGHTS is not set" in done.out


def test_doctor_fails_for_what_is_needed_alone_and_ends_with_what_is_next(
    vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.runtime import doctor

    monkeypatch.setattr(doctor, "examine", lambda: iter([Check("a", True, "x"), Check("b", False, "y", needed=False)]))
    choices.put(tmp_path, choices.shipped())
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    done = vsr("doctor")
    assert done.code == 0 and done.out.startswith("ok  a: x\n--  b: y\n\nNext: `make demo` compares")
    (tmp_path / "results").mkdir()
    assert "\nNext: `vsr repro --dry` says what is stale" in vsr("doctor").out
    monkeypatch.setattr(doctor, "examine", lambda: iter([Check("a", False, "x"), Check("b", True, "y")]))
    done = vsr("doctor")
    assert (done.code, done.out) == (1, "NO  a: x\nok  b: y\n") and done.err.startswith("error: what is marked NO")

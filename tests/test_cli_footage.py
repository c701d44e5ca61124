"""What `vsr degrade`, `vsr restore` and `vsr export` write: videos, frames, and nothing over what is there."""

from __future__ import annotations

import os
import re
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from front_door import NTSC, Vsr, cut, error, film, moving, nonsense, pngs, put, resized, run_ffmpeg, stored, tree

from pipelines.clips import video
from pipelines.clips.store import ClipAttributes, ClipWriter, assemble

# ---------------------------------------------------------------- videos


def pcm(path: Path) -> bytes:
    """The sound track, decoded."""
    return run_ffmpeg("-i", path, "-map", "0:a", "-f", "s16le", "pipe:").stdout


@pytest.mark.parametrize("sound", [True, False])
def test_a_video_comes_back_playable(vsr: Vsr, tmp_path: Path, sound: bool) -> None:
    source, target = film(tmp_path / "in.mp4", 24, sound=sound), tmp_path / "new/out.mp4"
    done = vsr("restore", source, target, "--method", "bicubic")
    assert (done.code, done.out) == (0, "") and tree(tmp_path / "new") == {"out.mp4"}
    assert run_ffmpeg("-i", target, "-f", "null", "-").stderr == b""  # a player's decoder has nothing to say
    info = video.probe(target)
    assert (info.width, info.height, info.frames, info.fps, info.variable) == (192, 128, 24, NTSC, False)
    assert info.has_audio == sound
    if sound:
        assert pcm(target) == pcm(source) and len(pcm(source)) > 44100
    for ours, low in zip(video.decode(target), video.decode(source), strict=True):
        assert np.abs(ours.astype(int) - resized(low, 4)).mean() < 3  # CRF 12 and halved chroma


def test_a_folder_of_videos_and_frames(vsr: Vsr, tmp_path: Path) -> None:
    film(tmp_path / "in/a.mp4", 5, sound=True)
    film(tmp_path / "in/b.mkv", 6, size="32x32", rate=Fraction(25))
    put(tmp_path / "in/c", moving(2, 24, 20))
    done = vsr("restore", tmp_path / "in", tmp_path / "out", "--method", "bicubic", "--scale", 2)
    assert done.code == 0
    assert tree(tmp_path / "out") == {"a.mp4", "b.mkv", "c", "c/000.png", "c/001.png"}
    a, b = video.probe(tmp_path / "out/a.mp4"), video.probe(tmp_path / "out/b.mkv")
    assert (a.width, a.height, a.frames, a.fps, a.has_audio) == (96, 64, 5, NTSC, True)
    assert (b.width, b.height, b.frames, b.fps, b.has_audio) == (64, 64, 6, 25, False)
    assert pngs(tmp_path / "out/c")[0].shape == (48, 40, 3)


def test_degraded_videos_become_frames_or_a_named_video(vsr: Vsr, tmp_path: Path) -> None:
    source = film(tmp_path / "in.mp4", 7, size="96x64")
    for recipe in ("bi_x4", "crf25_x4"):
        assert vsr("degrade", source, tmp_path / recipe, "--recipe", recipe).code == 0
        assert [frame.shape for frame in pngs(tmp_path / recipe)] == [(16, 24, 3)] * 7
    exact = [resized(frame, 1 / 4) for frame in video.decode(source)]
    assert all((a == b).all() for a, b in zip(pngs(tmp_path / "bi_x4"), exact, strict=True))
    coded = [np.abs(a.astype(int) - b).mean() for a, b in zip(pngs(tmp_path / "crf25_x4"), exact, strict=True)]
    assert 0.2 < np.mean(coded) < 20
    assert vsr("degrade", source, tmp_path / "lr.mp4", "--recipe", "bi_x4").code == 0
    info = video.probe(tmp_path / "lr.mp4")
    assert (info.width, info.height, info.frames, info.fps) == (24, 16, 7, NTSC)


def test_odd_sizes(vsr: Vsr, tmp_path: Path) -> None:
    put(tmp_path / "odd", moving(2, 13, 11))
    before = tree(tmp_path)
    told = error(vsr("restore", tmp_path / "odd", tmp_path / "out.mp4", "--method", "bicubic", "--scale", 3))
    assert "33x39, both sides must be even: write a folder of PNG frames instead" in told
    assert tree(tmp_path) == before
    assert vsr("restore", tmp_path / "odd", tmp_path / "out", "--method", "bicubic", "--scale", 3).code == 0
    assert pngs(tmp_path / "out")[1].shape == (39, 33, 3)


# ---------------------------------------------------------------- places to write to


def test_nothing_is_overwritten(vsr: Vsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames, source = put(Path("frames"), moving(2)), film(Path("film.mp4"), 3)
    put(Path("there"), moving(1))
    nonsense(Path("there.mp4"))
    (Path("busy") / "film.mp4").mkdir(parents=True)
    (Path("busy") / "film.mp4/mine").write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for target, told in (
        ("there", "there already exists: remove it or choose another name"),
        ("there.mp4", "there.mp4 already exists"),
        ("frames", "frames already exists"),
        ("out.png", "names one image"),
        (".", "give the name of a new folder or video"),
        ("..", "give the name of a new folder or video"),
    ):
        assert told in error(vsr("degrade", frames, target, "--recipe", "bi_x4"))
        assert told in error(vsr("restore", frames, target, "--method", "bicubic"))
    for target in ("there.mp4", "film.mp4", "busy"):
        assert "already exists" in error(vsr("restore", source, target, "--method", "bicubic"))
    assert "out.webm cannot be written: name it" in error(vsr("restore", source, "out.webm", "--method", "bicubic"))
    put(Path("many/a"), moving(1))
    assert "names one video but the source is a folder" in error(vsr("restore", "many", "all.mp4", "--method", "bicubic"))
    shutil.rmtree("many")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(vsr: Vsr, tmp_path: Path) -> None:
    source = put(tmp_path / "frames", moving(2))
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in error(vsr("degrade", source, tmp_path / "locked/out", "--recipe", "bi_x4"))


def test_a_place_that_cannot_be(vsr: Vsr, tmp_path: Path) -> None:
    source, store = put(tmp_path / "frames", moving(2)), stored(tmp_path / "store", {"clip": moving(2)})
    nonsense(tmp_path / "file")
    before = tree(tmp_path)
    for target in (tmp_path / "file/out", tmp_path / ("n" * 300)):
        assert "cannot be" in error(vsr("degrade", source, target, "--recipe", "bi_x4"))
        assert "cannot be" in error(vsr("restore", source, f"{target}.mp4", "--method", "bicubic"))
        assert "cannot be" in error(vsr("export", store, target))
    assert "cannot be" in error(vsr("degrade", tmp_path / ("n" * 300), tmp_path / "out", "--recipe", "bi_x4"))
    assert tree(tmp_path) == before


# ---------------------------------------------------------------- export


def test_export_gives_the_pixels_of_the_store(vsr: Vsr, tmp_path: Path) -> None:
    clips = {"plain": moving(3), "a/b; $(touch x)": moving(2, 20, 24), "..": moving(2, 16, 16), ".hidden": moving(2, 16, 16)}
    store = stored(tmp_path / "store", clips)
    assert vsr("export", store, tmp_path / "out").code == 0
    folders = ["plain", "a%2Fb%3B %24(touch x)", "%2E.", "%2Ehidden"]  # none is elsewhere or hidden
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(folders)
    for folder, frames in zip(folders, clips.values(), strict=True):
        assert all((a == b).all() for a, b in zip(pngs(tmp_path / "out" / folder), frames, strict=True))
    assert vsr("export", store, tmp_path / "films", "--video", "--clip", "plain", "--clip", "..").code == 0
    assert tree(tmp_path / "films") == {"plain.mp4", "%2E..mp4"}
    assert video.probe(tmp_path / "films/plain.mp4").fps == Fraction(24000, 1001)
    for ours, theirs in zip(video.decode(tmp_path / "films/plain.mp4"), clips["plain"], strict=True):
        assert np.abs(ours.astype(int) - theirs).mean() < 8  # noise in chroma, which 4:2:0 halves
    assert vsr("export", store, tmp_path / "twice", "--clip", "plain", "--clip", "plain").code == 0
    assert len(tree(tmp_path / "twice")) == 4


def test_exports_that_cannot_be(vsr: Vsr, tmp_path: Path) -> None:
    store = stored(tmp_path / "store", {"one": moving(2), "odd": moving(2, 15, 16)})
    put(tmp_path / "frames", moving(1))
    shutil.copytree(store, tmp_path / "cut")
    cut(next((tmp_path / "cut").glob("*.arrow")), next((tmp_path / "cut").glob("*.arrow")))
    shutil.copytree(store, tmp_path / "lost")
    next((tmp_path / "lost").glob("*.arrow")).unlink()
    before = tree(tmp_path)
    for words, told in (
        ((store, tmp_path / "out", "--clip", "oen"), "unknown clip of .*store 'oen': did you mean 'one'"),
        ((store, tmp_path / "out", "--video", "--clip", "oen"), "unknown clip of .*store 'oen'"),
        ((store, tmp_path / "frames"), "frames already exists"),
        ((store, tmp_path / "out", "--video"), "16x15, both sides must be even"),
        ((tmp_path / "frames", tmp_path / "out"), "is not a clip store"),
        ((tmp_path / "nowhere", tmp_path / "out"), "is not a clip store"),
        ((tmp_path / "cut", tmp_path / "out"), "cannot be read"),
        ((tmp_path / "lost", tmp_path / "out"), "cannot be read"),
    ):
        assert re.search(told, error(vsr("export", *words)))
        assert tree(tmp_path) == before


def test_priors_have_no_pictures_to_export(vsr: Vsr, tmp_path: Path) -> None:
    with ClipWriter(tmp_path / "parts", "clip") as writer:
        writer.append({"flow": np.zeros((4, 4, 2), np.float16)})
        writer.finish(ClipAttributes("test", 25.0, 4, 4))
    assemble(tmp_path / "parts", ["clip"], tmp_path / "flows")
    assert "unknown column" in error(vsr("export", tmp_path / "flows", tmp_path / "out"))
    assert not (tmp_path / "out").exists()

"""Published layouts: what they promise, and what is said where it is not there."""

from __future__ import annotations

import os
import pickle
import random
import shutil
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import params
from pipelines.clips.images import write_png
from pipelines.clips.ingest import Ingest
from pipelines.clips.layouts import reds, testsets, vimeo90k
from pipelines.clips.layouts.clips import Frames, SourceClip, fault_of
from pipelines.clips.layouts.published import Alike, Promise, Shape
from pipelines.clips.places import Folder, natural
from pipelines.clips.readers import list_clips, list_rendered
from pipelines.errors import VSRError


def header(height: int, width: int) -> bytes:
    """What a PNG of this size begins with."""
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, 2, 0, 0, 0)


def clip_of(folder: Path, names: list[str], height: int, width: int) -> None:
    """A clip by its names and headers: all frames are one file."""
    folder.mkdir(parents=True)
    (folder / names[0]).write_bytes(header(height, width))
    for name in names[1:]:
        os.link(folder / names[0], folder / name)


def counted(count: int) -> list[str]:
    return [f"{index:08d}.png" for index in range(count)]


def rgb(seed: int, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ---------------------------------------------------------------- names


def by_hand(name: str) -> list[tuple[int, str]]:
    """Characters, but a number at its first digit: a slow second way to the order of names."""
    found: list[tuple[int, str]] = []
    while name:
        digits = len(name) - len(name.lstrip("0123456789"))
        found.append((int(name[:digits]), "") if digits else (-1, name[0]))
        name = name[digits or 1 :]
    return found


@given(st.lists(st.text("ab.019", min_size=1, max_size=8), max_size=20))
def test_natural_order_is_total_and_counts(names: list[str]) -> None:
    ordered = sorted(names, key=natural)
    assert sorted(reversed(names), key=natural) == ordered  # equal names alone have equal keys
    numbers = [name for name in ordered if name.isdecimal()]
    assert [int(name) for name in numbers] == sorted(int(name) for name in numbers)


@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 5), st.sampled_from(["", "im", "Frame "]), st.randoms())
def test_gaps_are_found_wherever_they_are(first: int, count: int, step: int, prefix: str, draw: random.Random) -> None:
    numbers = [first + step * index for index in range(count)]
    draw.shuffle(numbers)
    names = sorted((f"{prefix}{number}.png" for number in numbers), key=natural)
    assert fault_of(names) is None and [by_hand(name) for name in names] == sorted(by_hand(name) for name in names)
    if count > 3:
        lost = draw.randrange(1, count - 1)
        fault = fault_of(names[:lost] + names[lost + 1 :])
        assert fault == f"lacks frame {first + step * lost}, after {names[lost - 1]}"


# ---------------------------------------------------------------- Vid4, UDM10, SPMCS


def test_promises_are_the_published_figures() -> None:
    vid4, udm10, spmcs = (testsets.PROMISES[kind].clips for kind in ("vid4", "udm10", "spmcs"))
    assert isinstance(vid4, dict) and sum(shape.frames for shape in vid4.values()) == 171
    assert udm10 == Alike(10, Shape(32, 720, 1272)) and spmcs == Alike(30, Shape(31, 540, 960))
    assert isinstance(reds.PROMISE.clips, dict) and len(reds.PROMISE.clips) == 270
    assert set(reds.PROMISE.clips.values()) == {Shape(100, 720, 1280)}
    lists = vimeo90k.PROMISE
    assert (lists.train, lists.test, sum(lists.motion.values()), lists.shape) == (64612, 7824, 7815, Shape(7, 256, 448))


def of_kind(kind: str, source: Path) -> params.TestSet:
    return params.TestSet.model_validate({"kind": kind, "source": str(source)})


@pytest.fixture
def vid4(tmp_path: Path) -> Path:
    for name, count, height, width in (
        ("calendar", 41, 576, 720), ("city", 34, 576, 704), ("foliage", 49, 480, 720), ("walk", 47, 480, 720)
    ):  # fmt: skip
        clip_of(tmp_path / f"Vid4/GT/{name}", counted(count), height, width)
    (tmp_path / "Vid4/BIx4/calendar").mkdir(parents=True)
    return tmp_path / "Vid4"


def test_vid4(vid4: Path) -> None:
    clips = list_clips(of_kind("vid4", vid4), Path("/"))
    assert [(c.name, c.split, c.source, c.fps) for c in clips] == [
        (name, "test", f"GT/{name}", 25) for name in ("calendar", "city", "foliage", "walk")
    ]
    assert pickle.loads(pickle.dumps(clips)) == clips


def test_what_vid4_lacks_is_said(vid4: Path) -> None:
    def fault(message: str) -> None:
        with pytest.raises(VSRError, match=message):
            list_clips(of_kind("vid4", vid4), Path("/"))

    (vid4 / "GT/walk/00000046.png").unlink()
    (vid4 / "GT/city/00000007.png").unlink()
    fault("clips city lacks frame 7, after 00000006.png, walk has 46 frames instead of 47: unpack it again")
    shutil.rmtree(vid4 / "GT/city")
    shutil.rmtree(vid4 / "GT/foliage")
    fault("Vid4 in .* lacks the clips city, foliage: .*`kind: frames` with the source .*Vid4/GT")
    clip_of(vid4 / "GT/city", counted(34), 576, 720)
    clip_of(vid4 / "GT/foliage", counted(49), 480, 720)
    (vid4 / "GT/walk").rename(vid4 / "GT/Walk")
    fault("lacks the clip walk:")
    (vid4 / "GT/Walk").rename(vid4 / "GT/walk")
    clip_of(vid4 / "GT/tree", counted(2), 8, 8)
    fault("has the clip tree, which it is not published with")
    shutil.rmtree(vid4 / "GT/tree")
    os.link(vid4 / "GT/walk/00000000.png", vid4 / "GT/walk/00000046.png")
    fault(r"city/00000000\.png is 720x576 but the corpus is published with 704x576")
    shutil.rmtree(vid4 / "GT")
    fault("neither `GT/<clip>/<frame>.png` nor `<clip>/truth/<frame>.png`")


@pytest.mark.parametrize(
    ("kind", "count", "frames", "height", "width"), [("udm10", 10, 32, 720, 1272), ("spmcs", 30, 31, 540, 960)]
)
@pytest.mark.parametrize("form", ["GT/{}", "{}/truth"])
def test_clips_under_any_name(tmp_path: Path, kind: str, count: int, frames: int, height: int, width: int, form: str) -> None:
    for index in range(count):
        clip_of(tmp_path / form.format(f"clip{index}"), [f"{frame:04d}.png" for frame in range(frames)], height, width)
        (tmp_path / f"clip{index}/blur4").mkdir(parents=True)
    clips = list_clips(of_kind(kind, tmp_path), Path("/"))
    assert sorted(clip.source for clip in clips) == sorted(form.format(f"clip{index}") for index in range(count))
    shutil.rmtree(tmp_path / form.format("clip7"))
    with pytest.raises(VSRError, match=f"has {count - 1} clips instead of {count}"):
        list_clips(of_kind(kind, tmp_path), Path("/"))


def test_frames_of_a_wrong_size_are_found_when_read(tmp_path: Path) -> None:
    promise = Promise("Two", {"a": Shape(2, 16, 24), "b": Shape(2, 16, 24)})
    for name in "ab":
        (tmp_path / "GT" / name).mkdir(parents=True)
        write_png(tmp_path / f"GT/{name}/0.png", rgb(0))
        write_png(tmp_path / f"GT/{name}/1.png", rgb(1, width=24 if name == "a" else 20))
    good, bad = testsets.clips(of_kind("vid4", tmp_path), Folder(tmp_path), promise)
    *_, attributes = Ingest()(good)
    assert attributes.source == "GT/a"  # type: ignore[union-attr]
    with pytest.raises(VSRError, match=r"b/1\.png is 20x16 but the corpus is published with 24x16"):
        list(Ingest()(bad))


# ---------------------------------------------------------------- REDS


@pytest.fixture(scope="module")
def whole_reds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 270 clips, as unpacked from train_sharp.zip and val_sharp.zip."""
    root = tmp_path_factory.mktemp("reds")
    for part, count in (("train/train_sharp", 240), ("val/val_sharp", 30)):
        for number in range(count):
            clip_of(root / part / f"{number:03d}", counted(100), 720, 1280)
    (root / "train/train_blur").mkdir()
    return root


def of_reds(partition: str, source: Path) -> list[SourceClip]:
    return list_clips(params.Reds.model_validate({"kind": "reds", "source": str(source), "partition": partition}), Path("/"))


def test_reds4(whole_reds: Path) -> None:
    clips = of_reds("reds4", whole_reds)
    assert [clip.name for clip in clips] == [f"{number:03d}" for number in range(270)]
    assert [clip.name for clip in clips if clip.split == "test"] == ["000", "011", "015", "020"]
    assert Counter(clip.split for clip in clips) == {"train": 266, "test": 4} and {clip.fps for clip in clips} == {24}
    assert clips[239].source == "train/train_sharp/239" and clips[240].source == "val/val_sharp/000"


def test_reds_official(whole_reds: Path) -> None:
    splits = {clip.name: clip.split for clip in of_reds("official", whole_reds)}
    assert Counter(splits.values()) == {"train": 240, "validation": 30}
    assert all((split == "validation") == (int(name) >= 240) for name, split in splits.items())


def test_reds_in_its_other_forms(whole_reds: Path, tmp_path: Path) -> None:
    expected = {clip.name: clip.split for clip in of_reds("reds4", whole_reds)}
    shutil.copytree(whole_reds, tmp_path / "flat", copy_function=os.link)
    (tmp_path / "flat/train/train_sharp").rename(tmp_path / "flat/train_sharp")
    (tmp_path / "flat/val/val_sharp").rename(tmp_path / "flat/val_sharp")
    assert {clip.name: clip.split for clip in of_reds("reds4", tmp_path / "flat")} == expected
    for number in range(30):  # "regrouped"
        (tmp_path / f"flat/val_sharp/{number:03d}").rename(tmp_path / f"flat/train_sharp/{number + 240}")
    (tmp_path / "flat/val_sharp").rmdir()
    assert {clip.name: clip.split for clip in of_reds("reds4", tmp_path / "flat")} == expected
    shutil.copytree(whole_reds / "val/val_sharp/003", tmp_path / "flat/val_sharp/003", copy_function=os.link)
    with pytest.raises(VSRError, match="clip 243 in train_sharp and again in val_sharp: remove one"):
        of_reds("reds4", tmp_path / "flat")


def test_what_reds_lacks_is_said(whole_reds: Path) -> None:
    def fault(message: str, move: Path) -> None:
        aside = whole_reds.parent / "aside"
        move.rename(aside)
        with pytest.raises(VSRError, match=message):
            of_reds("official", whole_reds)
        aside.rename(move)

    fault("lacks the clip 017: .*`kind: frames` with the source .*train_sharp", whole_reds / "train/train_sharp/017")
    fault("lacks the clips 240, 241, 242, 243, 244, 245, 246, 247 and 22 more", whole_reds / "val/val_sharp")
    fault("no folder train/train_sharp", whole_reds / "train")
    fault("clip 101 has 99 frames instead of 100", whole_reds / "train/train_sharp/101/00000099.png")
    fault("clip 241 lacks frame 50, after 00000049.png", whole_reds / "val/val_sharp/001/00000050.png")


# ---------------------------------------------------------------- Vimeo-90K

SMALL = vimeo90k.Promise(train=6, test=5, motion={"fast": 1, "medium": 2, "slow": 1}, shape=Shape(7, 16, 24))


@pytest.fixture
def vimeo(tmp_path: Path) -> Path:
    keys = [f"{video:05d}/{number:04d}" for video in (1, 2, 96) for number in range(1, 6)]
    for key in keys:
        clip_of(tmp_path / "sequences" / key, [f"im{frame}.png" for frame in range(1, 8)], 16, 24)
    (tmp_path / "sep_trainlist.txt").write_text("\n".join(keys[:6]) + "\n")
    (tmp_path / "sep_testlist.txt").write_text("\r\n".join(keys[6:11]) + "\r\n\r\n")
    (tmp_path / "fast_testset.txt").write_text(keys[8])
    (tmp_path / "medium_testset.txt").write_text(f"{keys[6]}\n{keys[9]}\n")
    (tmp_path / "sep_slow_testset.txt").write_text(f"{keys[7]} 7 (256,448,3)\n")
    (tmp_path / "readme.txt").write_text("x")
    return tmp_path


def of_vimeo(root: Path, promise: vimeo90k.Promise = SMALL) -> list[SourceClip]:
    return vimeo90k.clips(params.Vimeo90k(kind="vimeo90k", source=str(root)), Folder(root), promise)


def test_vimeo(vimeo: Path) -> None:
    clips = of_vimeo(vimeo)
    assert Counter(clip.split for clip in clips) == {"train": 6, "test": 5}  # four of the 15 are in no list
    motion = {clip.name: clip.parameters for clip in clips if clip.split == "test"}
    assert motion == {
        "00002_0002": {"motion": "medium"}, "00002_0003": {"motion": "slow"}, "00002_0004": {"motion": "fast"},
        "00002_0005": {"motion": "medium"}, "00096_0001": {},
    }  # fmt: skip
    assert (clips[0].name, clips[0].source) == ("00001_0001", "sequences/00001/0001") and not clips[0].parameters
    assert isinstance(clips[0].location, Frames) and clips[0].location.names == tuple(f"im{i}.png" for i in range(1, 8))


def test_motion_reaches_the_store(vimeo: Path) -> None:
    for frame in range(1, 8):
        (vimeo / f"sequences/00002/0004/im{frame}.png").unlink()
        write_png(vimeo / f"sequences/00002/0004/im{frame}.png", rgb(frame))
    (clip,) = [clip for clip in of_vimeo(vimeo) if clip.name == "00002_0004"]
    *lists, attributes = Ingest()(clip)
    assert attributes.parameters == {"motion": "fast"}  # type: ignore[union-attr]
    frames = [frame["rgb"] for batch in lists for frame in batch]  # type: ignore[union-attr]
    assert [(a == rgb(index)).all() for index, a in enumerate(frames, 1)] == [True] * 7


def test_vimeo_test_septuplets_alone(vimeo: Path) -> None:
    (vimeo / "sep_trainlist.txt").unlink()
    with pytest.raises(VSRError, match="no sep_trainlist.txt, but more septuplets than sep_testlist.txt names"):
        of_vimeo(vimeo)
    for key in ["00001", "00002/0001", *(f"00096/000{number}" for number in range(2, 6))]:
        shutil.rmtree(vimeo / "sequences" / key)
    assert [clip.split for clip in of_vimeo(vimeo)] == ["test"] * 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "sep_testlist.txt").unlink(), "no sep_testlist.txt: give the folder"),
        (lambda root: shutil.rmtree(root / "sequences"), "sequences does not exist"),
        (lambda root: shutil.rmtree(root / "sequences/00002/0003"), "sep_testlist.txt names the clip 00002/0003, not there"),
        (lambda root: (root / "sequences/00001/0005/im3.png").unlink(), "clip 00001/0005 lacks im3.png"),
        (lambda root: (root / "slow_testset.txt").write_text("00001/0001"), "slow_testset.txt names 00001/0001, which is not in"),
        (
            lambda root: (root / "slow_testset.txt").write_text("00002/0004"),
            "slow_testset.txt names 00002/0004, which is fast in",
        ),
        (lambda root: (root / "fast_testset.txt").unlink(), "lists of motion but not fast_testset.txt"),
        (lambda root: (root / "fast_testset.txt").write_text(""), "fast_testset.txt names 0 septuplets instead of 1"),
        (lambda root: (root / "sep_trainlist.txt").write_text("00001/0001\n" * 6), "names 00001/0001 more than once"),
        (
            lambda root: (root / "sep_trainlist.txt").write_text("".join(f"00002/000{i}\n" for i in range(1, 6)) + "00001/0001"),
            "00002/0002 is in sep_trainlist.txt and in sep_testlist.txt",
        ),
        (
            lambda root: (root / "sep_trainlist.txt").write_text("../x\n1\n2\n3\n4\n5"),
            r"names the clips \.\./x, 1, 2, 3, 4, 5, not",
        ),
    ],
)
def test_what_vimeo_lacks_is_said(vimeo: Path, change: Callable[[Path], object], message: str) -> None:
    change(vimeo)
    with pytest.raises(VSRError, match=message):
        of_vimeo(vimeo)


def test_vimeo_lists_of_other_lengths_are_refused(vimeo: Path) -> None:
    with pytest.raises(VSRError, match="sep_testlist.txt names 5 septuplets instead of 7,824"):
        list_clips(params.Vimeo90k(kind="vimeo90k", source=str(vimeo)), Path("/"))


# ---------------------------------------------------------------- G-buffers


def buffers_of(seed: int, height: int = 16, width: int = 24) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    normals = draw.normal(size=(height, width, 3))
    return {
        "depth": draw.random((height, width), np.float32) + 1,
        "normals": (normals / np.linalg.norm(normals, axis=2, keepdims=True)).astype(np.float32),
        "motion": draw.normal(size=(height, width, 2)).astype(np.float32),
        "albedo": draw.integers(0, 256, (height, width, 3), np.uint8),
    }


@pytest.fixture
def rendered(tmp_path: Path) -> Path:
    (tmp_path / "in/room").mkdir(parents=True)
    for index in range(3):
        write_png(tmp_path / f"in/room/{index:04d}.png", rgb(index))
        np.savez_compressed(tmp_path / f"in/room/{index:04d}.npz", **buffers_of(index))  # type: ignore[arg-type]
    return tmp_path


def of_rendered(root: Path) -> list[SourceClip]:
    return list_clips(params.Footage(kind="gbuffers", source="in", split="train", fps=24), root)


def test_gbuffers(rendered: Path) -> None:
    (clip,) = of_rendered(rendered)
    *lists, attributes = Ingest()(clip)
    frames = [frame for batch in lists for frame in batch]  # type: ignore[union-attr]
    assert (clip.name, attributes.fps, len(frames)) == ("room", 24, 3)  # type: ignore[union-attr]
    for index, frame in enumerate(frames):
        expected = buffers_of(index)
        assert set(frame) == {"rgb", "depth", "normals", "flow_backward", "albedo"}
        assert (frame["rgb"] == rgb(index)).all() and (frame["depth"] == expected["depth"]).all()
        assert (frame["flow_backward"] == expected["motion"] * [1, -1]).all()  # motion has y up


def test_every_frame_has_one_gbuffer_of_its_size(rendered: Path) -> None:
    (rendered / "in/room/0001.exr").write_bytes(b"")
    with pytest.raises(VSRError, match=r"room has both 0001\.exr and 0001\.npz"):
        of_rendered(rendered)
    (rendered / "in/room/0001.exr").unlink()
    np.savez(rendered / "in/room/0002.npz", **buffers_of(2, width=20))  # type: ignore[arg-type]
    (clip,) = of_rendered(rendered)
    with pytest.raises(VSRError, match=r"0002\.npz is 20x16 but its frame is 24x16"):
        list(Ingest()(clip))
    (rendered / "in/room/0002.npz").unlink()
    with pytest.raises(VSRError, match=r"0002\.png has no G-buffer 0002\.exr or 0002\.npz"):
        of_rendered(rendered)


def small_rendered(root: Path) -> list[SourceClip]:
    return list_rendered(params.Footage(kind="gbuffers", source="in", split="train", fps=24, normals="camera"), root)


@pytest.fixture
def both_sizes(rendered: Path) -> Path:
    (rendered / "in/lr/room").mkdir(parents=True)
    for index in range(3):
        write_png(rendered / f"in/lr/room/{index:04d}.png", rgb(index)[::4, ::4].copy())
        np.savez(rendered / f"in/lr/room/{index:04d}.npz", **buffers_of(index, 4, 6))  # type: ignore[arg-type]
    return rendered


def test_footage_that_is_rendered_at_both_sizes(both_sizes: Path) -> None:
    assert small_rendered(both_sizes)[0].parameters == {"backend": "rendered", "normals": "camera", "crop": [16, 24]}
    (clip,), (large,) = small_rendered(both_sizes), of_rendered(both_sizes)
    assert (clip.name, clip.split, clip.fps, clip.source) == (large.name, large.split, large.fps, "lr/room")
    *lists, attributes = Ingest()(clip)
    assert (attributes.height, attributes.width, attributes.parameters) == (4, 6, clip.parameters)  # type: ignore[union-attr]
    for index, frame in enumerate(frame for batch in lists for frame in batch):  # type: ignore[union-attr]
        assert (frame["rgb"] == rgb(index)[::4, ::4]).all() and (frame["depth"] == buffers_of(index, 4, 6)["depth"]).all()
    for path in (both_sizes / "in/room").glob("*.npz"):  # large frames may come without
        path.unlink()
    *lists, _ = Ingest()(*of_rendered(both_sizes))
    assert [set(frame) for batch in lists for frame in batch] == [{"rgb"}] * 3  # type: ignore[union-attr]


def test_small_clips_are_those_of_the_large_ones(both_sizes: Path) -> None:
    (both_sizes / "in/lr/room/0002.npz").unlink()
    with pytest.raises(VSRError, match=r"lr/room/0002\.png has no G-buffer"):
        small_rendered(both_sizes)
    (both_sizes / "in/lr/room/0002.png").unlink()
    with pytest.raises(
        VSRError, match=r"in/lr has 2 frames of the clip 'room' and .*/in has 3: render the same frames at both sizes"
    ):
        small_rendered(both_sizes)
    (both_sizes / "in/lr/room").rename(both_sizes / "in/lr/hall")
    with pytest.raises(VSRError, match="has the clip '(hall|room)' and .* has not: render it at both sizes"):
        small_rendered(both_sizes)


def test_most_corpora_bring_no_small_clips(rendered: Path) -> None:
    assert small_rendered(rendered) == []
    assert list_rendered(params.Footage(kind="frames", source="in", split="train"), rendered) == []
    parallax = {"kind": "parallax", "source": "in", "seed": 0, "height": 50, "width": 70, "frames": 2, "clips": {"test": 2}}
    assert list_rendered(params.Parallax(**parallax), rendered) == []  # type: ignore[arg-type]
    clips = list_rendered(params.Parallax(**parallax, rendered={"scale": 4}), rendered)  # type: ignore[arg-type]
    assert [clip.name for clip in clips] == ["test_000_orbit", "test_001_zoom"]
    assert all(clip.parameters == {"backend": "rendered", "normals": "camera", "crop": [48, 68]} for clip in clips)
    *lists, attributes = Ingest()(clips[0])
    assert (attributes.height, attributes.width) == (12, 17)  # type: ignore[union-attr]
    assert sum(len(batch) for batch in lists) == 2  # type: ignore[arg-type]


def test_clips_are_the_same_whether_small_ones_are_brought_or_not(tmp_path: Path) -> None:
    parallax = {"kind": "parallax", "source": "in", "seed": 0, "height": 32, "width": 40, "frames": 2, "clips": {"test": 1}}
    alone, beside = (
        list_clips(params.Parallax(**parallax, rendered=small), tmp_path)[0]  # type: ignore[arg-type]
        for small in (None, {"scale": 4})
    )
    for one, other in zip(Ingest()(alone), Ingest()(beside), strict=True):
        if isinstance(one, list):
            assert isinstance(other, list)
            assert all(np.array_equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in a)
        else:
            assert one == other


# ---------------------------------------------------------------- folders


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text("ab 01é%", min_size=1, max_size=6), st.sets(st.integers(0, 999), min_size=1, max_size=4), min_size=1, max_size=4
    )
)
def test_a_tree_is_what_pathlib_finds(tmp_path_factory: pytest.TempPathFactory, clips: dict[str, set[int]]) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name, numbers in clips.items():
        (root / name / "deeper").mkdir(parents=True)
        for number in numbers:
            (root / name / f"{number}.png").touch()
        (root / name / ".hidden").touch()
    (root / ".git").mkdir()
    assert Folder(root).tree() == {name: [f"{number}.png" for number in sorted(numbers)] for name, numbers in clips.items()}
    assert list(Folder(root).tree()) == Folder(root).entries().folders == sorted(clips, key=natural)

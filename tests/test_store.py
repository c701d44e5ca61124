"""The clip store against plain arrays: what goes in comes out, whole, once, and always as the same bytes."""

from __future__ import annotations

import hashlib
import os
import pickle
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.clips import store
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.errors import VSRError


def _attributes(height: int = 4, width: int = 6, split: str = "train") -> ClipAttributes:
    return ClipAttributes(split=split, fps=25.0, height=height, width=width, source="a/b.mp4", parameters={"crf": 25})


def _write(folder: Path, name: str, frames: list[dict[str, np.ndarray]], **options: object) -> store.Clip:
    with ClipWriter(folder, name, **options) as writer:  # type: ignore[arg-type]
        for frame in frames:
            writer.append(frame)
        return writer.finish(_attributes())


def _pixels(seed: int, frames: int, height: int, width: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [{"rgb": random.integers(0, 256, (height, width, 3), np.uint8)} for _ in range(frames)]


def _digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@settings(max_examples=25, deadline=None)
@given(
    clips=st.lists(
        st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.text(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
        unique_by=lambda clip: clip[3],
    ),
    shard=st.sampled_from([1, 1200, 2**28]),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, clips: list[tuple[int, int, int, str]], shard: int) -> None:
    folder = tmp_path_factory.mktemp("store")
    written = {name: _pixels(index, t, h, w) for index, (t, h, w, name) in enumerate(clips)}
    before, store.SHARD_BYTES = store.SHARD_BYTES, shard
    try:
        for name, frames in written.items():
            _write(folder / "parts", name, frames)
        assemble(folder / "parts", list(written), folder / "out")
    finally:
        store.SHARD_BYTES = before
    opened = pickle.loads(pickle.dumps(Store(folder / "out")))
    assert list(opened.clips) == list(written)
    for name, frames in written.items():
        assert opened.clips[name].frames == len(frames)
        assert opened.clips[name].attributes == _attributes()
        np.testing.assert_array_equal(opened.read(name), np.stack([frame["rgb"] for frame in frames]))
    shutil.rmtree(folder)


def test_columns_of_every_kind(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    flow = random.uniform(-100, 100, (5, 7, 2))
    frames = [
        {
            "rgb": random.integers(0, 256, (5, 7, 3), np.uint8),
            "flow": flow,
            "masks": random.random((count, 5, 7)) > 0.5,
            "depth": random.random((5, 7)).astype(np.float32),
        }
        for count in (3, 0, 64)
    ]
    _write(tmp_path / "parts", "clip", frames, scales={"flow": 1 / 128})
    assemble(tmp_path / "parts", ["clip"], tmp_path / "out")
    opened = Store(tmp_path / "out")
    assert opened.scale("clip", "flow") == 1 / 128
    for index, frame in enumerate(frames):
        np.testing.assert_array_equal(opened.frame("clip", index, "masks"), frame["masks"])
        np.testing.assert_array_equal(opened.frame("clip", index, "depth"), frame["depth"])
        assert np.abs(opened.frame("clip", index, "flow") - flow).max() <= 1 / 256 + 1e-6


def test_a_frame_is_a_view_of_the_file(tmp_path: Path) -> None:
    _write(tmp_path / "parts", "clip", _pixels(0, 2, 8, 8))
    assemble(tmp_path / "parts", ["clip"], tmp_path / "out")
    opened = Store(tmp_path / "out")
    frame = opened.frame("clip", 1)
    assert not frame.flags.owndata and not frame.flags.writeable
    assert opened.frame("clip", 1) is frame


def test_bytes_do_not_depend_on_the_order_in_which_clips_finish(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    for turn, order in enumerate((names, names[::-1])):
        for name in order:
            _write(tmp_path / f"parts{turn}", name, _pixels(ord(name), 3, 8, 8))
        assemble(tmp_path / f"parts{turn}", names, tmp_path / f"out{turn}")
    assert _digests(tmp_path / "out0") == _digests(tmp_path / "out1")


def test_a_store_may_hold_nothing(tmp_path: Path) -> None:
    """What a corpus does not bring is a store all the same: outputs of a stage are fixed."""
    for turn in range(2):
        assemble(tmp_path / f"parts{turn}", [], tmp_path / f"out{turn}")
    assert _digests(tmp_path / "out0") == _digests(tmp_path / "out1")
    opened = pickle.loads(pickle.dumps(Store(tmp_path / "out0")))
    assert opened.clips == {}
    with pytest.raises(VSRError, match="holds no clips, as its corpus brings none"):
        opened.split("train")


def test_digest_is_of_the_pixels(tmp_path: Path) -> None:
    same = _write(tmp_path / "x", "a", _pixels(0, 2, 4, 4)).sha256
    assert _write(tmp_path / "y", "b", _pixels(0, 2, 4, 4)).sha256 == same
    changed = _pixels(0, 2, 4, 4)
    changed[1]["rgb"][3, 3, 2] ^= 1
    assert _write(tmp_path / "z", "a", changed).sha256 != same


def test_nothing_is_visible_before_the_end(tmp_path: Path) -> None:
    with ClipWriter(tmp_path, "clip") as writer:
        writer.append(_pixels(0, 1, 4, 4)[0])
        assert store.finished(tmp_path, "clip") is None
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(VSRError, match="not finished"):
        assemble(tmp_path, ["clip"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../escape", "/etc/passwd", "..", "a/b", "a\\b", "\0"])
def test_names_never_leave_their_folder(tmp_path: Path, name: str) -> None:
    _write(tmp_path / "parts", name, _pixels(0, 1, 4, 4))
    assert store.part_path(tmp_path / "parts", name).resolve().parent == (tmp_path / "parts").resolve()
    assert {path.name for path in tmp_path.iterdir()} == {"parts"}


def test_bad_stores_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="not a clip store"):
        Store(tmp_path)
    _write(tmp_path / "parts", "clip", _pixels(0, 2, 8, 8))
    assemble(tmp_path / "parts", ["clip"], tmp_path / "out")
    opened = Store(tmp_path / "out")
    with pytest.raises(VSRError, match="did you mean 'clip'"):
        opened.read("clips")
    with pytest.raises(VSRError, match="unknown column"):
        opened.frame("clip", 0, "flow")
    with pytest.raises(VSRError, match="has no frame 2"):
        opened.frame("clip", 2)
    with pytest.raises(VSRError, match="did you mean 'train'"):
        opened.split("trian")
    (tmp_path / "out" / "clips-00000.arrow").write_bytes(b"ARROW1 and then nothing")
    with pytest.raises(VSRError, match="run its stage again"):
        Store(tmp_path / "out").read("clip")
    with pytest.raises(VSRError, match="no frames"), ClipWriter(tmp_path, "empty") as writer:
        writer.finish(_attributes())
    with pytest.raises(VSRError, match="not within"), ClipWriter(tmp_path, "far", {"flow": 1 / 128}) as writer:
        writer.append({"flow": np.full((2, 2, 2), 300.0)})


def test_compressed_frames_are_the_same_and_smaller(tmp_path: Path) -> None:
    y, x = np.mgrid[:48, :64]
    smooth = [np.stack([x + y + t, 2 * x + 200 * (y > 9), 255 - y], -1).astype(np.uint8) for t in range(3)]
    extremes = [np.array([[[0, 255, 7]], [[255, 0, 1]]], np.uint8), np.zeros((1, 1, 3), np.uint8)]
    rest = {"masks": np.arange(12).reshape(3, 2, 2) % 3 == 0, "flow": np.full((2, 3, 2), -1.25)}
    shas: dict[str, set[str]] = {}
    for compress in (False, True):
        for name, frames in (("smooth", smooth), ("extremes", extremes)):
            with ClipWriter(tmp_path / f"parts{compress}", name, {"flow": 0.25}, compress=compress) as writer:
                for frame in frames:
                    writer.append({"rgb": frame, **rest})
                written = writer.finish(ClipAttributes("test", 25.0, 48, 64))
            shas.setdefault(name, set()).add(written.sha256)
        assemble(tmp_path / f"parts{compress}", ["smooth", "extremes"], tmp_path / f"store{compress}")
        store = Store(tmp_path / f"store{compress}")
        for name, frames in (("smooth", smooth), ("extremes", extremes)):
            for _ in range(2):
                assert all(np.array_equal(one, other) for one, other in zip(store.frames(name), frames, strict=True))
            assert np.array_equal(store.frame(name, 0, "masks"), rest["masks"])
            assert np.array_equal(store.frame(name, 0, "flow"), rest["flow"]) and store.scale(name, "flow") == 0.25
        assert len(list((tmp_path / f"store{compress}").glob("*.arrow"))) == 1  # joined, compressed as they were
    assert all(len(found) == 1 for found in shas.values())  # the hash is of the pixels
    sizes = [sum(path.stat().st_size for path in (tmp_path / f"store{flag}").glob("*.arrow")) for flag in (True, False)]
    assert sizes[0] < 0.4 * sizes[1]


def test_a_store_without_clips_says_what_it_is_about(tmp_path: Path) -> None:
    assemble(tmp_path / "parts", [], tmp_path / "store", {"reason": "the scale differs", "inputs": {"b": 1, "a": None}})
    store = Store(tmp_path / "store")
    assert store.clips == {} and store.about == {"reason": "the scale differs", "inputs": {"b": 1, "a": None}}
    assert pickle.loads(pickle.dumps(store)).about == store.about
    assemble(tmp_path / "parts", [], tmp_path / "plain")
    assert Store(tmp_path / "plain").about == {}


def test_a_store_on_another_disk_than_its_clips(tmp_path: Path, small_disk: Path) -> None:
    assert small_disk.stat().st_dev != tmp_path.stat().st_dev
    for name in ("a", "b"):
        _write(tmp_path / "parts", name, _pixels(ord(name), 3, 8, 8))
    assemble(tmp_path / "parts", ["a", "b"], tmp_path / "beside")
    for _ in range(2):  # the second replaces the first
        assemble(tmp_path / "parts", ["a", "b"], small_disk / "lr" / "out")
    assert _digests(small_disk / "lr" / "out") == _digests(tmp_path / "beside")
    assert [path.name for path in (small_disk / "lr").iterdir()] == ["out"]
    _write(tmp_path / "parts", "large", _pixels(0, 3, 512, 1024))
    with pytest.raises(OSError, match="No space left on device"):
        assemble(tmp_path / "parts", ["a", "b", "large"], small_disk / "lr" / "out")
    assert _digests(small_disk / "lr" / "out") == _digests(tmp_path / "beside")
    assert [path.name for path in (small_disk / "lr").iterdir()] == ["out"]


def test_a_shard_takes_more_clips_than_files_may_be_open(tmp_path: Path) -> None:
    """Vimeo-90K's LR clips are 150 KB each, and a shard takes 1,700 of them."""
    names = [f"clip{index}" for index in range(100)]
    for index, name in enumerate(names):
        _write(tmp_path / "parts", name, _pixels(index, 1, 4, 6))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 10, hard))
    try:
        assemble(tmp_path / "parts", names, tmp_path / "store")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    made = Store(tmp_path / "store")
    assert {clip.file for clip in made.clips.values()} == {"clips-00000.arrow"}
    assert all(np.array_equal(made.frame(name, 0), _pixels(index, 1, 4, 6)[0]["rgb"]) for index, name in enumerate(names))


def test_a_manifest_of_many_rows_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    attributes = [ClipAttributes("train", 25.0, 64, 96, f"{index}.png", {"index": index}) for index in range(600)]
    clips = [
        store.Clip(f"clip{index}", 7, of, f"{index:064x}", "clips-00000.arrow", 7 * index) for index, of in enumerate(attributes)
    ]
    store._write_manifest(clips, {}, tmp_path / store.MANIFEST)
    opened = Store(tmp_path)
    assert opened.clip("clip511") == clips[511] and "clip600" not in opened.clips and len(opened.clips) == 600
    assert not opened.clips._made.cache_info().misses > 1  # type: ignore[attr-defined]  # a part of the rows
    assert list(opened.clips.values()) == clips == opened.split("train")
    sent = pickle.loads(pickle.dumps(opened))
    assert list(sent.clips.items()) == [(clip.name, clip) for clip in clips]

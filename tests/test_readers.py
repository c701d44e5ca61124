"""Readers of corpora, PNG files and the ingest worker."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines import params
from pipelines.clips import parallax, video
from pipelines.clips.images import picture_size, read_picture, write_png
from pipelines.clips.ingest import Ingest
from pipelines.clips.layouts.clips import SourceClip
from pipelines.clips.readers import frame_files, list_clips, open_clip
from pipelines.clips.store import ClipAttributes, Frame
from pipelines.clips.streaming import BATCH_BYTES, batches
from pipelines.errors import VSRError


def noise(seed: int, height: int = 12, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def frames_in(folder: Path, names: Sequence[str], **size: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        write_png(folder / name, noise(index, **size))
    return folder


def footage(kind: str, source: str | Path, **more: object) -> params.Footage:
    return params.Footage.model_validate({"kind": kind, "source": str(source), "split": "test", **more})


def read(clip: SourceClip) -> list[Frame]:
    with open_clip(clip) as (_, frames):
        return list(frames)


# ---------------------------------------------------------------- PNG


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_png_round_trip(tmp_path: Path, height: int, width: int, seed: int) -> None:
    frame = noise(seed, height, width)
    write_png(tmp_path / "a.png", frame)
    assert (read_picture(tmp_path / "a.png") == frame).all() and picture_size(tmp_path / "a.png") == (height, width)
    assert os.listdir(tmp_path) == ["a.png"]


def test_grey_and_palette_become_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), noise(0)[..., 0])
    assert (read_picture(tmp_path / "grey.png") == noise(0)[..., :1]).all()
    lines = zlib.compress(b"\0\0\1\0\1\0")  # two lines of two palette indices, each after its filter byte
    (tmp_path / "palette.png").write_bytes(png((2, 2, 8, 3), [(b"PLTE", bytes([1, 2, 3, 250, 0, 9])), (b"IDAT", lines)]))
    assert read_picture(tmp_path / "palette.png").tolist() == [[[1, 2, 3], [250, 0, 9]], [[250, 0, 9], [1, 2, 3]]]


def png(header: tuple[int, int, int, int], chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0)), *chunks, (b"IEND", b"")]
    packed = (struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_images_that_would_have_to_change_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "alpha.png"), np.zeros((4, 4, 4), np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.zeros((4, 4, 3), np.uint16))
    clear = [(b"tRNS", bytes(6)), (b"IDAT", zlib.compress(bytes(4)))]
    (tmp_path / "key.png").write_bytes(png((1, 1, 8, 2), clear))
    (tmp_path / "photo.png").write_text("no picture")
    for name, reason in (
        ("alpha", "transparency"),
        ("deep", "16 bits"),
        ("key", "transparency"),
        ("photo", "not a PNG"),
        ("no", "read"),
    ):
        with pytest.raises(VSRError, match=f"{name}.png .*{reason}"):
            read_picture(tmp_path / f"{name}.png")


def test_a_png_cut_anywhere_or_with_a_flipped_bit_is_an_error(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", noise(1))
    data = (tmp_path / "a.png").read_bytes()
    for end in [*range(0, len(data), 17), len(data) - 12, len(data) - 1]:
        (tmp_path / "b.png").write_bytes(data[:end])
        with pytest.raises(VSRError, match=r"b\.png is damaged or cut short"):
            read_picture(tmp_path / "b.png")
    for position in range(16, len(data), 23):
        (tmp_path / "b.png").write_bytes(data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :])
        with pytest.raises(VSRError, match=r"b\.png"):
            read_picture(tmp_path / "b.png")


def test_too_little_image_data_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "short.png").write_bytes(png((10, 10, 8, 2), [(b"IDAT", zlib.compress(bytes(31 * 5)))]))
    with pytest.raises(VSRError, match="short.png is damaged"):
        read_picture(tmp_path / "short.png")


# ---------------------------------------------------------------- corpora


def test_frame_folders(tmp_path: Path) -> None:
    frames_in(tmp_path / "in/sea", ["9.png", "10.png", "11.png"])
    frames_in(tmp_path / "in/alps", ["a.png", "c.png"], height=6)
    (tmp_path / "in/.hidden").mkdir()
    (tmp_path / "in/notes.txt").write_text("x")
    clips = list_clips(footage("frames", "in", splits={"sea": "train"}, fps=30), tmp_path)
    assert [(c.name, c.split, c.source, c.fps) for c in clips] == [("alps", "test", "alps", 30), ("sea", "train", "sea", 30)]
    assert pickle.loads(pickle.dumps(clips)) == clips
    sea = [frame["rgb"] for frame in read(clips[1])]
    assert [(a == noise(i)).all() for i, a in enumerate(sea)] == [True] * 3  # 9 before 10


def test_videos(tmp_path: Path) -> None:
    video.encode([noise(t, 32, 48) for t in range(5)], tmp_path / "v/b.mp4", 30000 / 1001)
    video.encode([noise(t, 16, 16) for t in range(4)], tmp_path / "v/A.mkv", 24)
    clips = list_clips(footage("videos", "v"), tmp_path)
    assert [(c.name, c.source, c.fps) for c in clips] == [("A", "A.mkv", None), ("b", "b.mp4", None)]
    with open_clip(clips[1]) as (fps, frames):
        assert fps == 30000 / 1001 and [frame["rgb"].shape for frame in frames] == [(32, 48, 3)] * 5
    *_, attributes = Ingest()(clips[0])
    assert attributes == ClipAttributes("test", 24, 16, 16, "A.mkv")
    with pytest.raises(VSRError, match="fps.*remove it"):
        list_clips(footage("videos", "v", fps=25), tmp_path)
    (tmp_path / "v/b.mkv").write_bytes((tmp_path / "v/A.mkv").read_bytes())
    with pytest.raises(VSRError, match="both be the clip 'b'"):
        list_clips(footage("videos", "v"), tmp_path)


def test_faults_are_found_before_the_work(tmp_path: Path) -> None:
    def fault(kind: str, source: str, message: str, **more: object) -> None:
        with pytest.raises(VSRError, match=message):
            list_clips(footage(kind, source, **more), tmp_path)

    for kind in ("frames", "videos"):
        fault(kind, "missing", "missing does not exist")
        (tmp_path / "empty").mkdir(exist_ok=True)
        fault(kind, "empty", "empty has no")
    frames_in(tmp_path / "a/one", ["1.png", "2.png"])
    fault("frames", "a", "unknown clip .*'onne': did you mean 'one'", splits={"onne": "train"})
    fault("frames", "a", "unknown clip", splits={"../a": "train"})
    (tmp_path / "a/two").mkdir()
    fault("frames", "a", "two has no frames, PNG or other")
    frames_in(tmp_path / "b/gap", [f"im{i}.png" for i in (1, 2, 3, 6, 7)])
    fault("frames", "b", r"gap lacks frame 4, after im3\.png")
    frames_in(tmp_path / "c/twice", ["1.png", "01.png"])
    fault("frames", "c", "same number")
    frames_in(tmp_path / "d/cut", ["1.png", "2.png"])
    (tmp_path / "d/cut/1.png").write_bytes((tmp_path / "d/cut/2.png").read_bytes()[:20])
    fault("frames", "d", r"1\.png is damaged")
    (tmp_path / "e").mkdir()
    (tmp_path / "e/v.txt").write_text("x")
    fault("frames", "e", "e has no folders of frames")
    (tmp_path / "f").write_text("x")
    fault("videos", "f", "f is not a folder")


def test_faults_inside_are_found_when_their_clip_is_read(tmp_path: Path) -> None:
    """So that the other clips go on: listing them raises nothing."""
    frames_in(tmp_path / "frames/sizes", ["1.png", "2.png"])
    write_png(tmp_path / "frames/sizes/3.png", noise(0, 14, 16))
    frames_in(tmp_path / "frames/cut", ["1.png", "2.png"])
    (tmp_path / "frames/cut/2.png").write_bytes((tmp_path / "frames/cut/1.png").read_bytes()[:20])
    cut, sizes = list_clips(footage("frames", "frames"), tmp_path)
    with pytest.raises(VSRError, match=r"2\.png is damaged"):
        read(cut)
    with pytest.raises(VSRError, match=r"3\.png is 16x14 but 1\.png is 16x12"):
        read(sizes)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/v.mp4").write_bytes(b"\0" * 100)
    (clip,) = list_clips(footage("videos", "videos"), tmp_path)
    with pytest.raises(VSRError, match=r"v\.mp4 .*damaged"):
        read(clip)


def test_every_second_frame_is_no_gap(tmp_path: Path) -> None:
    assert len(frame_files(frames_in(tmp_path, ["0.png", "2.png", "4.png"]))) == 3


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    frames_in(tmp_path / "secret", ["1.png"])
    frames_in(tmp_path / "in/clip", ["1.png"])
    (tmp_path / "in/out").symlink_to(tmp_path / "secret")
    with pytest.raises(VSRError, match="out is a link that leads out"):
        list_clips(footage("frames", "in"), tmp_path)
    (tmp_path / "in/out").unlink()
    (tmp_path / "in/clip/2.png").symlink_to(tmp_path / "secret/1.png")
    with pytest.raises(VSRError, match="2.png is a link that leads out"):
        list_clips(footage("frames", "in"), tmp_path)
    (tmp_path / "in/clip/2.png").unlink()
    (tmp_path / "linked").symlink_to(tmp_path / "in")  # the corpus itself may be one
    assert len(list_clips(footage("frames", "linked"), tmp_path)) == 1


# ---------------------------------------------------------------- ingest


def test_ingest_worker(tmp_path: Path) -> None:
    frames_in(tmp_path / "in/sea", ["1.png", "2.png"])
    (clip,) = list_clips(footage("frames", "in", fps=24), tmp_path)
    batch, attributes = Ingest()(clip)
    assert [frame["rgb"].shape for frame in batch] == [(12, 16, 3)] * 2  # type: ignore[union-attr]
    assert attributes == ClipAttributes("test", 24, 12, 16, "sea")


def test_ingest_fails_on_a_frame_damaged_inside(tmp_path: Path) -> None:
    frames_in(tmp_path / "in/sea", ["1.png", "2.png"])
    data = (tmp_path / "in/sea/2.png").read_bytes()
    (tmp_path / "in/sea/2.png").write_bytes(data[:-30])
    (clip,) = list_clips(footage("frames", "in"), tmp_path)  # headers are in order
    with pytest.raises(VSRError, match=r"2\.png is damaged"):
        list(Ingest()(clip))


def test_batches_are_bounded_and_complete() -> None:
    frames = [{"rgb": np.full(2**20, i, np.uint8)} for i in range(40)]
    lists = list(batches(iter(frames)))
    assert [frame["rgb"][0] for batch in lists for frame in batch] == list(range(40))
    assert max(len(batch) for batch in lists) * 2**20 <= BATCH_BYTES + 2**20 and len(lists) == 40 * 2**20 // BATCH_BYTES
    assert [len(batch) for batch in batches([{"rgb": np.zeros(BATCH_BYTES + 1, np.uint8)}] * 2)] == [1, 1]


def test_ingest_of_the_embedded_corpus() -> None:
    spec = params.Parallax.model_validate(
        {"kind": "parallax", "source": "x", "seed": 3, "height": 48, "width": 64, "frames": 3,
         "clips": {"train": 1, "validation": 1, "test": 1}}
    )  # fmt: skip
    clips = list_clips(spec, Path("/nowhere"))
    assert sorted((clip.name, clip.split) for clip in clips) == sorted(parallax.clips(spec))
    *lists, attributes = Ingest()(clips[0])
    frames = [frame for batch in lists for frame in batch]  # type: ignore[union-attr]
    assert len(frames) == 3 and "flow_forward" in frames[0] and frames[0]["rgb"].shape == (48, 64, 3)
    assert attributes == ClipAttributes(clips[0].split, parallax.FPS, 48, 64, clips[0].name)


def test_real_frames(shared_data: Path) -> None:
    clips = list_clips(footage("frames", shared_data / "Vid4/GT"), Path("/"))
    (walk,) = [clip for clip in clips if clip.name == "walk"]
    with open_clip(walk) as (_, frames):
        assert sum(frame["rgb"].shape == (480, 720, 3) for frame in frames) == 47

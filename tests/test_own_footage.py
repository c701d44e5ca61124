"""Footage as people have it: each row is a kind of file from public reports, made anew here in miniature."""

from __future__ import annotations

import itertools
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from pipelines.atomic import atomic_folder
from pipelines.clips import video
from pipelines.clips.footage import open_source, write_like
from pipelines.clips.images import read_picture
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.clips.video import film
from pipelines.clips.video.frames import SWSCALE
from pipelines.errors import VSRError

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SIZE = (64, 96)


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [FFMPEG, "-hide_banner", "-y", *map(str, words)], check=True, stdin=subprocess.DEVNULL, capture_output=True, **options
    )


def picture(rate: object = 24, length: float = 1, size: str = "96x64") -> list[str]:
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={length}"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames at 24 per second, BT.709, with a white one and a beep at half a second."""
    path = tmp_path_factory.mktemp("base") / "base.mp4"
    run("-f", "lavfi", "-i", "testsrc2=s=96x64:r=24:d=1,drawbox=c=white:t=fill:enable='eq(n,12)'",
        "-f", "lavfi", "-i", "aevalsrc='0.5*sin(880*2*PI*t)*between(t,0.5,0.54)':s=48000:d=1",
        "-vf", "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv",
        "-c:v", "libx264", "-crf", 10, "-bf", 2, "-c:a", "aac", path)  # fmt: skip
    return path


def told(path: Path, *filters: str, kind: str = "v") -> tuple[list[float], str]:
    """Times of frames in seconds from the start of the file by ffmpeg, which is no part of what read or wrote them, and its words."""
    show = "showinfo" if kind == "v" else "ashowinfo"
    said = run("-v", "info", "-copyts", "-i", path, "-map", f"0:{kind}:0", f"-filter:{kind}", ",".join([*filters, show]), "-fps_mode", "passthrough",
               "-f", "null", "-").stderr.decode()  # fmt: skip
    start = re.search(r", start: ([\d.-]+)", said)
    begins = float(start[1]) if start else 0.0
    return [float(time) - begins for time in re.findall(r"\] n: *\d+ pts:.*?pts_time:([\d.-]+)", said)], said


def remade(source: Path, target: Path, size: tuple[int, int] | None = None, silent: bool = False, **how: Any) -> dict[str, Any]:
    """The film of its own frames, each pixel four times, as `vsr restore` makes one."""
    info = video.probe(source)
    to = size or (2 * info.height, 2 * info.width)
    plan = video.plan(source, info, target, video.coding(target, info, **how), to, silent)

    def frames(first: int) -> Iterator[np.ndarray]:
        for frame in itertools.islice(video.decode(source, info, deep=True, opaque=True), first, None):
            rows, columns = (np.arange(new) * old // new for new, old in zip(to, frame.shape, strict=False))
            yield frame[rows][:, columns]

    return video.remake(plan, target, frames)


def same_times(source: Path, target: Path, tolerance: float = 0.001) -> None:
    (ours, _), (theirs, _) = told(target), told(source)
    assert len(ours) == len(theirs)
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= tolerance + 1e-6


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        ("xvid.avi", ["-c:v", "mpeg4", "-vtag", "XVID", "-bf", "2", "-c:a", "libmp3lame"], 24),
        ("div3.avi", ["-c:v", "msmpeg4v3", "-c:a", "libmp3lame"], 25),  # whose second chunk is empty
        ("h264.avi", ["-c:v", "copy", "-bsf:v", "h264_mp4toannexb", "-c:a", "libmp3lame"], 24),
        ("dvd.mpg", ["-r", "25", "-c:v", "mpeg2video", "-bf", "2", "-c:a", "ac3", "-f", "vob"], 25),
        ("vcd.mpg", ["-r", "25", "-c:v", "mpeg1video", "-bf", "2", "-c:a", "mp2", "-f", "mpeg"], 25),
        ("old.wmv", ["-c:v", "wmv2", "-c:a", "wmav2"], 24),
        ("free.ogv", ["-c:v", "libtheora", "-c:a", "libvorbis"], 24),
        ("HOLIDAY.DIVX", ["-c:v", "mpeg4", "-an", "-f", "avi"], 24),
        ("phone.3gp", ["-c:v", "h263", "-s", "128x96", "-r", "25", "-an"], 25),
        ("web.webm", ["-c:v", "libvpx-vp9", "-b:v", "1M", "-c:a", "libopus"], 24),
    ],
)
def test_containers_and_codecs_of_all_times(base: Path, tmp_path: Path, name: str, options: list[str], count: int) -> None:
    source = tmp_path / name
    run("-i", base, *options, source)
    (clip,) = open_source(source).values()
    assert clip.count == count and not clip.variable
    target = tmp_path / "out.mp4"
    assert remade(source, target)["frames"] == count
    if name == "old.wmv":  # whose first sound is not decoded, so that the file begins with the picture
        assert video.probe(target).origin == pytest.approx(float(video.probe(source).start), abs=1e-3)
    elif name not in ("h264.avi", "div3.avi"):  # of which ffmpeg gives no steady times
        same_times(source, target)
    assert video.probe(target).has_audio == ("-an" not in options)


def null_avi(path: Path, count: int = 12, dropped: Iterable[int] = (4, 5, 8)) -> None:
    """What capture programs leave: MJPEG at 25 per second, dropped frames as chunks of no bytes."""
    stream = run(*picture(25), "-frames:v", count, "-c:v", "mjpeg", "-f", "mjpeg", "-").stdout
    frames = [part + b"\xff\xd9" for part in stream.split(b"\xff\xd9")[:count]]
    frames = [b"" if index in set(dropped) else frame for index, frame in enumerate(frames)]

    def chunk(kind: bytes, data: bytes) -> bytes:
        return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)

    header = struct.pack("<14I", 40000, 0, 0, 0x10, count, 0, 1, 0, 96, 64, 0, 0, 0, 0)
    stream_header = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIIIhhhh", 0, 0, 0, 0, 1, 25, 0, count, 100000, 0xFFFFFFFF, 0, 0, 0, 96, 64
    )
    form = struct.pack("<IiiHHIIiiII", 40, 96, 64, 1, 24, int.from_bytes(b"MJPG", "little"), 96 * 64 * 3, 0, 0, 0, 0)
    lists = chunk(
        b"LIST", b"hdrl" + chunk(b"avih", header) + chunk(b"LIST", b"strl" + chunk(b"strh", stream_header) + chunk(b"strf", form))
    )
    movie, index, position = b"", b"", 4
    for frame in frames:
        made = chunk(b"00dc", frame)
        index += b"00dc" + struct.pack("<III", 0x10 if frame else 0, position, len(frame))
        movie, position = movie + made, position + len(made)
    path.write_bytes(chunk(b"RIFF", b"AVI " + lists + chunk(b"LIST", b"movi" + movie) + chunk(b"idx1", index)))


def test_dropped_frames_of_avi_repeat_the_one_before(tmp_path: Path) -> None:
    null_avi(tmp_path / "null.avi")
    info = video.probe(tmp_path / "null.avi")
    assert (info.frames, info.fps, info.variable) == (12, 25, False)
    frames = list(video.decode(tmp_path / "null.avi", info))
    same = [index for index in range(1, 12) if (frames[index] == frames[index - 1]).all()]
    assert same == [4, 5, 8]
    report = remade(tmp_path / "null.avi", tmp_path / "out.mp4")
    assert "3 dropped frames repeat the frame before" in report["on_purpose"]
    assert told(tmp_path / "out.mp4")[0] == pytest.approx([index / 25 for index in range(12)], abs=1e-3)


def test_a_recording_that_begins_within_a_group_of_pictures(tmp_path: Path) -> None:
    run(
        *picture(25, 3),
        "-f",
        "lavfi",
        "-i",
        "sine=d=3",
        "-c:v",
        "mpeg2video",
        "-g",
        12,
        "-bf",
        2,
        "-q:v",
        3,
        "-c:a",
        "mp2",
        tmp_path / "whole.ts",
    )
    data = (tmp_path / "whole.ts").read_bytes()
    packets = len(data) // 188
    (tmp_path / "cut.ts").write_bytes(data[188 * (packets // 4) :])
    info = video.probe(tmp_path / "cut.ts")
    assert info.lost[0] > 0 and info.frames + info.lost[0] < 75
    report = remade(tmp_path / "cut.ts", tmp_path / "out.mp4")
    assert "at its start cannot be decoded" in report["on_purpose"][0]
    assert told(tmp_path / "out.mp4")[0][0] == pytest.approx(float(info.start), abs=1e-3)  # the sound begins before


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mov"])
def test_a_container_of_milliseconds_is_steady_elsewhere_too(tmp_path: Path, suffix: str) -> None:
    run(*picture(30), "-bf", 0, tmp_path / "a.mkv")
    run("-i", tmp_path / "a.mkv", "-c", "copy", tmp_path / f"b{suffix}")
    info = video.probe(tmp_path / f"b{suffix}")
    assert (info.fps, info.variable, info.frames) == (30, False, 30)


def test_jitter_of_ticks_is_no_variable_rate(tmp_path: Path) -> None:
    run(*picture(30), "-vf", "settb=1/90000,setpts='round(N*3000+40*random(1))'", "-fps_mode", "passthrough", "-enc_time_base", "1/90000",
        "-bf", 0, "-video_track_timescale", 90000, tmp_path / "jitter.mp4")  # fmt: skip
    info = video.probe(tmp_path / "jitter.mp4")
    assert (info.fps, info.variable) == (30, False)


@pytest.mark.parametrize(("suffix", "target"), [(".mp4", ".mp4"), (".mkv", ".mkv"), (".mkv", ".mp4"), (".mp4", ".mkv")])
def test_a_variable_rate_keeps_every_frame_s_own_time(tmp_path: Path, suffix: str, target: str) -> None:
    source, made = tmp_path / f"phone{suffix}", tmp_path / f"out{target}"
    run(*picture(30), "-vf", r"select='not(eq(mod(n\,5)\,3))'", "-fps_mode", "vfr", "-bf", 2, source)
    info = video.probe(source)
    assert info.variable and info.frames == 24 and info.grid == 30
    assert "every frame keeps its own time" in remade(source, made)["on_purpose"][0]
    same_times(source, made)
    assert "fps=30 " in str(video.unsteady(source, info))


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mkv", ["-c", "copy"]), ("b.mp4", ["-c", "copy"]), ("c.avi", ["-c:v", "mpeg4"]), ("d.webm", ["-c:v", "libvpx-vp9"])],
)
def test_the_container_s_aspect_is_kept(base: Path, tmp_path: Path, name: str, options: list[str]) -> None:
    run("-i", base, "-an", *options, "-aspect", "24:11", tmp_path / name)
    remade(tmp_path / name, tmp_path / "out.mkv")
    assert "DAR 24:11" in told(tmp_path / "out.mkv")[1] or abs(
        video.probe(tmp_path / "out.mkv").pixel_aspect - Fraction(16, 11)
    ) < Fraction(1, 100)


def test_another_shape_keeps_the_picture_s(base: Path, tmp_path: Path) -> None:
    run("-i", base, "-an", "-c", "copy", "-aspect", "24:11", tmp_path / "wide.mp4")
    report = remade(tmp_path / "wide.mp4", tmp_path / "square.mp4", size=(88, 192))  # 24:11 in square pixels
    assert video.probe(tmp_path / "square.mp4").pixel_aspect == 1
    assert any("so that the picture keeps its shape" in line for line in report["on_purpose"])


@pytest.mark.parametrize("turn", [90, 180, 270, "h", "v"])
def test_pictures_are_turned_as_ffmpeg_turns_them(base: Path, tmp_path: Path, turn: int | str) -> None:
    run(
        *(["-display_rotation", turn] if isinstance(turn, int) else [f"-display_{turn}flip"]),
        "-i",
        base,
        "-c",
        "copy",
        tmp_path / "a.mp4",
    )
    frames = np.stack(list(itertools.islice(video.decode(tmp_path / "a.mp4"), 3)))
    raw = run(
        "-i", tmp_path / "a.mp4", "-frames:v", 3, "-vf", f"scale=flags={SWSCALE}", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"
    ).stdout
    assert (
        np.abs(frames - np.frombuffer(raw, np.uint8).reshape(frames.shape).astype(int)).mean() < 2
    )  # chroma is enlarged before or after


# ---------------------------------------------------------------- colours


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("colorspace=bt2020nc:color_primaries=bt2020:color_trc=arib-std-b67", ("bt2020nc", "bt2020", "arib-std-b67", None)),
        (
            "colorspace=smpte170m:color_primaries=smpte170m:color_trc=smpte170m:range=tv",
            ("smpte170m", "smpte170m", "smpte170m", "tv"),
        ),
        ("colorspace=bt709:color_primaries=smpte432:color_trc=bt709:range=pc", ("bt709", "smpte432", "bt709", "pc")),
    ],
)
def test_colour_tags_stay(tmp_path: Path, tags: str, expected: tuple[str | None, ...]) -> None:
    run(*picture(24, 0.2), "-vf", f"scale=out_color_matrix=bt709,format=yuv420p,setparams={tags}", "-crf", 5, tmp_path / "a.mp4")
    remade(tmp_path / "a.mp4", tmp_path / "b.mp4")
    info = video.probe(tmp_path / "b.mp4")
    assert (info.matrix, info.primaries, info.transfer) == expected[:3] and (info.range or "tv") == (expected[3] or "tv")
    ours, theirs = (next(video.decode(tmp_path / name)).astype(int) for name in ("b.mp4", "a.mp4"))
    assert np.abs(ours[::2, ::2] - theirs).mean() < 5


@pytest.mark.parametrize(("size", "matrix"), [("64x48", "smpte170m"), ("1280x720", "bt709")])
def test_what_names_no_matrix_is_read_by_its_size(tmp_path: Path, size: str, matrix: str) -> None:
    by = {"smpte170m": "bt601", "bt709": "bt709"}[matrix]
    run("-f", "lavfi", "-i", f"color=0xC82828:s={size}:r=24:d=0.1", "-vf", f"scale=out_color_matrix={by}:out_range=tv,format=yuv420p",
        "-bsf:v", "h264_metadata=matrix_coefficients=2", "-crf", 5, tmp_path / "a.mp4")  # fmt: skip
    assert np.abs(next(video.decode(tmp_path / "a.mp4")).astype(int) - (0xC8, 0x28, 0x28)).max() <= 5
    report = remade(tmp_path / "a.mp4", tmp_path / "b.mp4", size=(48, 64))
    assert f"read by their size as {matrix}" in report["on_purpose"][0] and video.probe(tmp_path / "b.mp4").matrix == matrix


def test_ten_bits_and_hdr_stay(tmp_path: Path) -> None:
    light = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    run(*picture(24, 0.2), "-vf", "format=yuv420p10le,setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc=smpte2084:range=tv",
        "-c:v", "libx265", "-x265-params", f"log-level=none:{light}", tmp_path / "hdr.mp4")  # fmt: skip
    info = video.probe(tmp_path / "hdr.mp4")
    assert info.depth == 10 and info.light.content == (1000, 400)
    frame = next(video.decode(tmp_path / "hdr.mp4", info, deep=True))
    assert frame.dtype == np.uint16 and frame.max() > 60000
    remade(tmp_path / "hdr.mp4", tmp_path / "out.mp4")
    found = video.probe(tmp_path / "out.mp4")
    assert (found.codec, found.depth, found.transfer, found.light.content) == ("hevc", 10, "smpte2084", (1000, 400))
    assert found.light.display and found.light.display[9] == 1000
    again = next(video.decode(tmp_path / "out.mp4", found, deep=True))
    assert np.abs(again[::2, ::2].astype(int) - frame).mean() < 5 * 257
    with pytest.raises(VSRError, match="10 bits per colour"):
        open_source(tmp_path / "hdr.mp4")


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", ".mov"), ("hevc", ".mp4"), ("av1", ".mkv"), ("ffv1", ".mkv"), ("prores", ".mov")]
)
def test_codecs(base: Path, tmp_path: Path, codec: str, suffix: str) -> None:
    remade(base, tmp_path / f"out{suffix}", codec=codec)
    same_times(base, tmp_path / f"out{suffix}")
    assert video.probe(tmp_path / f"out{suffix}").codec == codec
    if codec == "ffv1":
        pairs = zip(video.decode(tmp_path / "out.mkv"), video.decode(base), strict=True)
        assert all((ours[::2, ::2] == theirs).all() for ours, theirs in pairs)


def test_codecs_that_cannot_be(base: Path, tmp_path: Path) -> None:
    info = video.probe(base)
    for target, how, message in (
        ("a.mp4", {"codec": "h265"}, "unknown codec 'h265'"),
        ("a.mp4", {"codec": "ffv1"}, "cannot hold ffv1"),
        ("a.mkv", {"codec": "ffv1", "crf": 3}, "--crf is 3, and ffv1 has none"),
        ("a.mkv", {"crf": 70}, "h264 has 0 to 51"),
        ("a.webm", {}, "cannot be written"),
    ):
        with pytest.raises(VSRError, match=message):
            video.coding(tmp_path / target, info, **how)
    with pytest.raises(VSRError, match="131x97.*must be even.*--codec ffv1"):
        remade(base, tmp_path / "odd.mp4", size=(97, 131))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- sound and what stands beside


@pytest.mark.parametrize(
    ("name", "options", "target", "codec"),
    [
        ("a.mkv", ["-c:a", "flac"], ".mkv", "flac"),
        ("b.mkv", ["-c:a", "libopus"], ".mp4", "opus"),
        ("c.mov", ["-c:a", "pcm_s16le"], ".mov", "pcm_s16le"),
        ("d.mov", ["-c:a", "adpcm_ima_qt", "-ac", "1"], ".mov", "adpcm_ima_qt"),
        ("e.mkv", ["-c:a", "libvorbis"], ".mp4", "aac"),
        ("f.mp4", ["-c:a", "eac3"], ".mp4", "eac3"),
    ],
)
def test_sound_is_copied_or_converted(base: Path, tmp_path: Path, name: str, options: list[str], target: str, codec: str) -> None:
    run("-i", base, "-c:v", "copy", *options, tmp_path / name)
    report = remade(tmp_path / name, tmp_path / f"out{target}")
    assert video.probe(tmp_path / f"out{target}").audio == (codec,)
    assert any("becomes aac" in line for line in report["on_purpose"]) == (codec == "aac")
    same_times(tmp_path / name, tmp_path / f"out{target}")


def test_sound_that_nothing_decodes_is_left_out_and_named(base: Path, tmp_path: Path) -> None:
    run("-i", base, "-f", "lavfi", "-i", "sine=d=1", "-map", "0:v", "-map", "0:a", "-map", "1:a", "-c:v", "copy", "-c:a:0", "copy",
        "-c:a:1", "pcm_s16le", tmp_path / "a.mov")  # fmt: skip
    data = (tmp_path / "a.mov").read_bytes()
    at = data.rfind(b"sowt")
    (tmp_path / "phone.mov").write_bytes(data[:at] + b"apac" + data[at + 4 :])
    report = remade(tmp_path / "phone.mov", tmp_path / "out.mp4")
    assert report["sound"] == ["aac"] and any(
        "sound track 2 (unknown) is left out: ffmpeg cannot decode it" in line for line in report["on_purpose"]
    )


def test_a_broken_frame_of_sound_breaks_nothing(tmp_path: Path) -> None:
    run(*picture(25, 2), "-f", "lavfi", "-i", "sine=d=2:r=48000", "-c:a", "mp2", "-b:a", "192k", tmp_path / "a.mkv")
    data = bytearray((tmp_path / "a.mkv").read_bytes())
    marks = [found.start() for found in re.finditer(b"\xff\xfd", bytes(data))]
    at = marks[len(marks) * 2 // 3]
    data[at : at + 40] = bytes(40)
    (tmp_path / "bad.mkv").write_bytes(data)
    assert remade(tmp_path / "bad.mkv", tmp_path / "out.mkv")["sound"] == ["mp2"]


def test_no_sound(base: Path, tmp_path: Path) -> None:
    assert remade(base, tmp_path / "out.mp4", silent=True)["sound"] == []
    assert "sound track 1 (aac) is left out" in remade(base, tmp_path / "b.mp4", silent=True)["on_purpose"]


@pytest.mark.parametrize(("suffix", "target"), [(".mkv", ".mkv"), (".mkv", ".mp4"), (".mp4", ".mp4"), (".mp4", ".mkv")])
def test_subtitles_chapters_titles_and_fonts(base: Path, tmp_path: Path, suffix: str, target: str) -> None:
    (tmp_path / "s.srt").write_text("1\n00:00:00,100 --> 00:00:00,800\nHello\n")
    chapters = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={a + 500}\ntitle=part {a}\n" for a in (0, 500))
    (tmp_path / "m.txt").write_text(f";FFMETADATA1\ntitle=My Holiday\n{chapters}")
    (tmp_path / "f.ttf").write_text("font")
    font = ["-attach", tmp_path / "f.ttf", "-metadata:s:t", "mimetype=application/x-truetype-font"] if suffix == ".mkv" else []
    run("-i", base, "-i", tmp_path / "s.srt", "-i", tmp_path / "m.txt", "-map", "0:v", "-map", "0:a", "-map", "1", "-map_metadata", 2,
        "-map_chapters", 2, "-metadata", "creation_time=2019-07-01T12:00:00Z", "-metadata:s:a:0", "language=deu", "-c", "copy",
        "-c:s", "srt" if suffix == ".mkv" else "mov_text", *font, tmp_path / f"in{suffix}")  # fmt: skip
    report = remade(tmp_path / f"in{suffix}", tmp_path / f"out{target}")
    said = subprocess.run([FFMPEG, "-i", tmp_path / f"out{target}"], capture_output=True).stderr.decode()
    for words in (
        "My Holiday",
        "part 500",
        "Subtitle: " + ("subrip" if target == ".mkv" else "mov_text"),
        "(deu): Audio",
        "2019-07-01",
    ):
        assert words in said, words
    assert ("Attachment" in said) == (suffix == target == ".mkv")
    assert any("attachments are left out" in line for line in report["on_purpose"]) == (suffix == ".mkv" and target == ".mp4")


@pytest.mark.parametrize(("late", "target"), [("v", ".mp4"), ("v", ".mkv"), ("a", ".mp4"), ("a", ".mkv")])
def test_what_begins_late_stays_late(base: Path, tmp_path: Path, late: str, target: str) -> None:
    order = ["-itsoffset", 0.25, "-i", base, "-i", base, "-map", "0:v", "-map", "1:a"]
    if late == "a":
        order = ["-i", base, "-itsoffset", 0.25, "-i", base, "-map", "0:v", "-map", "1:a"]
    run(*order, "-c", "copy", tmp_path / f"in{target}")
    remade(tmp_path / f"in{target}", tmp_path / f"out{target}")
    same_times(tmp_path / f"in{target}", tmp_path / f"out{target}")
    starts = [told(tmp_path / f"{name}{target}", kind="a")[0][0] for name in ("in", "out")]
    assert starts[0] == pytest.approx(starts[1], abs=1e-3)


def test_a_slow_camera_that_begins_late(tmp_path: Path) -> None:
    run(*picture(4, 2), "-bf", 0, tmp_path / "a.mkv")
    run("-itsoffset", 0.12, "-i", tmp_path / "a.mkv", "-f", "lavfi", "-i", "sine=d=2", "-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "pcm_s16le",
        tmp_path / "late.mkv")  # fmt: skip
    remade(tmp_path / "late.mkv", tmp_path / "out.mkv")
    same_times(tmp_path / "late.mkv", tmp_path / "out.mkv")


# ---------------------------------------------------------------- what cannot be, before the work


def test_told_before_the_work(base: Path, tmp_path: Path) -> None:
    for name, size in (("a", "96x64"), ("b", "64x48")):
        run(*picture(25, 0.2, size), "-bf", 0, tmp_path / f"{name}.ts")
    (tmp_path / "changes.ts").write_bytes((tmp_path / "a.ts").read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(VSRError, match=r"changes\.ts goes from 96x64 to 64x48"):
        video.probe(tmp_path / "changes.ts")
    data = base.read_bytes()
    (tmp_path / "trailer.mp4").write_bytes(data + b"SEFHe\0\0\0what a phone adds")
    assert video.probe(tmp_path / "trailer.mp4").frames == 24
    run("-i", base, "-c", "copy", "-movflags", "+faststart", tmp_path / "fast.mp4")
    (tmp_path / "half.mp4").write_bytes((tmp_path / "fast.mp4").read_bytes()[: len(data) * 7 // 10])
    with pytest.raises(VSRError, match="half.mp4 is damaged or cut short"):
        video.probe(tmp_path / "half.mp4")


def test_a_film_that_came_out_otherwise_is_not_left(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last check is of the file, not of what was meant: here the frames' times are written wrong."""
    monkeypatch.setattr(film, "timescale", lambda info: 24 * 512 + 60)
    real = film._join
    monkeypatch.setattr(
        film, "_join", lambda parts, path, made: real(parts, path, made.__class__(**{**made.__dict__, "info": faster(made.info)}))
    )
    with pytest.raises(VSRError, match=r"out\.mp4 would not be its source in another size \(.*a frame is .* ms from its time"):
        remade(base, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def faster(info: video.VideoInfo) -> video.VideoInfo:
    return info.__class__(**{**info.__dict__, "fps": info.fps * Fraction(101, 100)})


def test_gifs_and_other_opaque_alpha(tmp_path: Path) -> None:
    run(*picture(24, 0.3), "-c:v", "gif", tmp_path / "a.gif")
    (clip,) = open_source(tmp_path / "a.gif").values()
    assert clip.count == 8 and clip.info and not clip.info.alpha
    remade(tmp_path / "a.gif", tmp_path / "out.mp4")
    same_times(tmp_path / "a.gif", tmp_path / "out.mp4", 0.01)  # its own unit


# ---------------------------------------------------------------- interruptions


def test_an_interrupted_film_goes_on(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "PART", 7)
    target = tmp_path / "out.mp4"
    remade(base, tmp_path / "undisturbed.mp4")
    info = video.probe(base)
    plan = video.plan(base, info, target, video.coding(target, info), (128, 192))
    asked: list[int] = []

    def until(stop: int) -> Callable[[int], Iterator[np.ndarray]]:
        def frames(first: int) -> Iterator[np.ndarray]:
            asked.append(first)
            for index, frame in enumerate(video.decode(base, info)):
                if index == stop:
                    raise KeyboardInterrupt
                if index >= first:
                    yield frame.repeat(2, 0).repeat(2, 1)

        return frames

    for stop in (3, 10, 20):
        with pytest.raises(KeyboardInterrupt):
            video.remake(plan, target, until(stop), "network")
        assert [path.name for path in tmp_path.glob(".*")] == ([] if stop == 3 else [".out.mp4.parts"])
        assert not target.exists() and not list(tmp_path.glob(".*.parts/partial*"))
    video.remake(plan, target, until(99), "network")
    assert asked == [0, 0, 7, 14]
    assert target.read_bytes() == (tmp_path / "undisturbed.mp4").read_bytes()
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(KeyboardInterrupt):
        video.remake(plan, tmp_path / "b.mp4", until(10), "network")
    video.remake(plan, tmp_path / "b.mp4", until(99), "another network")
    assert asked[-1] == 0  # nothing of the other network's is taken


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_leaves_nothing_half_written(base: Path, tmp_path: Path, number: signal.Signals) -> None:
    program = (
        "import os, sys\nfrom pathlib import Path\nfrom pipelines.clips import video\nfrom pipelines.faults import translate_errors\n"
        "source, target = map(Path, sys.argv[1:3])\n"
        "with translate_errors():\n info = video.probe(source)\n"
        " plan = video.plan(source, info, target, video.coding(target, info), (64, 96))\n"
        " def frames(first):\n  for i, frame in enumerate(video.decode(source, info)):\n"
        "   if i == 9: os.kill(os.getpid(), int(sys.argv[3]))\n   yield frame\n"
        " video.remake(plan, target, frames)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, base, tmp_path / "out.mp4", str(int(number))], capture_output=True)
    assert done.returncode == 128 + number, done.stderr.decode()
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- frames


def image(index: int, height: int = 12, width: int = 20) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([(x * 5 + index * 9) % 256, (y * 7) % 256, np.full_like(x, 40 * index % 256)], -1).astype(np.uint8)
    )


def names_of(folder: Path) -> list[str]:
    (clip,) = open_source(folder).values()
    written, _ = write_like(folder.parent / "out", clip, clip.frames())
    return sorted(path.name for path in written.iterdir())


def test_folders_of_frames_are_read_as_a_person_would(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def made(name: str, files: Iterable[str]) -> Path:
        (tmp_path / name / "in").mkdir(parents=True)
        for index, file in enumerate(files):
            image(index).save(tmp_path / name / "in" / file)
        return tmp_path / name / "in"

    assert names_of(made("mixed", ["0001.png", "0002.jpg", "0003.webp", "0004.TIF", "0005.bmp"])) == [
        f"000{i}.png" for i in range(1, 6)
    ]
    assert len(names_of(made("times", [f"{t}.png" for t in (0, 33, 67, 100, 133)]))) == 5
    assert names_of(made("stray", ["0001.png", "0002.png", "cover.png", "preview.jpg"])) == ["0001.png", "0002.png"]
    assert "cover.png, preview.jpg not, which is left out" in caplog.text
    with pytest.raises(VSRError, match="lacks frame 3, after 0002.png"):
        open_source(made("gap", ["0001.png", "0002.png", "0004.png", "cover.png"]))
    (clip,) = open_source(made("natural", [f"frame_{i}.png" for i in (10, 9, 8, 11)])).values()
    assert [frame[0, 0, 2] for frame in clip.frames()] == [80, 40, 0, 120]
    assert len(names_of(made("long", ["n" * 245 + f"{i}.png" for i in range(2)]))) == 2


def test_transparency_that_is_none_and_turns_by_exif(tmp_path: Path) -> None:
    opaque = image(1).convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    assert (read_picture(tmp_path / "opaque.png") == np.array(image(1))).all()
    opaque.putpixel((3, 3), (1, 2, 3, 200))
    opaque.save(tmp_path / "clear.png")
    with pytest.raises(VSRError, match=r"clear\.png has transparency"):
        read_picture(tmp_path / "clear.png")
    for orientation, turned in ((3, np.array(image(1))[::-1, ::-1]), (6, np.rot90(np.array(image(1)), -1))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        image(1).save(tmp_path / f"{orientation}.png", exif=exif)
        assert (read_picture(tmp_path / f"{orientation}.png") == turned).all()
        data = (tmp_path / f"{orientation}.png").read_bytes()
        assert b"eXIf" in data and zlib.crc32(b"") == 0


# ---------------------------------------------------------------- folders and places


def test_a_holiday_folder(base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "holiday"
    folder.mkdir()
    (folder / "beach.mp4").write_bytes(base.read_bytes())
    run("-i", base, "-r", 25, "-c:v", "mpeg2video", "-f", "vob", folder / "VTS_01_1.VOB")
    (folder / "notes.txt").write_text("x")
    (folder / "cover.jpg").write_text("x")
    assert sorted(open_source(folder)) == ["VTS_01_1", "beach"]
    assert "cover.jpg, notes.txt are no video by name and left out" in caplog.text


def test_folders_that_stay_where_they_are_are_filled(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    inode = (tmp_path / "real").stat().st_ino
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("x")
        raise RuntimeError
    assert not list((tmp_path / "real").iterdir())
    with atomic_folder(tmp_path / "link") as folder:
        (folder / "a").write_text("x")
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["a"]
    assert (tmp_path / "real").stat().st_ino == inode and (tmp_path / "link").is_symlink()


def test_names_of_any_length_in_a_store(tmp_path: Path) -> None:
    names = ["Отпуск на море летом две тысячи девятнадцатого года", "家族旅行" * 20, "plain"]
    for name in names:
        with ClipWriter(tmp_path / "parts", name) as writer:
            writer.append({"rgb": np.zeros((4, 4, 3), np.uint8)})
            writer.finish(ClipAttributes("test", 25.0, 4, 4))
    assemble(tmp_path / "parts", names, tmp_path / "store")
    assert sorted(Store(tmp_path / "store").clips) == sorted(names)
    assert max(len(os.fsencode(path.name)) for path in tmp_path.rglob("*")) < 255

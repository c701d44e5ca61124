"""Video files through the real ffmpeg."""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import imageio_ffmpeg
import numpy as np
import pytest

from pipelines import params
from pipelines.clips import video
from pipelines.clips.ingest import Ingest
from pipelines.clips.readers import list_clips
from pipelines.clips.video import process
from pipelines.errors import VSRError


def run_ffmpeg(*arguments: object) -> None:
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL
    )


def bars(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Frame t has a bright column block at 2t: every frame can be told from the others."""
    frames = np.full((count, height, width, 3), (40, 90, 160), np.uint8)
    for t in range(count):
        frames[t, :, 2 * t : 2 * t + 8] = (230, 200, 60)
    return list(frames)


def remade(source: Path, target: Path, frames: Iterable[np.ndarray], **how: Any) -> dict[str, Any]:
    """A film of other frames, as `vsr restore` makes it."""
    info = video.probe(source)
    plan = video.plan(source, info, target, video.coding(target, info, **how), (info.height, info.width))
    return video.remake(plan, target, lambda first: itertools.islice(frames, first, None))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 frames at 30000/1001, without sound."""
    path = tmp_path_factory.mktemp("video") / "bars.mp4"
    video.encode(bars(24), path, Fraction(30000, 1001))
    return path


@pytest.fixture(scope="module")
def with_sound(clip: Path) -> Path:
    path = clip.with_name("sound.mp4")
    run_ffmpeg("-i", clip, "-f", "lavfi", "-i", "sine=d=0.8", "-c:v", "copy", "-c:a", "aac", path)
    return path


def test_frames_come_back_in_order_and_colour(clip: Path) -> None:
    info = video.probe(clip)
    assert (info.width, info.height, info.fps, info.frames) == (64, 48, Fraction(30000, 1001), 24)
    assert not info.variable and not info.has_audio and info.start == 0 and info.primaries == "bt709"
    decoded = list(video.decode(clip))
    assert len(decoded) == 24 and decoded[0].shape == (48, 64, 3) and decoded[0].dtype == np.uint8
    for found, given in zip(decoded, bars(24), strict=True):
        error = np.abs(found.astype(int) - given)
        assert error.mean() < 3  # CRF 12 and halved chroma
        assert np.abs(np.median(found[:, -8:].astype(int) - given[:, -8:], axis=(0, 1))).max() <= 2


def test_no_temporary_file_stays(clip: Path) -> None:
    assert not list(clip.parent.glob(".*"))


@pytest.mark.parametrize("suffix", [".mkv", ".mov"])
def test_other_containers_keep_the_rate(tmp_path: Path, suffix: str) -> None:
    for fps in (Fraction(30000, 1001), Fraction(24000, 1001), Fraction(50)):
        video.encode(bars(16), tmp_path / f"a{suffix}", fps)
        info = video.probe(tmp_path / f"a{suffix}")
        assert (info.fps, info.variable, info.frames) == (fps, False, 16)


def test_sound_is_copied(with_sound: Path, tmp_path: Path) -> None:
    assert video.probe(with_sound).audio == ("aac",)
    remade(with_sound, tmp_path / "out.mp4", video.decode(with_sound))
    assert video.probe(tmp_path / "out.mp4").has_audio

    def packets(path: Path) -> list[str]:
        run_ffmpeg("-i", path, "-map", "0:a", "-c", "copy", "-f", "framecrc", tmp_path / "list")
        return [line.split(",")[5] for line in (tmp_path / "list").read_text().splitlines() if not line.startswith("#")]

    assert packets(tmp_path / "out.mp4") == packets(with_sound)


def test_uncommon_sound_becomes_aac(clip: Path, tmp_path: Path) -> None:
    run_ffmpeg("-i", clip, "-f", "lavfi", "-i", "sine=d=0.8", "-c:v", "copy", "-c:a", "pcm_s16le", tmp_path / "in.mkv")
    for suffix, codec in ((".mp4", "aac"), (".mkv", "pcm_s16le")):
        remade(tmp_path / "in.mkv", tmp_path / f"out{suffix}", bars(24))
        assert video.probe(tmp_path / f"out{suffix}").audio == (codec,)


def test_late_picture_stays_late(clip: Path, tmp_path: Path) -> None:
    run_ffmpeg(
        "-itsoffset", "0.5", "-i", clip, "-f", "lavfi", "-i", "sine=d=1.5", "-c:v", "copy", "-c:a", "aac", tmp_path / "late.mkv"
    )
    start = video.probe(tmp_path / "late.mkv").start
    assert abs(start - Fraction(1, 2)) < Fraction(1, 20)
    remade(tmp_path / "late.mkv", tmp_path / "out.mkv", bars(24))
    info = video.probe(tmp_path / "out.mkv")
    assert abs(info.start - start) < Fraction(1, 100) and info.frames == 24


def test_wide_pixels_stay_wide(clip: Path, tmp_path: Path) -> None:
    run_ffmpeg("-i", clip, "-vf", "setsar=16/11", tmp_path / "wide.mp4")
    run_ffmpeg("-display_rotation", "90", "-i", tmp_path / "wide.mp4", "-c", "copy", tmp_path / "turned.mp4")
    for name, aspect in (("wide", Fraction(16, 11)), ("turned", Fraction(11, 16))):
        info = video.probe(tmp_path / f"{name}.mp4")
        assert info.pixel_aspect == aspect
        remade(tmp_path / f"{name}.mp4", tmp_path / "out.mp4", bars(24, info.height, info.width))
        assert video.probe(tmp_path / "out.mp4").pixel_aspect == aspect


def test_rotation_is_respected(clip: Path, tmp_path: Path) -> None:
    run_ffmpeg("-display_rotation", "90", "-i", clip, "-c", "copy", tmp_path / "turned.mp4")
    info = video.probe(tmp_path / "turned.mp4")
    assert (info.width, info.height) == (48, 64)
    assert next(video.decode(tmp_path / "turned.mp4")).shape == (64, 48, 3)


def test_variable_rate_is_detected_and_keeps_every_frame(clip: Path, tmp_path: Path) -> None:
    stretched = "setpts=PTS+gte(N\\,10)*0.4/TB"
    run_ffmpeg("-i", clip, "-vf", stretched, "-fps_mode", "passthrough", tmp_path / "vfr.mp4")
    info = video.probe(tmp_path / "vfr.mp4")
    assert info.variable and info.frames == 24 and info.fps < 25
    assert sum(1 for _ in video.decode(tmp_path / "vfr.mp4")) == 24
    assert not video.probe(clip).variable
    corpus = params.Footage(kind="videos", source=str(tmp_path), split="test")
    with pytest.raises(VSRError, match=r"vfr\.mp4 has a variable frame rate.*ffmpeg -i vfr\.mp4 -vf fps=30000/1001 ") as said:
        list(Ingest()(next(found for found in list_clips(corpus, tmp_path) if found.name == "vfr")))
    mend(said.value, tmp_path)
    info = video.probe(tmp_path / "vfr_steady.mkv")
    assert not info.variable and info.fps == Fraction(30000, 1001)


def mend(error: VSRError, folder: Path) -> None:
    """Run the command that an error gives."""
    (command,) = re.findall("`(ffmpeg .*?)`", str(error))
    program, *arguments = shlex.split(command)
    assert program == "ffmpeg"
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments], cwd=folder, check=True, stdin=subprocess.DEVNULL)


PLAIN = "testsrc=s=64x48:d=0.2"


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("h264.mp4", ["-pix_fmt", "yuv420p10le"], r"10 bits per colour \(yuv420p10le\)"),
        ("prores.mov", ["-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"], r"10 bits per colour \(yuv422p10le\)"),
        ("grey.mkv", ["-c:v", "ffv1", "-pix_fmt", "gray16le"], r"16 bits per colour \(gray16le\)"),
        ("deep.mov", ["-c:v", "png", "-pix_fmt", "rgb48be"], r"16 bits per colour \(rgb48be\)"),
        ("runs.mov", ["-c:v", "qtrle", "-pix_fmt", "argb"], r"transparency \(argb\)"),
        ("png.mov", ["-c:v", "png", "-pix_fmt", "ya8"], r"transparency \(ya8\)"),
        ("4444.mov", ["-c:v", "prores_ks", "-profile:v", "4444", "-pix_fmt", "yuva444p10le"], r"transparency \(yuva444p1\dle\)"),
        ("it's vp9.webm", ["-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p"], r"transparency \(yuv420p\)"),
    ],
)
def test_what_8_bit_rgb_cannot_hold(tmp_path: Path, name: str, options: list[str], reason: str) -> None:
    path = tmp_path / name
    clear = ",format=rgba,colorchannelmixer=aa=0.5" if "transparency" in reason else ""
    run_ffmpeg("-f", "lavfi", "-i", PLAIN + clear, *options, path)
    with pytest.raises(VSRError, match=f"{re.escape(name)} has {reason}, frames .*: convert it") as said:
        next(video.decode(path))
    mend(said.value, tmp_path)
    (made,) = tmp_path.glob("*_*.mkv")
    assert video.probe(made).frames == sum(1 for _ in video.decode(made)) == 5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("chroma.mkv", ["-c:v", "ffv1", "-pix_fmt", "yuv420p"]),
        ("full.avi", ["-c:v", "mjpeg", "-pix_fmt", "yuvj420p"]),
        ("full.mp4", ["-pix_fmt", "yuv444p"]),
        ("rgb.mkv", ["-c:v", "ffv1", "-pix_fmt", "bgr0"]),
        ("grey.mov", ["-c:v", "png", "-pix_fmt", "gray"]),
        ("palette.mov", ["-c:v", "png", "-pix_fmt", "pal8"]),
    ],
)
def test_odd_sizes_and_8_bit_layouts_are_read(tmp_path: Path, name: str, options: list[str]) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "testsrc=s=65x49:d=0.2", *options, tmp_path / name)
    info = video.probe(tmp_path / name)
    assert (info.width, info.height, info.frames, info.interlaced) == (65, 49, 5, False)
    assert [frame.shape for frame in video.decode(tmp_path / name)] == [(49, 65, 3)] * 5


def test_a_size_that_changes_is_said(tmp_path: Path) -> None:
    with (tmp_path / "joined.h264").open("wb") as joined:
        for size in ("64x48", "96x48"):
            run_ffmpeg("-f", "lavfi", "-i", f"testsrc=s={size}:d=0.2", "-bf", 0, tmp_path / f"{size}.h264")
            joined.write((tmp_path / f"{size}.h264").read_bytes())
    run_ffmpeg("-i", tmp_path / "joined.h264", "-c", "copy", tmp_path / "joined.ts")
    with pytest.raises(VSRError, match=r"joined\.ts goes from 64x48 to 96x48"):
        list(video.decode(tmp_path / "joined.ts"))


@pytest.mark.parametrize(("field", "interlaced"), [("tff", True), ("bff", True), (None, False)])
def test_interlaced_files_are_told_apart(tmp_path: Path, field: str | None, interlaced: bool) -> None:
    options = ["-flags", "+ilme+ildct", "-x264opts", f"{field}=1"] if field else []
    run_ffmpeg("-f", "lavfi", "-i", PLAIN, *options, tmp_path / "a.mp4")
    assert video.probe(tmp_path / "a.mp4").interlaced == interlaced


def test_untagged_colours_are_bt601(tmp_path: Path) -> None:
    run_ffmpeg("-f", "lavfi", "-i", "color=red:s=64x48:d=0.1", "-vf", "scale=out_color_matrix=bt601:out_range=tv,format=yuv420p",
               "-bsf:v", "h264_metadata=matrix_coefficients=2", "-crf", 5, tmp_path / "old.mp4")  # fmt: skip
    assert np.abs(next(video.decode(tmp_path / "old.mp4")).astype(int) - (255, 0, 0)).max() <= 4


@pytest.mark.parametrize("layout", [["-movflags", "+faststart"], [], "mkv"])
def test_a_file_cut_anywhere_is_an_error(clip: Path, tmp_path: Path, layout: list[str] | str) -> None:
    whole = tmp_path / ("whole.mkv" if layout == "mkv" else "whole.mp4")
    run_ffmpeg("-i", clip, "-c", "copy", "-bitexact", *(layout if isinstance(layout, list) else []), whole)
    data = whole.read_bytes()
    cut = whole.with_stem("cut")
    for part in (0, 0.2, 0.5, 0.7, 0.9, 0.97):
        cut.write_bytes(data[: int(len(data) * part)])
        with pytest.raises(VSRError, match=f"{cut.name}.*(damaged|cut short)"):
            list(video.decode(cut))


def test_damage_inside_is_an_error(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    for index in range(len(data) - 400, len(data)):  # the last pictures, as the index comes first
        data[index] ^= 0x5A
    (tmp_path / "corrupt.mp4").write_bytes(data)
    with pytest.raises(VSRError, match=r"corrupt\.mp4 is damaged"):
        list(video.decode(tmp_path / "corrupt.mp4"))


def test_a_name_is_no_fault(clip: Path, tmp_path: Path) -> None:
    """Nothing in a path is taken for a message, an option or a pattern."""
    for name in ("corrupt partial file.mp4", "-i.mp4", "frame%03d:x.mp4", "http:a'b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
        assert video.probe(tmp_path / name).frames == 24


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="nope.mp4 does not exist"):
        video.probe(tmp_path / "nope.mp4")
    with pytest.raises(VSRError, match="is not a file"):
        video.probe(tmp_path)
    (tmp_path / "text.mp4").write_text("not a video at all\n" * 40)
    with pytest.raises(VSRError, match="text.mp4"):
        video.probe(tmp_path / "text.mp4")
    run_ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", tmp_path / "sound.m4a")
    (tmp_path / "sound.m4a").rename(tmp_path / "sound.mp4")
    with pytest.raises(VSRError, match="no video stream"):
        video.probe(tmp_path / "sound.mp4")


def test_what_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    with pytest.raises(VSRError, match="65x48.*even.*PNG"):
        video.encode(bars(2, 48, 65), target, 25)
    with pytest.raises(VSRError, match="frame 2 is 64x50"):
        video.encode([*bars(2), *bars(1, 50)], target, 25)
    with pytest.raises(VSRError, match="no frames"):
        video.encode([], target, 25)
    with pytest.raises(VSRError, match=r"\.webm cannot be written"):
        video.encode(bars(2), tmp_path / "out.webm", 25)

    def failing():  # type: ignore[no-untyped-def]
        yield from bars(3)
        raise RuntimeError("network failed")

    with pytest.raises(RuntimeError, match="network failed"):
        video.encode(failing(), target, 25)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="disk is full"):
        noise = ffmpeg.input("color=s=64x64:d=1", f="lavfi")
        process.feed(process.arguments_of(ffmpeg.output(noise, "/dev/full", format="rawvideo")), [], "out.mp4")


def test_leaving_early_ends_the_decoder(clip: Path) -> None:
    frames = video.decode(clip)
    next(frames)
    frames.close()  # type: ignore[attr-defined]


def test_rational() -> None:
    assert video.rational(30000 / 1001) == Fraction(30000, 1001) and video.rational(25.0) == 25
    assert video.rational(24000 / 1001) == Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("name", "frames", "fps"),
    [("01_dog", 289, Fraction(30000, 1001)), ("02_cups", 300, Fraction(30000, 1001)),
     ("03_blocks", 292, Fraction(30000, 1001)), ("05_default_juggle", 247, Fraction(24))],
)  # fmt: skip
def test_real_videos(shared_data: Path, name: str, frames: int, fps: Fraction) -> None:
    path = shared_data / f"video/{name}.mp4"
    info = video.probe(path)
    assert (info.width, info.height, info.frames, info.fps, info.variable) == (1280, 720, frames, fps, False)
    if name == "05_default_juggle":
        assert sum(1 for _ in video.decode(path)) == frames

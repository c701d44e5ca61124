"""Coding as a degradation, through the real encoders."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pytest
import torch

from pipelines import params
from pipelines.clips import parallax, video
from pipelines.clips.images import read_picture
from pipelines.degradations import codec
from pipelines.degradations.resize import bicubic
from pipelines.errors import VSRError
from pipelines.metrics import luma, psnr

CRF25 = {"op": "x264", "crf": 25, "bit_rate": None, "preset": "medium", "fps": None, "gop": None, "pixel_format": "yuv420p"}
MPEG4 = {"op": "mpeg4", "bit_rate": 10_000, "fps": 1.0}


def reduced(frames: Iterable[np.ndarray]) -> list[np.ndarray]:
    """LR by bicubic x4, of the part of HR that it covers."""
    found = []
    for frame in frames:
        height, width = (side // 4 * 4 for side in frame.shape[:2])
        small = bicubic(torch.from_numpy(frame[:height, :width]).permute(2, 0, 1)[None], (4.0, 4.0))[0]
        found.append(small.add(0.5).floor().clamp(0, 255).byte().permute(1, 2, 0).numpy())
    return found


def counting(count: int, height: int = 32, width: int = 48) -> list[np.ndarray]:
    """Smooth frames whose brightness tells which one it is."""
    y, x = np.mgrid[:height, :width]
    wave = 20 * np.sin(x / 9) * np.cos(y / 7)
    return [np.repeat((40 + 150 * t / max(1, count - 1) + wave)[..., None], 3, 2).astype(np.uint8) for t in range(count)]


def drifting(count: int) -> list[np.ndarray]:
    """A texture of 96x128 that moves and flickers: many bits to spend."""
    generator = np.random.default_rng(0)
    field = generator.integers(0, 256, (96, 128 + 2 * count, 3))
    return [(field[:, 2 * t : 2 * t + 128] // 2 + generator.integers(0, 64, (96, 128, 3))).astype(np.uint8) for t in range(count)]


@pytest.fixture(scope="module")
def lr() -> list[np.ndarray]:
    spec = params.Parallax(kind="parallax", source="", seed=0, height=144, width=256, frames=12, clips={"test": 1})
    return reduced(frame["rgb"] for frame in parallax.render(spec, parallax.clips(spec)[0][0]))


def coded(
    step: dict[str, Any], frames: Iterable[np.ndarray], fps: Fraction | float = 25
) -> tuple[list[np.ndarray], dict[str, Any]]:
    with codec.compress(step, iter(frames), fps) as (decoded, info):
        return list(decoded), info


def fidelity(found: Sequence[np.ndarray], given: Sequence[np.ndarray]) -> float:
    return float(np.mean([psnr(luma(a), luma(b)) for a, b in zip(found, given, strict=True)]))


def by_hand(info: dict[str, Any], frames: Sequence[np.ndarray], folder: Path) -> tuple[bytes, bytes]:
    """The stream and the decoded pictures that the arguments in `info` make, without this package."""
    binary, arguments = imageio_ffmpeg.get_ffmpeg_exe(), info["arguments"]
    raw = b"".join(frame.tobytes() for frame in frames)
    subprocess.run([binary, *arguments["coder"]], cwd=folder, input=raw, check=True)
    (stream,) = folder.iterdir()
    decoder = [binary, *arguments["decoder"]]
    done = subprocess.run(decoder, cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True)
    return stream.read_bytes(), done.stdout


def key_frames(info: dict[str, Any], frames: Sequence[np.ndarray], folder: Path) -> list[int]:
    """Which frames, in the order they are shown, stand alone."""
    folder.mkdir()
    by_hand(info, frames, folder)
    (stream,) = folder.iterdir()
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(stream), "-vf", "showinfo", "-f", "null", "-"]
    said = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True).stderr
    shown = [line for line in said.splitlines() if "iskey:" in line]
    assert len(shown) == len(frames)
    return [index for index, line in enumerate(shown) if "iskey:1" in line]


@pytest.mark.parametrize("step", [CRF25, {**CRF25, "crf": None, "bit_rate": 10_000, "fps": 1.0}, MPEG4])
def test_same_frames_same_bytes_whatever_runs_beside(step: dict[str, Any], lr: list[np.ndarray]) -> None:
    frames, info = coded(step, lr)
    with ThreadPoolExecutor(2) as pool:  # each waits for an ffmpeg of its own
        for again, same in pool.map(lambda _: coded(step, lr), range(4)):
            assert same == info
            assert all((a == b).all() for a, b in zip(again, frames, strict=True))


@pytest.mark.parametrize("step", [CRF25, MPEG4])
def test_what_is_told_makes_it_again(step: dict[str, Any], lr: list[np.ndarray], tmp_path: Path) -> None:
    frames, info = coded(step, lr, Fraction(30000, 1001))
    stream, pictures = by_hand(info, lr, tmp_path)
    height, width = frames[0].shape[:2]
    assert pictures == b"".join(f"P6\n{width} {height}\n255\n".encode() + frame.tobytes() for frame in frames)
    rate = step.get("fps") or 30000 / 1001
    assert info["bytes"] == len(stream) == sum(info["frame_bytes"]) and len(info["frame_bytes"]) == len(lr)
    assert info["achieved_bit_rate"] == round(len(stream) * 8 * rate / len(lr))
    assert not info.keys() & step.keys() and info["matrix"] == "BT.601 limited"
    said = subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True).stdout
    assert f"ffmpeg version {info['ffmpeg']} " in said
    if step is MPEG4:
        assert f"libavcodec{info['encoder'].removeprefix('libavcodec ')}/" in said.replace(" ", "")
    else:
        assert f"x264 - {info['encoder'].removeprefix('x264 ')} - ".encode() in stream


@pytest.mark.parametrize("step", [CRF25, {**CRF25, "preset": "veryslow"}, {**CRF25, "preset": "ultrafast"}, MPEG4])
def test_every_frame_comes_back_in_its_place(step: dict[str, Any]) -> None:
    """B-frames and look-ahead hold frames back in coder and decoder: none is lost at the end."""
    for count in (1, 2, 3, 4, 5, 7, 17, 30):
        given = counting(count)
        found, info = coded(step, given)
        assert len(found) == len(info["frame_bytes"]) == count
        levels = np.array([[float(frame.mean()) for frame in frames] for frames in (found, given)])
        assert np.abs(levels[:, :, None] - levels[1][None, None]).argmin(2).tolist() == [list(range(count))] * 2


def falls(step: dict[str, Any], name: str, values: Sequence[int], frames: list[np.ndarray]) -> None:
    """Bit rate and luma PSNR against uncompressed LR fall strictly from one value to the next."""
    done = [coded({**step, name: value}, frames) for value in values]
    for measured in ([info["achieved_bit_rate"] for _, info in done], [fidelity(found, frames) for found, _ in done]):
        assert all(before > after for before, after in zip(measured, measured[1:], strict=False)), measured


def test_rate_and_fidelity_fall_with_the_factor(lr: list[np.ndarray]) -> None:
    falls(CRF25, "crf", (15, 25, 35), lr)


@pytest.mark.parametrize("clip", ["calendar", "walk"])
def test_rate_and_fidelity_fall_with_the_factor_on_vid4(shared_data: Path, clip: str) -> None:
    files = sorted((shared_data / "Vid4/GT" / clip).glob("*.png"))
    if not files:
        pytest.skip(f"needs {clip} of Vid4")
    falls(CRF25, "crf", (15, 25, 35), reduced(map(read_picture, files)))


@pytest.mark.parametrize("step", [{**CRF25, "crf": None, "fps": 1.0}, MPEG4])
def test_bits_are_what_is_asked_for(step: dict[str, Any]) -> None:
    """At one frame per second a bit rate is a number of bits per frame, whatever the clip's own rate."""
    frames = drifting(30)
    falls(step, "bit_rate", (100_000, 50_000, 25_000), frames)
    for asked in (100_000, 50_000, 25_000):
        _, info = coded({**step, "bit_rate": asked}, frames, 30)
        assert info["achieved_bit_rate"] == round(8 * info["bytes"] / len(frames))
        assert 0.6 * asked < info["achieved_bit_rate"] < 1.7 * asked, info["achieved_bit_rate"]
        assert coded({**step, "bit_rate": asked}, frames, 60)[1] == info


def test_key_frames_come_at_least_so_often(lr: list[np.ndarray], tmp_path: Path) -> None:
    for op in (CRF25, MPEG4):
        for gop in (1, 4, 5):
            _, info = coded({**op, "gop": gop}, lr)
            found = key_frames(info, lr, tmp_path / f"{op['op']}_{gop}")
            assert found[0] == 0 and max(np.diff([*found, len(lr)])) <= gop
            assert len(found) == math.ceil(len(lr) / gop)
    assert key_frames(coded(CRF25, lr)[1], lr, tmp_path / "own") == [0]


@pytest.mark.parametrize(
    ("pixel_format", "size"), [("yuv420p", (32, 48)), ("yuv420p", (31, 47)), ("yuv422p", (31, 47)), ("yuv444p", (31, 47))]
)
def test_odd_sides_are_coded(pixel_format: video.PixelFormat, size: tuple[int, int]) -> None:
    step = {**CRF25, "crf": 12, "pixel_format": pixel_format}
    given = counting(5, *size)
    found, _ = coded(step, given)
    assert [frame.shape for frame in found] == [(*size, 3)] * 5
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(found, given, strict=True)) < 16


def test_an_odd_frame_is_coded_as_one_whose_edge_is_there_twice() -> None:
    given = counting(3, 31, 47)
    found, _ = coded(CRF25, given)
    larger, _ = coded(CRF25, [np.pad(frame, ((0, 1), (0, 1), (0, 0)), mode="edge") for frame in given])
    np.testing.assert_array_equal(found, [frame[:31, :47] for frame in larger])


def test_colours_keep_their_detail_without_halving() -> None:
    """Red and blue columns of one pixel: 4:2:0 blurs them, 4:4:4 does not."""
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:, ::2, 0] = frame[:, 1::2, 2] = 255
    errors = [
        np.abs(coded({**CRF25, "crf": 1, "pixel_format": name}, [frame] * 2)[0][1].astype(int) - frame).mean()
        for name in ("yuv420p", "yuv444p")
    ]
    assert errors[0] > 40 and errors[1] < 2


@pytest.mark.parametrize("fps", [Fraction(1, 3), 1, Fraction(24000, 1001), 59.94, Fraction(120000, 1001), 240, 7.3])
def test_any_rate_is_taken(fps: Fraction | float) -> None:
    """MPEG-4's unit of time has 16 bits, which 120000/1001 goes beyond."""
    for step in (CRF25, {**MPEG4, "fps": None}):
        found, info = coded(step, counting(4), fps)
        assert len(found) == 4 and info["achieved_bit_rate"] == pytest.approx(info["bytes"] * 2 * float(fps), rel=1e-4, abs=0.5)


def test_settings_that_do_not_go_together() -> None:
    for step, said in (
        ({**CRF25, "bit_rate": 10_000}, "crf and bit_rate"),
        ({**CRF25, "crf": None}, "neither crf nor bit_rate"),
        ({**CRF25, "crf": None, "bit_rate": 999}, "999 bits per second.*1000 or more"),
        ({**MPEG4, "bit_rate": None, "crf": 25}, "neither crf"),
        ({**MPEG4, "pixel_format": "yuv444p"}, "yuv420p"),
    ):
        with pytest.raises(VSRError, match=said):
            coded(step, counting(2))
    with pytest.raises(VSRError, match="no frames"):
        coded(MPEG4, [])
    with pytest.raises(VSRError, match="frame 2 is 48x30 but the first is 48x32"):
        coded(MPEG4, [*counting(2), *counting(1, 30)])


def test_an_encoder_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec.check(["bicubic", "x264", "mpeg4"])
    bare, calls = tmp_path / "ffmpeg", tmp_path / "calls"
    bare.write_text(f'#!/bin/sh\necho "$@" >> {calls}\necho "Codec \'$3\' is not recognized by FFmpeg."\n')
    bare.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(bare))
    codec.check(["bicubic", "jpeg"])
    assert not calls.exists()
    for _ in range(2):
        for op, encoder in (("x264", "libx264"), ("mpeg4", "mpeg4")):
            with pytest.raises(VSRError, match=f"no {encoder}: .*pip install"):
                codec.check(["bicubic", op])
            with pytest.raises(VSRError, match=f"no {encoder}"):
                coded(CRF25 if op == "x264" else MPEG4, counting(1))
    assert len(calls.read_text().splitlines()) == 2  # one question per encoder

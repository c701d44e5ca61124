"""Streams: `vsr restore - -`, what it gives of a clip, when, in how much memory, and how it ends."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import psutil
import pytest
import torch
from front_door import VSR, Done, error, resized
from hypothesis import given, settings
from hypothesis import strategies as st
from test_networks import RESTORING, small

import models
from models.parts.registry import kind
from pipelines import cli
from pipelines.clips import video
from pipelines.clips.levels import to_tensor
from pipelines.clips.video.stream import CHROMA
from pipelines.errors import VSRError
from pipelines.restoring.live import live, lookahead
from pipelines.restoring.restore import restore, windows

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

STREAMED = [name for name in RESTORING if kind(name).lookahead == 0 and not kind(name).priors] + ["edvr_m", "basicvsr"]
"""Networks that see frames and nothing else: all that look at none to come, and one of each kind that does."""


def planes(frames: int, width: int = 16, height: int = 12, tag: str = "420jpeg", seed: int = 0) -> bytes:
    """The bytes of frames without what stands between them: colours that RGB holds, drifting."""
    y, x = np.mgrid[:height, :width]
    down, across = CHROMA[tag].halved or (height, width)
    chroma = (-(-height // down), -(-width // across)) if CHROMA[tag].halved else (0, 0)
    v, u = np.mgrid[: chroma[0], : chroma[1]]
    parts = []
    for t in range(frames):
        parts.append(128 + 40 * np.sin(0.5 * (x + t) + 0.3 * y + seed))
        parts += [128 + 20 * np.sin(0.4 * (u - t) + 0.2 * v + seed), 128 + 20 * np.sin(0.3 * (v + t) + 0.1 * u + seed)]
    return b"".join(np.round(part).astype(np.uint8).tobytes() for part in parts)


def stream(frames: int, header: str = "W16 H12 F24:1 Ip A1:1 C420jpeg", **how: int) -> bytes:
    """A stream as the format defines it: a line, and a line before every frame."""
    tag = next(word[1:] for word in header.split() if word[0] == "C")
    data = planes(frames, tag=tag, **how)
    size = len(data) // frames if frames else 0
    marked = (b"FRAME\n" + data[index * size : (index + 1) * size] for index in range(frames))
    return f"YUV4MPEG2 {header}\n".encode() + b"".join(marked)


def by_ffmpeg(given_: bytes, *options: object) -> bytes:
    """A stream through ffmpeg."""
    arguments = ["-f", "yuv4mpegpipe", "-i", "pipe:", *map(str, options), "pipe:"]
    return subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *arguments], input=given_, check=True, capture_output=True
    ).stdout


class Pipe(io.TextIOWrapper):
    """Something in place of standard input or output."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data))


class Piped:
    """Runs the command in this process, between pipes."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self._patch, self._capture = patch, capture

    def __call__(self, data: bytes, *words: object, out: io.TextIOWrapper | None = None) -> tuple[Done, bytes]:
        target = out or Pipe()
        code: object = 0
        with self._patch.context() as patch:
            patch.setattr(sys, "argv", ["vsr", "restore", *map(str, words)])
            patch.setattr(sys, "stdin", Pipe(data))
            patch.setattr(sys, "stdout", target)
            try:
                cli.main()
            except SystemExit as ended:
                code = ended.code
        told = self._capture.readouterr().err + (f"{code}\n" if isinstance(code, str) else "")
        written = b"" if out else target.buffer.getvalue()  # type: ignore[attr-defined]
        return Done(1 if isinstance(code, str) else int(code or 0), "", told), written  # type: ignore[call-overload]


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Piped]:
    handler = signal.getsignal(signal.SIGTERM)
    yield Piped(monkeypatch, capsys)
    signal.signal(signal.SIGTERM, handler)


def noise(frames: int, height: int = 8, width: int = 12, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), np.uint8))


def levels(restored: torch.Tensor) -> np.ndarray:
    return np.floor(255 * restored.double().numpy() + 0.5).clip(0, 255)


def near(one: Sequence[np.ndarray], other: np.ndarray) -> bool:
    """The same levels, but where rounding decides otherwise for sums in another order."""
    differ = np.abs(np.stack(one).astype(float) - other)
    return bool(differ.max() <= 1 and (differ > 0).mean() < 0.001)


# ---------------------------------------------------------------- frames


@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_gives_the_frames_of_the_clip(name: str) -> None:
    """Of one pass, by `forward`, where networks carry a state or look at single frames; of the same passes for others."""
    network, clip = small(name).float(), noise(9)
    passes = lookahead(network, window=6, overlap=2)
    restored = list(live(network, iter(clip), passes))
    if network.causal:
        with torch.no_grad():
            whole = levels(network(to_tensor(clip)[None])[0].movedim(1, -1))
    else:
        whole = np.stack(list(restore(network, clip, window=9 if network.window else 6, overlap=2)))
    assert len(restored) == 9 and near(restored, whole)


@pytest.mark.parametrize("name", ["bicubic", "dap_64", "edvr_m", "basicvsr"])
def test_frames_come_when_it_is_said_and_do_not_stay(name: str) -> None:
    network, arrived = small(name).float(), 0
    given_: list[weakref.ref[np.ndarray]] = []
    passes = lookahead(network, window=6, overlap=2)
    assert (passes.first, passes.delay) == {"edvr_m": (2, 1), "basicvsr": (5, 3)}.get(name, (0, 0))

    def frames() -> Iterator[np.ndarray]:
        nonlocal arrived
        for seed in range(14):
            arrived += 1
            frame = noise(1, seed=seed)[0].copy()
            given_.append(weakref.ref(frame))
            yield frame

    waited, kept = [], []
    for t, _ in enumerate(live(network, frames(), passes)):
        waited.append(arrived - 1 - t)
        kept.append(sum(frame() is not None for frame in given_))
    assert max(kept) <= passes.window + 2
    assert waited[0] == passes.first and max(waited[passes.first + 1 :]) == passes.delay


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 4))
def test_passes_at_once_are_the_same_passes(count: int, given_: int, overlap: int) -> None:
    window = given_ + 2 * overlap

    def seen(at_once: bool) -> list[tuple[int, tuple[int, ...]]]:
        passes = windows(range(count), window, overlap, at_once)
        return [(part[index], tuple(part)) for part, first, last in passes for index in range(first, last)]

    assert seen(True) == seen(False) and [frame for frame, _ in seen(True)] == list(range(count))


def test_passes_that_do_not_fit() -> None:
    with pytest.raises(VSRError, match="window of 4 frames with 2 dropped"):
        lookahead(small("basicvsr"), window=4, overlap=2)
    assert lookahead(small("bicubic"), window=4, overlap=2).window == 1  # which needs no passes


# ---------------------------------------------------------------- colours


HEADERS = [
    *(f"W16 H12 F24:1 Ip A1:1 C{tag}" for tag in CHROMA if tag != "420"),
    "W16 H12 F30000:1001 It A4:3 C420mpeg2 XCOLORRANGE=FULL",
    "W15 H11 F24:1 Ip A1:1 C420mpeg2",
    "W15 H11 F25:1 Ip A0:0 C444 XCOLORRANGE=LIMITED",
]


@pytest.mark.parametrize("header", HEADERS)
def test_colours_are_those_of_the_file_and_come_back(header: str, tmp_path: Path) -> None:
    size = {"width": int(header[1:3]), "height": int(header[5:7])}
    data = stream(2, header, **size)
    source = video.Stream(io.BytesIO(data), "it")
    frames = list(source.frames())
    if "mono" not in header and not header.startswith("W15 H11 F24"):  # which H.264 has not
        by_ffmpeg(data, "-c:v", "libx264", "-qp", 0, "-f", "matroska", "-y", tmp_path / "it.mkv", "-f", "null")
        assert np.array_equal(frames, list(video.decode(tmp_path / "it.mkv")))
    written = io.BytesIO()
    assert video.write_stream(frames, written, source.header, "it") == 2
    back, begin = written.getvalue(), len(header) + 11
    assert back[:begin] == data[:begin] and len(back) == len(data)
    differ = np.abs(np.frombuffer(back, np.uint8)[begin:].astype(int) - np.frombuffer(data, np.uint8)[begin:])
    assert np.mean(differ) < (0.5 if "444" in header or "mono" in header else 2)  # halved chroma is filtered twice


@pytest.mark.parametrize(("matrix", "red", "blue"), [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)])
@pytest.mark.parametrize("full", [True, False])
def test_colours_by_their_definition(matrix: video.Matrix, red: float, blue: float, full: bool) -> None:
    """ITU-R BT.601 and BT.709, item 3 of their tables."""
    header = f"W16 H12 F24:1 Ip A1:1 C444 XCOLORRANGE={'FULL' if full else 'LIMITED'}"
    data = stream(1, header)
    y, b, r = np.frombuffer(planes(1, tag="444"), np.uint8).reshape(3, 12, 16).astype(float)
    y, b, r = (y / 255, (b - 128) / 255, (r - 128) / 255) if full else ((y - 16) / 219, (b - 128) / 224, (r - 128) / 224)
    rgb = [y + 2 * (1 - red) * r, None, y + 2 * (1 - blue) * b]
    rgb[1] = (y - red * rgb[0] - blue * rgb[2]) / (1 - red - blue)
    source = video.Stream(io.BytesIO(data), "it", matrix=matrix)
    (frame,) = source.frames()
    assert np.abs(frame - 255 * np.stack(rgb, -1).clip(0, 1)).max() < 1.2
    written = io.BytesIO()
    video.write_stream([frame], written, source.header, "it", matrix)
    assert (
        np.abs(np.frombuffer(written.getvalue()[-576:], np.uint8).astype(int) - np.frombuffer(data[-576:], np.uint8)).max() <= 1
    )


# ---------------------------------------------------------------- the command


def test_the_command_between_pipes(piped: Piped) -> None:
    """As ffmpeg reads, restores by a second implementation, and writes."""
    header = "W16 H12 F30000:1001 Ip A4:3 C444 XCOLORRANGE=FULL"
    data = stream(3, header)
    done, written = piped(data, "-", "-", "--method", "bicubic", "--matrix", "bt709")
    assert (
        done.code == 0 and "bicubic: 16x12 at 29.97 frames per second, delay 0 frames" in done.err and "3 frames in" in done.err
    )
    assert written.startswith(f"YUV4MPEG2 W64 H48{header[7:]}\nFRAME\n".encode()) and written.count(b"FRAME\n") == 3
    rgb = "scale=in_color_matrix=bt709:out_range=pc:flags=bicubic+accurate_rnd,format=rgb24"
    low = np.frombuffer(by_ffmpeg(data, "-vf", rgb, "-f", "rawvideo"), np.uint8).reshape(3, 12, 16, 3)
    high = np.frombuffer(by_ffmpeg(written, "-vf", rgb, "-f", "rawvideo"), np.uint8).reshape(3, 48, 64, 3)
    for ours, frame in zip(high, low, strict=True):
        assert np.abs(ours.astype(int) - resized(frame, 4)).max() <= 3  # levels that YUV rounds


def test_weights_and_a_network_that_looks_ahead(piped: Piped, tmp_path: Path) -> None:
    network = small("basicvsr").float()
    models.save(network, tmp_path / "it.safetensors")
    data = stream(7)
    done, written = piped(data, "-", "-", "--weights", tmp_path / "it.safetensors", "--window", 4, "--overlap", 1)
    assert done.code == 0 and "delay 2 frames (0.0833 s), of the first frame 3 frames (0.125 s)" in done.err
    source = video.Stream(io.BytesIO(data), "it")
    expected = io.BytesIO()
    video.write_stream(restore(network, source.frames(), window=4, overlap=1), expected, source.header, "it")
    assert written == expected.getvalue()


def test_frames_without_a_header(piped: Piped) -> None:
    words = ("-", "-", "--method", "bicubic", "--scale", 2)
    marked = piped(stream(2), *words)[1]
    done, written = piped(planes(2), *words, "--raw", "16x12:yuv420p@24")
    assert done.code == 0 and written == marked.replace(b"A1:1", b"A0:0")
    _, written = piped(planes(2, tag="mono"), *words, "--raw", "16x12:gray@30000/1001")
    assert written.startswith(b"YUV4MPEG2 W32 H24 F30000:1001 Ip A0:0 Cmono\n")


def frames_of(written: bytes) -> int:
    """How many whole frames a stream has."""
    return by_ffmpeg(written, "-f", "framecrc").count(b"\n0,")


@pytest.mark.parametrize(
    ("data", "options", "told"),
    [
        (stream(5)[:-1], (), r"standard input ends within frame 4, after 287 of 288 bytes"),
        (planes(5)[:-1], ("--raw", "16x12:yuv420p@24"), r"standard input ends within frame 4, after 287 of 288 bytes"),
        (stream(4) + b"FRAME\n", (), r"ends within frame 4, after 0 of 288 bytes"),
        (stream(4) + stream(4, "W20 H12 F24:1 C420jpeg", width=20), (), r"after 4 frames, of 20x12 after 16x12"),
        (stream(4) + b"FRAME\n" + planes(1, 20), (), r"damaged, or its frames are not all of 16x12: frame 5"),
    ],
    ids=["cut", "cut-raw", "cut-marker", "another-stream", "another-size"],
)
@pytest.mark.parametrize("method", ["bicubic", "basicvsr"])
def test_what_is_whole_is_restored(
    piped: Piped, tmp_path: Path, method: str, data: bytes, options: tuple[str, ...], told: str
) -> None:
    """Before a damaged stream is told of, whatever the network looks ahead."""
    chosen: tuple[object, ...] = ("--method", method)
    if method == "basicvsr":
        models.save(small(method).float(), tmp_path / "it.safetensors")
        chosen = ("--weights", tmp_path / "it.safetensors", "--window", 3, "--overlap", 1)
    done, written = piped(data, "-", "-", *chosen, *options)
    assert re.search(told, error(done))
    assert frames_of(written) == (5 if "frame 5" in told else 4)


@pytest.mark.parametrize(
    ("data", "words", "told"),
    [
        (b"", "- -", "standard input is empty"),
        (stream(0), "- -", "has no frames"),
        (b"RIFF" + bytes(99), "- -", "standard input is not YUV4MPEG2"),
        (b"YUV4MPEG2 H12 F24:1\n", "- -", "does not say the size"),
        (stream(1).replace(b"C420jpeg", b"C420p10"), "- -", "has chroma 420p10"),
        (stream(1)[:-9], "- -", "ends within frame 0"),
        (planes(1)[:-9], "- - --raw 16x12:yuv420p@24", "ends within frame 0"),
        (planes(1), "- - --raw 16x12:yuv420@24", "--raw is '16x12:yuv420@24': give WIDTHxHEIGHT:FORMAT@FPS"),
        (planes(1), "- - --raw 16x12:yuv420p@24/0", "--raw is"),
        (planes(1), "- - --raw 0x12:yuv420p@24", "--raw is"),
        (stream(1), "- - --matrix bt710", "did you mean 'bt709'"),
        (stream(1), "- - --tile 8", "leave --tile, --prior, --protocol and --adapt out"),
        (stream(1), "- - --prior segments", "leave --tile, --prior, --protocol and --adapt out"),
        (stream(1), "- out.mp4", "give - for both SRC and DST"),
        (stream(1), "in.mp4 -", "give - for both SRC and DST"),
        (stream(1), "frames out --raw 16x12:gray@1", "--raw describes a stream, and frames is none"),
    ],
)
def test_streams_that_cannot_be_restored(piped: Piped, tmp_path: Path, data: bytes, words: str, told: str) -> None:
    done, written = piped(data, *words.split(), "--method", "bicubic")
    assert told in error(done) and written == b""


@pytest.mark.parametrize("name", ["rdg_s", "seem_basicvsr"])
def test_priors_do_not_come_through_a_pipe(piped: Piped, tmp_path: Path, name: str) -> None:
    models.save(small(name).float(), tmp_path / "it.safetensors")
    done, written = piped(stream(2), "-", "-", "--weights", tmp_path / "it.safetensors")
    assert "cannot come through a pipe: restore a file or a folder of frames" in error(done) and written == b""


def test_a_closed_pipe_ends_it_without_a_word(piped: Piped) -> None:
    """As other tools end: by the status of SIGPIPE."""
    read, written = os.pipe()
    os.close(read)
    with io.TextIOWrapper(os.fdopen(written, "wb")) as out:
        done, _ = piped(stream(9), "-", "-", "--method", "bicubic", out=out)
    assert done.code == 141 and "error" not in done.err and "Traceback" not in done.err


def test_live_until_ctrl_c() -> None:
    """A frame is there before the next has come; Ctrl-C, which all of a terminal's processes get, ends the command."""
    command = [VSR, "restore", "-", "-", "--method", "bicubic", "--scale", "2"]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin and process.stdout and process.stderr
    try:
        data = stream(2)
        begin = data.index(b"FRAME")
        size = (len(data) - begin) // 2
        process.stdin.write(data[:begin])
        for index in range(2):
            process.stdin.write(data[begin + index * size : begin + (index + 1) * size])
            process.stdin.flush()
            if not index:
                assert process.stdout.readline() == b"YUV4MPEG2 W32 H24 F24:1 Ip A1:1 C420jpeg\n"
            assert process.stdout.readline() == b"FRAME\n" and len(process.stdout.read(1152)) == 1152
        os.killpg(process.pid, signal.SIGINT)
        shown = process.stderr.read().decode()
        assert process.wait(timeout=60) == 130 and "interrupted" in shown and "Traceback" not in shown
    finally:
        process.kill()
        process.wait()


# ---------------------------------------------------------------- memory


class Endless(io.RawIOBase):
    """A stream of so many frames that is made while it is read."""

    def __init__(self, frames: int, width: int, height: int) -> None:
        whole = stream(1, f"W{width} H{height} F24:1 Ip A1:1 C420jpeg", width=width, height=height)
        begin = whole.index(b"FRAME")
        self._left, self._frame, self._rest = frames, whole[begin:], whole[:begin]

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest and self._left:
            self._rest, self._left = self._frame, self._left - 1
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


class Gauge(io.RawIOBase):
    """Counts frames, and notes the memory of this process and of what it runs at some of them."""

    def __init__(self, *at: int) -> None:
        self.frames, self.bytes = 0, dict.fromkeys(at, 0)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.frames += data == b"FRAME\n"
        if self.frames in self.bytes and not self.bytes[self.frames]:
            process = psutil.Process()
            self.bytes[self.frames] = sum(each.memory_info().rss for each in (process, *process.children()))
        return len(data)


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("bicubic", 200),
        *(pytest.param(name, 1000, marks=pytest.mark.long) for name in ("bicubic", "safmn", "edvr_m", "basicvsr")),
    ],
)
def test_memory_does_not_grow_with_the_stream(name: str, frames: int) -> None:
    """A tenth of the restored frames of the long form, if kept, would be too much."""
    network = small(name).float()
    gauge = Gauge(100, frames)
    source = video.Stream(io.BufferedReader(Endless(frames, 64, 48)), "it")
    restored = live(network, source.frames(), lookahead(network, window=6, overlap=2))
    assert video.write_stream(restored, gauge, source.header, "it") == frames == gauge.frames  # type: ignore[arg-type]
    assert gauge.bytes[frames] / gauge.bytes[100] - 1 < 0.02  # it may shrink, as what earlier tests left is given back

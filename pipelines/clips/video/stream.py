"""Streams of frames in and out, YUV4MPEG2 as ffmpeg's `-f yuv4mpegpipe` (y4m): one frame at a time, nothing read ahead.

A stream says its size, chroma and range, and no matrix. It is read as a file without tags is, by ITU-R BT.601, or as it
is told. Restored frames are written with the chroma, range and matrix of those that came, by ffmpeg like these.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import IO, Any, Literal

import ffmpeg
import numpy as np

from pipelines.clips.video.frames import SWSCALE, raw
from pipelines.clips.video.process import SINGLE, Converter, arguments_of
from pipelines.errors import VSRError

Matrix = Literal["bt601", "bt709"]
MAGIC = b"YUV4MPEG2 "
LONGEST = 1024
"""Bytes of a header that is taken for one."""


@dataclass(frozen=True)
class Chroma:
    """How pixels are laid out: ffmpeg's name, pixels per chroma sample (down, across), None where there is no chroma, and
    where between the pixels samples lie."""

    pixels: str
    halved: tuple[int, int] | None
    location: str | None = None


CHROMA = {
    "420jpeg": Chroma("yuv420p", (2, 2), "center"),
    "420mpeg2": Chroma("yuv420p", (2, 2), "left"),
    "420paldv": Chroma("yuv420p", (2, 2), "topleft"),
    "420": Chroma("yuv420p", (2, 2), "center"),
    "422": Chroma("yuv422p", (1, 2)),
    "444": Chroma("yuv444p", (1, 1)),
    "mono": Chroma("gray", None),
}
"""By the tag C of a stream's header; the first is that of a stream without."""

RAW = {"yuv420p": "420jpeg", "yuv422p": "422", "yuv444p": "444", "gray": "mono"}
"""The pixel formats that headerless frames may have, and their tag."""


@dataclass(frozen=True)
class Header:
    """What a stream says of its frames: their size, and its further tags as they stand there."""

    width: int
    height: int
    tags: tuple[str, ...]

    def sized(self, height: int, width: int) -> Header:
        """The header of a stream like this one, of frames of that size."""
        return Header(width, height, self.tags)

    def faster(self, times: int) -> Header:
        """The header of a stream like this one, of so many times the frames per second."""
        if times == 1 or self.fps is None:
            return self
        rate = self.fps * times
        own = f"F{rate.numerator}:{rate.denominator}"
        return Header(self.width, self.height, tuple(own if tag[0] == "F" else tag for tag in self.tags))

    def line(self) -> bytes:
        return MAGIC + " ".join([f"W{self.width}", f"H{self.height}", *self.tags]).encode() + b"\n"

    @property
    def chroma(self) -> Chroma:
        return CHROMA[self._tag("C", next(iter(CHROMA)))]

    @property
    def fps(self) -> Fraction | None:
        """Frames per second, None where the stream does not say."""
        rate = re.fullmatch(r"(\d+):(\d+)", self._tag("F", ""))
        return Fraction(int(rate[1]), int(rate[2])) if rate and int(rate[1]) and int(rate[2]) else None

    @property
    def full(self) -> bool:
        """Whether all 256 levels are used."""
        return "XCOLORRANGE=FULL" in self.tags

    @property
    def bytes(self) -> int:
        """Of a frame."""
        luma, halved = self.height * self.width, self.chroma.halved
        return luma + (2 * (-(-self.height // halved[0])) * (-(-self.width // halved[1])) if halved else 0)

    def _tag(self, letter: str, default: str) -> str:
        return next((tag[1:] for tag in self.tags if tag[0] == letter), default)


def raw_header(described: str) -> Header:
    """The header of headerless frames, described as `WIDTHxHEIGHT:FORMAT@FPS`, e.g. `320x180:yuv420p@24`.

    Raises:
        VSRError: they are described otherwise.
    """
    found = re.fullmatch(r"(\d+)x(\d+):(\w+)@(\d+(?:\.\d+|/\d+)?)", described, re.ASCII)
    with contextlib.suppress(ZeroDivisionError):
        if found and found[3] in RAW and int(found[1]) and int(found[2]) and (fps := Fraction(found[4])):
            rate = f"F{fps.numerator}:{fps.denominator}"
            return Header(int(found[1]), int(found[2]), (rate, "Ip", "A0:0", f"C{RAW[found[3]]}"))
    raise VSRError(
        f"--raw is {described!r}: give WIDTHxHEIGHT:FORMAT@FPS, e.g. 320x180:yuv420p@24, FORMAT one of {', '.join(RAW)}."
    )


class Stream:
    """Frames that come as a stream, from its header on.

    Args:
        source: where it is read from.
        name: of that, as the subject of an error.
        headerless: what would be its header, where it is nothing but the frames' bytes.
        matrix: by which its colours are read.

    Raises:
        VSRError: it has another format, or frames that 8-bit RGB does not hold.
    """

    def __init__(self, source: IO[bytes], name: str, headerless: Header | None = None, matrix: Matrix = "bt601") -> None:
        self._source, self._name, self._marked, self._matrix = source, name, headerless is None, matrix
        self.header = headerless or self._read_header()
        self.fault: VSRError | None = None
        """Why the stream has ended where it should not."""

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, (H, W, 3) uint8 RGB each, as they come. A damaged stream ends where it is damaged, and `fault` says how.

        Raises:
            VSRError: it is damaged before the end of its first frame, or ffmpeg fails.
        """
        shape = (self.header.height, self.header.width, 3)
        with contextlib.closing(Converter(self._reading(), int(np.prod(shape)), f"reading {self._name}")) as to_rgb:
            before, count = self.header.line(), 0
            while data := self._next(count):
                yield np.frombuffer(to_rgb(before, b"FRAME\n", data), np.uint8).reshape(shape)
                before, count = b"", count + 1
        if self.fault and not count:
            raise self.fault

    def _read_header(self) -> Header:
        line = self._source.readline(LONGEST)
        if not line:
            raise VSRError(
                f"{self._name} is empty: pipe a stream into it, e.g. `ffmpeg -i in.mp4 -f yuv4mpegpipe - | vsr restore - -`."
            )
        if not (line.startswith(MAGIC) and line.endswith(b"\n")):
            raise VSRError(
                f"{self._name} is not YUV4MPEG2: let ffmpeg write it with `-f yuv4mpegpipe`, or say by --raw what it is."
            )
        return self._parsed(line)

    def _parsed(self, line: bytes) -> Header:
        tags = line[len(MAGIC) :].decode("ascii", "replace").split()
        width, height = (next((int(tag[1:]) for tag in tags if re.fullmatch(rf"{side}\d+", tag, re.ASCII)), 0) for side in "WH")
        if not (width and height):
            raise VSRError(f"{self._name} does not say the size of its frames: let ffmpeg write it with `-f yuv4mpegpipe`.")
        header = Header(width, height, tuple(tag for tag in tags if tag[0] not in "WH"))
        for tag in header.tags:
            if tag[0] == "C" and tag[1:] not in CHROMA:
                raise VSRError(
                    f"{self._name} has chroma {tag[1:]}, frames of 8 bits without transparency in 4:2:0, 4:2:2, 4:4:4 or gray are read: "
                    "let ffmpeg convert it, e.g. with `-pix_fmt yuv420p`."
                )
        return header

    def _next(self, index: int) -> bytes | None:
        """The bytes of the next frame, None at the end."""
        size = f"{self.header.width}x{self.header.height}"
        if self._marked:
            line = self._source.readline(LONGEST)
            if not line:
                return None
            if line.startswith(MAGIC):
                other = self._parsed(line)
                self.fault = VSRError(
                    f"{self._name} goes on with another stream after {index} frames, of {other.width}x{other.height} after "
                    f"{size}: restore one after the other."
                )
                return None
            if not re.fullmatch(rb"FRAME( [^\n]*)?\n?", line):
                self.fault = VSRError(
                    f"{self._name} is damaged, or its frames are not all of {size}: frame {index} does not begin where it should."
                )
                return None
        data = self._source.read(self.header.bytes)
        if len(data) < self.header.bytes:
            if data or self._marked:
                self.fault = VSRError(
                    f"{self._name} ends within frame {index}, after {len(data)} of {self.header.bytes} bytes: send whole frames of {size}."
                )
            return None
        return data

    def _reading(self) -> list[str]:
        source = ffmpeg.input("pipe:", format="yuv4mpegpipe", **SINGLE)
        rgb = source.filter("scale", in_color_matrix=self._matrix, out_range="pc", flags=SWSCALE).filter("format", "rgb24")
        return _out(rgb)


def write(frames: Iterable[np.ndarray], target: IO[bytes], like: Header, name: str, matrix: Matrix = "bt601") -> int:
    """Write a stream, each frame as soon as it is there.

    Args:
        frames: (H, W, 3) uint8 RGB, one size.
        target: where it is written.
        like: the header of the stream that they were made of, whose rate, aspect, fields, chroma and range they get.
        name: of the target, as the subject of an error.
        matrix: by which their colours are written.

    Returns:
        How many frames it has.

    Raises:
        VSRError: ffmpeg fails.
        BrokenPipeError: nobody reads the target any more.
    """
    count, converter = 0, None
    try:
        for frame in frames:
            if converter is None:
                header = like.sized(*frame.shape[:2])
                converter = Converter(_writing(header, matrix), header.bytes, f"writing {name}")
                target.write(header.line())
            target.write(b"FRAME\n")
            target.write(converter(np.ascontiguousarray(frame).data))
            target.flush()
            count += 1
    finally:
        if converter:
            converter.close()
    return count


def _writing(header: Header, matrix: Matrix) -> list[str]:
    source = ffmpeg.input("pipe:", **raw(header.height, header.width, 25), **SINGLE)
    layout = {"out_chroma_loc": header.chroma.location} if header.chroma.location else {}
    levels = "pc" if header.full else "tv"
    picture = source.filter("scale", out_color_matrix=matrix, out_range=levels, flags=SWSCALE, **layout)
    return _out(picture.filter("format", header.chroma.pixels))


def _out(picture: Any) -> list[str]:
    return arguments_of(ffmpeg.output(picture, "pipe:", format="rawvideo", fps_mode="passthrough", **SINGLE))

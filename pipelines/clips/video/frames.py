"""Frames on their way into ffmpeg and out of it: raw into a pipe, as tagged YUV into a file, as PPM out of one."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import subprocess
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import ffmpeg
import numpy as np

from pipelines.clips.video.process import arguments_of, damaged, reason_of, start
from pipelines.errors import VSRError

PixelFormat = Literal["yuv420p", "yuv422p", "yuv444p"]
CHROMA: dict[PixelFormat, tuple[int, int]] = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}
"""Pixels per chroma sample, (down, across): sides have to be multiples of these."""

SWSCALE = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"


def check_size(size: tuple[int, int], pixel_format: PixelFormat, what: str, instead: str) -> None:
    """Make sure that frames of this (height, width) fit a pixel format: chroma that is halved has no odd sides.

    Raises:
        VSRError: a side is odd; `what` is to be coded, and `instead` says what else to do.
    """
    down, across = CHROMA[pixel_format]
    if size[0] % down or size[1] % across:
        odd = "both sides" if down == across else "the width"
        raise VSRError(f"{what} in {pixel_format} cannot take frames of {size[1]}x{size[0]}, {odd} must be even: {instead}.")


def rational(fps: Fraction | float) -> Fraction:
    """A frame rate as the fraction that is meant: 29.97002997… is 30000/1001."""
    return Fraction(fps).limit_denominator(1001)


# ---------------------------------------------------------------- into ffmpeg


def checked_frames(given: Iterable[np.ndarray], what: str) -> tuple[Iterator[np.ndarray], tuple[int, int]]:
    """The frames, checked as they pass, and their (height, width)."""
    iterator = iter(given)
    first = next(iterator, None)
    if first is None:
        raise VSRError(f"{what} was given no frames: check its source.")
    height, width = first.shape[:2]

    def frames() -> Iterator[np.ndarray]:
        for index, frame in enumerate(itertools.chain([first], iterator)):
            if frame.shape != first.shape:
                raise VSRError(
                    f"{what}: frame {index} is {frame.shape[1]}x{frame.shape[0]} but the first is {width}x{height}: make them one size."
                )
            yield frame

    return frames(), (height, width)


def raw(height: int, width: int, fps: Fraction | float, pixels: str = "rgb24") -> dict[str, Any]:
    return {"format": "rawvideo", "pix_fmt": pixels, "s": f"{width}x{height}", "framerate": str(rational(fps))}


def yuv(picture: Any, pixel_format: PixelFormat, matrix: str, primaries: str | None = None, transfer: str | None = None) -> Any:
    """RGB to tagged YUV of limited range."""
    tags = {"range": "tv", "colorspace": matrix, "color_primaries": primaries, "color_trc": transfer}
    scaled = picture.filter("scale", out_color_matrix=matrix, out_range="tv", flags=SWSCALE).filter("format", pixel_format)
    return scaled.filter("setparams", **{key: value for key, value in tags.items() if value})


# ---------------------------------------------------------------- out of ffmpeg


def reading(url: str, **options: Any) -> list[str]:
    """Arguments that give the first video stream of a file as PPM on stdout and stop at the first fault."""
    last = {key: options.pop(key) for key in [key for key in options if key.startswith("frames")]}
    source = ffmpeg.input(url, protocol_whitelist="file,pipe", err_detect="explode", threads=1, **options)["v:0"]
    rgb = source.filter("scale", out_range="pc", flags=SWSCALE).filter("format", "rgb24")
    output = ffmpeg.output(rgb, "pipe:", format="image2pipe", vcodec="ppm", fps_mode="passthrough", **last)
    # ffmpeg brings frames of another size to that of the first, and only says so.
    return ["-nostats", *arguments_of(output, "level+info")]


def pipe(arguments: Sequence[str], path: Path, folder: Path | None = None) -> Generator[np.ndarray, None, None]:
    """The frames that ffmpeg writes as PPM, until it ends; `path` is what it reads, `arguments` are `reading`'s."""
    process, log = start(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder)
    stdout = cast(io.BufferedReader, process.stdout)
    width = height = 0
    try:
        while stdout.readline():  # "P6"
            width, height = map(int, stdout.readline().split())
            stdout.readline()  # the largest value, 255
            frame = np.empty((height, width, 3), np.uint8)
            if stdout.readinto(frame.data) != frame.nbytes:
                break
            yield frame
        process.wait()
    finally:
        stdout.close()
        process.kill()
        process.wait()
        message = log()
    if process.returncode:
        faults = [line for line in message.splitlines() if re.search(r"\[(?:error|fatal|panic)\] ", line)]
        raise damaged(path, reason_of(re.sub(r"\[(?:error|fatal|panic)\] ", "", "\n".join(faults))))
    for size in re.findall(r"Reconfiguring filter graph because .*?, (\d+)x(\d+)", message):
        if sorted(map(int, size)) != sorted((height, width)):  # a turned file tells of its sides the other way round
            raise VSRError(f"{path} goes from {width}x{height} to {'x'.join(size)} on its way: cut it there, into two videos.")


def counted(frames: Generator[np.ndarray, None, None], expected: int, path: Path) -> Generator[np.ndarray, None, None]:
    count = 0
    with contextlib.closing(frames):
        for frame in frames:
            count += 1
            yield frame
    if count != expected:
        raise damaged(path, f"it has {expected} frames, of which {count} can be decoded")

"""Video files in: what one holds, its frames, and what to say of one that a clip's frames cannot hold."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from pipelines.clips.video.frames import counted, pipe, rational, reading
from pipelines.clips.video.packets import Packet, packets_of
from pipelines.clips.video.process import damaged, find_binary, pixel_formats, url
from pipelines.errors import VSRError

READABLE = frozenset({".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"})
"""File name suffixes that are taken for videos."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, counted and not guessed.

    `width` and `height` are those of decoded frames, after the file's rotation. `fps` is the exact
    rate, or the mean rate where `variable` says that frames are not evenly spaced; `frames` counts
    the frames shown. `start` is the time of the first one in seconds, counted from the start of
    the file (sound may begin earlier). `audio` names the codecs of the sound tracks. `pixel_aspect`
    is the width of a pixel over its height; `primaries` and `transfer` are the colour tags, None
    where the file has none. `interlaced` is the file's word: it says that a frame is two fields of
    different times.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    variable: bool
    start: Fraction
    audio: tuple[str, ...]
    pixel_aspect: Fraction
    primaries: str | None
    transfer: str | None
    interlaced: bool

    @property
    def has_audio(self) -> bool:
        return bool(self.audio)


def probe(path: Path) -> VideoInfo:
    """Read all packets of a video file and decode its first frame.

    Raises:
        VSRError: the file is missing, has no video, is cut short or damaged; its pixels have more
            than 8 bits or transparency.
    """
    packets, header = packets_of(path)
    _check_pixels(path, header)
    with contextlib.closing(pipe(reading(url(path), **{"frames:v": 1}), path)) as frames:
        first = next(frames, None)
    if first is None:
        raise damaged(path, "none of its frames can be decoded")
    fps, variable = _rate(packets, header)
    start = min(packet.time for packet in packets) * packets[0].base
    audio = re.findall(r"Stream #0:\d+.*?: Audio: (\w+)", header)
    height, width = first.shape[:2]
    shape = re.search(r"Stream #0:\d+.*?: Video: .*?, (\d+)x(\d+)(?: \[SAR (\d+):(\d+))?", header)
    aspect = Fraction(int(shape[3]), int(shape[4])) if shape and shape[3] and int(shape[4]) else Fraction(1)
    if shape and (width, height) != (int(shape[1]), int(shape[2])):  # turned by a quarter
        aspect = 1 / aspect
    fields = re.search(r"Stream #0:\d+.*?: Video: .*\b(?:top|bottom) (?:coded )?first\b", header)
    return VideoInfo(
        width, height, fps, len(packets), variable, start, tuple(audio), aspect, *_colour(header), interlaced=bool(fields)
    )


def decode(path: Path) -> Iterator[np.ndarray]:
    """All frames of a video, streamed: (H, W, 3) uint8 RGB each.

    Every coded frame comes exactly once, whatever its time stamp, turned by the file's rotation.

    Raises:
        VSRError: the file is missing, has no video, is cut short or damaged; its pixels have more
            than 8 bits or transparency; its frames change their size. Damage inside a frame shows when
            that frame is reached, another size at the end.
    """
    packets, header = packets_of(path)
    _check_pixels(path, header)
    yield from counted(pipe(reading(url(path)), path), len(packets), path)


def unsteady(path: Path, fps: Fraction) -> VSRError:
    """What to say of a video of this mean rate whose frames are not evenly spaced, as those of a clip are taken to be."""
    return VSRError(
        f"{path} has a variable frame rate ({float(fps):.3f} frames per second on average), the frames of a clip are "
        f"evenly spaced: resample it, e.g. `{_conversion(path, f'fps={max(1, round(fps))}', 'steady')}`."
    )


def _check_pixels(path: Path, header: str) -> None:
    """Make sure that 8-bit RGB can hold what the first video stream has."""
    stream = re.search(r"Stream #0:\d+.*?: Video: [^,]*, (\w+).*\n(?: {4}.*\n)*", header)
    name, described = (stream[1], stream[0]) if stream else ("none", "")
    # VP9 keeps transparency in a second picture that its decoder leaves out; a tag of the stream tells of it.
    tagged = re.search(r"^ +alpha_mode +: 1$", described, re.MULTILINE)
    components, depth = pixel_formats(find_binary()).get(name, (3, 8))
    if components % 2 == 0 or tagged:
        raise VSRError(
            f"{path} has transparency ({name}), frames are opaque RGB: convert it, e.g. "
            f"`{_conversion(path, 'format=yuv420p', 'opaque')}`, which leaves transparency out."
        )
    if depth > 8:
        raise VSRError(
            f"{path} has {depth} bits per colour ({name}), frames have 8: convert it, e.g. "
            f"`{_conversion(path, 'format=yuv420p', '8bit')}`."
        )


def _conversion(path: Path, what: str, suffix: str) -> str:
    """The command that puts a video through a filter."""
    names = (shlex.quote(name) for name in (path.name, f"{path.stem}_{suffix}.mkv"))
    return f"ffmpeg -i {next(names)} -vf {what} -crf 12 -c:a copy {next(names)}"


def _rate(packets: Sequence[Packet], header: str) -> tuple[Fraction, bool]:
    """The frame rate and whether it varies, from the times of the frames.

    Containers round times to their own unit (1 ms in Matroska), so a steady rate is one that explains
    every time to within a unit. Of several such the one that the header prints, to two digits, is meant.
    """
    base = packets[0].base
    times = sorted(packet.time for packet in packets)
    printed = re.search(r"Video: .*? ([\d.]+) fps", header)
    if len(times) == 1 or times[0] == times[-1]:
        return (rational(float(printed[1])) if printed and float(printed[1]) else Fraction(25)), False
    mean = Fraction(len(times) - 1, times[-1] - times[0]) / base
    candidates = [
        Fraction(round(mean)),
        Fraction(round(mean * Fraction(1001, 1000))) * Fraction(1000, 1001),
        rational(mean),
        mean,
    ]
    if printed:
        candidates.sort(key=lambda rate: abs(rate - Fraction(printed[1])) > Fraction(1, 200))
    for rate in candidates:
        if rate and all(abs(time - times[0] - index / (rate * base)) <= 1 for index, time in enumerate(times)):
            return rate, False
    return mean, True


def _colour(header: str) -> tuple[str | None, str | None]:
    """Primaries and transfer from ffmpeg's stream line: `(tv, bt709, …)` or `(tv, bt2020nc/bt2020/smpte2084, …)`."""
    line = re.search(r"Stream #0:\d+.*?: Video: .*", header)
    tags = re.search(r"\((?:tv|pc), ([a-z][\w-]*\d[\w-]*(?:/[\w-]+){0,2})[,)]", line[0]) if line else None
    if not tags:
        return None, None
    names = tags[1].split("/")
    primaries, transfer = names[1:] if len(names) == 3 else (names[0], names[0])
    return (None if primaries == "unknown" else primaries), (None if transfer == "unknown" else transfer)

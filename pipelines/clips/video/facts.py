"""What a video file holds, by libavformat's and libavcodec's own structures (PyAV), and its decoded frames.

What counts is decoded frames, not packets: field pictures, packed B-frames, hidden frames and recordings that begin within a
group of pictures have other numbers of these. So a file is decoded once before anything is done with it.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.sidedata.sidedata import Type as SideData

from pipelines.clips.video.frames import rational
from pipelines.clips.video.process import damaged, url
from pipelines.errors import VSRError

# Code points of ITU-T H.273 | ISO/IEC 23091-2, tables 2 to 4, by ffmpeg's names; 2 is "unspecified".
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020", 10: "smpte428",
             11: "smpte431", 12: "smpte432", 22: "ebu3213"}  # fmt: skip
TRANSFERS = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 9: "log100", 10: "log316",
             11: "iec61966-2-4", 12: "bt1361e", 13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084",
             17: "smpte428", 18: "arib-std-b67"}  # fmt: skip
MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
}
RANGES = {1: "tv", 2: "pc"}

HD = 720
"""Lines from which a picture without a matrix is taken for BT.709, as players do; smaller ones for BT.601."""

_BROADCAST = {"mpegts", "mpeg"}
"""Containers of recordings, which begin and end anywhere."""
_DAMAGE = re.compile(r"ended prematurely|partial file|moov atom not found|Truncating packet", re.IGNORECASE)
_MS = Fraction(1, 1000)


@dataclass(frozen=True)
class Sound:
    """A sound track: ffmpeg's name of its codec, whether that can be decoded, and its first time in seconds from the file's start."""

    codec: str
    decodable: bool
    start: Fraction


@dataclass(frozen=True)
class Sides:
    """What a file holds beside picture and sound: codecs of subtitles, how many attachments and chapters, its own tags."""

    subtitles: tuple[str, ...] = ()
    attachments: int = 0
    chapters: int = 0
    tags: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Light:
    """HDR's metadata: the mastering display's primaries, white point and luminance (SMPTE ST 2086: red, green, blue, white as
    x, y; then the least and the largest luminance in cd/m²), and the content's light levels (CTA-861.3: MaxCLL, MaxFALL)."""

    display: tuple[Fraction, ...] | None = None
    content: tuple[int, int] | None = None


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds, counted and not guessed.

    `width` and `height` are those of decoded frames, after the file's rotation. `fps` is the exact
    rate, or the mean rate where `variable` says that frames are not evenly spaced to 1 ms; `frames` counts
    the frames shown. `start` is the time of the first one in seconds, counted from the start of
    the file (sound may begin earlier), `ticks` those of all from there, in units of `base` seconds. `pixel_aspect`
    is the width of a pixel over its height; `matrix`, `primaries`, `transfer` and `range` are the colour tags, None
    where the file has none. `interlaced` is the file's word: it says that a frame is two fields of
    different times. `depth` is bits per colour, `alpha` whether a pixel may be transparent and one is. `repeats` says how
    often each decoded frame is shown, None for once; `lost` how many frames at the (start, end) cannot be decoded; `origin` when the
    file starts by its own clock.
    """

    width: int
    height: int
    fps: Fraction
    frames: int
    variable: bool
    start: Fraction
    sound: tuple[Sound, ...]
    pixel_aspect: Fraction
    matrix: str | None
    primaries: str | None
    transfer: str | None
    range: str | None
    interlaced: bool
    codec: str
    pixels: str
    depth: int
    alpha: bool
    base: Fraction
    ticks: np.ndarray = field(repr=False, compare=False)
    repeats: np.ndarray | None = field(repr=False, compare=False)
    lost: tuple[int, int] = (0, 0)
    origin: Fraction = Fraction(0)
    light: Light = Light()
    sides: Sides = Sides()

    @property
    def audio(self) -> tuple[str, ...]:
        return tuple(track.codec for track in self.sound)

    @property
    def has_audio(self) -> bool:
        return bool(self.sound)

    @property
    def rgb(self) -> bool:
        """Whether pixels are stored as RGB, and no matrix is needed."""
        return self.matrix == "gbr" or _is_rgb(self.pixels)

    @property
    def grey(self) -> bool:
        return self.pixels.startswith("gray")

    @property
    def grid(self) -> Fraction:
        """The least rate, in frames per second, at which every frame has a time of its own: for those of variable rate."""
        return _grid(self.ticks, self.base)

    def times(self) -> list[Fraction]:
        """Of every frame shown, in seconds from the start of the file."""
        if not self.variable:
            return [self.start + index / self.fps for index in range(self.frames)]
        return [self.start + int(tick) * self.base for tick in self.ticks]


def probe(path: Path) -> VideoInfo:
    """Decode a video file once, and say what it holds.

    Raises:
        VSRError: the file is missing, has no video, is cut short or damaged, or its frames change their size.
    """
    with Reading(path) as file:
        sizes: set[tuple[int, int]] = set()
        given: list[int | None] = []
        lengths: list[int] = []
        frame = first = None
        opaque = True
        for frame in file.frames():
            first = first or _Look(frame, file.stream)
            size = (frame.width, frame.height)
            if sizes and size not in sizes:
                before = "x".join(map(str, sizes.pop()))
                raise VSRError(f"{path} goes from {before} to {size[0]}x{size[1]} on its way: cut it there, into two videos.")
            sizes.add(size)
            given.append(frame.pts)
            lengths.append(frame.duration)
            if opaque and first.alpha:
                opaque = bool(frame.reformat(format="rgba").to_ndarray()[..., 3].min() == 255)
        file.check()
        if first is None:
            raise damaged(path, "none of its frames can be decoded")
        if file.hidden_alpha():
            opaque = False
        base = Fraction(file.stream.time_base or 1)
        reference = file.stream.guessed_rate or file.stream.average_rate
        ticks, repeats = _times(file, given, lengths, base, reference)
        fps, variable = _rate(ticks, base, reference)
        origin = Fraction(file.container.start_time or 0, av.time_base)
        start = max(Fraction(0), int(ticks[0]) * base - origin)
        turned = file.turn is not None and file.turn[0]
        width, height = next(iter(sizes))
        aspect = file.aspect()
        return VideoInfo(
            width=height if turned else width,
            height=width if turned else height,
            fps=fps,
            frames=len(ticks),
            variable=variable,
            start=start,
            sound=file.sound(origin),
            pixel_aspect=1 / aspect if turned else aspect,
            matrix=first.matrix,
            primaries=first.primaries,
            transfer=first.transfer,
            range=first.range,
            interlaced=first.interlaced,
            codec=file.stream.codec_context.codec.canonical_name,
            pixels=first.pixels,
            depth=first.depth,
            alpha=not opaque,
            base=base,
            ticks=ticks - ticks[0],
            repeats=repeats,
            lost=file.lost(given),
            origin=origin,
            light=first.light,
            sides=file.sides(),
        )


class Reading:
    """A video file that is open, and its decoder of one thread; a context."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise VSRError(f"{path} {'is not a file' if path.exists() else 'does not exist'}: give the path of a video file.")
        if not _boxes_are_whole(path):
            raise damaged(path, "it ends before its header says")
        self.path = path
        self.turn: tuple[bool, bool, bool] | None = None
        """Whether a frame is transposed, then mirrored left to right, then upside down, to be shown; None before the first."""
        self._stamps: list[tuple[int | None, int | None]] = []  # (pts, dts) of the packets of frames that are shown
        self._failed_first = self._failed_last = 0
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Reading:
        self._log = self._stack.enter_context(_capture())
        try:
            self.container = self._stack.enter_context(
                av.open(url(self.path), format=_format(self.path), metadata_errors="replace")
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            self._stack.close()
            raise damaged(self.path, _reason(error, self._log)) from error
        videos = [stream for stream in self.container.streams.video if not _is_picture(stream)]
        if not videos:
            self._stack.close()
            raise VSRError(f"{self.path} has no video stream: give a video file.")
        self.stream = videos[0]
        self.stream.codec_context.thread_count = 1
        self.stream.codec_context.options = {"err_detect": "explode"}
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def frames(self) -> Iterator[av.VideoFrame]:
        """The decoded frames in the order shown. At the ends of a recording, what cannot be decoded is left out.

        Raises:
            VSRError: a frame within the file is damaged, or a frame anywhere else than at a recording's ends.
        """
        shown, fault = 0, None
        broadcast = self.container.format.name in _BROADCAST
        try:
            for packet in self.container.demux(self.stream):
                if packet.size and not packet.is_discard:
                    self._stamps.append((packet.pts, packet.dts))
                try:
                    decoded = packet.decode()
                except av.FFmpegError as error:
                    if not broadcast:
                        raise damaged(self.path, _reason(error, self._log)) from error
                    if shown:
                        fault = error
                        self._failed_last += 1
                    else:
                        self._failed_first += 1
                    continue
                if fault and packet.size:
                    raise damaged(self.path, _reason(fault, self._log))
                for frame in decoded:
                    if self.turn is None:
                        self.turn = _turn(frame)
                    shown += 1
                    yield frame
        except av.FFmpegError as error:
            raise damaged(self.path, _reason(error, self._log)) from error

    def check(self) -> None:
        """What the container said while it was read.

        Raises:
            VSRError: it ends before its end.
        """
        for _, _, line in self._log:
            if _DAMAGE.search(line):
                raise damaged(self.path, _plain(line))

    def hidden_alpha(self) -> bool:
        """VP8 and VP9 keep transparency in a second picture that their decoder leaves out; a tag of the stream tells of it."""
        return self.stream.metadata.get("alpha_mode") == "1"

    def slots(self, given: list[int | None]) -> list[int] | None:
        """The times of AVI's frames, None for other containers: AVI has none but the order of its chunks, of which an empty
        one repeats the frame before. What libav makes of that order is taken where it rises with the frames."""
        if self.container.format.name != "avi":
            return None
        shown = [pts for pts in given if pts is not None]
        if len(shown) == len(given) and all(a < b for a, b in zip(shown, shown[1:], strict=False)):
            return shown
        return sorted(dts for _, dts in self._stamps if dts is not None)

    def lost(self, given: list[int | None]) -> tuple[int, int]:
        """How many frames at the start and the end of a recording are not decoded."""
        begin = given[0]
        before = sum(1 for pts, _ in self._stamps if pts is not None and begin is not None and pts < begin)
        broadcast = self.container.format.name in _BROADCAST
        return (max(before, self._failed_first) if broadcast else 0), self._failed_last

    def aspect(self) -> Fraction:
        """The width of a stored pixel over its height: the container's word, or else the stream's."""
        for found in (self.stream.sample_aspect_ratio, self.stream.codec_context.sample_aspect_ratio):
            if found and found != 1 and found > 0:
                return Fraction(found)
        return Fraction(1)

    def sound(self, origin: Fraction) -> tuple[Sound, ...]:
        tracks = []
        for stream in self.container.streams.audio:
            try:
                codec, decodable = stream.codec_context.codec.canonical_name, True
            except (AttributeError, ValueError):  # PyAV has no codec context where ffmpeg has no decoder
                codec, decodable = "unknown", False
            start = Fraction(0) if stream.start_time is None else stream.start_time * Fraction(stream.time_base or 0) - origin
            tracks.append(Sound(codec, decodable, start))
        return tuple(tracks)

    def sides(self) -> Sides:
        streams = self.container.streams
        names = tuple(
            stream.codec_context.codec.canonical_name if stream.codec_context else "unknown" for stream in streams.subtitles
        )
        attached = sum(1 for stream in streams if stream.type == "attachment")
        tags = {key.lower(): value for key, value in self.container.metadata.items()}
        kept = tuple(sorted((key, tags[key]) for key in ("title", "artist", "comment", "creation_time", "date") if tags.get(key)))
        return Sides(names, attached, len(self.container.chapters()), kept)


class _Look:
    """What the first frame tells of all."""

    def __init__(self, frame: av.VideoFrame, stream: Any) -> None:
        self.pixels = frame.format.name
        self.depth = max((part.bits for part in frame.format.components), default=8)
        self.depth = 8 if self.pixels == "pal8" else self.depth
        self.alpha = any(part.is_alpha for part in frame.format.components) or self.pixels == "pal8"
        self.range = RANGES.get(int(frame.color_range))
        self.matrix = MATRICES.get(int(frame.colorspace))
        self.primaries = PRIMARIES.get(int(frame.color_primaries))
        self.transfer = TRANSFERS.get(int(frame.color_trc))
        self.interlaced = bool(frame.interlaced_frame) or str(stream.codec_context.field_order or "") in _FIELDS
        self.light = _light(frame)


_FIELDS = {"tt", "bb", "tb", "bt"}


def _side_data(frame: av.VideoFrame) -> Iterator[Any]:
    """What stands beside a frame's pixels, with its `type`, as bytes."""
    return iter(cast(Any, frame.side_data))


def _light(frame: av.VideoFrame) -> Light:
    display = content = None
    for data in _side_data(frame):
        if data.type == SideData.MASTERING_DISPLAY_METADATA:
            numbers = struct.unpack("20i2i", bytes(data)[:88])
            if all(numbers[1:20:2]) and all(numbers[20:]):
                display = tuple(Fraction(*numbers[i : i + 2]) for i in range(0, 20, 2))
        elif data.type == SideData.CONTENT_LIGHT_LEVEL:
            content = struct.unpack("2I", bytes(data)[:8])
    return Light(display, content)


def _turn(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """See `Reading.turn`: from the display matrix (ISO/IEC 14496-12, 8.3.2), x' = a x + c y, y' = b x + d y, as far as it is of
    quarter turns and mirrors."""
    for data in _side_data(frame):
        if data.type == SideData.DISPLAYMATRIX:
            a, b, _, c, d = struct.unpack("5i", bytes(data)[:20])
            transposed = abs(b) > abs(a)
            return transposed, (c if transposed else a) < 0, (b if transposed else d) < 0
    return False, False, False


def turned(picture: np.ndarray, turn: tuple[bool, bool, bool] | None) -> np.ndarray:
    """(H, W, C) as it is shown."""
    if turn is None or not any(turn):
        return picture
    transposed, across, down = turn
    picture = picture.transpose(1, 0, 2) if transposed else picture
    picture = picture[:, ::-1] if across else picture
    return np.ascontiguousarray(picture[::-1] if down else picture)


def packet_sizes(path: Path, container: str) -> list[int]:
    """The bytes of every packet of a stream, in coding order."""
    with av.open(url(path), format=container) as file:
        return [packet.size for packet in file.demux(file.streams.video[0]) if packet.size]


# ---------------------------------------------------------------- times


def _times(
    file: Reading, given: list[int | None], lengths: list[int], base: Fraction, reference: Fraction | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The times of all frames shown, in ticks, strictly rising; and how often each decoded frame is shown."""
    count = len(given)
    slots = file.slots(given)
    if slots is not None:
        slots = slots[:count] + [slots[-1] + 1 + i for i in range(count - len(slots))] if slots else list(range(count))
        if len(set(slots)) == count:
            step = math.gcd(*(b - a for a, b in zip(slots, slots[1:], strict=False))) or 1
            repeats = np.diff(np.array([*slots, slots[-1] + step])) // step
            if repeats.max() < 250:  # a longer gap is a pause and no dropped frames
                return slots[0] + step * np.arange(int(repeats.sum())), (None if (repeats == 1).all() else repeats)
    usual = max(1, round(1 / ((reference or 25) * base)))
    ticks = np.empty(count, np.int64)
    at = 0
    for index, pts in enumerate(given):
        at = pts if pts is not None else (ticks[index - 1] + (lengths[index - 1] or usual) if index else 0)
        ticks[index] = at
    if (np.diff(ticks) <= 0).any():  # stamps that go back tell nothing
        return ticks[0] + usual * np.arange(count), None
    return ticks, None


def _rate(ticks: np.ndarray, base: Fraction, reference: Fraction | None) -> tuple[Fraction, bool]:
    """The frame rate and whether it varies, from the times of the frames.

    Containers round times to their own unit, and one that was remuxed from Matroska to its millisecond, so a steady rate is one
    that explains every time to within these, if that is less than a quarter of a frame. Of several such the one that the file
    names is meant.
    """
    if len(ticks) == 1:
        return (rational(reference) if reference else Fraction(25)), False
    mean = Fraction(len(ticks) - 1, int(ticks[-1] - ticks[0])) / base
    candidates = [
        Fraction(round(mean)),
        Fraction(round(mean * Fraction(1001, 1000))) * Fraction(1000, 1001),
        *([Fraction(reference)] if reference else []),
        rational(mean),
        mean,
    ]
    if reference:
        candidates.sort(key=lambda rate: abs(rate - reference) > Fraction(1, 200))
    for rate in candidates:
        if not rate:
            continue
        allowed = max(Fraction(1), min(_MS, 1 / rate / 4) / base)
        away = np.abs((ticks - ticks[0]).astype(np.float64) - np.arange(len(ticks)) / float(rate * base))
        if away.max() <= float(allowed) + 1e-6:
            return rate, False
    return mean, True


def _grid(ticks: np.ndarray, base: Fraction) -> Fraction:
    """The least rate whose multiples are all times, to within a millisecond; at most 120 per second."""
    steps = np.diff(ticks).astype(np.float64) * float(base)
    if not len(steps):
        return Fraction(25)
    shortest = max(float(steps[steps < steps.min() + 1.5e-3].mean()), 1 / 120)
    since = np.cumsum(steps)
    for parts in range(1, 13):
        step = shortest / parts
        if step < 1 / 121:
            break
        # The shortest step is rounded like all others: let the whole length say what it is.
        step = since[-1] / max(1, round(since[-1] / step))
        if np.abs(since / step - np.round(since / step)).max() * step < 1.5e-3:
            return min(
                (Fraction(round(1 / step)), Fraction(round(1.001 / step) * 1000, 1001)),
                key=lambda rate: abs(float(rate) - 1 / step),
            )
    return Fraction(max(1, round(1 / shortest)))


# ---------------------------------------------------------------- the file


@contextlib.contextmanager
def _capture() -> Iterator[list[tuple[int, str, str]]]:
    """libav's messages of this thread, from errors on; else they are not told."""
    before, once = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # what is wrong with two files is said of both
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(before)
        av.logging.set_skip_repeated(once)


def _plain(line: str) -> str:
    return re.sub(r"^(\[[^]]*\] ?)+", "", line).strip().rstrip(".")


def _reason(error: BaseException, log: list[tuple[int, str, str]]) -> str:
    """What libav said first of what is wrong."""
    told = re.search(r"last error log: (.*)", str(error))
    told_of = next((line for _, _, line in log if _DAMAGE.search(line)), None) or (told[1] if told else None)
    return _plain(told_of or getattr(error, "strerror", None) or str(error))


def _format(path: Path) -> str | None:
    """A transport stream that is cut at its start may look like what it carries."""
    with path.open("rb") as file:
        head = file.read(188 * 8)
    return "mpegts" if len(head) == 188 * 8 and set(head[::188]) == {0x47} else None


def _is_picture(stream: Any) -> bool:
    """A cover or thumbnail, which some files carry as a video of one frame."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _is_rgb(pixels: str) -> bool:
    return pixels == "pal8" or bool(av.VideoFormat(pixels).is_rgb)


_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"moof", b"mfra", b"sidx", b"styp", b"uuid", b"meta", b"pdin",
          b"pnot", b"ssix", b"prft", b"emsg", b"udta"}  # fmt: skip


def _boxes_are_whole(path: Path) -> bool:
    """False where a top box of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2) reaches beyond the end of the file.

    Without this a file cut exactly between two frames would read as a shorter, sound one. What stands after the last box, as
    some phones and cameras write it, is no box by its type.
    """
    end = path.stat().st_size
    position = 0
    with path.open("rb") as file:
        while position + 8 <= end:
            file.seek(position)
            header = file.read(16)
            if position == 0 and header[4:8] not in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
                return True
            size = int.from_bytes(header[:4])
            if position and header[4:8] not in _BOXES:
                return True
            if size == 1:
                size = int.from_bytes(header[8:16])
            if size < 8:  # 0 reaches to the end; less is padding
                return True
            position += size
    return position <= end

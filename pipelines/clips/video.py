"""Video files in and out, coding as a degradation, and VMAF: the only module that knows ffmpeg.

The binary is the one that imageio-ffmpeg ships (`IMAGEIO_FFMPEG_EXE` names another); its argument
lists are built by ffmpeg-python. Frames pass through pipes, decoded ones as binary PPM, whose header
says their size: memory does not grow with the length of a video.

Colour: a file's own matrix and range tags are used to read it, ITU-R BT.601 limited where it has
none (ffmpeg's rule). `encode` writes BT.709 limited and says so in the file, so that a player and
`decode` both get the same colours back. `coded` uses BT.601 limited in both directions: what
`ffmpeg -i %08d.png -pix_fmt yuv420p` does, the command behind published compressed test sets.

Frames have 8 bits and no transparency. What a file has beyond that is an error and never dropped in passing.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Literal, cast

import ffmpeg
import imageio_ffmpeg
import numpy as np

from pipelines.errors import VSRError

READABLE = frozenset({".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv"})
"""File name suffixes that are taken for videos."""
WRITABLE = frozenset({".m4v", ".mkv", ".mov", ".mp4"})
"""Containers that `encode` writes H.264 into."""
Encoder = Literal["libx264", "mpeg4"]
"""ffmpeg's names for what `coded` codes with: H.264 by x264, and its own MPEG-4 part 2."""
PixelFormat = Literal["yuv420p", "yuv422p", "yuv444p"]
CHROMA: dict[PixelFormat, tuple[int, int]] = {"yuv420p": (2, 2), "yuv422p": (1, 2), "yuv444p": (1, 1)}
"""Pixels per chroma sample, (down, across): sides have to be multiples of these."""

VMAF_SMALLEST = 33
"""Pixels along a side. With less, libvmaf's coarsest VIF (an eighth of the size) has no room, and equal frames do not count as such."""

_SWSCALE = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_DAMAGE = re.compile(r"^\[.*(?:ended prematurely|corrupt|partial file|moov atom not found)", re.IGNORECASE | re.MULTILINE)
_VMAF_LOG = "vmaf.json"
_DISCARD = 4  # AV_PKT_FLAG_DISCARD: decoded but not shown, as frames before the start of an edit list


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
    packets, header = _packets(path)
    _check_pixels(path, header)
    with contextlib.closing(_pipe(_reading(_url(path), **{"frames:v": 1}), path)) as frames:
        first = next(frames, None)
    if first is None:
        raise _damaged(path, "none of its frames can be decoded")
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
    packets, header = _packets(path)
    _check_pixels(path, header)
    yield from _counted(_pipe(_reading(_url(path)), path), len(packets), path)


def unsteady(path: Path, fps: Fraction) -> VSRError:
    """What to say of a video of this mean rate whose frames are not evenly spaced, as those of a clip are taken to be."""
    return VSRError(
        f"{path} has a variable frame rate ({float(fps):.3f} frames per second on average), the frames of a clip are "
        f"evenly spaced: resample it, e.g. `{_conversion(path, f'fps={max(1, round(fps))}', 'steady')}`."
    )


def encode(frames: Iterable[np.ndarray], path: Path, fps: Fraction | float, audio_from: Path | None = None) -> None:
    """Write a video that plays everywhere: H.264 4:2:0 at CRF 12, in the container of the suffix.

    The same frames give the same bytes. The file appears under its name when it is complete.

    Args:
        frames: (H, W, 3) uint8 RGB, one size. H and W are even: 4:2:0 has no odd sizes, and padding,
            or a profile that few players know, would be a silent change.
        path: `.mp4`, `.m4v`, `.mov` or `.mkv`; an existing file is replaced.
        fps: frames per second.
        audio_from: a video whose sound tracks, their offset to the picture, pixel aspect and colour
            primaries are taken over. Tracks are copied; those that few players know in an MP4 become AAC.

    Raises:
        VSRError: no frames, an odd size, frames of different sizes, an unknown container, no
            libx264, or the disk is full.
    """
    check_encoder("libx264")
    if path.suffix.lower() not in WRITABLE:
        raise VSRError(
            f"{path} cannot be written: name it with one of {', '.join(sorted(WRITABLE))}, or give a folder for PNG frames."
        )
    if path.is_dir():
        raise VSRError(f"{path} is a folder: choose another name for the video.")
    sound = probe(audio_from) if audio_from else None
    checked, (height, width) = _checked(frames, f"{path.name} (H.264)", "yuv420p", "write a folder of PNG frames instead")
    offset = {"itsoffset": float(sound.start)} if sound and sound.start else {}
    primaries, transfer = (sound.primaries, sound.transfer) if sound else (None, None)
    picture = _yuv(
        ffmpeg.input("pipe:", **_raw(height, width, fps), **offset), "yuv420p", "bt709", primaries or "bt709", transfer or "bt709"
    )
    if sound:
        picture = picture.filter("setsar", str(sound.pixel_aspect))
    options: dict[str, Any] = {
        "c:v": "libx264",
        "preset": "medium",
        "crf": 12,
        "threads": 1,
        "fps_mode": "passthrough",
        "flags:v": "+bitexact",
        "fflags": "+bitexact",
    }
    tracks = []
    if sound and sound.audio and audio_from:
        tracks.append(ffmpeg.input(_url(audio_from), protocol_whitelist="file,pipe")["a"])
        for index, codec in enumerate(sound.audio):
            common = path.suffix.lower() == ".mkv" or codec in {"aac", "ac3", "alac", "eac3", "mp3"}
            options[f"c:a:{index}"] = "copy" if common else "aac"
    if path.suffix.lower() != ".mkv":
        options["movflags"] = "+faststart"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        _feed(_arguments(ffmpeg.output(picture, *tracks, _url(partial), **options)), checked, str(path))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def coded(
    frames: Iterable[np.ndarray],
    fps: Fraction | float,
    encoder: Encoder,
    *,
    crf: int | None = None,
    bit_rate: int | None = None,
    preset: str | None = None,
    gop: int | None = None,
    pixel_format: PixelFormat = "yuv420p",
) -> Iterator[tuple[Iterator[np.ndarray], dict[str, Any]]]:
    """Compress a clip and decode it again.

    One encoder thread and no time stamps: the same frames give the same bytes.

    Args:
        frames: (H, W, 3) uint8 RGB, one size; H and W are even where `pixel_format` halves chroma.
        fps: the rate that the encoder is told, in frames per second. It changes no frame's place, only what a bit rate
            comes to per frame.
        encoder: `libx264` takes all of what follows, `mpeg4` is given a bit rate and 4:2:0.
        crf: constant rate factor, 0 (all but lossless) to 51.
        bit_rate: in bits per second, aimed at on average over the clip. Either this or `crf`. x264 counts in whole kbit/s.
        preset: x264's name for its effort.
        gop: the largest distance between key frames; None is the encoder's own, 250 of x264 and 12 of `mpeg4`.
        pixel_format: what frames are coded in.

    Returns:
        A context of the decoded frames, (H, W, 3) uint8 RGB, streamed from a temporary file that
        lives as long as the context, and of what was done: `arguments` (ffmpeg's, exactly, of the
        coder and of the decoder), `ffmpeg` and `encoder` (versions), `matrix`, `bytes`, `achieved_bit_rate`
        (bits per second at `fps`) and `frame_bytes` (in coding order).

    Raises:
        VSRError: no frames, an odd size, frames of different sizes, a setting that the encoder lacks, no such encoder, or
            the disk is full.
    """
    check_encoder(encoder)
    if (crf is None) == (bit_rate is None):
        raise VSRError(
            f"{encoder} is given {'neither crf nor bit_rate' if crf is None else 'crf and bit_rate'}: give one of them."
        )
    if encoder == "mpeg4" and (crf is not None or preset is not None or pixel_format != "yuv420p"):
        raise VSRError(
            "mpeg4 has neither crf nor preset nor other pixel formats than yuv420p: give it a bit_rate alone, or use x264."
        )
    if encoder == "libx264" and bit_rate is not None and bit_rate < 1000:
        raise VSRError(f"x264 cannot aim at {bit_rate} bits per second, it counts in kbit/s: give a bit_rate of 1000 or more.")
    checked, (height, width) = _checked(
        frames, encoder, pixel_format, "crop HR so that LR is even, or use a recipe without compression"
    )
    rate = rational(fps)
    # MPEG-4 part 2 (ISO/IEC 14496-2, vop_time_increment_resolution) has 16 bits for the time unit.
    rate = 1 / (1 / rate).limit_denominator(65535) if encoder == "mpeg4" else rate
    container = "h264" if encoder == "libx264" else "m4v"
    options: dict[str, Any] = {"c:v": encoder, "preset": preset, "crf": crf, "b:v": bit_rate, "g": gop}
    options |= {"threads": 1, "fps_mode": "passthrough", "flags:v": "+bitexact"}
    if encoder == "mpeg4":
        # Transforms that give the same bits on every processor. The tolerance, in bits, is the one that PyAV's streams
        # have, with which published training sets were coded; ffmpeg's own is too wide to meet a low rate.
        options |= {"dct": "int", "idct": "simple", "bt": 128000}
    with tempfile.TemporaryDirectory(prefix="vsr-coded-") as folder:
        stream = Path(folder) / f"clip.{container}"
        picture = _yuv(ffmpeg.input("pipe:", **_raw(height, width, rate)), pixel_format, "smpte170m")
        given = {key: value for key, value in options.items() if value is not None}
        coder = _arguments(ffmpeg.output(picture, stream.name, format=container, **given))
        count = _feed(coder, checked, f"the {encoder} step's temporary file in {stream.parent}", stream.parent)
        decoder = _reading(stream.name, format=container, framerate=str(rate))
        sizes = [packet.size for packet in _packets(stream, format=container)[0]]
        if len(sizes) != count:
            raise VSRError(f"{encoder} was given {count} frames and coded {len(sizes)}: use another ffmpeg (IMAGEIO_FFMPEG_EXE).")
        size = stream.stat().st_size
        info = {
            "arguments": {"coder": coder, "decoder": decoder},
            "ffmpeg": _version(_binary(), r"ffmpeg version (\S+)"),
            "encoder": _coder_version(encoder, stream),
            "matrix": "BT.601 limited",
            "bytes": size,
            "achieved_bit_rate": round(size * 8 * rate / len(sizes)),
            "frame_bytes": sizes,
        }
        with contextlib.closing(_counted(_pipe(decoder, stream, stream.parent), len(sizes), stream)) as decoded:
            yield decoded, info


def _coder_version(encoder: Encoder, stream: Path) -> str:
    """x264 writes its version into the stream; `mpeg4` is a part of libavcodec."""
    if encoder == "mpeg4":
        return f"libavcodec {_version(_binary(), r'libavcodec +([0-9][0-9. ]*[0-9])').replace(' ', '')}"
    with stream.open("rb") as file:
        found = re.search(rb"x264 - (core [^-]*?) - ", file.read(4096))
    return f"x264 {found[1].decode()}" if found else "x264"


class Vmaf:
    """VMAF of one clip by libvmaf, whose pairs of frames come one by one; frames go straight to ffmpeg and are not kept.

    Luma is given as it is, so no conversion of ffmpeg's comes in between; the models look at luma alone. One thread.

    Args:
        model: a model that is built into libvmaf, by its version.

    Raises:
        VSRError: ffmpeg has no libvmaf.
    """

    def __init__(self, model: str) -> None:
        check_vmaf()
        self._model = model
        self._frames = 0

    def add(self, restored: np.ndarray, truth: np.ndarray) -> None:
        """Take the next pair.

        Args:
            restored: luma, (H, W) uint8.
            truth: likewise.

        Raises:
            VSRError: a side is shorter than `VMAF_SMALLEST`, frames differ in size, or libvmaf fails.
        """
        if not self._frames:
            self._begin(*truth.shape)
        for frame in (restored, truth):
            if frame.shape != self._shape:
                sizes = " but ".join(f"{width}x{height}" for height, width in (frame.shape, self._shape))
                raise VSRError(f"VMAF was given a frame of {sizes} before: give frames of one size.")
        for plane in (restored, self._colours, truth, self._colours):
            if not self._sink.write(plane):
                self._sink.finish()
                raise VSRError("VMAF failed, ffmpeg ended early and gave no reason: set IMAGEIO_FFMPEG_EXE to another ffmpeg.")
        self._frames += 1

    def finish(self) -> tuple[list[float], dict[str, str]]:
        """The values of all frames, 0 to 100, and what made them: `model`, and the versions `libvmaf` and `ffmpeg`.

        Raises:
            VSRError: there were no frames, or libvmaf failed.
        """
        if not self._frames:
            raise VSRError("VMAF was given no frames: check the clip's source.")
        with self._folder, contextlib.closing(self._sink):
            self._sink.finish()
            log = json.loads((Path(self._folder.name) / _VMAF_LOG).read_text())
        values = [float(frame["metrics"]["vmaf"]) for frame in log["frames"]]
        if len(values) != self._frames:
            raise VSRError(
                f"VMAF was given {self._frames} frames and scored {len(values)}: set IMAGEIO_FFMPEG_EXE to another ffmpeg."
            )
        made = {"model": self._model, "libvmaf": str(log["version"]), "ffmpeg": _version(_binary(), r"ffmpeg version (\S+)")}
        return values, made

    def _begin(self, height: int, width: int) -> None:
        size = f"{width}x{height}"
        if min(height, width) < VMAF_SMALLEST:
            raise VSRError(f"frames of {size} are too small for VMAF: give {VMAF_SMALLEST}x{VMAF_SMALLEST} and larger.")
        self._shape = height, width
        self._colours = np.full(2 * ((height + 1) // 2) * ((width + 1) // 2), 128, np.uint8)  # of grey, in 4:2:0
        # Restored and true frames take turns in one pipe: two could wait for each other.
        pairs = ffmpeg.input("pipe:", format="rawvideo", pix_fmt="yuv420p", s=size).filter_multi_output("split")
        turns = [pairs[turn].filter("select", f"eq(mod(n,2),{turn})").filter("setpts", "N") for turn in range(2)]
        options = {"model": f"version={self._model}", "log_fmt": "json", "log_path": _VMAF_LOG, "n_threads": 1}
        output = ffmpeg.output(ffmpeg.filter(turns, "libvmaf", **options), "pipe:", format="null", fps_mode="passthrough")
        self._folder = tempfile.TemporaryDirectory(prefix="vsr-vmaf-")
        self._sink = _Sink(_arguments(output), "VMAF", Path(self._folder.name))


def check_vmaf() -> None:
    """Make sure that ffmpeg has libvmaf.

    Raises:
        VSRError: there is no ffmpeg, or it was built without; says what to run.
    """
    binary = _binary()
    if not _has_filter(binary, "libvmaf"):
        raise _lacking(binary, "libvmaf")


def check_encoder(encoder: Encoder) -> None:
    """Make sure that ffmpeg has an encoder.

    Raises:
        VSRError: there is no ffmpeg, or it was built without; says what to run.
    """
    binary = _binary()
    if not _has_encoder(binary, encoder):
        raise _lacking(binary, encoder)


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


# ---------------------------------------------------------------- what a file holds


@dataclass(frozen=True)
class _Packet:
    time: int  # of its frame, in units of `base` seconds
    duration: int
    size: int  # in bytes
    base: Fraction


def _packets(path: Path, **options: Any) -> tuple[list[_Packet], str]:
    """The packets of the frames shown, without decoding them, and ffmpeg's description of the file.

    `options` are ffmpeg's for reading it.
    """
    if not path.is_file():
        raise VSRError(f"{path} {'is not a file' if path.exists() else 'does not exist'}: give the path of a video file.")
    if not _boxes_are_whole(path):
        raise _damaged(path, "it ends before its header says")
    source = ffmpeg.input(_url(path), protocol_whitelist="file,pipe", **options)["v:0"]
    # `-v info` puts the description of the streams on stderr.
    command = [_binary(), "-hide_banner", "-nostdin", "-v", "info", "-xerror"]
    done = _capture([*command, *ffmpeg.output(source, "pipe:", format="framecrc", vcodec="copy").get_args()])
    header, log = done.stdout.decode(), done.stderr.decode(errors="replace")
    if "Stream #0:" in log and not re.search(r"Stream #0:\d+.*?: Video: ", log):
        raise VSRError(f"{path} has no video stream: give a video file.")
    if done.returncode or _DAMAGE.search(log):
        raise _damaged(path, _reason(log))
    base = Fraction(*map(int, re.findall(r"#tb 0: (\d+)/(\d+)", header)[0])) if "#tb 0:" in header else Fraction(1)
    packets: list[_Packet] = []
    for line in header.splitlines():
        fields = [part.strip() for part in line.split(",")]
        if line.startswith("#") or len(fields) < 6:
            continue
        flags = next((int(part[2:], 16) for part in fields[6:] if part.startswith("F=")), 0)
        if not flags & _DISCARD:
            shown = fields[2] if fields[2] != "NOPTS" else fields[1]
            time = int(shown) if shown != "NOPTS" else len(packets) * int(fields[3])
            packets.append(_Packet(time, int(fields[3]), int(fields[4]), base))
    if not packets:
        raise _damaged(path, "it has no frames")
    return packets, log


def _check_pixels(path: Path, header: str) -> None:
    """Make sure that 8-bit RGB can hold what the first video stream has."""
    stream = re.search(r"Stream #0:\d+.*?: Video: [^,]*, (\w+).*\n(?: {4}.*\n)*", header)
    name, described = (stream[1], stream[0]) if stream else ("none", "")
    # VP9 keeps transparency in a second picture that its decoder leaves out; a tag of the stream tells of it.
    tagged = re.search(r"^ +alpha_mode +: 1$", described, re.MULTILINE)
    components, depth = _pixel_formats(_binary()).get(name, (3, 8))
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


def _boxes_are_whole(path: Path) -> bool:
    """False where a top box of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2) reaches beyond the end of the file.

    Without this a file cut exactly between two frames would read as a shorter, sound one.
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
            if size == 1:
                size = int.from_bytes(header[8:16])
            if size < 8:  # 0 reaches to the end; less is padding
                return True
            position += size
    return position <= end


def _rate(packets: Sequence[_Packet], header: str) -> tuple[Fraction, bool]:
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


# ---------------------------------------------------------------- ffmpeg's processes


def _binary() -> str:
    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise VSRError("there is no ffmpeg: run `pip install imageio-ffmpeg`, or set IMAGEIO_FFMPEG_EXE to one.") from error


@lru_cache(maxsize=8)
def _has_encoder(binary: str, encoder: str) -> bool:
    return f"Encoder {encoder} ".encode() in _capture([binary, "-hide_banner", "-h", f"encoder={encoder}"]).stdout


@lru_cache(maxsize=8)
def _has_filter(binary: str, name: str) -> bool:
    return f"Filter {name}\n".encode() in _capture([binary, "-hide_banner", "-h", f"filter={name}"]).stdout


def _lacking(binary: str, part: str) -> VSRError:
    return VSRError(
        f"{binary} has no {part}: unset IMAGEIO_FFMPEG_EXE or set it to an ffmpeg that has, "
        "or run `pip install --force-reinstall imageio-ffmpeg`."
    )


@lru_cache(maxsize=8)
def _version(binary: str, pattern: str) -> str:
    found = re.search(pattern, _capture([binary, "-version"]).stdout.decode(errors="replace"))
    return found[1] if found else "unknown"


@lru_cache(maxsize=8)
def _pixel_formats(binary: str) -> dict[str, tuple[int, int]]:
    """ffmpeg's pixel formats: their number of components, even where one is transparency, and the bits of the finest."""
    lines = re.findall(
        r"^[I.][O.]\S+ (\w+) +(\d+) +\d+ +([\d-]+)$",
        _capture([binary, "-hide_banner", "-pix_fmts"]).stdout.decode(),
        re.MULTILINE,
    )
    return {name: (int(components), max(map(int, depths.split("-")))) for name, components, depths in lines}


def _capture(command: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        raise _cannot_run(command[0], error) from error


def _start(arguments: Sequence[str], **options: Any) -> tuple[subprocess.Popen[bytes], Callable[[], str]]:
    """An ffmpeg, and a call that gives what it said, once it has ended.

    It is read as it comes: a pipe left full would stop ffmpeg, and a file may have no room on a full disk.
    """
    binary = _binary()
    try:
        process = subprocess.Popen([binary, *arguments], stderr=subprocess.PIPE, **options)
    except OSError as error:
        raise _cannot_run(binary, error) from error
    stderr = cast(IO[bytes], process.stderr)
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.append(stderr.read()), daemon=True)
    reader.start()

    def log() -> str:
        reader.join()
        stderr.close()
        return b"".join(said).decode(errors="replace")

    return process, log


def _cannot_run(binary: str, error: OSError) -> VSRError:
    return VSRError(f"{binary} cannot be run ({error.strerror}): unset IMAGEIO_FFMPEG_EXE, or set it to an ffmpeg.")


def _url(path: Path) -> str:
    """A path that ffmpeg takes for nothing but a file."""
    return f"file:{path.resolve()}"


def _raw(height: int, width: int, fps: Fraction | float) -> dict[str, Any]:
    return {"format": "rawvideo", "pix_fmt": "rgb24", "s": f"{width}x{height}", "framerate": str(rational(fps))}


def _yuv(picture: Any, pixel_format: PixelFormat, matrix: str, primaries: str | None = None, transfer: str | None = None) -> Any:
    """RGB to tagged YUV of limited range."""
    tags = {"range": "tv", "colorspace": matrix, "color_primaries": primaries, "color_trc": transfer}
    scaled = picture.filter("scale", out_color_matrix=matrix, out_range="tv", flags=_SWSCALE).filter("format", pixel_format)
    return scaled.filter("setparams", **{key: value for key, value in tags.items() if value})


def _reading(url: str, **options: Any) -> list[str]:
    """Arguments that give the first video stream of a file as PPM on stdout and stop at the first fault."""
    last = {key: options.pop(key) for key in [key for key in options if key.startswith("frames")]}
    source = ffmpeg.input(url, protocol_whitelist="file,pipe", err_detect="explode", threads=1, **options)["v:0"]
    rgb = source.filter("scale", out_range="pc", flags=_SWSCALE).filter("format", "rgb24")
    output = ffmpeg.output(rgb, "pipe:", format="image2pipe", vcodec="ppm", fps_mode="passthrough", **last)
    # ffmpeg brings frames of another size to that of the first, and only says so.
    return ["-nostats", *_arguments(output, "level+info")]


def _arguments(output: Any, level: str = "error") -> list[str]:
    return ["-hide_banner", "-v", level, "-xerror", "-y", "-filter_complex_threads", "1", *output.get_args()]


def _pipe(arguments: Sequence[str], path: Path, folder: Path | None = None) -> Generator[np.ndarray, None, None]:
    """The frames that ffmpeg writes as PPM, until it ends; `path` is what it reads, `arguments` are `_reading`'s."""
    process, log = _start(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=folder)
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
        raise _damaged(path, _reason(re.sub(r"\[(?:error|fatal|panic)\] ", "", "\n".join(faults))))
    for size in re.findall(r"Reconfiguring filter graph because .*?, (\d+)x(\d+)", message):
        if sorted(map(int, size)) != sorted((height, width)):  # a turned file tells of its sides the other way round
            raise VSRError(f"{path} goes from {width}x{height} to {'x'.join(size)} on its way: cut it there, into two videos.")


def _counted(frames: Generator[np.ndarray, None, None], expected: int, path: Path) -> Generator[np.ndarray, None, None]:
    count = 0
    with contextlib.closing(frames):
        for frame in frames:
            count += 1
            yield frame
    if count != expected:
        raise _damaged(path, f"it has {expected} frames, of which {count} can be decoded")


class _Sink:
    """An ffmpeg that takes raw frames on its stdin as they come; it does not outlive this object.

    Args:
        arguments: ffmpeg's.
        target: what it makes, as the subject of an error.
        folder: where it runs.
    """

    def __init__(self, arguments: Sequence[str], target: str, folder: Path | None = None) -> None:
        self._process, self._log = _start(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=folder)
        self._target = target
        self.close = weakref.finalize(self, _stop, self._process, self._log)

    def write(self, frame: np.ndarray) -> bool:
        """Give it the next frame; False where it has ended early, and `finish` says why."""
        try:
            cast(IO[bytes], self._process.stdin).write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            return False
        return True

    def finish(self) -> None:
        """Let it finish.

        Raises:
            VSRError: it failed, or the disk is full.
        """
        with contextlib.suppress(BrokenPipeError):
            cast(IO[bytes], self._process.stdin).close()
        self._process.wait()
        message = self._log()
        if "No space left on device" in message:
            raise VSRError(f"{self._target} cannot be written, the disk is full: free some space and run again.")
        if self._process.returncode:
            raise VSRError(f"{self._target} failed, ffmpeg says: {_reason(message)}.")


def _stop(process: subprocess.Popen[bytes], log: Callable[[], str]) -> None:
    with contextlib.suppress(BrokenPipeError):
        cast(IO[bytes], process.stdin).close()
    process.kill()
    process.wait()
    log()


def _feed(arguments: Sequence[str], frames: Iterable[np.ndarray], target: str, folder: Path | None = None) -> int:
    """Run ffmpeg on raw frames given to its stdin; how many they were."""
    count = 0
    with contextlib.closing(_Sink(arguments, target, folder)) as sink:
        for frame in frames:
            if not sink.write(frame):
                break
            count += 1
        sink.finish()
    return count


def _checked(
    given: Iterable[np.ndarray], what: str, pixel_format: PixelFormat, instead: str
) -> tuple[Iterator[np.ndarray], tuple[int, int]]:
    """The frames, checked as they pass, and their (height, width)."""
    iterator = iter(given)
    first = next(iterator, None)
    if first is None:
        raise VSRError(f"{what} was given no frames: check its source.")
    height, width = first.shape[:2]
    check_size((height, width), pixel_format, what, instead)

    def frames() -> Iterator[np.ndarray]:
        for index, frame in enumerate(itertools.chain([first], iterator)):
            if frame.shape != first.shape:
                raise VSRError(
                    f"{what}: frame {index} is {frame.shape[1]}x{frame.shape[0]} but the first is {width}x{height}: make them one size."
                )
            yield frame

    return frames(), (height, width)


def _damaged(path: Path, reason: str) -> VSRError:
    return VSRError(f"{path} is damaged or cut short ({reason}): copy or encode it again.")


def _reason(log: str) -> str:
    """The first fault of ffmpeg's log, without the addresses of its objects."""
    damage = _DAMAGE.search(log)
    faults = [line for line in log[damage.start() if damage else 0 :].splitlines() if line.strip()]
    # A tag in brackets says which part of ffmpeg speaks: of faults, and not of the streams it found.
    told = next((line for line in faults if line.startswith("[")), faults[0] if faults else "no reason given")
    return re.sub(r"^(\[[^]]*\] ?)+", "", told).strip().rstrip(".")

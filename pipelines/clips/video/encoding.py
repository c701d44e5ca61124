"""Video files out: what a picture is coded as, and videos made of frames alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import numpy as np

from pipelines.clips.video.decoding import matrix_of
from pipelines.clips.video.facts import Light, VideoInfo
from pipelines.clips.video.frames import SWSCALE, checked_frames, raw
from pipelines.clips.video.process import arguments_of, check_encoder, feed, url
from pipelines.errors import VSRError, unknown

Name = Literal["h264", "hevc", "av1", "ffv1", "prores"]


@dataclass(frozen=True)
class Codec:
    """A codec of restored video: ffmpeg's encoder of it and its options, pixel formats of 8 and of 10 bits, the containers that
    hold it, and the constant rate factors that it has with the one taken where none is given; None where it has none."""

    encoder: str
    options: dict[str, Any]
    pixels: tuple[str, str]
    suffixes: frozenset[str]
    crf: tuple[int, int] | None = None


CODECS: dict[str, Codec] = {
    "h264": Codec("libx264", {"preset": "medium"}, ("yuv420p", "yuv420p10le"), frozenset({".mp4", ".m4v", ".mov", ".mkv"}), (12, 51)),
    "hevc": Codec(
        "libx265",
        {"preset": "medium", "x265-params": "log-level=none:pools=none:frame-threads=1"},
        ("yuv420p", "yuv420p10le"),
        frozenset({".mp4", ".m4v", ".mov", ".mkv"}),
        (14, 51),
    ),
    "av1": Codec(
        "libsvtav1", {"preset": 6, "svtav1-params": "lp=1"}, ("yuv420p", "yuv420p10le"), frozenset({".mp4", ".mkv"}), (18, 63)
    ),
    "ffv1": Codec("ffv1", {"level": 3, "g": 1, "slicecrc": 1}, ("bgr0", "gbrp16le"), frozenset({".mkv"})),
    "prores": Codec("prores_ks", {"profile:v": 3, "vendor": "apl0"}, ("yuv422p10le", "yuv422p10le"), frozenset({".mov", ".mkv"})),
}  # fmt: skip
"""`ffv1` keeps the restored pixels as they are, in RGB."""


def _units(per: int) -> Callable[[Fraction], str]:
    return lambda value: str(round(value * per))


def _decimal(value: Fraction) -> str:
    return f"{float(value):.5f}"


HDR = {
    "h264": ("x264-params", "mastering-display", "cll", _units(50000), _units(10000)),
    "hevc": ("x265-params", "master-display", "max-cll", _units(50000), _units(10000)),
    "av1": ("svtav1-params", "mastering-display", "content-light", _decimal, _decimal),
}
"""How encoders take HDR's metadata: their option, its names of the mastering display and of the content's light levels, and how
coordinates and luminances are written."""

WRITABLE = frozenset().union(*(codec.suffixes for codec in CODECS.values()))
"""Suffixes of the containers that are written."""

_HALVED = {"yuv420p": (2, 2), "yuv420p10le": (2, 2), "yuv422p10le": (1, 2)}
_SCALES = {"smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020", "bt2020c": "bt2020"}


@dataclass(frozen=True)
class Coding:
    """How a picture is coded: the codec and its constant rate factor, and its colours as ffmpeg names them, None where the file
    is not to say. `matrix` and `range` are what pixels are converted by."""

    codec: str = "h264"
    crf: int | None = 12
    deep: bool = False
    matrix: str = "bt709"
    primaries: str | None = "bt709"
    transfer: str | None = "bt709"
    range: str | None = "tv"
    light: Light = Light()
    aspect: Fraction = Fraction(1)

    @property
    def pixels(self) -> str:
        return CODECS[self.codec].pixels[self.deep]

    @property
    def depth(self) -> int:
        return {"gbrp16le": 16, "yuv420p10le": 10, "yuv422p10le": 10}.get(self.pixels, 8)

    def check_size(self, size: tuple[int, int], what: str) -> None:
        """Make sure that frames of this (height, width) can be coded: chroma that is halved has no odd sides.

        Raises:
            VSRError: a side is odd.
        """
        down, across = _HALVED.get(self.pixels, (1, 1))
        if size[0] % down or size[1] % across:
            odd = "both sides" if down == across else "the width"
            raise VSRError(
                f"{what} in {self.pixels} cannot take frames of {size[1]}x{size[0]}, {odd} must be even: write a folder of PNG "
                "frames instead, or a .mkv with --codec ffv1."
            )


FRAMES = Coding()
"""How frames that say nothing of themselves are coded: what plays everywhere, H.264 4:2:0 at CRF 12 in BT.709."""


def coding(target: Path, info: VideoInfo | None = None, codec: str | None = None, crf: int | None = None) -> Coding:
    """How a video is coded: by its source's colours and bits, and the options.

    Args:
        target: the file, whose suffix says the container.
        info: the source, None for frames.
        codec: a name of `CODECS`; H.264 by default, and for sources of more than 8 bits HEVC, which players decode in 10.
        crf: constant rate factor, for codecs that have one.

    Raises:
        VSRError: there is no such codec, the container does not hold it, or it has no such factor.
    """
    deep = info is not None and info.depth > 8
    name = codec or ("hevc" if deep else "h264")
    if name not in CODECS:
        raise unknown("codec", name, CODECS)
    found = CODECS[name]
    suffix = target.suffix.lower()
    if suffix not in WRITABLE:
        raise VSRError(
            f"{target} cannot be written: name it with one of {', '.join(sorted(WRITABLE))}, or give a folder for PNG frames."
        )
    if suffix not in found.suffixes:
        raise VSRError(
            f"{target} cannot hold {name}: name it with one of {', '.join(sorted(found.suffixes))}, or choose another --codec."
        )
    if crf is not None and (found.crf is None or not 0 <= crf <= found.crf[1]):
        has = "none" if found.crf is None else f"0 to {found.crf[1]}"
        raise VSRError(f"--crf is {crf}, and {name} has {has}: leave it out or give another.")
    factor = crf if crf is not None else (found.crf[0] if found.crf else None)
    check_encoder(found.encoder)
    if info is None:
        return replace(FRAMES, codec=name, crf=factor, matrix="gbr" if name == "ffv1" else FRAMES.matrix)
    matrix = matrix_of(info) if name != "ffv1" else "gbr"
    levels = "pc" if name == "ffv1" else "tv" if info.rgb else info.range
    return Coding(name, factor, deep, matrix, info.primaries, info.transfer, levels, info.light)


def encode(
    frames: Iterable[np.ndarray],
    path: Path,
    fps: Fraction | float,
    how: Coding = FRAMES,
    preset: Literal["veryfast"] | None = None,
) -> None:
    """Write a video of frames alone.

    The same frames give the same bytes. The file appears under its name when it is complete.

    Args:
        frames: (H, W, 3) RGB, uint8, or uint16 of full scale where `how` is deep; one size. H and W are even where chroma is
            halved: padding, or a profile that few players know, would be a silent change.
        path: its suffix says the container; an existing file is replaced.
        fps: frames per second.
        how: see `coding`.
        preset: x264's name for its effort, in place of the codec's own.

    Raises:
        VSRError: no frames, an odd size, frames of different sizes, an unknown container, no
            such encoder, or the disk is full.
    """
    check_encoder(CODECS[how.codec].encoder)
    if path.suffix.lower() not in CODECS[how.codec].suffixes:
        raise VSRError(
            f"{path} cannot be written: name it with one of {', '.join(sorted(WRITABLE))}, or give a folder for PNG frames."
        )
    if path.is_dir():
        raise VSRError(f"{path} is a folder: choose another name for the video.")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        encode_part(frames, partial, fps, how, path.name, **({"preset": preset} if preset else {}))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def encode_part(frames: Iterable[np.ndarray], path: Path, fps: Fraction | float, how: Coding, called: str, **more: Any) -> int:
    """Write a video of frames alone to a path, which stays where it fails; how many frames it has. Arguments as of `encode`;
    `called` is the file's name in errors."""
    codec = CODECS[how.codec]
    what = f"{called} ({codec_name(how.codec)})"
    checked, (height, width) = checked_frames(frames, what)
    how.check_size((height, width), what)
    picture = ffmpeg.input("pipe:", **raw(height, width, fps, "rgb48le" if how.deep else "rgb24"))
    levels = how.range or "tv"
    if how.matrix != "gbr":
        picture = picture.filter("scale", out_color_matrix=_SCALES.get(how.matrix, how.matrix), out_range=levels, flags=SWSCALE)
    picture = picture.filter("format", how.pixels)
    tags = {"range": how.range, "colorspace": how.matrix, "color_primaries": how.primaries, "color_trc": how.transfer}
    picture = picture.filter("setparams", **{key: value or "unknown" for key, value in tags.items()})
    if how.aspect != 1:
        picture = picture.filter("setsar", str(how.aspect))
    options = {"c:v": codec.encoder, **codec.options, **more, "threads": 1, "fps_mode": "passthrough"}
    if how.crf is not None:
        options["crf"] = how.crf
    options |= {"flags:v": "+bitexact", "fflags": "+bitexact"}
    if path.suffix.lower() in {".mp4", ".m4v", ".mov"}:
        options["movflags"] = "+faststart"
    if light := _light(how):
        key, value = light
        options[key] = ":".join(part for part in (options.get(key), value) if part)
    return feed(arguments_of(ffmpeg.output(picture, url(path), **options)), checked, str(path.with_name(called)))


def codec_name(name: str) -> str:
    return {"h264": "H.264", "hevc": "HEVC", "av1": "AV1", "ffv1": "FFV1", "prores": "ProRes"}[name]


def _light(how: Coding) -> tuple[str, str] | None:
    """HDR's metadata as an encoder's option and its value; None where there is none, or the codec holds none."""
    display, content = how.light.display, how.light.content
    if how.codec not in HDR or (display is None and content is None):
        return None
    option, of_display, of_content, point, luminance = HDR[how.codec]
    found = []
    if display is not None:
        red, green, blue, white = (tuple(point(value) for value in display[i : i + 2]) for i in (0, 2, 4, 6))
        points = "".join(f"{name}({x},{y})" for name, (x, y) in (("G", green), ("B", blue), ("R", red), ("WP", white)))
        found.append(f"{of_display}={points}L({luminance(display[9])},{luminance(display[8])})")
    if content is not None:
        found.append(f"{of_content}={content[0]},{content[1]}")
    return option, ":".join(found)

"""Coding as a degradation: a clip compressed and decoded again."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from pipelines.clips.video.facts import packet_sizes
from pipelines.clips.video.frames import PixelFormat, check_size, checked_frames, counted, pipe, rational, raw, reading, yuv
from pipelines.clips.video.process import Encoder, arguments_of, check_encoder, feed, find_binary, version
from pipelines.errors import VSRError


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
    _check(encoder, crf, bit_rate, preset, pixel_format)
    checked, (height, width) = checked_frames(frames, encoder)
    check_size((height, width), pixel_format, encoder, "crop HR so that LR is even, or use a recipe without compression")
    rate = rational(fps)
    # MPEG-4 part 2 (ISO/IEC 14496-2, vop_time_increment_resolution) has 16 bits for the time unit.
    rate = 1 / (1 / rate).limit_denominator(65535) if encoder == "mpeg4" else rate
    container = "h264" if encoder == "libx264" else "m4v"
    options = _options(encoder, {"preset": preset, "crf": crf, "b:v": bit_rate, "g": gop})
    with tempfile.TemporaryDirectory(prefix="vsr-coded-") as folder:
        stream = Path(folder) / f"clip.{container}"
        picture = yuv(ffmpeg.input("pipe:", **raw(height, width, rate)), pixel_format, "smpte170m")
        coder = arguments_of(ffmpeg.output(picture, stream.name, format=container, **options))
        count = feed(coder, checked, f"the {encoder} step's temporary file in {stream.parent}", stream.parent)
        decoder = reading(stream.name, format=container, framerate=str(rate))
        sizes = packet_sizes(stream, container)
        if len(sizes) != count:
            raise VSRError(f"{encoder} was given {count} frames and coded {len(sizes)}: use another ffmpeg (IMAGEIO_FFMPEG_EXE).")
        size = stream.stat().st_size
        info = {
            "arguments": {"coder": coder, "decoder": decoder},
            "ffmpeg": version(find_binary(), r"ffmpeg version (\S+)"),
            "encoder": _coder_version(encoder, stream),
            "matrix": "BT.601 limited",
            "bytes": size,
            "achieved_bit_rate": round(size * 8 * rate / len(sizes)),
            "frame_bytes": sizes,
        }
        with contextlib.closing(counted(pipe(decoder, stream, stream.parent), len(sizes), stream)) as decoded:
            yield decoded, info


def _check(encoder: Encoder, crf: int | None, bit_rate: int | None, preset: str | None, pixel_format: PixelFormat) -> None:
    """The settings are those that the encoder has."""
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


def _options(encoder: Encoder, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The encoder's options for ffmpeg; of those chosen, the ones that are given."""
    options = {"c:v": encoder, **{key: value for key, value in chosen.items() if value is not None}}
    options |= {"threads": 1, "fps_mode": "passthrough", "flags:v": "+bitexact"}
    if encoder == "mpeg4":
        # Transforms that give the same bits on every processor. The tolerance, in bits, is the one that PyAV's streams
        # have, with which published training sets were coded; ffmpeg's own is too wide to meet a low rate.
        options |= {"dct": "int", "idct": "simple", "bt": 128000}
    return options


def _coder_version(encoder: Encoder, stream: Path) -> str:
    """x264 writes its version into the stream; `mpeg4` is a part of libavcodec."""
    if encoder == "mpeg4":
        return f"libavcodec {version(find_binary(), r'libavcodec +([0-9][0-9. ]*[0-9])').replace(' ', '')}"
    with stream.open("rb") as file:
        found = re.search(rb"x264 - (core [^-]*?) - ", file.read(4096))
    return f"x264 {found[1].decode()}" if found else "x264"

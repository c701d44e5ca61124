"""Video files out, for playing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import ffmpeg
import numpy as np

from pipelines.clips.video.decoding import probe
from pipelines.clips.video.frames import checked_frames, raw, yuv
from pipelines.clips.video.process import arguments_of, check_encoder, feed, url
from pipelines.errors import VSRError

WRITABLE = frozenset({".m4v", ".mkv", ".mov", ".mp4"})
"""Containers that `encode` writes H.264 into."""


def encode(
    frames: Iterable[np.ndarray],
    path: Path,
    fps: Fraction | float,
    audio_from: Path | None = None,
    preset: Literal["veryfast", "medium"] = "medium",
) -> None:
    """Write a video that plays everywhere: H.264 4:2:0 at CRF 12, in the container of the suffix.

    The same frames give the same bytes. The file appears under its name when it is complete.

    Args:
        frames: (H, W, 3) uint8 RGB, one size. H and W are even: 4:2:0 has no odd sizes, and padding,
            or a profile that few players know, would be a silent change.
        path: `.mp4`, `.m4v`, `.mov` or `.mkv`; an existing file is replaced.
        fps: frames per second.
        audio_from: a video whose sound tracks, their offset to the picture, pixel aspect and colour
            primaries are taken over. Tracks are copied; those that few players know in an MP4 become AAC.
        preset: x264's name for its effort.

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
    checked, (height, width) = checked_frames(frames, f"{path.name} (H.264)", "yuv420p", "write a folder of PNG frames instead")
    offset = {"itsoffset": float(sound.start)} if sound and sound.start else {}
    primaries, transfer = (sound.primaries, sound.transfer) if sound else (None, None)
    picture = yuv(
        ffmpeg.input("pipe:", **raw(height, width, fps), **offset), "yuv420p", "bt709", primaries or "bt709", transfer or "bt709"
    )
    if sound:
        picture = picture.filter("setsar", str(sound.pixel_aspect))
    options: dict[str, Any] = {
        "c:v": "libx264",
        "preset": preset,
        "crf": 12,
        "threads": 1,
        "fps_mode": "passthrough",
        "flags:v": "+bitexact",
        "fflags": "+bitexact",
    }
    tracks = []
    if sound and sound.audio and audio_from:
        tracks.append(ffmpeg.input(url(audio_from), protocol_whitelist="file,pipe")["a"])
        for index, codec in enumerate(sound.audio):
            common = path.suffix.lower() == ".mkv" or codec in {"aac", "ac3", "alac", "eac3", "mp3"}
            options[f"c:a:{index}"] = "copy" if common else "aac"
    if path.suffix.lower() != ".mkv":
        options["movflags"] = "+faststart"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        feed(arguments_of(ffmpeg.output(picture, *tracks, url(partial), **options)), checked, str(path))
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)

"""What the command line takes and gives: a video file, a folder of frames, or a folder of such."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.atomic import atomic_folder
from pipelines.clips import video
from pipelines.clips.images import png_size, write_png
from pipelines.clips.readers import FRAMES_FPS, clip_folders, frame_files, probe_video, read_frames, video_files
from pipelines.errors import VSRError


@dataclass(frozen=True)
class Footage:
    """A clip on disk.

    `size` is (height, width); `fps` is None for frame folders, which carry none; `variable` says that frames are
    not evenly spaced; `alone` that the clip itself was given, and not a folder that holds it.
    """

    name: str
    path: Path
    kind: Literal["video", "frames"]
    size: tuple[int, int]
    count: int
    fps: Fraction | None
    has_audio: bool
    variable: bool
    alone: bool

    @property
    def rate(self) -> Fraction:
        """Frames per second: the video's own, or what frame folders are taken for."""
        return self.fps or video.rational(FRAMES_FPS)

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, streamed: (H, W, 3) uint8 RGB.

        Raises:
            VSRError: a file is damaged.
        """
        return read_frames(self.path)


def open_source(path: Path, failures: dict[str, str] | None = None) -> dict[str, Footage]:
    """The clips of SRC by name, in natural order.

    Args:
        path: a video file, a folder of PNG frames, or a folder of these.
        failures: takes the reasons by name of the clips of a folder that cannot be opened; without it, the first is an error.

    Raises:
        VSRError: the path is missing, empty, or neither of these; a clip in it is damaged, has
            frames of different sizes or lacks one.
    """
    if path.is_file():
        if path.suffix.lower() not in video.READABLE:
            raise VSRError(f"{path} is not a video file by its name: give a video, a folder of PNG frames, or a folder of such.")
        return {path.stem: _video(path.stem, path, alone=True)}
    if not path.is_dir():
        raise VSRError(f"{path} does not exist: give a video, a folder of PNG frames, or a folder of such.")
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    images = any(entry.suffix.lower() == ".png" for entry in inside)
    videos = any(entry.suffix.lower() in video.READABLE and entry.is_file() for entry in inside)
    folders = any(entry.is_dir() for entry in inside)
    if not (images or videos or folders):
        raise VSRError(f"{path} has neither PNG frames nor videos nor folders of frames: give another path.")
    if images and (videos or folders):
        raise VSRError(f"{path} has PNG frames beside videos or folders: give a folder that holds one or the other.")
    if images:
        name = path.resolve().name
        return {name: _frames(name, path, alone=True)}
    files = video_files(path) if videos else {}
    below = clip_folders(path) if folders else {}
    for name in sorted(files.keys() & below.keys()):
        raise VSRError(f"{below[name]} and {files[name].name} would both be the clip {name!r}: rename one.")
    clips = {}
    for name, place in {**files, **below}.items():
        try:
            clips[name] = _video(name, place, alone=False) if name in files else _frames(name, place, alone=False)
        except VSRError as error:
            if failures is None:
                raise
            failures.setdefault(name, str(error))
    return clips


def check_destination(dst: Path, source: Mapping[str, Footage], *, lossless: bool = False) -> dict[str, Path]:
    """Where `write_like` will put every clip of SRC, found out before the work.

    Raises:
        VSRError: something is already there, DST names one video and SRC has several clips, or a video would be made of one
            whose frames are not evenly spaced.
    """
    return {name: _target(dst, footage, lossless)[0] for name, footage in source.items()}


def write_like(
    dst: Path,
    footage: Footage,
    frames: Iterable[np.ndarray],
    kept: range | None = None,
    *,
    lossless: bool = False,
    time_scale: int = 1,
) -> Path:
    """Write a clip in the form of the one that it was made from.

    A video becomes a video with its sound and rate, a folder of frames a folder of PNG frames with
    the same file names. Where DST has the suffix of a video, it is that video; clips of a folder, and a video
    whose DST is a folder, go under their own names into DST. The clip appears when it is complete.

    Args:
        dst: what the user gave as DST.
        footage: the clip that the frames were made from.
        frames: (H, W, 3) uint8 RGB.
        kept: which frames of the source these are; None for all.
        lossless: write PNG frames for videos too, unless DST itself names a video.
        time_scale: how many times the rate of the source they come at, with frames in between; such frames are numbered from 0.

    Returns:
        The file or folder written.

    Raises:
        VSRError: something is already there, there are more or fewer frames than the source has file
            names, the disk is full, or see `video.encode`.
    """
    target, as_video = _target(dst, footage, lossless)
    kept = kept or range(footage.count)
    try:
        if as_video:
            rate = footage.rate * time_scale / kept.step
            video.encode(frames, target, rate, footage.path if footage.kind == "video" else None)
        else:
            _write_frames(target, footage, frames, kept, time_scale)
    except OSError as error:
        raise VSRError(f"{target} cannot be written ({error.strerror}): free some space or choose another place.") from error
    return target


def _target(dst: Path, footage: Footage, lossless: bool) -> tuple[Path, bool]:
    """Where a clip goes, and whether as a video."""
    suffix = dst.suffix.lower()
    if suffix == ".png":
        raise VSRError(f"{dst} names one image: give a folder for the frames, or the name of a video.")
    if suffix in video.READABLE and not dst.is_dir():
        if not footage.alone:
            raise VSRError(f"{dst} names one video but the source is a folder of clips: give a folder.")
        target, as_video = dst, True
    elif footage.kind == "video" and not lossless:
        own = footage.path.suffix if footage.path.suffix.lower() in video.WRITABLE else ".mp4"
        target, as_video = dst / (footage.name + own), True
    else:
        target, as_video = dst if footage.alone else dst / footage.name, False
    if as_video and footage.variable:
        raise video.unsteady(footage.path, footage.rate)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise VSRError(f"{target} already exists: remove it or choose another name.")
    return target, as_video


def _write_frames(target: Path, footage: Footage, frames: Iterable[np.ndarray], kept: range, time_scale: int) -> None:
    if time_scale > 1:
        names = [f"{index:08d}.png" for index in range(time_scale * (len(kept) - 1) + 1)]
    elif footage.kind == "frames":
        files = frame_files(footage.path)
        names = [files[index].name for index in kept]
    else:
        names = [f"{index:08d}.png" for index in kept]
    with atomic_folder(target) as folder:
        count = 0
        for count, frame in enumerate(frames, start=1):
            if count <= len(names):
                write_png(folder / names[count - 1], frame)
        if count != len(names):
            raise VSRError(
                f"{footage.path}: {count} frames came out of it, not {len(names)}: run again, and report it if it stays."
            )


def _video(name: str, path: Path, alone: bool) -> Footage:
    info = probe_video(path)
    return Footage(name, path, "video", (info.height, info.width), info.frames, info.fps, info.has_audio, info.variable, alone)


def _frames(name: str, path: Path, alone: bool) -> Footage:
    files = frame_files(path)
    return Footage(name, path, "frames", png_size(files[0]), len(files), None, False, False, alone)

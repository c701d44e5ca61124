"""What the command line takes and gives: a video file, a folder of frames, or a folder of such."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.atomic import atomic_folder
from pipelines.clips import video
from pipelines.clips.images import PICTURES, picture_size, read_picture, write_png
from pipelines.clips.layouts.own import listed
from pipelines.clips.readers import FRAMES_FPS, clip_folders, frame_files, probe_video, video_files
from pipelines.errors import VSRError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """What is taken of videos: more than 8 bits per colour, where they have them, and those that are transparent, without that."""

    deep: bool = False
    opaque: bool = False


@dataclass(frozen=True)
class Footage:
    """A clip on disk.

    `size` is (height, width); `fps` is None for frame folders, which carry none; `info` is what a video holds; `alone` says that
    the clip itself was given, and not a folder that holds it.
    """

    name: str
    path: Path
    kind: Literal["video", "frames"]
    size: tuple[int, int]
    count: int
    fps: Fraction | None
    alone: bool
    info: video.VideoInfo | None = None
    reading: Reading = Reading()

    @property
    def rate(self) -> Fraction:
        """Frames per second: the video's own, or what frame folders are taken for."""
        return self.fps or video.rational(FRAMES_FPS)

    @property
    def variable(self) -> bool:
        """Whether frames are not evenly spaced."""
        return self.info is not None and self.info.variable

    @property
    def has_audio(self) -> bool:
        return self.info is not None and self.info.has_audio

    def frames(self) -> Iterator[np.ndarray]:
        """The frames, streamed: (H, W, 3) RGB, uint8, or uint16 of full scale where the video has more bits and they are taken.

        Raises:
            VSRError: a file is damaged.
        """
        if self.kind == "frames":
            return (read_picture(file) for file in frame_files(self.path))
        return video.decode(self.path, self.info, deep=self.reading.deep, opaque=self.reading.opaque)


@dataclass(frozen=True)
class Writing:
    """How clips are written: PNG frames for videos too where `lossless`, unless DST itself names a video; a video's codec, constant
    rate factor and, for frames, rate; without sound where `silent`."""

    lossless: bool = False
    codec: str | None = None
    crf: int | None = None
    fps: Fraction | None = None
    silent: bool = False


def open_source(path: Path, failures: dict[str, str] | None = None, reading: Reading = Reading()) -> dict[str, Footage]:  # noqa: B008
    """The clips of SRC by name, in natural order. What else is in a folder is named in a warning.

    Args:
        path: a video file, a folder of frames, or a folder of these.
        failures: takes the reasons by name of the clips of a folder that cannot be opened; without it, the first is an error.
        reading: what is taken of videos.

    Raises:
        VSRError: the path is missing, empty, or neither of these; a clip in it is damaged, has
            frames of different sizes or lacks one.
    """
    if path.is_file():
        if path.suffix.lower() not in video.READABLE:
            raise VSRError(f"{path} is not a video file by its name: give a video, a folder of frames, or a folder of such.")
        return {path.stem: _video(path.stem, path, True, reading)}
    if not path.is_dir():
        raise VSRError(f"{path} does not exist: give a video, a folder of frames, or a folder of such.")
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    images = sorted(entry.name for entry in inside if entry.suffix.lower() in PICTURES and entry.is_file())
    videos = any(entry.suffix.lower() in video.READABLE and entry.is_file() for entry in inside)
    folders = any(entry.is_dir() for entry in inside)
    if not (images or videos or folders):
        raise VSRError(f"{path} has neither frames nor videos nor folders of frames: give another path.")
    numbered = [name for name in images if name.rpartition(".")[0][-1:].isdigit()]
    if numbered and (videos or folders):
        raise VSRError(
            f"{path} has frames, as {numbered[0]}, beside videos or folders: give a folder that holds one or the other."
        )
    if images and not (videos or folders):
        name = path.resolve().name
        return {name: _frames(name, path, True)}
    rest = sorted(entry.name for entry in inside if entry.is_file() and entry.suffix.lower() not in video.READABLE)
    if rest:
        log.warning("%s: %s %s no video by name and left out.", path, listed(rest), "is" if len(rest) == 1 else "are")
    files = video_files(path) if videos else {}
    below = clip_folders(path) if folders else {}
    for name in sorted(files.keys() & below.keys()):
        raise VSRError(f"{below[name]} and {files[name].name} would both be the clip {name!r}: rename one.")
    clips = {}
    for name, place in {**files, **below}.items():
        try:
            clips[name] = _video(name, place, False, reading) if name in files else _frames(name, place, False)
        except VSRError as error:
            if failures is None:
                raise
            failures.setdefault(name, str(error))
    return clips


@dataclass(frozen=True)
class Target:
    """Where a clip goes, and as what: the plan of a video made of one, the coding of one made of frames, or neither for frames."""

    path: Path
    plan: video.Plan | None = None
    coding: video.Coding | None = None

    @property
    def there(self) -> bool:
        """Whether something is there already."""
        return self.path.is_file() or (self.path.is_dir() and any(entry.name != ".partial" for entry in self.path.iterdir()))


def check_destination(
    dst: Path,
    source: Mapping[str, Footage],
    writing: Writing = Writing(),  # noqa: B008
    sizes: Callable[[Footage], tuple[int, int]] | None = None,
    kept: frozenset[str] = frozenset(),
) -> dict[str, Target]:
    """Where every clip of SRC will go and as what, found out before the work.

    Args:
        dst: what the user gave as DST.
        source: the clips.
        writing: how they are written.
        sizes: (height, width) of a clip's new frames; without it videos of variable rate, and what goes beside a picture, are not planned.
        kept: clips that may be there already.

    Raises:
        VSRError: something is already there, DST names one video and SRC has several clips, or a video cannot be made as is asked.
    """
    targets = {}
    for name, clip in source.items():
        target = _target(dst, clip, writing, sizes(clip) if sizes else None)
        if target.there and name not in kept:
            raise VSRError(f"{target.path} already exists: remove it or choose another name.")
        if target.path.is_symlink() and not target.path.exists():
            raise VSRError(f"{target.path} is a link that leads nowhere: remove it or choose another name.")
        targets[name] = target
    return targets


def write_like(
    dst: Path,
    footage: Footage,
    frames: Iterable[np.ndarray] | Callable[[int], Iterable[np.ndarray]],
    kept: range | None = None,
    writing: Writing = Writing(),  # noqa: B008
    size: tuple[int, int] | None = None,
    identity: object = None,
    said: Callable[[str], None] = lambda line: None,
    time_scale: int = 1,
) -> tuple[Path, dict[str, Any]]:
    """Write a clip in the form of the one that it was made from.

    A video becomes a video, of which nothing but the frames is changed; a folder of frames a folder of PNG frames with
    the same file names. Where DST has the suffix of a video, it is that video; clips of a folder, and a video
    whose DST is a folder, go under their own names into DST. The clip appears when it is complete.

    Args:
        dst: what the user gave as DST.
        footage: the clip that the frames were made from.
        frames: (H, W, 3) RGB, or what gives them from one on, so that an interrupted video goes on.
        kept: which frames of the source these are; None for all.
        writing: how they are written.
        size: (height, width) of the frames; without it a video is made of frames and rate alone.
        identity: what the frames depend on, see `video.remake`.
        said: takes lines for the user.
        time_scale: how many times the rate of the source they come at, with frames in between; such frames are numbered from 0.

    Returns:
        The file or folder written, and what a video was held against (see `video.remake`).

    Raises:
        VSRError: something is already there, there are more or fewer frames than the source has file
            names, the disk is full, or see `video.encode` and `video.remake`.
    """
    kept = kept or range(footage.count)
    if _target_path(dst, footage, writing).there:  # before a frame is asked for
        check_destination(dst, {footage.name: footage}, writing)
    if footage.info and size is None and _as_video(dst, footage, writing):
        given = iter(frames(0) if callable(frames) else frames)
        first = next(given, None)
        if first is None:
            raise VSRError(f"{footage.path}: no frames came out of it, not {len(kept)}: run again, and report it if it stays.")
        frames, size = itertools.chain([first], given), (first.shape[0], first.shape[1])
    footage = _between(_only(footage, kept), time_scale)
    wanted = size
    (target,) = check_destination(dst, {"": footage}, writing, (lambda clip: wanted) if wanted else None).values()
    report: dict[str, Any] = {}
    try:
        if target.plan:
            made = frames if callable(frames) else lambda first: frames
            report = video.remake(target.plan, target.path, made, identity, said)
        else:
            all_frames = frames(0) if callable(frames) else frames
            if target.coding:
                video.encode(all_frames, target.path, (writing.fps or footage.rate) * time_scale / kept.step, target.coding)
            else:
                _write_frames(target.path, footage, all_frames, kept, time_scale)
    except OSError as error:
        raise VSRError(f"{target.path} cannot be written ({error.strerror}): free some space or choose another place.") from error
    return target.path, report


def _only(footage: Footage, kept: range) -> Footage:
    """A clip of which only these frames are taken."""
    info = footage.info
    if info is None or kept == range(footage.count):
        return footage
    ticks = info.ticks[kept.start : kept.stop : kept.step]
    start = info.times()[kept.start]
    less = replace(info, fps=info.fps / kept.step, frames=len(kept), start=start, ticks=ticks - ticks[0], repeats=None)
    return replace(footage, info=less)


def _between(footage: Footage, time_scale: int) -> Footage:
    """A clip with frames in between, as far apart from each other as from those given."""
    info = footage.info
    if info is None or time_scale == 1:
        return footage
    steps = np.diff(info.ticks)[:, None] * np.arange(time_scale)
    ticks = np.append((info.ticks[:-1, None] * time_scale + steps).ravel(), info.ticks[-1:] * time_scale)
    more = replace(info, fps=info.fps * time_scale, frames=len(ticks), base=info.base / time_scale, ticks=ticks, repeats=None)
    return replace(footage, info=more)


def _as_video(dst: Path, footage: Footage, writing: Writing) -> bool:
    return (dst.suffix.lower() in video.READABLE and not dst.is_dir()) or (footage.kind == "video" and not writing.lossless)


def _target_path(dst: Path, footage: Footage, writing: Writing) -> Target:
    """Where a clip goes."""
    suffix = dst.suffix.lower()
    if suffix in PICTURES and not dst.is_dir():
        raise VSRError(f"{dst} names one image: give a folder for the frames, or the name of a video.")
    if suffix in video.READABLE and not dst.is_dir():
        if not footage.alone:
            raise VSRError(f"{dst} names one video but the source is a folder of clips: give a folder.")
        return Target(dst)
    if _as_video(dst, footage, writing):
        own = footage.path.suffix if footage.path.suffix.lower() in video.WRITABLE else ".mp4"
        return Target(dst / (footage.name + own))
    return Target(dst if footage.alone else dst / footage.name)


def _target(dst: Path, footage: Footage, writing: Writing, size: tuple[int, int] | None) -> Target:
    """Where a clip goes, and as what."""
    target = _target_path(dst, footage, writing).path
    if not _as_video(dst, footage, writing):
        return Target(target)
    how = video.coding(target, footage.info, writing.codec, writing.crf)
    if footage.info and size:
        return Target(target, video.plan(footage.path, footage.info, target, how, size, writing.silent))
    if size:
        how.check_size(size, f"{target.name} ({how.codec})")
    return Target(target, coding=how)


def _write_frames(target: Path, footage: Footage, frames: Iterable[np.ndarray], kept: range, time_scale: int) -> None:
    if time_scale > 1:
        names = [f"{index:08d}.png" for index in range(time_scale * (len(kept) - 1) + 1)]
    elif footage.kind == "frames":
        files = frame_files(footage.path)
        names = [f"{files[index].stem}.png" for index in kept]
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


def _video(name: str, path: Path, alone: bool, reading: Reading) -> Footage:
    info = probe_video(path)
    video.check_pixels(path, info, deep=reading.deep, opaque=reading.opaque)
    return Footage(name, path, "video", (info.height, info.width), info.frames, info.fps, alone, info, reading)


def _frames(name: str, path: Path, alone: bool) -> Footage:
    files = frame_files(path)
    return Footage(name, path, "frames", picture_size(files[0]), len(files), None, alone)

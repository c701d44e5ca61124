"""Which clips a corpus has, and their frames: the embedded corpus, video files, frame folders, Vid4."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines import params
from pipelines.clips import parallax, video
from pipelines.clips.images import png_size, read_png
from pipelines.clips.store import Frame
from pipelines.errors import VSRError, unknown

FRAMES_FPS = 25.0
"""The rate of frame folders that are given none: what ffmpeg takes images for."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SourceClip:
    """A clip that can be read: `location` is its video file or frame folder, or the corpus it is rendered from.

    `source` is where it is in the corpus, with `/` whatever the system; `fps` in frames per second.
    """

    name: str
    split: params.Split
    source: str
    fps: float
    location: Path | params.Parallax


def list_clips(corpus: params.Corpus, root: Path) -> list[SourceClip]:
    """The clips of a corpus, by name, checked as far as file headers tell.

    Args:
        corpus: an entry of params.yaml's `corpora`.
        root: what a relative `source` is relative to.

    Raises:
        VSRError: the folder is missing or has no clips; a clip is empty, lacks a frame in the middle,
            has frames of different sizes or lies outside the folder; `splits` names an unknown clip.
    """
    if isinstance(corpus, params.Parallax):
        clips = [SourceClip(name, split, name, parallax.FPS, corpus) for name, split in parallax.clips(corpus)]
        return sorted(clips, key=lambda clip: clip.name)
    folder = root.resolve() / corpus.source
    if corpus.kind == "vid4":
        if not (folder / "GT").is_dir():
            raise VSRError(f"{folder} has no folder GT: give the folder that holds `GT/<clip>/<frame>.png`.")
        paths = clip_folders(folder / "GT")
    else:
        paths = video_files(folder) if corpus.kind == "videos" else clip_folders(folder)
    for name in corpus.splits:
        if name not in paths:
            raise unknown(f"clip in the splits of {corpus.source}", name, paths)
    if corpus.kind == "videos":
        if corpus.fps is not None:
            raise VSRError(f"fps is given for the videos in {corpus.source}, which know their own: remove it from params.yaml.")
        rates = {name: float(probe_video(path).fps) for name, path in paths.items()}
    else:
        rates = dict.fromkeys(paths, corpus.fps or FRAMES_FPS)
        for path in paths.values():
            frame_files(path)
    return [
        SourceClip(
            name, corpus.splits.get(name, corpus.split), paths[name].relative_to(folder).as_posix(), rates[name], paths[name]
        )
        for name in sorted(paths)
    ]


def read_clip(clip: SourceClip) -> Iterator[Frame]:
    """The frames of a clip, one at a time: `rgb` (H, W, 3) uint8, and the G-buffer columns of a rendered one.

    Raises:
        VSRError: a file is missing or damaged.
    """
    if isinstance(clip.location, params.Parallax):
        yield from parallax.render(clip.location, clip.name)
    else:
        for rgb in read_frames(clip.location):
            yield {"rgb": rgb}


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video file or frame folder: (H, W, 3) uint8 RGB.

    Raises:
        VSRError: see `frame_files` and `video.decode`.
    """
    return (read_png(file) for file in frame_files(path)) if path.is_dir() else video.decode(path)


def probe_video(path: Path) -> video.VideoInfo:
    """What a video file holds; warns where its frame rate varies, as frames are taken as evenly spaced.

    Raises:
        VSRError: see `video.probe`.
    """
    info = video.probe(path)
    if info.variable:
        log.warning("%s has a variable frame rate: its mean, %.3f frames per second, is used throughout.", path, float(info.fps))
    return info


def video_files(folder: Path) -> dict[str, Path]:
    """The video files of a folder by clip name, in natural order.

    Raises:
        VSRError: the folder is missing, has no videos, two of one name, or a link that leads out of it.
    """
    files = [path for path in _entries(folder) if path.suffix.lower() in video.READABLE and path.is_file()]
    if not files:
        raise VSRError(f"{folder} has no video files ({', '.join(sorted(video.READABLE))}): give another folder.")
    found: dict[str, Path] = {}
    for path in files:
        if path.stem in found:
            raise VSRError(f"{found[path.stem]} and {path.name} would both be the clip {path.stem!r}: rename one.")
        found[path.stem] = path
    return found


def clip_folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder by clip name, in natural order.

    Raises:
        VSRError: the folder is missing or has no folders, or a link leads out of it.
    """
    folders = {path.name: path for path in _entries(folder) if path.is_dir()}
    if not folders:
        raise VSRError(f"{folder} has no folders of frames: give the folder that holds one folder per clip.")
    return folders


def frame_files(folder: Path) -> list[Path]:
    """The PNG frames of a clip in natural order: `9.png` comes before `10.png`.

    Raises:
        VSRError: there are none, one is missing or twice there by its number, they differ in size,
            or a link leads out of the folder.
    """
    files = [path for path in _entries(folder) if path.suffix.lower() == ".png" and path.is_file()]
    if not files:
        raise VSRError(
            f"{folder} has no PNG frames: remove it, or export its frames, e.g. `ffmpeg -i clip.mp4 {folder.name}/%08d.png`."
        )
    _check_numbers(files)
    first = png_size(files[0])
    for file in files:
        size = png_size(file)
        if size != first:
            raise VSRError(
                f"{file} is {size[1]}x{size[0]} but {files[0].name} is {first[1]}x{first[0]}: the frames of a clip need one size."
            )
    return files


def _entries(folder: Path) -> list[Path]:
    """What a folder holds in natural order, without hidden files."""
    if not folder.is_dir():
        raise VSRError(f"{folder} {'is not a folder' if folder.exists() else 'does not exist'}: give a folder of clips.")
    inside = folder.resolve()
    found = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=_natural)
    for path in found:
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise VSRError(f"{path} is a link that leads out of its folder: copy what it points to, or link the whole folder.")
    return found


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A key that orders runs of digits by their value; the name itself decides between 1 and 01."""
    parts = re.split(r"(\d+)", path.name)
    return [(1, int(part), "") if index % 2 else (0, 0, part) for index, part in enumerate(parts)], path.name


def _check_numbers(files: Sequence[Path]) -> None:
    """Where all names are one prefix and a number, the numbers go up in equal steps."""
    matches = [re.fullmatch(r"(.*?)(\d+)", file.stem) for file in files]
    numbered = [(match[1], int(match[2])) for match in matches if match]
    if len(numbered) < len(files) or len({prefix for prefix, _ in numbered}) > 1 or len(files) < 2:
        return
    numbers = [number for _, number in numbered]
    steps = [after - before for before, after in zip(numbers, numbers[1:], strict=False)]
    step = min(steps)
    for index, found in enumerate(steps):
        if found == 0:
            raise VSRError(f"{files[index]} and {files[index + 1].name} have the same number: remove one.")
        if step and found != step:
            raise VSRError(
                f"{files[index].parent} lacks frame {numbers[index] + step}, after {files[index].name}: export the clip again."
            )

"""Anyone's clips: a folder of video files, of folders of PNG frames, or of such folders with G-buffers.

Beside clips with G-buffers, the folder `lr` may have the same clips again, rendered at LR size with buffers of that size; those of
the large frames may then be left out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines import params
from pipelines.clips import gbuffers, video
from pipelines.clips.images import PICTURES
from pipelines.clips.layouts.clips import FRAMES_FPS, Frames, SourceClip, Video, fault_of, picture_names
from pipelines.clips.places import Place
from pipelines.errors import VSRError, unknown

log = logging.getLogger(__name__)

LR = "lr"
"""The folder of what is rendered at LR size."""


def clips(corpus: params.Footage, place: Place) -> list[SourceClip]:
    """The clips that are there.

    Raises:
        VSRError: the place is missing or has no clips, two have one name, a clip has no frames or lacks one in
            the middle, a frame lacks its G-buffer, `splits` names an unknown clip, or `fps` is given for videos.
    """
    if corpus.kind == "videos" and corpus.fps is not None:
        raise VSRError(f"fps is given for the videos in {corpus.source}, which know their own: remove it from params.yaml.")
    found: dict[str, Frames | Video]
    if corpus.kind == "videos":
        found = {name: Video(place, file) for name, file in video_files(place).items()}
    else:
        found = dict(_large(corpus, place))
        if not found:
            raise no_folders(place)
    for name in corpus.splits:
        if name not in found:
            raise unknown(f"clip in the splits of {corpus.source}", name, found)
    fps = None if corpus.kind == "videos" else corpus.fps or FRAMES_FPS
    return [
        SourceClip(
            name, corpus.splits.get(name, corpus.split), location.name if isinstance(location, Video) else name, fps, location
        )
        for name, location in found.items()
    ]


def rendered(corpus: params.Footage, place: Place) -> list[SourceClip]:
    """The clips rendered at LR size beside those of `clips`; none where there is no folder for them.

    Raises:
        VSRError: there are other clips than the large ones, or other frames of one, or a frame lacks its G-buffer.
    """
    if corpus.kind != "gbuffers" or LR not in place.entries().folders:
        return []
    large = _large(corpus, place)
    small = {name: _with_buffers(place / LR / name, files) for name, files in (place / LR).tree().items()}
    for name in large.keys() | small.keys():
        if name not in large or name not in small:
            has, lacks = (place / LR, place) if name in small else (place, place / LR)
            raise VSRError(f"{has} has the clip {name!r} and {lacks} has not: render it at both sizes, or remove it.")
        if len(large[name].names) != len(small[name].names):
            counts = f"{len(small[name].names)} frames of the clip {name!r} and {place} has {len(large[name].names)}"
            raise VSRError(f"{place / LR} has {counts}: render the same frames at both sizes.")
    found = []
    for name, location in small.items():
        made_by = {"backend": "rendered", "normals": corpus.normals or "world", "crop": list(large[name].first_size())}
        split, fps = corpus.splits.get(name, corpus.split), corpus.fps or FRAMES_FPS
        found.append(SourceClip(name, split, f"{LR}/{name}", fps, location, made_by))
    return found


def _large(corpus: params.Footage, place: Place) -> dict[str, Frames]:
    """The frame folders of HR clips, by clip."""
    tree = place.tree()
    if corpus.kind != "gbuffers":
        return {name: frames(place / name, files) for name, files in tree.items()}
    brought = tree.pop(LR, None) is not None

    def make(name: str, files: list[str]) -> Frames:
        bare = brought and not any(PurePosixPath(file).suffix.lower() in gbuffers.READABLE for file in files)
        return frames(place / name, files) if bare else _with_buffers(place / name, files)

    return {name: make(name, files) for name, files in tree.items()}


def video_files(place: Place) -> dict[str, str]:
    """The names of the video files in a place by clip name, in natural order.

    Raises:
        VSRError: the place is missing, has no videos, or two of one name.
    """
    found: dict[str, str] = {}
    for file in place.entries().files:
        path = PurePosixPath(file)
        if path.suffix.lower() not in video.READABLE:
            continue
        if path.stem in found:
            raise VSRError(f"{place / found[path.stem]} and {file} would both be the clip {path.stem!r}: rename one.")
        found[path.stem] = file
    if not found:
        raise VSRError(f"{place} has no video files ({', '.join(sorted(video.READABLE))}): give another folder.")
    return found


def frames(place: Place, files: list[str]) -> Frames:
    """The frames among the files of a clip; pictures that are none of them are named in a warning.

    Raises:
        VSRError: there are none, or one is missing or twice there by its number.
    """
    names, rest = picture_names(files)
    fault = fault_of(names)
    strays = [name for name in rest if PurePosixPath(name).suffix.lower() in PICTURES]
    if strays and not fault:
        log.warning("%s: %s are numbered and %s not, which is left out.", place, f"{names[0]} to {names[-1]}", listed(strays))
    if fault:
        clip = str(place).rpartition("/")[2]
        raise VSRError(f"{place} {fault}: export its frames again, e.g. `ffmpeg -i clip.mp4 {clip}/%08d.png`, or remove it.")
    return Frames(place, names)


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 4 else ""
    return ", ".join(names[:3] if more else names) + more


def no_folders(place: Place) -> VSRError:
    return VSRError(f"{place} has no folders of frames: give the folder that holds one folder per clip.")


def _with_buffers(place: Place, files: list[str]) -> Frames:
    clip = frames(place, files)
    buffers: dict[str, str] = {}
    for file in files:
        path = PurePosixPath(file)
        if path.suffix.lower() not in gbuffers.READABLE:
            continue
        if path.stem in buffers:
            raise VSRError(f"{place} has both {buffers[path.stem]} and {file} for one frame: remove one.")
        buffers[path.stem] = file
    stems = [PurePosixPath(name).stem for name in clip.names]
    for name, stem in zip(clip.names, stems, strict=True):
        if stem not in buffers:
            raise VSRError(
                f"{place / name} has no G-buffer {stem}.exr or {stem}.npz beside it: render it, or use `kind: frames`."
            )
    return Frames(place, clip.names, buffers=tuple(buffers[stem] for stem in stems))

"""Which clips a corpus has, and their frames, whatever its layout and wherever it lies."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from pipelines import params
from pipelines.clips import parallax, places, video
from pipelines.clips.images import picture_size
from pipelines.clips.layouts import own, reds, testsets, vimeo90k
from pipelines.clips.layouts.clips import FRAMES_FPS as FRAMES_FPS
from pipelines.clips.layouts.clips import SmallRender, SourceClip, Video, check_sizes
from pipelines.clips.places import Folder
from pipelines.clips.store import Frame
from pipelines.errors import VSRError

log = logging.getLogger(__name__)


def list_clips(corpus: params.Corpus, root: Path) -> list[SourceClip]:
    """The clips of a corpus, by name, checked as far as listings and the headers of first frames tell.

    Args:
        corpus: an entry of params.yaml's `corpora`.
        root: what a relative `source` is relative to.

    Raises:
        VSRError: the source is missing or cannot be reached, or has no clips; see the module of its layout.
    """
    if isinstance(corpus, params.Parallax):
        clips = [SourceClip(name, split, name, parallax.FPS, corpus) for name, split in parallax.clips(corpus)]
    else:
        clips = _layout(corpus, places.find(corpus.source, root))
        check_sizes(clips)
    if not clips:
        raise VSRError(f"{corpus.source} has no clips: give a `source` that has some.")
    return sorted(clips, key=lambda clip: clip.name)


def list_rendered(corpus: params.Corpus, root: Path) -> list[SourceClip]:
    """The clips that a corpus brings at LR size with their buffers, by name; none for most corpora.

    Their `parameters` are the provenance of a prior, and `crop`, the (height, width) of the HR frames that they show.

    Args:
        corpus, root: as `list_clips`.

    Raises:
        VSRError: they are not those of `list_clips`; see the module of its layout.
    """
    if isinstance(corpus, params.Footage):
        clips = own.rendered(corpus, places.find(corpus.source, root))
        check_sizes(clips)
        return sorted(clips, key=lambda clip: clip.name)
    if not isinstance(corpus, params.Parallax) or corpus.rendered is None:
        return []
    made_by = {"backend": "rendered", "normals": "camera", "crop": list(parallax.covered(corpus))}
    clips = [SourceClip(name, split, name, parallax.FPS, SmallRender(corpus), made_by) for name, split in parallax.clips(corpus)]
    return sorted(clips, key=lambda clip: clip.name)


@contextlib.contextmanager
def open_clip(clip: SourceClip) -> Iterator[tuple[float, Iterator[Frame]]]:
    """A context of a clip's frames per second and of its frames, one at a time.

    A frame is `rgb` (H, W, 3) uint8, and the G-buffer columns of a rendered one.

    Raises:
        VSRError: a file is missing or damaged, a video's frames are not evenly spaced, or a frame has another size than it
            should; also while frames are taken.
    """
    if isinstance(clip.location, params.Parallax):
        yield parallax.FPS, parallax.render(clip.location, clip.name)
    elif isinstance(clip.location, SmallRender):
        yield parallax.FPS, parallax.rendered(clip.location.corpus, clip.name)
    elif isinstance(clip.location, Video):
        with clip.location.place.local(clip.location.name) as path:
            info = probe_video(path, clip.source)
            if info.variable:
                raise video.unsteady(Path(clip.source), info)
            yield float(info.fps), ({"rgb": rgb} for rgb in video.decode(path, info))
    else:
        yield clip.fps or FRAMES_FPS, clip.location.read()


def probe_video(path: Path, name: str = "") -> video.VideoInfo:
    """What a video file holds; warns of what is not as it seems, as frames are taken for whole and evenly spaced pictures.

    Raises:
        VSRError: see `video.probe`.
    """
    info = video.probe(path)
    for note in video.notes_of(info):
        log.warning("%s: %s.", name or path, note)
    if info.interlaced:
        log.warning("%s is interlaced: its lines of two times are read as one picture, deinterlace it first.", name or path)
    return info


def video_files(folder: Path) -> dict[str, Path]:
    """The video files of a folder by clip name, in natural order.

    Raises:
        VSRError: the folder is missing, has no videos, two of one name, or a link that leads out of it.
    """
    return {name: folder / file for name, file in own.video_files(Folder(folder)).items()}


def clip_folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder by clip name, in natural order.

    Raises:
        VSRError: the folder is missing or has no folders, or a link leads out of it.
    """
    found = {name: folder / name for name in Folder(folder).entries().folders}
    if not found:
        raise own.no_folders(Folder(folder))
    return found


def frame_files(folder: Path) -> list[Path]:
    """The picture files of a clip in natural order: `9.png` comes before `10.png`.

    Raises:
        VSRError: there are none, one is missing or twice there by its number, they differ in size,
            or a link leads out of the folder.
    """
    files = [folder / name for name in own.frames(Folder(folder), Folder(folder).entries().files).names]
    first = picture_size(files[0])
    for file in files:
        size = picture_size(file)
        if size != first:
            raise VSRError(
                f"{file} is {size[1]}x{size[0]} but {files[0].name} is {first[1]}x{first[0]}: the frames of a clip need one size."
            )
    return files


def _layout(corpus: params.Footage | params.Reds | params.Vimeo90k | params.TestSet, place: places.Place) -> list[SourceClip]:
    if isinstance(corpus, params.Footage):
        return own.clips(corpus, place)
    if isinstance(corpus, params.Reds):
        return reds.clips(corpus, place)
    if isinstance(corpus, params.Vimeo90k):
        return vimeo90k.clips(corpus, place)
    return testsets.clips(corpus, place)

"""The frames of a clip store as files that other tools read."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines.atomic import atomic_folder, shortened
from pipelines.clips import video
from pipelines.clips.images import write_png
from pipelines.clips.store import Store
from pipelines.errors import VSRError, unknown

Frames = Iterable[np.ndarray]


def export(store: Store, clips: Sequence[str], out: Path, as_video: bool, counted: Callable[[Frames], Frames] = iter) -> None:
    """Write clips as `<out>/<clip>/<frame>.png`, or as `<out>/<clip>.mp4`; `out` appears whole.

    Args:
        store: where the clips are.
        clips: their names.
        out: a new folder.
        as_video: whether to write videos.
        counted: passes on the frames of a clip, and may say how many there were.

    Raises:
        VSRError: `out` is there already or cannot be written, the store has no such clip, or see `video.encode`.
    """
    for clip in clips:
        if clip not in store.clips:
            raise unknown(f"clip of {store.path}", clip, store.clips)
    if out.exists():
        raise VSRError(f"{out} already exists: remove it or choose another name.")
    try:
        with atomic_folder(out) as folder:
            for clip in clips:
                frames = counted(store.frames(clip))
                if as_video:
                    video.encode(frames, folder / f"{_file_name(clip)}.mp4", store.clips[clip].attributes.fps)
                else:
                    _write(folder / _file_name(clip), frames)
    except OSError as error:
        raise VSRError(
            f"{out} cannot be written ({error.strerror or error}): free some space or choose another place."
        ) from error


def _file_name(clip: str) -> str:
    """A clip's name may be any text; its files stay in the folder, and are not hidden there."""
    name = re.sub(r"[^\w ().~-]", lambda found: urllib.parse.quote(found[0], safe=""), clip)
    return shortened("%2E" + name[1:] if name.startswith(".") else name, clip)


def _write(folder: Path, frames: Iterable[np.ndarray]) -> None:
    folder.mkdir()
    for index, frame in enumerate(frames):
        write_png(folder / f"{index:08d}.png", frame)

"""The frames of a clip store as files that other tools read."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pipelines import whole
from pipelines.clips import video
from pipelines.clips.images import write_png
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.runtime.progress import Progress


def export(store: Store, clips: Sequence[str], out: Path, as_video: bool, progress: Progress) -> None:
    """Write clips as `<out>/<clip>/<frame>.png`, or as `<out>/<clip>.mp4`.

    Raises:
        VSRError: `out` is there already, the store has no such clip, or see `video.encode`.
    """
    if out.exists():
        raise VSRError(f"{out} already exists: remove it or choose another name.")
    with whole.folder(out) as folder:
        for clip in clips:
            frames = progress.counted(store.frames(clip))
            name = urllib.parse.quote(clip, safe=" ()")  # a clip's name may be any text, its files stay here
            if as_video:
                video.encode(frames, folder / f"{name}.mp4", store.clips[clip].attributes.fps)
            else:
                _write(folder / name, frames)
            progress.clip()


def _write(folder: Path, frames: Iterable[np.ndarray]) -> None:
    folder.mkdir()
    for index, frame in enumerate(frames):
        write_png(folder / f"{index:08d}.png", frame)

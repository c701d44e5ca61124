"""From a clip's source to the columns of a clip store."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.clips.layouts.clips import SourceClip
from pipelines.clips.readers import open_clip
from pipelines.clips.store import ClipAttributes, Frame
from pipelines.clips.streaming import batches


class Ingest:
    """A worker that reads clips.

    Its call yields lists of frames (`rgb`, and the G-buffer of rendered clips) and last the clip's
    attributes; it raises VSRError where a file is missing or damaged.
    """

    def __call__(self, clip: SourceClip) -> Iterator[list[Frame] | ClipAttributes]:
        height = width = 0
        with open_clip(clip) as (fps, frames):
            for batch in batches(frames):
                height, width = batch[0]["rgb"].shape[:2]
                yield batch
        yield ClipAttributes(clip.split, fps, height, width, clip.source, clip.parameters)

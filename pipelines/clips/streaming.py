"""Frames on their way from a worker to the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipelines.clips.store import Frame

BATCH_BYTES = 8 * 2**20


def batches(frames: Iterable[Frame]) -> Iterator[list[Frame]]:
    """Group frames into lists of about `BATCH_BYTES`, so that few messages carry them and memory stays bounded."""
    batch: list[Frame] = []
    size = 0
    for frame in frames:
        batch.append(frame)
        size += sum(array.nbytes for array in frame.values())
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch

"""From clip jobs to clip stores, so that an interrupted stage goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, assemble, finished
from pipelines.runtime import pool

Output = tuple[Path, Sequence[str] | None]
"""A store to make and the columns it takes; None takes what no other output names."""


def build(
    jobs: Mapping[str, Any],
    factory: Callable[[], pool.Worker],
    outputs: Mapping[str, Output],
    work: Path,
    *,
    label: str,
    scales: Mapping[str, float] | None = None,
    gpus: float = 0.0,
    compress: bool = False,
    about: Mapping[str, Any] | None = None,
    verify: Callable[[], None] | None = None,
) -> None:
    """Make every clip and join them into stores, in the order of `jobs`.

    Args:
        jobs: the clips; those that `work` already holds finished are not made again.
        factory: builds a worker that yields lists of frames and last a `ClipAttributes`.
        outputs: the stores by a short name, which names their folder under `work`.
        work: a folder of this run's own, see `lineage.Stage.work`.
        label: what the progress lines call the work.
        scales: columns kept as scaled integers, see `ClipWriter`.
        gpus: the share of a GPU that each worker takes.
        compress: see `ClipWriter`.
        about: of the stores, see `assemble`.
        verify: called before the stores appear; raises if they must not, see `lineage.verify`.

    Raises:
        VSRError: a clip failed (the others are kept in `work`).
    """
    sink = _StoreSink(outputs, work, scales or {}, compress)
    todo = {clip: job for clip, job in jobs.items() if not sink.has(clip)}
    try:
        pool.run(todo, factory, sink, label=label, gpus=gpus)
        if verify is not None:
            verify()
        for name, (out, _) in outputs.items():
            kept = [clip for clip in jobs if finished(work / name, clip)]
            assemble(work / name, kept, out, about)
    finally:
        sink.close()


class _StoreSink:
    """Writes each clip's frames to the outputs that take their columns."""

    def __init__(self, outputs: Mapping[str, Output], work: Path, scales: Mapping[str, float], compress: bool) -> None:
        self._outputs, self._work, self._scales, self._compress = outputs, work, scales, compress
        self._named = {column for _, columns in outputs.values() if columns for column in columns}
        self._writers: dict[str, dict[str, ClipWriter]] = {}

    def has(self, clip: str) -> bool:
        # The first output is finished last, so it speaks for all of them.
        return finished(self._work / next(iter(self._outputs)), clip) is not None

    def receive(self, clip: str, value: list[Frame] | ClipAttributes) -> int:
        if clip not in self._writers:
            self._writers[clip] = {
                name: ClipWriter(self._work / name, clip, self._scales, compress=self._compress) for name in self._outputs
            }
        writers = self._writers[clip]
        if isinstance(value, ClipAttributes):
            first, *others = writers.values()
            for writer in [writer for writer in others if writer.frames] + [first]:
                writer.finish(value)
            return 0
        for frame in value:
            for name, part in self._parts(frame):
                writers[name].append(part)
        return len(value)

    def done(self, clip: str) -> None:
        self._writers.pop(clip)

    def drop(self, clip: str) -> None:
        for writer in self._writers.pop(clip, {}).values():
            writer.discard()

    def close(self) -> None:
        """Drop the clips that were not finished."""
        for clip in list(self._writers):
            self.drop(clip)

    def _parts(self, frame: Frame) -> Iterator[tuple[str, Frame]]:
        for name, (_, columns) in self._outputs.items():
            part = {key: array for key, array in frame.items() if (key in columns if columns else key not in self._named)}
            if part:
                yield name, part

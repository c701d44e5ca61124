"""Scores of clips: per frame, then mean of frames, then mean of clips."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, TypedDict

import numpy as np

from pipelines.errors import VSRError
from pipelines.evaluation import metrics as registry
from pipelines.evaluation.protocols import Protocol


class Row(TypedDict):
    """One value: of a metric, for one frame of a clip, by a protocol."""

    clip: str
    frame: int
    protocol: str
    metric: str
    value: float


class Scorer:
    """Scores a clip frame by frame as it comes; frames are not kept.

    Args:
        clip: its name, for rows and errors.
        protocol: what of it is scored.
        metrics: names of metrics.

    Raises:
        VSRError: there is no such metric.
    """

    def __init__(self, clip: str, protocol: Protocol, metrics: Sequence[str] = ("psnr", "ssim")) -> None:
        self.clip = clip
        self.protocol = protocol
        self._metrics = {name: registry.get(name) for name in metrics}
        self._frames = 0
        self._rows: list[Row] = []

    def add(self, restored: np.ndarray, truth: np.ndarray) -> None:
        """Score the next frame.

        Args:
            restored: (H, W, 3) uint8 RGB.
            truth: (H, W, 3) uint8 RGB.

        Raises:
            VSRError: sizes differ, or too little is left inside the border for the metrics.
        """
        frame, self._frames = self._frames, self._frames + 1
        where = f"clip {self.clip!r} frame {frame}"
        _check(restored, where, "restored")
        _check(truth, where, "true")
        if restored.shape != truth.shape:
            raise VSRError(f"{where}: restored is {_size(restored)} but its truth is {_size(truth)}: give frames of one size.")
        smallest = 2 * self.protocol.border + (registry.SMALLEST if "ssim" in self._metrics else 1)
        if min(truth.shape[:2]) < smallest:
            raise VSRError(
                f"{where} is {_size(truth)}, too small for protocol {self.protocol.name!r} with "
                f"{' and '.join(self._metrics)}: give frames of at least {smallest}x{smallest}, or less border."
            )
        if frame < self.protocol.skip:
            return
        pair = self.protocol.select(restored), self.protocol.select(truth)
        for name, function in self._metrics.items():
            self._rows.append(Row(clip=self.clip, frame=frame, protocol=self.protocol.name, metric=name, value=function(*pair)))

    def rows(self) -> list[Row]:
        """The values of the frames that the protocol keeps, once all have been added.

        Raises:
            VSRError: it keeps none.
        """
        last = self._frames - self.protocol.skip
        rows = [row for row in self._rows if row["frame"] < last]
        if not rows:
            left_out = f", {2 * self.protocol.skip} fewer in protocol {self.protocol.name!r}" if self.protocol.skip else ""
            raise VSRError(f"clip {self.clip!r} has {self._frames} frames{left_out}: nothing is left to score, give more.")
        return rows


def score_clip(
    restored: Iterable[np.ndarray],
    truth: Iterable[np.ndarray],
    protocol: Protocol,
    metrics: Sequence[str] = ("psnr", "ssim"),
    *,
    clip: str,
) -> list[Row]:
    """Score a clip, one pair of frames in memory at a time.

    Args:
        restored: frames (H, W, 3) uint8 RGB.
        truth: as many frames of the same size.
        protocol: what of them is scored.
        metrics: names of metrics.
        clip: its name, for rows and errors.

    Raises:
        VSRError: frame counts or sizes differ, nothing is left to score, or there is no such metric.
    """
    scorer = Scorer(clip, protocol, metrics)
    for one, other in pairs(restored, truth, clip):
        scorer.add(one, other)
    return scorer.rows()


def pairs(restored: Iterable[np.ndarray], truth: Iterable[np.ndarray], clip: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frames side by side.

    Raises:
        VSRError: one clip ends before the other.
    """
    for frame, (one, other) in enumerate(zip_longest(restored, truth)):
        if one is None or other is None:
            short, long = ("the restored clip", "its truth") if one is None else ("the truth", "the restored clip")
            raise VSRError(f"clip {clip!r}: {short} ends after {frame} frames but {long} goes on: give the same frames of both.")
        yield one, other


def summarise(rows: Iterable[Row]) -> dict[str, Any]:
    """Means of one protocol's rows: over the frames of each clip, then over clips with equal weight.

    Returns:
        `{<metric>: mean of clips, "frames": scored, "lossless": frames whose PSNR is at the cap,
        "clips": {clip: the same for it}}`.

    Raises:
        VSRError: there are no rows, or they are of several protocols.
    """
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    protocols = set()
    for row in rows:
        protocols.add(row["protocol"])
        values[row["clip"]][row["metric"]].append(row["value"])
    if len(protocols) != 1:
        raise VSRError(f"there are scores of {len(protocols)} protocols to take a mean of: give those of one.")
    clips = {clip: _means(found) for clip, found in sorted(values.items())}
    means = {name: _mean([clip[name] for clip in clips.values()]) for name in next(iter(values.values()))}
    counts = {name: sum(clip[name] for clip in clips.values()) for name in ("frames", "lossless")}
    return {**means, **counts, "clips": clips}


def _means(found: dict[str, list[float]]) -> dict[str, Any]:
    frames = len(next(iter(found.values())))
    lossless = sum(value >= registry.PSNR_CAP for value in found.get("psnr", []))
    return {**{name: _mean(values) for name, values in found.items()}, "frames": frames, "lossless": lossless}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _check(frame: np.ndarray, where: str, kind: str) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise VSRError(f"{where}: the {kind} frame is {frame.dtype} of shape {frame.shape}: give (H, W, 3) uint8 RGB.")


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"

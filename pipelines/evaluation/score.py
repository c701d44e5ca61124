"""Scores of clips: frame by frame, then the mean of frames or the clip's own value, then the mean of clips."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, runtime_checkable
from typing import Protocol as Interface

import numpy as np

from pipelines import metrics as registry
from pipelines.errors import VSRError
from pipelines.evaluation.protocols import Protocol
from pipelines.metrics import Metric
from pipelines.results import OWN, ClipScores, FrameValue, Scores


@runtime_checkable
class Detailed(Interface):
    """A measure that knows the versions of the tool that it works with."""

    def details(self) -> dict[str, str]:
        """What and which version, once the clip is finished."""
        ...


@dataclass(frozen=True)
class ClipScore:
    """A clip by one protocol.

    `measured` are all values, those of frames too, `values` the clip's by metric, `of_set` what it adds to metrics of the whole set.
    `frames` were scored, of which `lossless` have their PSNR at the cap. `details` are what a metric says of the tool that
    it was measured with, e.g. its version.
    """

    clip: str
    protocol: str
    measured: list[FrameValue]
    values: dict[str, float]
    of_set: dict[str, Any]
    frames: int
    lossless: int
    details: dict[str, dict[str, str]]


class Scorer:
    """Scores a clip frame by frame as it comes; frames are not kept.

    Args:
        clip: its name, for rows and errors.
        frames: how many it has.
        protocol: what of it is scored.
        metrics: names of metrics that can be computed here.
        device: where they are computed, `cpu` or `cuda`.
        time_scale: every so many of the frames was given, the others were made in between.

    Raises:
        VSRError: there is no such metric, or the protocol keeps none of the frames.
    """

    def __init__(
        self, clip: str, frames: int, protocol: Protocol, metrics: Sequence[str], device: str = "cpu", time_scale: int = 2
    ) -> None:
        self.clip = clip
        self.protocol = protocol
        self._announced = frames
        self._kept = protocol.kept(frames, time_scale)
        self._metrics = [registry.get(name) for name in dict.fromkeys(metrics)]
        if not self._kept:
            left_out = f", {2 * protocol.skip} fewer in protocol {protocol.name!r}" if protocol.skip else ""
            raise VSRError(f"clip {clip!r} has {frames} frames{left_out}: nothing is left to score, give more.")
        self._measures = {metric.name: metric.build(device) for metric in self._metrics}
        self._smallest = 2 * protocol.border + max((metric.smallest for metric in self._metrics), default=1)
        self._frames = 0
        self._lossless = 0
        self._measured: list[FrameValue] = []

    def add(self, restored: np.ndarray, truth: np.ndarray) -> None:
        """Score the next frame.

        Args:
            restored: (H, W, 3) uint8 RGB.
            truth: (H, W, 3) uint8 RGB.

        Raises:
            VSRError: sizes differ, too little is left inside the border for the metrics, or one of them has no value.
        """
        frame, self._frames = self._frames, self._frames + 1
        where = f"clip {self.clip!r} frame {frame}"
        _check(restored, where, "restored")
        _check(truth, where, "true")
        if restored.shape != truth.shape:
            raise VSRError(f"{where}: restored is {_size(restored)} but its truth is {_size(truth)}: give frames of one size.")
        if min(truth.shape[:2]) < self._smallest:
            names = " and ".join(metric.name for metric in self._metrics)
            raise VSRError(
                f"{where} is {_size(truth)}, too small for protocol {self.protocol.name!r} with {names}: "
                f"give frames of at least {self._smallest}x{self._smallest}, or less border."
            )
        if frame not in self._kept:
            return
        pair = self.protocol.select(restored), self.protocol.select(truth)
        seen = {"protocol": pair}
        psnr = None
        for metric in self._metrics:
            if metric.channel not in seen:
                seen[metric.channel] = (
                    self.protocol.select(restored, metric.channel),
                    self.protocol.select(truth, metric.channel),
                )
            with _at(where, metric):
                value = self._measures[metric.name].add(*seen[metric.channel])
            if value is not None:
                self._keep(frame, metric, value, where)
            if metric.name == "psnr":
                psnr = value
        if psnr is None:  # it is not among the metrics, lossless frames are counted all the same
            psnr = registry.psnr(*pair)
        self._lossless += psnr >= registry.PSNR_CAP

    def finish(self) -> ClipScore:
        """The clip's scores, once all of its frames have been added.

        Raises:
            VSRError: they were more or fewer than announced, or a metric has no value.
        """
        if self._frames != self._announced:
            raise VSRError(
                f"clip {self.clip!r} has {self._frames} frames but {self._announced} were announced: make it again from its source."
            )
        where = f"clip {self.clip!r}"
        values: dict[str, float] = {}
        of_set: dict[str, Any] = {}
        for metric in self._metrics:
            with _at(where, metric):
                found = self._measures[metric.name].finish()
            if metric.combine is not None:
                of_set[metric.name] = found
            elif found is not None:
                values[metric.name] = self._keep(OWN, metric, found, where)
            else:
                values[metric.name] = _mean([one["value"] for one in self._measured if one["metric"] == metric.name])
        told = {name: measure.details() for name, measure in self._measures.items() if isinstance(measure, Detailed)}
        return ClipScore(self.clip, self.protocol.name, self._measured, values, of_set, len(self._kept), self._lossless, told)

    def _keep(self, frame: int, metric: Metric, value: float, where: str) -> float:
        value = float(value)
        if not math.isfinite(value):
            raise VSRError(f"{where}: {metric.name} is {value}, which is no score: leave {metric.name} out.")
        self._measured.append(
            FrameValue(clip=self.clip, frame=frame, protocol=self.protocol.name, metric=metric.name, value=value)
        )
        return value


def assigned(protocols: Sequence[Protocol], metrics: Sequence[str]) -> dict[str, list[str]]:
    """Which metrics each protocol scores: the first all, the others those that depend on the protocol's channel.

    Returns:
        Names of metrics by name of protocol.

    Raises:
        VSRError: there is no such metric.
    """
    dependent = [name for name in metrics if registry.get(name).channel == "protocol"]
    return {protocol.name: dependent if place else list(metrics) for place, protocol in enumerate(protocols)}


def available(metrics: Sequence[str], unlike: str | None) -> tuple[list[str], dict[str, str]]:
    """Of these metrics, those that can be computed here, and why the others are skipped.

    Args:
        metrics: their names.
        unlike: why restored frames cannot be degraded as their LR clips were, as the end of a sentence, or None if they can.

    Raises:
        VSRError: there is no such metric, or none can be computed.
    """
    chosen = {name: registry.get(name) for name in metrics}
    reasons = {name: unlike if one.degraded and unlike else registry.unavailable(one) for name, one in chosen.items()}
    skipped = {name: reason for name, reason in reasons.items() if reason is not None}
    measured = [name for name in reasons if name not in skipped]
    if not measured:
        told = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise VSRError(f"none of the metrics can be computed here ({told}): mend that, or choose others.")
    return measured, skipped


def score_clip(
    restored: Iterable[np.ndarray],
    truth: Iterable[np.ndarray],
    protocol: Protocol,
    metrics: Sequence[str] = ("psnr", "ssim"),
    *,
    clip: str,
    frames: int,
    device: str = "cpu",
) -> ClipScore:
    """Score a clip, one pair of frames in memory at a time.

    Args:
        restored: frames (H, W, 3) uint8 RGB.
        truth: as many frames of the same size.
        protocol: what of them is scored.
        metrics: names of metrics that can be computed here.
        clip: its name, for rows and errors.
        frames: how many it has.
        device: where the metrics are computed, `cpu` or `cuda`.

    Raises:
        VSRError: frame counts or sizes differ, nothing is left to score, there is no such metric, or it has no value.
    """
    scorer = Scorer(clip, frames, protocol, metrics, device)
    for one, other in pairs(restored, truth, clip):
        scorer.add(one, other)
    return scorer.finish()


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


def summarise(scores: Sequence[ClipScore], skipped: Mapping[str, str]) -> Scores:
    """Means of one protocol: over clips with equal weight, and the values of metrics of the whole set.

    Args:
        scores: one per clip, of the same metrics.
        skipped: metrics that could not be computed, with the reason.

    Raises:
        VSRError: there are no scores, or they are of several protocols, or a metric of the set has no value.
    """
    protocols = {score.protocol for score in scores}
    if len(protocols) != 1:
        raise VSRError(f"there are scores of {len(protocols)} protocols to take a mean of: give those of one.")
    scores = sorted(scores, key=lambda score: score.clip)
    means = {name: _mean([score.values[name] for score in scores]) for name in scores[0].values}
    return Scores(
        metrics={**means, **{name: _combined(name, scores) for name in scores[0].of_set}},
        frames=sum(score.frames for score in scores),
        lossless=sum(score.lossless for score in scores),
        skipped=dict(skipped),
        clips={score.clip: ClipScores(metrics=score.values, frames=score.frames, lossless=score.lossless) for score in scores},
    )


def _combined(name: str, scores: Sequence[ClipScore]) -> float:
    """The value of a metric of the whole set."""
    metric = registry.get(name)
    assert metric.combine is not None
    where = f"the set of {len(scores)} clips"
    with _at(where, metric):
        value = float(metric.combine([score.of_set[name] for score in scores]))
    if not math.isfinite(value):
        raise VSRError(f"{where}: {name} is {value}, which is no score: leave {name} out.")
    return value


@contextmanager
def _at(where: str, metric: Metric) -> Iterator[None]:
    """Say where a metric was when it failed."""
    try:
        yield
    except VSRError as error:
        raise VSRError(f"{where}, {metric.name}: {error}") from error


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _check(frame: np.ndarray, where: str, kind: str) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise VSRError(f"{where}: the {kind} frame is {frame.dtype} of shape {frame.shape}: give (H, W, 3) uint8 RGB.")


def _size(frame: np.ndarray) -> str:
    return f"{frame.shape[1]}x{frame.shape[0]}"

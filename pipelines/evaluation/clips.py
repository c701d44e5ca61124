"""Scores the restored clips of a method on a pair, and puts them together as its result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipelines.clips import fit
from pipelines.clips.images import encode_png
from pipelines.clips.store import Store
from pipelines.errors import VSRError, unknown
from pipelines.evaluation import again
from pipelines.evaluation import protocols as registry
from pipelines.evaluation.looks import INVENTED, Look
from pipelines.evaluation.profiles import most_active_row
from pipelines.evaluation.protocols import Protocol
from pipelines.evaluation.score import ClipScore, Scorer, assigned, pairs, score_clip, summarise
from pipelines.metrics import get as registered
from pipelines.results import FILM, Restored, Result


@dataclass(frozen=True)
class ClipResult:
    """A clip that was scored: by each protocol that takes it, and its pictures, files by their name."""

    clip: str
    scores: list[ClipScore]
    frames: int
    pictures: dict[str, bytes]


@dataclass(frozen=True)
class Clip:
    """The frames of a clip, (H, W, 3) uint8 each, of which every `time_scale`-th was given as an LR frame, and what else its pictures
    need: how many there are, frames per second, and the row that the temporal profile shows."""

    name: str
    restored: Iterable[np.ndarray]
    truth: Iterable[np.ndarray]
    lr: Iterable[np.ndarray]
    frames: int
    fps: float
    row: int
    time_scale: int = 1


class Score:
    """A worker: scores restored clips by name.

    Args:
        restored, hr, lr: paths of the stores of restored, true and LR frames.
        protocols: names of protocols.
        metrics: names of metrics that can be computed here; `assigned` says which protocol has which.
        device: where metrics with a network run, `cpu` or `cuda`.

    Raises:
        VSRError: a store, a protocol or a metric cannot be used.
    """

    def __init__(
        self, restored: Path, hr: Path, lr: Path, protocols: Sequence[str], metrics: Sequence[str], device: str = "cpu"
    ) -> None:
        self._protocols = [registry.get(name) for name in protocols]
        self._degraded = [name for name in metrics if registered(name).degraded]
        self._names = [name for name in metrics if name not in self._degraded]
        self._restored, self._hr, self._lr = Store(restored), Store(hr), Store(lr)
        self._device = device

    def __call__(self, name: str) -> Iterator[ClipResult]:
        """Score the clip of that name; gives one result."""
        for store in (self._restored, self._hr, self._lr):
            if name not in store.clips:
                raise unknown(f"clip of {store.path}", name, store.clips)
        of, lr = self._hr.clips[name].attributes, self._lr.clips[name]
        time_scale = fit.time_factor(lr)
        clip = Clip(
            name,
            self._restored.frames(name),
            (self._hr.frame(name, index) for index in fit.spanned(lr)),
            self._lr.frames(name),
            self._restored.clips[name].frames,
            of.fps,
            most_active_row(self._hr.frames(name)),
            time_scale,
        )
        protocols = apart(self._protocols, time_scale)
        takes = [protocol for protocol in protocols if protocol.takes(of.parameters)]
        scored = score(clip, takes, assigned(protocols, self._names), self._device)
        leads = takes[:1] == protocols[:1]
        yield self._again(scored) if self._degraded and leads else scored

    def _again(self, scored: ClipResult) -> ClipResult:
        """With what the clip's frames say when they are degraded again, by the first protocol, whole LR frames."""
        leading, *others = scored.scores
        lr, clip = self._lr.clips[scored.clip], scored.clip
        frames, protocol = lr.frames, replace(registry.get(leading.protocol), border=0)
        shown: dict[str, np.ndarray] = {}

        def degraded() -> Iterator[np.ndarray]:
            made = again.degraded(lr.attributes.parameters, self._restored.frames(clip))
            both = zip(made, self._lr.frames(clip), strict=True)
            for index, (frame, wanted) in enumerate(both):
                if index == frames // 2:
                    shown[INVENTED] = again.invented(frame, wanted)
                yield frame

        found = score_clip(degraded(), self._lr.frames(clip), protocol, self._degraded, clip=clip, frames=frames)
        leading = replace(leading, measured=[*leading.measured, *found.measured], values={**leading.values, **found.values})
        pictures = {f"{name}.png": encode_png(picture) for name, picture in shown.items()}
        return replace(scored, scores=[leading, *others], pictures={**scored.pictures, **pictures})


def apart(protocols: Sequence[Protocol], time_scale: int) -> list[Protocol]:
    """The protocols, and where frames were made in between each also of these alone and of those given alone."""
    return [part for protocol in protocols for part in (protocol.apart() if time_scale > 1 else [protocol])]


def score(clip: Clip, protocols: Sequence[Protocol], metrics: Mapping[str, Sequence[str]], device: str = "cpu") -> ClipResult:
    """Score a restored clip by several protocols, with one pass over its frames.

    Args:
        clip: its true frames may be larger than the restored ones by what the degradation cropped at the right and below to
            get whole LR pixels.
        protocols: what of it is scored.
        metrics: names of metrics that can be computed here, by name of protocol, see `assigned`.
        device: where metrics with a network run, `cpu` or `cuda`.

    Raises:
        VSRError: the frames do not belong together, or there is nothing to score.
    """
    scorers = [
        Scorer(clip.name, clip.frames, protocol, metrics[protocol.name], device, clip.time_scale) for protocol in protocols
    ]
    look = Look(clip.frames, clip.row)
    both = pairs(clip.restored, clip.truth, clip.name)
    shown = (lr for lr in clip.lr for _ in range(clip.time_scale))  # a frame in between is shown beside the LR frame before it
    for index, ((restored, truth), lr) in enumerate(zip(both, shown, strict=clip.time_scale == 1)):
        height, width = restored.shape[:2]
        truth = fit.crop(truth, (height, width), height / lr.shape[0], f"clip {clip.name!r} frame {index}")
        for scorer in scorers:
            scorer.add(restored, truth)
        look.take(index, lr, restored, truth)
    pictures = {f"{name}.png": encode_png(picture) for name, picture in look.finish().items()}
    scores = [scorer.finish() for scorer in scorers]
    return ClipResult(clip.name, scores, clip.frames, {**pictures, FILM: look.film(clip.fps)})


def result(
    restored: Restored, clips: Sequence[ClipResult], skipped: Mapping[str, Mapping[str, str]], inputs: Mapping[str, str]
) -> Result:
    """The scored clips of a method on a pair, as its result.

    Args:
        restored: of which method and pair.
        clips: those that were scored.
        skipped: the protocols, the first of which leads, and for each the metrics that could not be computed, with the reason.
        inputs: DVC digests of the data, beside those that the frames were restored from.

    Raises:
        VSRError: there are no clips, none by one of the protocols, or two of one name.
    """
    names = [one.clip for one in clips]
    if not names or len(set(names)) < len(names):
        raise VSRError(
            f"{restored.method} on {restored.corpus}/{restored.degradation} cannot be told from the clips {names}: "
            "score at least one, and each once."
        )
    scores = [score for one in clips for score in one.scores]
    means = {
        protocol: summarise([score for score in scores if score.protocol == protocol], reasons)
        for protocol, reasons in skipped.items()
    }
    return Result(
        **restored.model_dump(exclude={"inputs"}),
        inputs={**restored.inputs, **inputs},
        lead_protocol=next(iter(means)),
        protocols=means,
        measured_with={name: details for score in scores for name, details in score.details.items()},
    )

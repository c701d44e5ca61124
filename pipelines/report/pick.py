"""Which method for a clip, by the results that are there: those on the tested degradation that is nearest to the clip's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.clips.store import Store
from pipelines.diagnosis import Diagnosis, estimator
from pipelines.diagnosis.look import luma
from pipelines.diagnosis.recipe import reduces
from pipelines.diagnosis.spectra import spectra
from pipelines.errors import VSRError
from pipelines.params import Params
from pipelines.report import answer, tables
from pipelines.results import Cell

FINE = 10
"""The rate factor of x264 that coding which leaves nothing to be seen counts as."""

HALF = 6
"""By how much the rate factor rises where the bit rate halves."""

CLIPS, FRAMES = 4, 4
"""Of a tested degradation that are looked at."""


@dataclass(frozen=True)
class Point:
    """What degraded footage, as far as it is compared: the geometric mean of the kernel's deviations (pixels of the clip), the noise in
    luma (levels), and x264's rate factor, None where nothing was coded or nobody says by what."""

    blur: float
    noise: float
    crf: float | None

    def away(self, other: Point) -> float:
        """How far from another: 1 for twice the blur, twice the noise (and a level), or half the bit rate."""
        parts = (
            math.log2(self.blur / other.blur),
            math.log2((self.noise + 1) / (other.noise + 1)),
            ((self.crf or FINE) - (other.crf or FINE)) / HALF,
        )
        return math.hypot(*parts)

    def __str__(self) -> str:
        coded = f"CRF {self.crf:g}" if self.crf is not None else "no CRF"
        return f"blur σ {self.blur:.2f} pixels, noise σ {self.noise:.1f} levels, {coded}"


@dataclass(frozen=True)
class Pick:
    """The clip and the nearest tested degradation as points, how far they are apart, the answer there, and the command to make it sure."""

    clip: str
    here: Point
    degradation: str
    there: Point
    away: float
    found: tuple[answer.Answer, ...]
    command: str

    def text(self) -> str:
        near = "near" if self.away < 0.5 else "not near" if self.away > 1.5 else "roughly there"
        lines = [
            f"{self.clip}: {self.here}.",
            f"The nearest tested degradation is {self.degradation}, {self.away:.2f} away ({near}; 1 is twice the blur or noise, or half the bit rate): {self.there}.",
            answer.sentence(self.found),
            f"To make it sure: {self.command}",
        ]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        one = self.found[0]
        gain, timing = one.best.gain, one.best.cell.timing
        interval = gain and {"mean": gain.mean, "low": gain.low, "high": gain.high, "over": one.reference}
        return {
            "clip": self.clip,
            "degradation": self.degradation,
            "away": round(self.away, 4),
            "method": one.best.method,
            one.metric.name: one.best.value,
            "gain": interval,
            "next": one.second.method,
            "told_apart": one.sure,
            "seconds_per_frame": timing.seconds_per_frame if timing else None,
            "sure": self.command,
        }


def pick(one: Diagnosis, params: Params, cells: Sequence[Cell], metric: str, clip: str, root: Path, scale: int) -> Pick:
    """The method for a clip.

    Args:
        one: what is known of the clip.
        params: whose degradations are tested.
        cells: the results.
        metric: by which methods are ordered.
        clip: the clip's path, for the command.
        root: the folder of params.yaml, whose `data/lr` has the degraded corpora.
        scale: to restore by.

    Raises:
        VSRError: nothing tells the clip's blur, or no tested degradation of this scale has results of two methods and its LR clips.
    """
    here = _of(one)
    options = []
    for pair in tables.tested_pairs(params):
        if not reduces(params, pair.degradation, scale):
            continue
        found = answer.answers([pair], list(params.tested), cells, metric)
        there = (
            _tested(root / "data" / "lr" / pair.corpus / pair.degradation, params.tests.corpora[pair.corpus].split)
            if found
            else None
        )
        if found and there:
            options.append((here.away(there), pair.degradation, there, tuple(found)))
    if not options:
        raise VSRError(
            f"no tested degradation of scale {scale} has results of two methods by {metric} and its clips in data/lr: run `make demo`, or `vsr repro`."
        )
    away, degradation, there, best = min(options, key=lambda option: option[:2])
    name = next(name for number in itertools.count() if (name := f"mine{number or ''}") not in params.recipes)
    command = f"vsr diagnose {clip} --recipe {name} --scale {scale} && vsr repro {best[0].best.method} {best[0].second.method}"
    return Pick(one.name, here, degradation, there, away, best, command)


def _of(one: Diagnosis) -> Point:
    across, along, noise = one.estimate("blur", "sigma_x"), one.estimate("blur", "sigma_y"), one.estimate("noise", "sigma")
    if across is None or along is None or noise is None:
        raise VSRError(f"{one.name}: its blur cannot be told ({one.unknown.get('blur', '')}): give a clip that shows more.")
    factor = one.estimate("crf")
    in_luma = noise.value * (1.0 if one.found["noise"]["grey"] else estimator.COLOUR)
    return Point(math.sqrt(across.value * along.value), in_luma, factor.value if factor else None)


def _tested(folder: Path, split: str) -> Point | None:
    """What the same estimators say of a split of a degraded corpus; None where it is not there."""
    if not folder.is_dir():
        return None
    store = Store(folder)
    points = []
    for clip in store.split(split)[:CLIPS]:
        frames = itertools.islice(store.frames(clip.name), FRAMES)
        measured = spectra(luma(frame) for frame in frames)
        if measured is None:
            continue
        coded = [step for step in clip.attributes.parameters.get("steps", ()) if step["op"] in ("x264", "mpeg4")]
        factor = coded[-1].get("crf") if coded else None
        found = estimator.estimate(measured, factor)
        across, along, _ = estimator.axes(found.mean[:3])
        points.append(Point(math.sqrt(across * along), estimator.noise(found).value, factor))
    if not points:
        return None
    middle = sorted(points, key=lambda point: point.blur)[len(points) // 2]
    factors = [point.crf for point in points if point.crf is not None]
    return Point(
        middle.blur, sum(point.noise for point in points) / len(points), sum(factors) / len(factors) if factors else None
    )

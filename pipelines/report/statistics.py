"""Whether a difference between two results is more than noise: paired differences of clips, and the spread over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from scipy.special import stdtrit

from pipelines.errors import VSRError
from pipelines.params import Params
from pipelines.results import Cell

LEVEL = 0.95
FEWEST = 3
"""Of fewer clips than this no difference is called one."""

Verdict = Literal["better", "worse", "not distinguishable"]


@dataclass(frozen=True)
class Paired:
    """The mean over `clips` of the differences of each clip, and the ends of its interval of confidence `LEVEL`,
    which are infinite for a single clip."""

    mean: float
    low: float
    high: float
    clips: int


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation (of a sample, n - 1) of `n` values; one value has no deviation."""

    mean: float
    deviation: float | None
    n: int


def paired(one: Mapping[str, float], other: Mapping[str, float]) -> Paired:
    """How much greater `one` is than `other`, by the clips that both have.

    The interval is Student's, mean +- t s / sqrt(n) with n - 1 degrees of freedom (Student, "The Probable Error of a Mean",
    Biometrika 6, 1908): that of a paired t test. It speaks of clips like these, and takes their differences as independent
    draws; clips weigh the same, whatever their length.

    Args:
        one, other: values by clip.

    Raises:
        VSRError: the two have no clip in common, or a value is not finite.
    """
    clips = sorted(one.keys() & other.keys())
    if not clips:
        raise VSRError(
            f"there is no clip to compare, {_some(one)} on one side and {_some(other)} on the other: evaluate both on one corpus."
        )
    differences = [one[clip] - other[clip] for clip in clips]
    broken = next((clip for clip, difference in zip(clips, differences, strict=True) if not math.isfinite(difference)), None)
    if broken is not None:
        raise VSRError(
            f"clip {broken!r} has the values {one[broken]} and {other[broken]}, of which there is no difference: evaluate it again."
        )
    mean = statistics.fmean(differences)
    if len(clips) == 1:
        return Paired(mean, -math.inf, math.inf, 1)
    half = float(stdtrit(len(clips) - 1, (1 + LEVEL) / 2)) * statistics.stdev(differences) / math.sqrt(len(clips))
    return Paired(mean, mean - half, mean + half, len(clips))


def _some(clips: Mapping[str, float]) -> str:
    names = sorted(clips)
    return ", ".join(map(repr, names[:3])) + (", …" if len(names) > 3 else "") or "none"


def verdict(difference: Paired, higher_is_better: bool, resolution: float = 0.0) -> Verdict:
    """What a difference means for the first of the two.

    Args:
        difference: of `paired`.
        higher_is_better: of the metric.
        resolution: a smaller mean difference than this is none, whatever its interval: what would read as zero.
    """
    covers_zero = difference.low <= 0 <= difference.high
    if difference.clips < FEWEST or covers_zero or abs(difference.mean) < resolution:
        return "not distinguishable"
    return "better" if (difference.mean > 0) == higher_is_better else "worse"


def spread(values: Iterable[float]) -> Spread:
    """Mean and deviation of the same measurement by several seeds.

    Raises:
        VSRError: there are no values.
    """
    found = list(values)
    if not found:
        raise VSRError("there are no values to take a mean of: evaluate at least one seed.")
    return Spread(statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else None, len(found))


def seed_of(params: Params, experiment: str) -> int | None:
    """The seed that an experiment is trained with: its own, else its recipe's; None where nothing is trained."""
    chosen = params.experiments[experiment]
    training = chosen.training(params.methods[chosen.method][chosen.profile])
    return training.seed if training else None


def replicates(params: Params) -> dict[str, tuple[str, ...]]:
    """Experiments that differ by their seed alone, under the name of the first of each group.

    Of several with the same seed, which are one training done twice, only the first counts. Groups of one are left out.
    """
    groups: dict[str, dict[int | None, str]] = {}
    for name, experiment in params.experiments.items():
        same = experiment.model_copy(update={"seed": None}).model_dump_json()
        groups.setdefault(same, {}).setdefault(seed_of(params, name), name)
    return {names[0]: names for names in (tuple(group.values()) for group in groups.values()) if len(names) > 1}


def over_seeds(cells: Iterable[Cell], protocol: str) -> dict[str, Spread]:
    """The means of a test pair by metric, over cells that differ by their seed.

    Args:
        cells: results of `replicates` on one pair; those that do not apply or were not scored by the protocol are passed over.
        protocol: what was scored.
    """
    scores = [cell.protocols[protocol].metrics for cell in cells if cell.applicable and protocol in cell.protocols]
    names = dict.fromkeys(name for score in scores for name in score)
    return {name: spread(score[name] for score in scores if name in score) for name in names}

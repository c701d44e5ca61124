"""Whether a measured figure has the setting of the published ones, and why not."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping

from pipelines import weights
from pipelines.clips.layouts import vimeo90k
from pipelines.evaluation import protocols
from pipelines.params.methods import published_profile
from pipelines.report.sources import CONVENTIONS, TEST_SETS, Convention, test_set
from pipelines.results import Cell

Methods = Mapping[str, Container[str]]
"""The profiles that methods have, as `methods` of params.yaml."""


PRECISION = "float32"
"""What papers train in."""


UNPRINTED = {
    "seem": "batches and patches as printed, rates and iterations chosen here",
    "metasr": "iterations, rates and scales chosen here",
    "liif": "iterations, rates and scales chosen here",
    "lte": "iterations, rates and scales chosen here",
    "dcgu": "iterations, rates and scales chosen here",
}
"""Of networks whose training is not in the text of the paper that reports them: what their `published` recipe is, by the part of
the network's name that says it."""


def comparable(cell: Cell, methods: Methods, protocol: str | None = None) -> tuple[bool, str]:
    """Whether a result has the setting of a published figure: test set, degradation, what is scored, and how the network was made.

    Args:
        cell: a result.
        methods: of params.yaml.
        protocol: the one that it is read by, the leading one by default.

    Returns:
        Whether it is, and why not, or what it rests on; a part of a sentence.

    Raises:
        VSRError: there is no such protocol.
    """
    if not cell.applicable:
        return False, f"not evaluated: {cell.reason}"
    protocol = protocol or cell.lead_protocol or ""
    reasons = [*_of_the_network(cell, methods), *(reason for why in _DIFFERENCES for reason in why(cell, protocol))]
    if reasons:
        return False, "; ".join(reasons)
    trained = _trained_on(cell)
    chosen = [why for part, why in UNPRINTED.items() if part in cell.network.split("_")]
    made = "the published network and recipe" if not chosen else f"the published network, {chosen[0]}"
    made = f"published parameters {cell.weights}" if cell.weights else made
    made = f"{made}, trained on {trained.replace('/', ' under ')}" if trained else "closed form"
    convention = _convention(cell.degradation)
    return True, "; ".join(filter(None, (made, convention.caveat if convention else "")))


def _of_the_test_set(cell: Cell, protocol: str) -> list[str]:
    key = test_set(cell.corpus)
    if key is None:
        return [f"{cell.corpus} is not a published test set"]
    if protocol not in cell.protocols:
        return [f"not scored by protocol {protocol}"]
    known, clips = TEST_SETS[key], set(cell.protocols[protocol].clips)
    motion = protocols.get(protocol).motion
    expected = (vimeo90k.PROMISE.motion[motion],) if motion else known.clips
    whole = clips == expected if isinstance(expected, frozenset) else len(clips) in expected
    number = len(expected) if isinstance(expected, frozenset) else max(expected)
    return [] if whole else [f"{len(clips)} clips that are not the {number} of {known.title}"]


def _of_the_degradation(cell: Cell, protocol: str) -> list[str]:
    convention = _convention(cell.degradation)
    if convention is None:
        return [f"no paper here degrades by {cell.degradation}"]
    return [convention.differs] if convention.differs else []


def _of_the_protocol(cell: Cell, protocol: str) -> list[str]:
    key, scored = test_set(cell.corpus), protocols.get(protocol)
    if scored.border or scored.skip:
        return [f"protocol {protocol} leaves out {scored.border} px at the border and {scored.skip} frames at each end"]
    if key is not None and scored.frames != TEST_SETS[key].frames:
        return [f"protocol {protocol} scores {'all frames' if scored.frames == 'all' else 'the centre frame'}, the papers do not"]
    return []


def _of_the_network(cell: Cell, methods: Methods) -> list[str]:
    if cell.profile is None:
        return ["the result does not say which profile it is of, evaluate again"]
    other = other_profile(cell, methods)
    reasons = [f"not the published network and recipe ({other})"] if other else []
    return reasons + _of_the_training(cell) + other_prior(cell)


def _of_the_training(cell: Cell) -> list[str]:
    known = _trained_on(cell)
    if known is None:
        return [f"what the parameters {cell.weights} were trained on is not known"] if cell.weights else []
    trained, _, degraded = known.partition("/")
    needed = "reds" if test_set(cell.corpus) == "reds4" or cell.degradation.startswith("crf") else "vimeo90k"
    reasons = [] if trained == needed else [f"trained on {trained}, not on {needed}"]
    given = weights.published(cell.weights) if cell.weights else None
    reasons += [given.differs] if given and given.differs else []
    # One network for all scales is trained under bicubic reduction, as those of the papers.
    if degraded != cell.degradation and not (degraded.startswith("any scale") and cell.degradation.startswith("bi_x")):
        reasons.append(f"trained under {degraded}")
    if cell.training_precision not in (None, PRECISION):
        reasons.append(f"trained in {cell.training_precision}, not in {PRECISION}")
    return reasons + [f"its {part} began at random, not with published parameters" for part in cell.random]


def _trained_on(cell: Cell) -> str | None:
    """What a network was trained on, here or by who published its parameters; None in closed form, or where it is not known."""
    if cell.weights is None:
        return cell.trained_on
    known = weights.published(cell.weights)
    return known.trained_on if known else None


def other_profile(cell: Cell, methods: Methods) -> str | None:
    """Which profile a result is of where that is not the published one; parameters that are published have no profile."""
    if cell.weights or cell.profile is None:
        return None
    corpus = cell.trained_on.partition("/")[0] if cell.trained_on else None
    expected = published_profile(methods.get(cell.network, ()), corpus)
    return None if cell.profile == expected else f"profile {cell.profile}, not {expected}"


SAM, POINTS = "sam_vit_h", 8
"""What makes the masks that guide SEEM: SAM with ViT-H, asked for what is at a grid of so many points each way."""


def other_prior(cell: Cell) -> list[str]:
    """In what the prior that guides a network is not that of the paper, which is masks for SEEM; nothing without a prior."""
    if not cell.prior:
        return []
    if cell.prior["kind"] == "flow":
        return [f"flow by {cell.prior['model']['backend']}, not by the network's own"]
    if cell.prior["kind"] != "masks":
        return []
    masks = cell.prior["model"]
    if masks["backend"] != "sam":
        return [f"masks by {masks['backend']}, not by SAM"]
    found, points = masks["weights"], masks["points_per_side"]
    differences = [] if found == SAM else [f"masks by SAM with the weights {found}, not {SAM}"]
    return differences + ([] if points == POINTS else [f"masks of {points} × {points} points, not of {POINTS} × {POINTS}"])


_DIFFERENCES: tuple[Callable[[Cell, str], list[str]], ...] = (
    _of_the_test_set,
    _of_the_degradation,
    _of_the_protocol,
)


def _convention(degradation: str) -> Convention | None:
    """The convention whose recipe has that name, at any scale."""
    for convention in CONVENTIONS.values():
        start, holds, end = convention.recipe.partition("{scale}")
        middle = degradation[len(start) : len(degradation) - len(end)]
        matches = degradation.startswith(start) and degradation.endswith(end) and middle.replace("_", "", 1).isdigit()
        if matches if holds else degradation == convention.recipe:
            return convention
    return None

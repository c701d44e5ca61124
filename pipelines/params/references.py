"""What params.yaml names is defined there, and fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.errors import VSRError, unknown
from pipelines.params.corpora import RENDERED, Footage, Parallax
from pipelines.params.degradations import Bicubic, Range
from pipelines.params.priors import FlowModel, MaskModel, OfFrames

if TYPE_CHECKING:
    from pipelines.params import Params

SCRATCH = "scratch"
"""The start that is no network: what begins with it has only its own first weights."""

IN_STEP = "in_step"
"""The degradation of experiments that degrade HR crops in every step."""

NO_PRIOR = "none"
"""The prior of methods that see nothing beside the clip."""


def check(params: Params) -> None:
    """Check every name that is used.

    Raises:
        VSRError: one is not defined, is that of two networks, or of something that does not fit where it is used.
    """
    if RENDERED in params.recipes:
        raise VSRError(f"params.yaml: recipes.{RENDERED}: so are LR clips called that come with their corpus: rename it.")
    for degradation in params.degradations:
        _known("recipe", degradation, params.recipes, "degradations")
    for name, recipe in params.recipes.items():
        if any(isinstance(step, Bicubic) and isinstance(step.scale, Range) for step in recipe):
            raise VSRError(
                f"params.yaml: recipes.{name}: a range of scales is for the `degradation` of a training: give its bicubic step one scale."
            )
    _check_priors(params)
    _check_networks(params)
    _check_methods(params)
    _check_experiments(params)
    _check_starts(params)
    _check_tests(params)


def _known(kind: str, name: str, names: Iterable[str], user: str) -> None:
    known = list(names)
    if name not in known:
        raise VSRError(f"params.yaml: {user}: {unknown(kind, name, known)}")


def _known_degradation(params: Params, corpus: str, degradation: str, user: str) -> None:
    """LR clips of the corpus under the degradation are made, or come with it."""
    if degradation != RENDERED:
        return _known("degradation", degradation, params.degradations, user)
    of = params.corpora[corpus]
    if not (isinstance(of, Parallax) and of.rendered) and not (isinstance(of, Footage) and of.kind == "gbuffers"):
        raise VSRError(f"params.yaml: {user}: the corpus {corpus} brings no LR clips that are rendered: name a degradation.")


def _maps(params: Params) -> dict[str, Mapping[str, object]]:
    """What makes networks, by the name of its map."""
    return {
        "starts": params.starts,
        "joins": params.joins,
        "experiments": params.experiments,
        "baselines": params.baselines,
    }


def _check_priors(params: Params) -> None:
    """Priors have a name that means something, and are of frames that there are; no two are of the same."""
    for taken, why in ((NO_PRIOR, "the prior of methods that see none"), (RENDERED, "what rendered corpora bring")):
        if taken in params.priors:
            raise VSRError(f"params.yaml: priors.{taken}: {taken!r} is {why}: rename it.")
    kinds: dict[str, tuple[Mapping[str, OfFrames], Any]] = {
        "masks": (params.masks, MaskModel),
        "flows": (params.flows, FlowModel),
    }
    places: dict[tuple[str, str], str] = {}
    for kind, (entries, models) in kinds.items():
        fitting = [name for name, model in params.priors.items() if isinstance(model, models)]
        for key, entry in entries.items():
            user = f"{kind}.{key}"
            _known(f"prior that computes {kind}", entry.prior, fitting, user)
            _known("corpus", entry.corpus, params.corpora, user)
            if entry.degradation is not None:
                _known_degradation(params, entry.corpus, entry.degradation, user)
            if (entry.prior, entry.frames) in places:
                raise VSRError(f"params.yaml: {user} and {places[entry.prior, entry.frames]} are the same: leave one out.")
            places[entry.prior, entry.frames] = user


def _check_networks(params: Params) -> None:
    """Every network has a name of its own: all lie in one folder."""
    places: dict[str, str] = {}
    for place, names in _maps(params).items():
        for name in names:
            if name == SCRATCH:
                raise VSRError(f"params.yaml: {place}.{name}: {SCRATCH!r} is the start of what starts from nothing: rename it.")
            if name in places:
                raise VSRError(f"params.yaml: {name!r} is in {places[name]} and in {place}: rename one.")
            places[name] = place


def _check_methods(params: Params) -> None:
    users = {f"{place}.{key}": value for place in ("experiments", "baselines") for key, value in getattr(params, place).items()}
    for user, chosen in users.items():
        _known("method", chosen.method, params.methods, user)
        _known(f"profile of {chosen.method}", chosen.profile, params.methods[chosen.method], user)
        _known("prior", chosen.prior, {NO_PRIOR, RENDERED, *params.priors}, user)
    for key, start in params.starts.items():
        _known("corpus", start.corpus, params.corpora, f"starts.{key}")


def _check_experiments(params: Params) -> None:
    """Experiments learn from what there is: LR clips, their recipe's degradation, a prior of the frames that they see."""
    there = {(entry.prior, entry.frames) for entry in (*params.masks.values(), *params.flows.values())}
    there |= {(RENDERED, f"lr/{corpus}/{RENDERED}") for corpus in params.corpora}
    for key, experiment in params.experiments.items():
        user = f"experiments.{key}"
        _known("corpus", experiment.corpus, params.corpora, user)
        if experiment.degradation != IN_STEP:
            _known_degradation(params, experiment.corpus, experiment.degradation, user)
        recipe = f"methods.{experiment.method}.{experiment.profile}.training"
        profile = params.methods[experiment.method][experiment.profile]
        training = profile.training
        if training is None and experiment.start == SCRATCH:
            raise VSRError(
                f"params.yaml: {user}: methods.{experiment.method}.{experiment.profile} has no `training`: add it, or name a `start` that "
                f"{key} is as it stands."
            )
        if profile.adaptation is not None and experiment.degradation != IN_STEP:
            raise VSRError(
                f"params.yaml: {user} learns from every clip what it is reduced by: set its degradation to {IN_STEP}, whose code it then "
                "depends on."
            )
        in_step = experiment.degradation == IN_STEP
        if training is not None and (training.degradation is not None) != in_step:
            raise VSRError(
                f"params.yaml: {user}: {recipe} has no `degradation`: add one, e.g. [{{op: bicubic, scale: {{low: 1, high: 4}}}}]."
                if in_step
                else f"params.yaml: {user}: {recipe} has a `degradation`, and so has a pair: set that of {key} to {IN_STEP}."
            )
        frames = f"lr/{experiment.corpus}/{experiment.degradation}"
        if experiment.prior != NO_PRIOR and (experiment.prior, frames) not in there:
            raise VSRError(
                f"params.yaml: {user} sees the prior {experiment.prior} of {frames}, which nothing computes: "
                f"add `{{prior: {experiment.prior}, frames: {frames}}}` to masks or flows."
            )


def _check_starts(params: Params) -> None:
    """Every start is a network, and following them ends."""
    networks = {name for names in _maps(params).values() for name in names}
    needs: dict[str, tuple[str, ...]] = {}
    for key, join in params.joins.items():
        needs[key] = (join.first, join.second)
        for name in needs[key]:
            _known("network", name, networks - set(params.joins), f"joins.{key}")
    for key, experiment in params.experiments.items():
        needs[key] = (experiment.start,)
        _known("start", experiment.start, networks | {SCRATCH}, f"experiments.{key}")

    done: set[str] = set()

    def follow(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circle = " from ".join([*way[way.index(name) :], name])
            raise VSRError(f"params.yaml: {circle} starts where it ends: give one of them another start, e.g. {SCRATCH}.")
        if name not in done:
            for start in needs.get(name, ()):
                follow(start, (*way, name))
            done.add(name)

    for name in needs:
        follow(name, ())


def _check_tests(params: Params) -> None:
    for corpus in params.tests.corpora:
        _known("corpus", corpus, params.corpora, "tests.corpora")
    for degradation in params.tests.degradations:
        if degradation != RENDERED:
            _known("degradation", degradation, params.degradations, "tests.degradations")
    for key, suite in params.suites.items():
        for method in suite.methods:
            _known("experiment or baseline", method, params.tested, f"suites.{key}")
        for corpus in suite.corpora:
            _known("tested corpus", corpus, params.tests.corpora, f"suites.{key}")
        for degradation in suite.degradations:
            _known("tested degradation", degradation, params.tests.degradations, f"suites.{key}")

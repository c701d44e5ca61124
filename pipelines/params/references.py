"""What params.yaml names is defined there, and fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from pipelines.errors import VSRError, unknown
from pipelines.params.degradations import Bicubic, Range
from pipelines.params.methods import OfMethod
from pipelines.params.priors import OfFrames

if TYPE_CHECKING:
    from pipelines.params import Params

SCRATCH = "scratch"
"""The start that is no network: what begins with it has only its own first weights."""


def check(params: Params) -> None:
    """Check every name that is used.

    Raises:
        VSRError: one is not defined, is that of two networks, or of something that does not fit where it is used.
    """
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
    _check_starts(params)
    _check_guided(params)
    _check_tests(params)


def _known(kind: str, name: str, names: Iterable[str], user: str) -> None:
    known = list(names)
    if name not in known:
        raise VSRError(f"params.yaml: {user}: {unknown(kind, name, known)}")


def _maps(params: Params) -> dict[str, Mapping[str, object]]:
    """What makes networks, by the name of its map."""
    return {
        "starts": params.starts,
        "joins": params.joins,
        "experiments": params.experiments,
        "guided": params.guided,
        "any_scale": params.any_scale,
        "baselines": params.baselines,
    }


def _check_priors(params: Params) -> None:
    priors: dict[str, OfFrames] = {
        **{f"masks.{key}": masks for key, masks in params.masks.items()},
        **{f"flows.{key}": flows for key, flows in params.flows.items()},
    }
    for user, prior in priors.items():
        _known("corpus", prior.corpus, params.corpora, user)
        if prior.degradation is not None:
            _known("degradation", prior.degradation, params.degradations, user)


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
    users: dict[str, OfMethod] = {
        f"{place}.{key}": value
        for place, names in _maps(params).items()
        for key, value in names.items()
        if isinstance(value, OfMethod)
    }
    for user, chosen in users.items():
        _known("method", chosen.method, params.methods, user)
        _known(f"profile of {chosen.method}", chosen.profile, params.methods[chosen.method], user)
    for key, start in params.starts.items():
        _known("corpus", start.corpus, params.corpora, f"starts.{key}")
    for place in ("experiments", "guided", "any_scale"):
        for key, trained in getattr(params, place).items():
            _known("corpus", trained.corpus, params.corpora, f"{place}.{key}")
            if place != "any_scale":
                _known("degradation", trained.degradation, params.degradations, f"{place}.{key}")
            training = params.methods[trained.method][trained.profile].training
            if training is not None and (training.degradation is not None) != (place == "any_scale"):
                recipe = f"methods.{trained.method}.{trained.profile}.training"
                raise VSRError(
                    f"params.yaml: any_scale.{key}: {recipe} has no `degradation`: add one, e.g. [{{op: bicubic, scale: {{low: 1, high: 4}}}}]."
                    if training.degradation is None
                    else f"params.yaml: {place}.{key}: {recipe} has a `degradation`, and so has a pair: move {key} to any_scale."
                )


def _check_starts(params: Params) -> None:
    """Every start is a network, and following them ends."""
    networks = {name for names in _maps(params).values() for name in names}
    needs: dict[str, tuple[str, ...]] = {}
    for key, join in params.joins.items():
        needs[key] = (join.first, join.second)
        for name in needs[key]:
            _known("network", name, networks - set(params.joins), f"joins.{key}")
    for place in ("experiments", "guided", "any_scale"):
        for key, trained in getattr(params, place).items():
            needs[key] = (trained.start,)
            _known("start", trained.start, networks | {SCRATCH}, f"{place}.{key}")

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


def _check_guided(params: Params) -> None:
    """There are masks of all LR frames that guided methods are trained and tested on."""
    for key, guided in params.guided.items():
        _known("masks", guided.masks, params.masks, f"guided.{key}")
        masks, frames = params.masks[guided.masks], f"lr/{guided.corpus}/{guided.degradation}"
        if masks.frames != frames:
            raise VSRError(
                f"params.yaml: guided.{key} is trained on {frames} and masks.{guided.masks} are of {masks.frames}: "
                f"name masks of {frames}."
            )
        for corpus in params.tests.corpora:
            for degradation in params.tests.guided:
                tested = f"lr/{corpus}/{degradation}"
                if not any(other.frames == tested and other.model == masks.model for other in params.masks.values()):
                    raise VSRError(
                        f"params.yaml: guided.{key} is tested on {tested}, of which there are no masks by the model of "
                        f"masks.{guided.masks}: add them to masks, or take {degradation} out of tests.guided."
                    )


def _check_tests(params: Params) -> None:
    for corpus in params.tests.corpora:
        _known("corpus", corpus, params.corpora, "tests.corpora")
    for place in ("degradations", "guided", "any_scale"):
        for degradation in getattr(params.tests, place):
            _known("degradation", degradation, params.degradations, f"tests.{place}")
    for key, suite in params.suites.items():
        for method in suite.methods:
            _known("experiment or baseline", method, {*params.trained, *params.baselines}, f"suites.{key}")
        for corpus in suite.corpora:
            _known("tested corpus", corpus, params.tests.corpora, f"suites.{key}")
        for degradation in suite.degradations:
            _known("tested degradation", degradation, params.tested, f"suites.{key}")

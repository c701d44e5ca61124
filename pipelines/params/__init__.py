"""params.yaml as typed values: every choice that a result depends on, checked before any work.

Nothing here has a default that would change a result: what is tracked is written in params.yaml.
Map keys name stages, paths and MLflow tags, so they are lower-case words joined by `_`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipelines.errors import VSRError, unknown
from pipelines.params import faults
from pipelines.params.base import Name, Split, Strict
from pipelines.params.corpora import Corpus, Footage, Parallax, Reds, TestSet, Vimeo90k
from pipelines.params.degradations import (
    X264,
    Anisotropic,
    Bicubic,
    Blur,
    Choice,
    Drawn,
    Fit,
    Gaussian,
    GaussianNoise,
    Jpeg,
    Mpeg4,
    PoissonNoise,
    Range,
    Recipe,
    Resize,
    Sharpen,
    Step,
    Temporal,
)
from pipelines.params.methods import (
    Baseline,
    Experiment,
    OfMethod,
    OfPair,
    Profile,
    Schedule,
    Start,
    Suite,
    Test,
    Tests,
    Training,
)
from pipelines.params.priors import Dis, Felzenszwalb, Flows, Masks, OfFrames, Raft, Sam

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository: the stages run here, and its params.yaml is used where the working directory has none."""


class Params(Strict):
    """The whole of params.yaml."""

    corpora: dict[Name, Corpus]
    recipes: dict[Name, Recipe]
    degradations: list[Name]
    masks: dict[Name, Masks]
    flows: dict[Name, Flows]
    methods: dict[Name, dict[Name, Profile]]
    starts: dict[Name, Start]
    experiments: dict[Name, Experiment]
    baselines: dict[Name, Baseline]
    tests: Tests
    suites: dict[Name, Suite]


def find() -> Path:
    """The params.yaml of the working directory or of a folder above it, else the repository's own."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder / "params.yaml"
    return ROOT / "params.yaml"


def load(path: Path | None = None) -> Params:
    """Read and check params.yaml.

    Raises:
        VSRError: it is missing, not YAML, has a key or value that is not valid, or names something
            that it does not define; the error names the key and the nearest valid one.
    """
    path = path or find()
    try:
        params = Params.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise VSRError(f"{path} does not exist: run in a clone of the repository.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise VSRError(f"{path} is not valid YAML{where} ({getattr(error, 'problem', None) or error}): mend it there.") from error
    except ValidationError as error:
        raise VSRError(f"{path.name}: {faults.first(error, Params.model_json_schema())}") from error
    _check_references(params)
    return params


def _check_references(params: Params) -> None:
    """Every name used is defined."""

    def known(kind: str, name: str, names: Any, user: str) -> None:
        if name not in names:
            raise VSRError(f"params.yaml: {user}: {unknown(kind, name, names)}")

    for degradation in params.degradations:
        known("recipe", degradation, params.recipes, "degradations")
    pairs: dict[str, OfFrames | OfPair] = {
        **{f"masks.{key}": value for key, value in params.masks.items()},
        **{f"flows.{key}": value for key, value in params.flows.items()},
        **{f"experiments.{key}": value for key, value in params.experiments.items()},
    }
    for user, pair in pairs.items():
        known("corpus", pair.corpus, params.corpora, user)
        if pair.degradation is not None:
            known("degradation", pair.degradation, params.degradations, user)
    for key, experiment in params.experiments.items():
        known("start", experiment.start, params.starts, f"experiments.{key}")
    users: dict[str, OfMethod] = {
        **{f"experiments.{key}": value for key, value in params.experiments.items()},
        **{f"baselines.{key}": value for key, value in params.baselines.items()},
    }
    for user, choice in users.items():
        known("method", choice.method, params.methods, user)
        known(f"profile of {choice.method}", choice.profile, params.methods[choice.method], user)
    for key, start in params.starts.items():
        known("corpus", start.corpus, params.corpora, f"starts.{key}")
    for corpus in params.tests.corpora:
        known("corpus", corpus, params.corpora, "tests.corpora")
    for degradation in params.tests.degradations:
        known("degradation", degradation, params.degradations, "tests.degradations")
    both = set(params.experiments) & set(params.baselines)
    if both:
        raise VSRError(f"params.yaml: {sorted(both)[0]!r} is both an experiment and a baseline: rename one.")
    for key, suite in params.suites.items():
        for method in suite.methods:
            known("experiment or baseline", method, {*params.experiments, *params.baselines}, f"suites.{key}")
        for corpus in suite.corpora:
            known("tested corpus", corpus, params.tests.corpora, f"suites.{key}")
        for degradation in suite.degradations:
            known("tested degradation", degradation, params.tests.degradations, f"suites.{key}")


def entry(kind: str, entries: dict[str, T], name: str) -> T:
    """An entry of one of the maps of params.yaml.

    Raises:
        VSRError: there is none of that name; says the nearest.
    """
    if name not in entries:
        raise unknown(kind, name, entries)
    return entries[name]

"""params.yaml as typed values: every choice that a result depends on, checked before any work.

Nothing here has a default that would change a result: what is tracked is written in params.yaml.
Map keys name stages, paths and MLflow tags, so they are lower-case words joined by `_`.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError

from pipelines.errors import VSRError, unknown
from pipelines.params import faults, references
from pipelines.params.base import Name, Split, Strict
from pipelines.params.corpora import RENDERED, Corpus, Footage, Parallax, Reds, Rendered, TestSet, Vimeo90k
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
    AnyScale,
    Baseline,
    Experiment,
    Guided,
    Join,
    OfMethod,
    Part,
    Period,
    Profile,
    Scales,
    Schedule,
    Start,
    Suite,
    Test,
    Tests,
    Trained,
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
    joins: dict[Name, Join]
    experiments: dict[Name, Experiment]
    guided: dict[Name, Guided]
    any_scale: dict[Name, AnyScale]
    baselines: dict[Name, Baseline]
    tests: Tests
    suites: dict[Name, Suite]

    def priors_of(self, kinds: Container[str]) -> dict[str, Masks | Flows]:
        """The priors that are computed of frames and have some of these kinds, by name."""
        return {
            **(self.masks if "masks" in kinds else {}),
            **(self.flows if "flow" in kinds or "occlusion" in kinds else {}),
        }

    @property
    def trained(self) -> dict[str, Experiment | Guided | AnyScale]:
        """All methods that are trained here, by the name of their experiment."""
        return {**self.experiments, **self.guided, **self.any_scale}

    def evaluated_by(self, method: str) -> str:
        """The stage of dvc.yaml that evaluates an experiment or baseline."""
        stages: dict[str, Container[str]] = {
            "evaluate": self.experiments,
            "evaluate_guided": self.guided,
            "evaluate_any_scale": self.any_scale,
        }
        return next((stage for stage, methods in stages.items() if method in methods), "evaluate_baseline")

    def tested_under(self, method: str) -> list[str]:
        """The degradations under which an experiment or baseline is evaluated on every corpus that is tested."""
        under = {
            "evaluate": self.tests.degradations,
            "evaluate_guided": self.tests.guided,
            "evaluate_any_scale": self.tests.any_scale,
            "evaluate_baseline": self.degradations,
        }
        return under[self.evaluated_by(method)]

    @property
    def tested(self) -> list[str]:
        """The degradations under which anything is evaluated, in the order of those in use."""
        under = {degradation for method in (*self.trained, *self.baselines) for degradation in self.tested_under(method)}
        return [degradation for degradation in self.degradations if degradation in under]


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
    references.check(params)
    return params


def entry(kind: str, entries: dict[str, T], name: str) -> T:
    """An entry of one of the maps of params.yaml.

    Raises:
        VSRError: there is none of that name; says the nearest.
    """
    if name not in entries:
        raise unknown(kind, name, entries)
    return entries[name]

"""params.yaml as typed values: every choice that a result depends on, checked before any work.

Nothing here has a default that would change a result: what is tracked is written in params.yaml.
Map keys name stages, paths and MLflow tags, so they are lower-case words joined by `_`.
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from pipelines.errors import VSRError, unknown
from pipelines.params import faults, references
from pipelines.params.base import Name, Names, Split, Strict
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
from pipelines.params.learning import (
    L1,
    Adversarial,
    Charbonnier,
    Discriminator,
    Fft,
    FrameDifference,
    Huber,
    Learning,
    Loss,
    Mse,
    OfOutput,
    Optimiser,
    Own,
    Perceptual,
    Period,
    Precision,
)
from pipelines.params.methods import (
    Adaptation,
    Baseline,
    Experiment,
    Join,
    Meta,
    OfMethod,
    ParameterGroup,
    Passes,
    Profile,
    Schedule,
    Start,
    Suite,
    Test,
    Tests,
    Training,
)
from pipelines.params.priors import Dis, Felzenszwalb, FlowModel, MaskModel, OfFrames, Prior, Raft, Sam

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent.parent
"""The repository: the stages run here, and its params.yaml is used where the working directory has none."""


FILES = {"recipes": Path("recipes/degradations.yaml"), "methods": Path("recipes/methods.yaml")}
"""The maps of `Params` that have files of their own, beside params.yaml."""


class Params(Strict):
    """The whole of params.yaml and of the files beside it."""

    corpora: dict[Name, Corpus]
    recipes: dict[Name, Recipe]
    degradations: Names
    priors: dict[Name, Prior]
    masks: dict[Name, OfFrames]
    flows: dict[Name, OfFrames]
    methods: dict[Name, dict[Name, Profile]]
    starts: dict[Name, Start]
    joins: dict[Name, Join]
    experiments: dict[Name, Experiment]
    baselines: dict[Name, Baseline]
    tests: Tests
    suites: dict[Name, Suite]

    def priors_of(self, kinds: Container[str]) -> dict[str, Prior]:
        """What computes priors of some of these kinds, by name."""
        masks, flow = "masks" in kinds, "flow" in kinds or "occlusion" in kinds
        return {name: model for name, model in self.priors.items() if (masks if isinstance(model, MaskModel) else flow)}

    @property
    def tested(self) -> dict[str, Experiment | Baseline]:
        """All methods that are tested, by the name of their experiment or baseline."""
        return {**self.baselines, **self.experiments}

    def stage(self, group: str, method: str, *keys: str) -> str:
        """The stage of dvc.yaml that restores, scores or measures an experiment or baseline: `restore@<method>-<key>-…`."""
        return f"{group}{'_baseline' if method in self.baselines else ''}@{'-'.join((method, *keys))}"


def find() -> Path:
    """The params.yaml of the working directory or of a folder above it, else the repository's own."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file():
            return folder / "params.yaml"
    return ROOT / "params.yaml"


def load(path: Path | None = None) -> Params:
    """Read and check params.yaml and the files beside it (`FILES`).

    Raises:
        VSRError: one is missing, not YAML, has a key or value that is not valid, or names something
            that is not defined; the error names the key and the nearest valid one.
    """
    path = path or find()
    tree = _read(path)
    for name, file in FILES.items():
        if name in tree:
            raise VSRError(f"{path.name}: {name!r} has a file of its own: move it to {file}.")
        tree[name] = _read(path.parent / file)
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        raise VSRError(_fault(error, path.name)) from error
    references.check(params)
    return params


class _Loader(yaml.CSafeLoader):
    """YAML, parsed by libyaml in a tenth of PyYAML's time, in which no key of a mapping is there twice: PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for index, (key, _) in enumerate(node.value):
            if isinstance(key, yaml.ScalarNode) and key.value in keys[:index]:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is there twice", key.start_mark)
        return super().construct_mapping(node, deep)


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError as error:
        raise VSRError(f"{path} does not exist: run in a clone of the repository.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise VSRError(f"{path} is not UTF-8 at line {line}: save it as UTF-8, e.g. by `iconv -f latin1 -t utf-8`.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise VSRError(f"{path} is not valid YAML{where} ({getattr(error, 'problem', None) or error}): mend it there.") from error
    if not isinstance(tree, dict):
        raise VSRError(f"{path} is not a mapping: give it the keys that the repository's own has.")
    return tree


def _fault(error: ValidationError, name: str) -> str:
    """The fault to mend first, with the file that it is in."""
    schema = Params.model_json_schema()
    fault = faults.worst(error)
    place = str(fault["loc"][0]) if fault["loc"] else ""
    sentence = faults.sentence(fault, schema)
    return f"{FILES[place]}: {sentence.replace(f'{place}.', '', 1)}" if place in FILES else f"{name}: {sentence}"


def entry(kind: str, entries: dict[str, T], name: str) -> T:
    """An entry of one of the maps of params.yaml.

    Raises:
        VSRError: there is none of that name; says the nearest.
    """
    if name not in entries:
        raise unknown(kind, name, entries)
    return entries[name]

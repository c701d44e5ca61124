"""params.yaml as typed values: every choice that a result depends on, checked before any work.

Nothing here has a default that would change a result: what is tracked is written in params.yaml.
Map keys name stages, paths and MLflow tags, so they are lower-case words joined by `_`.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError

from pipelines.errors import VSRError, unknown

ROOT = Path(__file__).resolve().parent.parent
"""The repository: the stages run here, and its params.yaml is used where the working directory has none."""


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise ValueError("a name is lower-case letters, digits and '_' only")
    return name


T = TypeVar("T")
Name = Annotated[str, AfterValidator(_check_name)]
Split = Literal["train", "validation", "test"]


class Strict(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------- corpora and degradations


class Parallax(Strict):
    """The embedded corpus, generated from a seed (`pipelines/clips/parallax`)."""

    kind: Literal["parallax"]
    source: str
    seed: int
    height: Annotated[int, Field(ge=32)]
    width: Annotated[int, Field(ge=32)]
    frames: Annotated[int, Field(ge=2)]
    clips: dict[Split, PositiveInt]


class Footage(Strict):
    """Clips on disk: `videos`, a folder of video files; `frames`, a folder of frame folders; `vid4`,
    the Vid4 layout `GT/<clip>/<frame>.png`.

    `split` is the split of clips that `splits` does not name. `fps` is that of frame folders, which
    carry none (25 where it is left out); videos know their own.
    """

    kind: Literal["videos", "frames", "vid4"]
    source: str
    split: Split
    splits: dict[str, Split] = {}
    fps: PositiveFloat | None = None


Corpus = Annotated[Parallax | Footage, Field(discriminator="kind")]


class Bicubic(Strict):
    """MATLAB's antialiased `imresize(…, 1/scale, 'bicubic')`, rounded to 8 bits."""

    op: Literal["bicubic"]
    scale: Annotated[float, Field(gt=0)]


class X264(Strict):
    """H.264 by x264 at a constant rate factor, decoded again."""

    op: Literal["x264"]
    crf: Annotated[int, Field(ge=0, le=51)]
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]


Step = Annotated[Bicubic | X264, Field(discriminator="op")]
Recipe = Annotated[list[Step], Field(min_length=1)]

# ---------------------------------------------------------------- priors


class Sam(Strict):
    """Segment Anything through transformers: a grid of points, filtered, the largest masks kept."""

    backend: Literal["sam"]
    weights: str
    points_per_side: PositiveInt
    pred_iou_threshold: PositiveFloat  # a threshold of 0 would switch its filter off
    stability_threshold: PositiveFloat
    nms_threshold: PositiveFloat
    max_masks: PositiveInt


class Felzenszwalb(Strict):
    """A classical segmenter (scikit-image): what runs where there are no SAM weights."""

    backend: Literal["felzenszwalb"]
    scale: PositiveFloat
    sigma: PositiveFloat
    min_size: PositiveInt
    max_masks: PositiveInt


class Raft(Strict):
    """RAFT through torchvision."""

    backend: Literal["raft"]
    weights: Literal["raft_small", "raft_large"]
    updates: PositiveInt


class Dis(Strict):
    """Dense inverse search (OpenCV): what runs where there are no RAFT weights."""

    backend: Literal["dis"]
    preset: Literal["ultrafast", "fast", "medium"]


class OfPair(Strict):
    """The LR frames of `corpus` under `degradation`, which a prior is computed on."""

    corpus: Name
    degradation: Name


class Masks(OfPair):
    model: Annotated[Sam | Felzenszwalb, Field(discriminator="backend")]


class Flows(OfPair):
    model: Annotated[Raft | Dis, Field(discriminator="backend")]


# ---------------------------------------------------------------- methods and experiments


class Schedule(Strict):
    """How long, how fast and on what a network is trained.

    `crop` is the side of the LR patch in pixels, `clip_length` its frames, `batch` the number of
    patches a step sees over all workers. The rate falls from `rate` to `final_rate` along one cosine.
    """

    iterations: PositiveInt
    batch: PositiveInt
    crop: PositiveInt
    clip_length: PositiveInt
    rate: PositiveFloat
    final_rate: Annotated[float, Field(ge=0)]
    clip_gradients: PositiveFloat | None
    validate_every: PositiveInt
    seed: int


class Training(Schedule):
    """The recipe of a supervised restoration method (BasicVSR, CVPR 2021, Sec. 4).

    The flow network stands still for `freeze_flow` iterations, then learns at `flow_rate` times the
    rate. `ema` is the decay of the averaged weights that are kept, or null for the plain ones. `initial`
    says where the weights begin: the network's own `default`, or `near_base`, for trainings too short to
    get there from it (`pipelines/training/initial.py`).
    """

    initial: Literal["default", "near_base"]

    freeze_flow: Annotated[int, Field(ge=0)]
    flow_rate: Annotated[float, Field(ge=0, le=1)]
    ema: Annotated[float, Field(gt=0, lt=1)] | None


class Profile(Strict):
    """One way to build and train a method: `models.create(method, **options)` and its recipe.

    Every method has the profile `published`; a smaller one says so by its name.
    """

    options: dict[str, Any] = {}
    training: Training | None = None


class OfMethod(Strict):
    """A method in one of its profiles."""

    method: Name
    profile: Name


class Start(Strict):
    """Where the flow network of a flow-based method comes from: trained here on a corpus that carries
    exact flow (`training`), or published parameters by name (`weights`)."""

    network: Name
    options: dict[str, Any] = {}
    corpus: Name
    training: Schedule | None = None
    weights: str | None = None


class Experiment(OfMethod, OfPair):
    """A method trained on a pair, its flow network taken from a start."""

    start: Name


class Baseline(OfMethod):
    """A method taken as it is: in closed form, or with published parameters found by name."""

    weights: str | None = None


# ---------------------------------------------------------------- tests and suites


class Test(Strict):
    """How a corpus is tested: on which split, scored by which protocols (the first leads the report).

    Clips longer than `window` frames are restored in passes of that many, of which `overlap` frames are
    dropped at each cut.
    """

    split: Split
    protocols: Annotated[list[str], Field(min_length=1)]
    window: PositiveInt
    overlap: Annotated[int, Field(ge=0)]


class Tests(Strict):
    """Every experiment and baseline is evaluated on each corpus under each degradation."""

    corpora: dict[Name, Test]
    degradations: list[Name]


class Suite(Strict):
    """The rows and columns of one table of the report."""

    title: str
    methods: list[Name]
    corpora: list[Name]
    degradations: list[Name]


class Params(Strict):
    """The whole of params.yaml."""

    corpora: dict[Name, Corpus]
    degradations: dict[Name, Recipe]
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
        raise VSRError(f"{path.name}: {_first(error)}") from error
    _check_references(params)
    return params


def _first(error: ValidationError) -> str:
    """The fault to mend first, as a sentence: a misspelt key before the missing one it leaves behind."""
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    where = ".".join(_keys(fault["loc"]))
    if fault["type"] == "extra_forbidden":
        valid = _siblings(fault["loc"][:-1])
        near = difflib.get_close_matches(str(fault["loc"][-1]), valid, n=1, cutoff=0.3)
        hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(sorted(valid))}."
        return f"unknown key {where!r}: {hint}"
    if fault["type"] == "union_tag_invalid":
        tag = str(fault["ctx"]["discriminator"]).strip("'")
        return f"{where}: {unknown(tag, fault['ctx']['tag'], _tags(fault))}"
    if fault["type"] == "union_tag_not_found":
        return f"the key '{where}.{str(fault['ctx']['discriminator']).strip(chr(39))}' is missing: add it."
    if fault["type"] == "missing":
        return f"the key {where!r} is missing: add it."
    return f"{where!r} is {fault['input']!r}: {fault['msg'][0].lower()}{fault['msg'][1:]}."


def _keys(location: tuple[int | str, ...]) -> list[str]:
    """A location as it stands in the file: without the union tags that pydantic adds."""
    keys, nodes = [], [Params.model_json_schema()]
    schema = nodes[0]
    for part in location:
        options = [option for node in nodes for option in _options(schema, node)]
        if not any(_is_tag(option, part) for option in options):
            keys.append(str(part))
        nodes = [found for node in nodes for found in _step(schema, node, str(part))]
    return keys


def _is_tag(option: dict[str, Any], part: int | str) -> bool:
    return part in [value.get("const") for value in option.get("properties", {}).values()]


def _tags(fault: Any) -> list[str]:
    return [tag.strip().strip("'") for tag in str(fault["ctx"]["expected_tags"]).split(",")]


def _siblings(location: tuple[int | str, ...]) -> set[str]:
    """The keys valid at a location of params.yaml, from the schema."""
    schema = Params.model_json_schema()
    nodes = [schema]
    for part in location:
        nodes = [found for node in nodes for found in _step(schema, node, str(part))]
    return {key for node in nodes for option in _options(schema, node) for key in option.get("properties", {})}


def _options(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """A node with references and unions opened."""
    if "$ref" in node:
        return _options(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
    options = node.get("oneOf") or node.get("anyOf")
    return [found for option in options for found in _options(schema, option)] if options else [node]


def _step(schema: dict[str, Any], node: dict[str, Any], part: str) -> list[dict[str, Any]]:
    found = []
    for option in _options(schema, node):
        if part in option.get("properties", {}):
            found.append(option["properties"][part])
        elif isinstance(option.get("additionalProperties"), dict):
            found.append(option["additionalProperties"])
        elif "items" in option:
            found.append(option["items"])
        elif _is_tag(option, part):
            found.append(option)
    return found


def _check_references(params: Params) -> None:
    """Every name used is defined."""

    def known(kind: str, name: str, names: Any, user: str) -> None:
        if name not in names:
            raise VSRError(f"params.yaml: {user}: {unknown(kind, name, names)}")

    pairs: dict[str, OfPair] = {
        **{f"masks.{key}": value for key, value in params.masks.items()},
        **{f"flows.{key}": value for key, value in params.flows.items()},
        **{f"experiments.{key}": value for key, value in params.experiments.items()},
    }
    for user, pair in pairs.items():
        known("corpus", pair.corpus, params.corpora, user)
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

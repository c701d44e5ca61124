"""Methods, what they are trained and tested on, and the tables of the report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pipelines.params.base import Name, Split, Strict


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


class OfPair(Strict):
    """A corpus under a degradation."""

    corpus: Name
    degradation: Name


class Experiment(OfMethod, OfPair):
    """A method trained on a pair, its flow network taken from a start.

    `seed` replaces that of the method's recipe. Experiments that differ by it alone are one experiment repeated.
    """

    start: Name
    seed: int | None = None

    def training(self, profile: Profile) -> Training | None:
        """The recipe of the profile with this experiment's seed; None where the profile has none."""
        recipe = profile.training
        return recipe if recipe is None or self.seed is None else recipe.model_copy(update={"seed": self.seed})


class Baseline(OfMethod):
    """A method taken as it is: in closed form, or with published parameters found by name."""

    weights: str | None = None


class Test(Strict):
    """How a corpus is tested: on which split, scored by which protocols (the first leads the report) and metrics.

    Metrics that depend on the protocol's colours are measured by every protocol, the others by the first.
    Clips longer than `window` frames are restored in passes of that many, of which `overlap` frames are
    dropped at each cut.
    """

    split: Split
    protocols: Annotated[list[str], Field(min_length=1)]
    metrics: Annotated[list[str], Field(min_length=1)] = ["psnr", "ssim"]
    window: PositiveInt
    overlap: Annotated[int, Field(ge=0)]


class Tests(Strict):
    """Every experiment and baseline is evaluated on each corpus under each degradation."""

    corpora: dict[Name, Test]
    degradations: list[Name]


class Suite(Strict):
    """The rows and columns of one table of the report; `metrics` are the columns of each pair."""

    title: str
    methods: list[Name]
    corpora: list[Name]
    degradations: list[Name]
    metrics: Annotated[list[str], Field(min_length=1)] = ["psnr", "ssim"]

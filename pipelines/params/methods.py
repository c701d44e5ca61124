"""Methods, what they are trained and tested on, and the tables of the report."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt, model_validator

from pipelines.params.base import Name, Split, Strict
from pipelines.params.degradations import Bicubic, Range, Recipe
from pipelines.params.learning import Learning, Losses, Precision


class Schedule(Learning):
    """How long, how fast and on what a network is trained.

    `crop` is the side of the LR patch in pixels, `clip_length` its frames, `batch` the number of patches a step sees
    over all workers. `precision` is that of the forward pass: `float32` is what the papers have, the others run under
    autocast, `float16` with its losses scaled.
    """

    iterations: PositiveInt
    batch: PositiveInt
    crop: PositiveInt
    clip_length: PositiveInt
    precision: Precision
    validate_every: PositiveInt
    seed: int

    @model_validator(mode="after")
    def _periods_fill_the_schedule(self) -> Schedule:
        self.check_periods(self.iterations)
        return self


class Part(Strict):
    """Parameters whose names begin with `prefix`: they begin to learn after `frozen` iterations, at `rate` times the rate; at 0
    they never do."""

    prefix: str
    rate: Annotated[float, Field(ge=0, le=1)]
    frozen: Annotated[int, Field(ge=0)]


class Training(Schedule, Losses):
    """The recipe of a supervised restoration method.

    `initial` says where weights begin that are not taken from the experiment's start: the network's own
    `default`, or `near_base`, for trainings too short to get there from it (`pipelines/training/initial.py`).
    Every parameter belongs to the one of `parts` that has the longest of the prefixes that fit it; those
    that fit none learn from the first step at the full rate. `mirror` shows every clip forwards and then backwards, as
    one of twice the length (BasicVSR, CVPR 2021, on Vimeo-90K). `recompute` saves memory: activations are computed
    again when gradients need them. With a `degradation`, every step degrades HR clips by these steps, drawn anew, in
    place of LR clips that lie ready; where its bicubic step has a range of scales, one is drawn for every step.
    """

    initial: Literal["default", "near_base"]
    parts: list[Part] = []
    mirror: bool
    recompute: bool
    degradation: Recipe | None = None

    @model_validator(mode="after")
    def _periods_of_the_discriminator(self) -> Training:
        if self.adversarial:
            self.adversarial.discriminator.check_periods(self.iterations)
        return self

    @property
    def scales(self) -> Range | None:
        """What the scale of every step is drawn from; None where the recipe has one, or LR clips lie ready."""
        steps = self.degradation or []
        return next((step.scale for step in steps if isinstance(step, Bicubic) and isinstance(step.scale, Range)), None)


class Profile(Strict):
    """One way to build and train a method: `models.create(method, **options)` and its recipe.

    Every method has the profile `published`; a smaller one says so by its name. `vimeo` is the paper's for Vimeo-90K,
    where that differs.
    """

    options: dict[str, Any] = {}
    training: Training | None = None


def published_profile(profiles: Container[str], corpus: str | None) -> str:
    """The profile that is the published network and recipe on a training corpus.

    Args:
        profiles: those of the method.
        corpus: what the network is trained on; None in closed form.
    """
    return "vimeo" if corpus == "vimeo90k" and "vimeo" in profiles else "published"


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


class Join(Strict):
    """Two trained networks that an experiment starts from together: IconVSR has parts of both."""

    first: Name
    second: Name


class OfPair(Strict):
    """A corpus under a degradation."""

    corpus: Name
    degradation: Name


class Trained(OfMethod):
    """A method that is trained here on a corpus.

    `start` names the trained network that it begins with: a start, a join, a baseline or another
    experiment, or `scratch` for none. `seed` replaces that of the method's recipe. Experiments that differ
    by it alone are one experiment repeated.
    """

    corpus: Name
    start: Name
    seed: int | None = None

    def training(self, profile: Profile) -> Training | None:
        """The recipe of the profile with this experiment's seed; None where the profile has none."""
        recipe = profile.training
        return recipe if recipe is None or self.seed is None else recipe.model_copy(update={"seed": self.seed})


class Experiment(Trained):
    """A method trained on a pair."""

    degradation: Name


class Guided(Experiment):
    """A method trained on a pair and the masks of its LR frames, by their name."""

    masks: Name


class AnyScale(Trained):
    """A method trained on HR clips that are reduced by the bicubic kernel in every step, at a scale of its own."""


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
    """On which corpora everything is tested, and under which degradations.

    Every experiment is evaluated on each corpus under `degradations`, guided ones under `guided`, where
    there are masks, those that restore at any scale under `any_scale`, and baselines under all in use.
    """

    corpora: dict[Name, Test]
    degradations: list[Name]
    guided: list[Name]
    any_scale: list[Name]


class Suite(Strict):
    """The rows and columns of one table of the report; `metrics` are the columns of each pair."""

    title: str
    methods: list[Name]
    corpora: list[Name]
    degradations: list[Name]
    metrics: Annotated[list[str], Field(min_length=1)] = ["psnr", "ssim"]

"""Methods, what they are trained and tested on, and the tables of the report."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pipelines.params.base import Choices, Name, Names, Seed, Split, Strict, is_path
from pipelines.params.degradations import Bicubic, Range, Recipe, Sharpen
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
    seed: Seed

    @model_validator(mode="after")
    def _periods_fill_the_schedule(self) -> Schedule:
        self.check_periods(self.iterations)
        return self


class ParameterGroup(Strict):
    """Parameters whose names begin with `prefix`: they begin to learn after `frozen` iterations, at `rate` times the rate; at 0
    they never do."""

    prefix: str
    rate: Annotated[float, Field(ge=0, le=1)]
    frozen: Annotated[int, Field(ge=0)]


class Meta(Strict):
    """Meta-transfer: in every step each sample is a task, to which weights are adapted by `steps` of gradient descent at `rate` on what
    its LR clip itself gives, before the losses are taken (Ada-VSR, ACM MM 2021, Eqs. 3 to 9). `order` 2 follows gradients through these
    steps, 1 takes those at the adapted weights."""

    steps: Annotated[int, Field(ge=0)]
    rate: PositiveFloat
    order: Literal[1, 2]


class Adaptation(Strict):
    """Internal learning when a clip is restored: `steps` of Adam or gradient descent (`optimiser`) at `rate`, on a copy, from the clip
    reduced once more to the clip itself (Ada-VSR, Eq. 10). It is reduced by the `kernel` that the clip was made by (`oracle`), one that is
    `estimated` from it, or `bicubic`."""

    steps: PositiveInt
    rate: PositiveFloat
    optimiser: Literal["adam", "sgd"]
    kernel: Literal["oracle", "estimated", "bicubic"]


class Training(Schedule, Losses):
    """The recipe of a supervised restoration method.

    `initial` says where weights begin that are not taken from the experiment's start: the network's own
    `default`, or `near_base`, for trainings too short to get there from it (`pipelines/training/initial.py`).
    Every parameter belongs to the one of `groups` that has the longest of the prefixes that fit it; those
    that fit none learn from the first step at the full rate. `mirror` shows every clip forwards and then backwards, as
    one of twice the length (BasicVSR, CVPR 2021, on Vimeo-90K). `recompute` saves memory: activations are computed
    again when gradients need them. `upright` crops are neither flipped nor transposed. With a `degradation`, every step degrades HR clips by these steps, drawn anew, in
    place of LR clips that lie ready; where its bicubic step has a range of scales, one is drawn for every step. With `sharpened`
    losses compare with HR as its first step, `sharpen`, makes it; a discriminator's true frames are HR as it is. With `meta`, it learns to be adapted
    to clips.
    """

    initial: Literal["default", "near_base"]
    groups: list[ParameterGroup] = []
    mirror: bool
    recompute: bool
    upright: bool = False
    degradation: Recipe | None = None
    sharpened: bool = False

    @model_validator(mode="after")
    def _sharpened_by_the_degradation(self) -> Training:
        if self.sharpened and not (self.degradation and isinstance(self.degradation[0], Sharpen)):
            raise ValueError(
                "it compares with HR sharpened and has no `degradation` that begins with `sharpen`: add that, or set `sharpened` to false"
            )
        return self

    meta: Meta | None = None

    @model_validator(mode="after")
    def _tasks_are_degraded_in_the_step(self) -> Training:
        if self.meta and (self.degradation is None or self.mirror or self.adversarial or self.precision != "float32"):
            raise ValueError(
                "`meta` makes tasks of a `degradation`, in float32: add one, without `mirror` and adversarial losses"
            )
        return self

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
    where that differs. Where there is no `training`, an experiment is the network of its start as it is. `adaptation` says how it learns from
    a clip before it restores it.
    """

    options: dict[str, Any] = {}
    training: Training | None = None
    adaptation: Adaptation | None = None


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


class OfWeights(Strict):
    """What may have parameters that were not trained here: `weights` is a published name, or the path of a file (see `is_path`).

    A file comes with its `sha256`, at least the first 8 digits: a result is that of one content, whatever lies there later.
    """

    weights: str | None = None
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{8,64}$")] | None = None

    @model_validator(mode="after")
    def _a_file_has_its_sha256(self) -> Self:
        own = self.weights is not None and is_path(self.weights)
        if own and self.sha256 is None:
            raise ValueError(f"weights {self.weights!r} are a file: add its `sha256`, which `sha256sum {self.weights}` prints")
        if not own and self.sha256 is not None:
            raise ValueError("`sha256` goes with the path of a file: leave it out, that of published weights is known")
        return self


class Start(OfWeights):
    """Where a part of methods comes from: a flow network, trained here on a corpus that carries exact flow (`training`), or given as
    `weights`; or the autoencoder of latent diffusion, trained here on the HR clips of a corpus."""

    network: Name
    options: dict[str, Any] = {}
    corpus: Name
    training: Schedule | None = None


class Join(Strict):
    """Two trained networks that an experiment starts from together: IconVSR has parts of both."""

    first: Name
    second: Name


class Experiment(OfMethod):
    """A method trained here on a corpus.

    `degradation` names the LR clips that it learns from, or is `in_step`: HR crops are then degraded in every step, by the
    method's recipe. `prior` names what it sees of every frame beside the clip, or is `none`. `start` names the trained network
    that it begins with: a start, a join, a baseline or another experiment, or `scratch` for none. `seed` replaces that of the
    method's recipe. Experiments that differ by it alone are one experiment repeated.
    """

    corpus: Name
    degradation: Name
    prior: Name
    start: Name
    seed: Seed | None = None

    def training(self, profile: Profile) -> Training | None:
        """The recipe of the profile with this experiment's seed; None where the profile has none."""
        recipe = profile.training
        return recipe if recipe is None or self.seed is None else recipe.model_copy(update={"seed": self.seed})


class Baseline(OfMethod, OfWeights):
    """A method taken as it is: in closed form, or with the parameters given as `weights`; `prior` as of an experiment."""

    prior: Name


class Passes(Strict):
    """How clips are restored: those longer than `window` frames in passes of that many, of which `overlap` frames are
    dropped at each cut. `mirrored` shows the network every pass forwards and then backwards, as protocols of Vimeo-90K
    have it."""

    window: PositiveInt
    overlap: Annotated[int, Field(ge=0)]
    mirrored: bool = False

    @model_validator(mode="after")
    def _something_is_left(self) -> Passes:
        if self.window <= 2 * self.overlap:
            raise ValueError(
                f"an overlap of {self.overlap} at each cut leaves nothing of a window of {self.window}: lower it below half"
            )
        return self


class Test(Strict):
    """How a corpus is tested: which split is restored, in which passes, and by which protocols (the first leads the report)
    and metrics it is scored.

    Metrics that depend on the protocol's colours are measured by every protocol, the others by the first.
    """

    split: Split
    passes: Passes
    protocols: Choices
    metrics: Choices


class Tests(Strict):
    """On which corpora everything is tested, and under which degradations: a method that cannot be, because of its scale or
    because its prior is not there, is shown as not applicable."""

    corpora: dict[Name, Test]
    degradations: Names


class Suite(Strict):
    """The rows and columns of one table of the report; `metrics` are the columns of each pair."""

    title: str
    methods: Names
    corpora: Names
    degradations: Names
    metrics: Choices

"""How networks learn: optimisers, rates, and the losses that a training step makes small."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, model_validator

from pipelines.params.base import Name, Strict

Precision = Literal["float32", "bfloat16", "float16"]


class Optimiser(Strict):
    """Adam, or AdamW, whose `decay` shrinks the weights themselves and not by way of the gradient."""

    kind: Literal["adam", "adamw"]
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]
    decay: Annotated[float, Field(ge=0)]


class Period(Strict):
    """One half period of a cosine: so many iterations, from `weight` times the rate."""

    iterations: Annotated[int, Field(gt=0)]
    weight: Annotated[float, Field(gt=0, le=1)]


class Learning(Strict):
    """How one network of a training learns.

    The rate falls from `rate` to `final_rate` along one cosine, or along one after the other of `periods`, which together
    have all iterations. `clip_gradients` is the largest norm of the gradient, or null. `ema` is the decay of the averaged
    weights that are validated and left in the end, or null for the plain ones.
    """

    optimiser: Optimiser
    rate: PositiveFloat
    final_rate: Annotated[float, Field(ge=0)]
    periods: Annotated[list[Period], Field(min_length=1)] | None = None
    clip_gradients: PositiveFloat | None
    ema: Annotated[float, Field(gt=0, lt=1)] | None

    def check_periods(self, iterations: int) -> None:
        """Raises ValueError: the periods have more or fewer iterations than the training."""
        if self.periods and sum(period.iterations for period in self.periods) != iterations:
            raise ValueError(f"its periods have {sum(period.iterations for period in self.periods)} of {iterations} iterations")


class Discriminator(Learning):
    """The network that tells restored frames from true ones, learning beside the one that restores.

    It takes frames (N, 3, H, W) in [0, 1] and gives a logit, or one for each pixel or patch.
    """

    network: Name
    options: dict[str, Any]


class Weighted(Strict):
    """A term of the loss, counted `weight` times."""

    weight: PositiveFloat


class OfOutput(Weighted):
    """One that compares with HR what the network restores, or another of its outputs by name (`of`); smaller outputs are
    compared with HR reduced to their size by means over areas."""

    of: str | None = None


class Charbonnier(OfOutput):
    """The smooth absolute difference, its mean or its sum over a batch."""

    kind: Literal["charbonnier"]
    reduction: Literal["mean", "sum"]


class L1(OfOutput):
    """The mean absolute difference."""

    kind: Literal["l1"]


class Mse(OfOutput):
    """The mean squared difference."""

    kind: Literal["mse"]


class Huber(OfOutput):
    """Half the square of differences up to `delta`, and linear beyond; the mean."""

    kind: Literal["huber"]
    delta: PositiveFloat


class Fft(OfOutput):
    """The mean absolute difference of the Fourier coefficients of frames."""

    kind: Literal["fft"]


class FrameDifference(OfOutput):
    """The mean absolute difference of what changes from frame to frame, or with `squared` the mean squared one."""

    kind: Literal["frame_difference"]
    squared: bool = False


class Perceptual(OfOutput):
    """The mean absolute difference of VGG's features before their rectifiers, at `layers` such as `conv3_4` with their weights."""

    kind: Literal["perceptual"]
    weights: Literal["vgg16", "vgg19"]
    layers: Annotated[dict[str, PositiveFloat], Field(min_length=1)]


class Adversarial(Weighted):
    """How sure the discriminator is that what was restored is restored."""

    kind: Literal["adversarial"]
    form: Literal["vanilla", "lsgan", "hinge"]
    discriminator: Discriminator


class Own(Weighted):
    """A loss that the network itself gives while it learns, by its name."""

    kind: Literal["own"]
    of: str


Loss = Annotated[
    Charbonnier | L1 | Mse | Huber | Fft | FrameDifference | Perceptual | Adversarial | Own, Field(discriminator="kind")
]


class Losses(Strict):
    """What the recipe of a training makes small, all terms together."""

    losses: Annotated[list[Loss], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_discriminator(self) -> Losses:
        if sum(isinstance(loss, Adversarial) for loss in self.losses) > 1:
            raise ValueError("it has more than one adversarial loss: keep one of them")
        return self

    @property
    def adversarial(self) -> Adversarial | None:
        """The adversarial loss, if there is one."""
        return next((loss for loss in self.losses if isinstance(loss, Adversarial)), None)

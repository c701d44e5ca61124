"""The steps that recipes are made of. Values of pixels are in 8-bit levels, 0 to 255; sizes and sigmas in pixels."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from pipelines.params.base import Strict


class Range(Strict):
    """A number drawn anew for every clip, evenly between `low` and `high`.

    With a `walk` above 0 it changes from frame to frame, by steps drawn evenly within ±walk, and is kept in the range.
    """

    low: float
    high: float
    walk: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low is {self.low:g}, above high, which is {self.high:g}")
        return self


Drawn = float | Range
"""A number that stands, or one that is drawn."""


def low(value: Drawn) -> float:
    """The smallest value that can be drawn."""
    return value.low if isinstance(value, Range) else value


def high(value: Drawn) -> float:
    """The largest value that can be drawn."""
    return value.high if isinstance(value, Range) else value


def _positive(value: Drawn) -> Drawn:
    if low(value) <= 0:
        raise ValueError("it has to be above 0")
    return value


def _not_negative(value: Drawn) -> Drawn:
    if low(value) < 0:
        raise ValueError("it has to be 0 or above")
    return value


Positive = Annotated[Drawn, AfterValidator(_positive)]
NotNegative = Annotated[Drawn, AfterValidator(_not_negative)]


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("the side of a kernel has to be odd")
    return size


Odd = Annotated[PositiveInt, AfterValidator(_odd)]
Scale = Annotated[float, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
K = TypeVar("K")


def _shares(shares: dict[K, float]) -> dict[K, float]:
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares add up to {sum(shares.values()):g}, not 1")
    return shares


# ---------------------------------------------------------------- reductions of published settings


class Bicubic(Strict):
    """MATLAB's antialiased `imresize(…, 1/scale, 'bicubic')`; of two scales the first is that of the height.

    A range of scales is for trainings that degrade in every step: one is drawn for all clips of a step.
    """

    op: Literal["bicubic"]
    scale: Scale | tuple[Scale, Scale] | Range

    @model_validator(mode="after")
    def _check(self) -> Bicubic:
        if isinstance(self.scale, Range) and (self.scale.low < 1 or self.scale.walk):
            raise ValueError("a range of scales begins at 1 or above and has no walk")
        return self


class Gaussian(Strict):
    """An isotropic Gaussian, then every scale-th pixel: what papers call BD.

    `convention` names whose: `basicvsr` samples at the centre of each block of HR pixels, `duf` at its first pixel.
    """

    op: Literal["gaussian"]
    sigma: PositiveFloat
    scale: PositiveInt
    convention: Literal["basicvsr", "duf"]


class Anisotropic(Strict):
    """An anisotropic Gaussian of its own for every clip, then every scale-th pixel, at the centre of each block.

    `sigma_x` and `sigma_y` lie along the kernel's axes, which are turned by `theta` radians.
    """

    op: Literal["anisotropic"]
    sigma_x: Positive
    sigma_y: Positive
    theta: Drawn
    size: PositiveInt
    scale: PositiveInt


class Temporal(Strict):
    """Every factor-th frame, or the mean of the `window` frames around it (1 for the frame itself)."""

    op: Literal["temporal"]
    factor: PositiveInt
    window: Odd


class X264(Strict):
    """H.264 by x264, decoded again: at a constant rate factor (`crf`) or a bit rate, one of the two.

    `bit_rate` is in bits per second at `fps` frames per second, null for the clip's own rate. `gop` is the largest
    distance between key frames, null for x264's default; `pixel_format` is yuv420p where it is null.
    """

    op: Literal["x264"]
    crf: Annotated[int, Field(ge=0, le=51)] | None = None
    bit_rate: Positive | None = None
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
    fps: PositiveFloat | None = None
    gop: PositiveInt | None = None
    pixel_format: Literal["yuv420p", "yuv422p", "yuv444p"] | None = None

    @model_validator(mode="after")
    def _check(self) -> X264:
        if (self.crf is None) == (self.bit_rate is None):
            raise ValueError("give either crf or bit_rate")
        return self


class Mpeg4(Strict):
    """MPEG-4 part 2 at a bit rate, decoded again; `bit_rate` and `fps` as for x264."""

    op: Literal["mpeg4"]
    bit_rate: Positive
    fps: PositiveFloat | None = None


# ---------------------------------------------------------------- parts of real-world degradation

Kernel = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso", "sinc"]
Mode = Literal["area", "bilinear", "bicubic"]


class Sharpen(Strict):
    """Unsharp masking of HR before it is degraded: residuals above `threshold` levels are added, times `weight`."""

    op: Literal["sharpen"]
    weight: PositiveFloat
    radius: Odd
    threshold: Annotated[float, Field(ge=0)]


class Blur(Strict):
    """A kernel of one of several kinds, drawn by their shares; its side is odd, from `smallest` to `largest`.

    `sigma`, along both axes, and `theta` are those of every kind but the sinc; `beta_generalized` and `beta_plateau` the
    shapes of the kinds of that name. `cutoff` is the sinc's in radians per pixel, null for evenly from pi/3 to pi below
    a side of 13, and from pi/5 from there on.
    """

    op: Literal["blur"]
    shares: Annotated[dict[Kernel, Share], AfterValidator(_shares)]
    smallest: Odd
    largest: Odd
    sigma: Positive | None = None
    theta: Drawn | None = None
    beta_generalized: Positive | None = None
    beta_plateau: Positive | None = None
    cutoff: Positive | None = None

    @model_validator(mode="after")
    def _check(self) -> Blur:
        if self.smallest > self.largest:
            raise ValueError("smallest is above largest")
        for kind, share in self.shares.items():
            needed = [] if kind == "sinc" or not share else ["sigma", "theta"]
            needed += [f"beta_{word}" for word in ("generalized", "plateau") if kind.startswith(word) and share]
            for name in needed:
                if getattr(self, name) is None:
                    raise ValueError(f"kernels of kind {kind} need {name}")
        return self


class Resize(Strict):
    """Enlarge, reduce or keep, by a drawn factor in a drawn mode.

    The factor starts evenly from 1 to `factor.high` (`up`), from `factor.low` to 1 (`down`), or at 1 (`keep`). It is relative to
    the current size, or with `of` to HR's size divided by that number. `even` rounds sides up to even ones.
    """

    op: Literal["resize"]
    shares: Annotated[dict[Literal["up", "down", "keep"], Share], AfterValidator(_shares)]
    factor: Range
    modes: Annotated[list[Mode], Field(min_length=1)]
    of: PositiveFloat | None = None
    even: bool = False

    @model_validator(mode="after")
    def _check(self) -> Resize:
        if not 0 < self.factor.low <= 1 <= self.factor.high:
            raise ValueError("factor goes from above 0 to 1 and on to 1 or above")
        return self


class Fit(Strict):
    """To the size of LR, HR's divided by `scale`, in a drawn mode."""

    op: Literal["fit"]
    scale: Scale
    modes: Annotated[list[Mode], Field(min_length=1)]


class GaussianNoise(Strict):
    """Gaussian noise of `sigma` levels; in a share `grey` of clips the same in all channels."""

    op: Literal["gaussian_noise"]
    sigma: NotNegative
    grey: Share


class PoissonNoise(Strict):
    """Shot noise, `scale` times as strong as the levels themselves would have; `grey` as for Gaussian noise."""

    op: Literal["poisson_noise"]
    scale: NotNegative
    grey: Share


class Jpeg(Strict):
    """Baseline JPEG, 4:2:0, with libjpeg's tables at `quality`."""

    op: Literal["jpeg"]
    quality: Drawn

    @model_validator(mode="after")
    def _check(self) -> Jpeg:
        if low(self.quality) < 1 or high(self.quality) > 100:
            raise ValueError("quality goes from 1 to 100")
        return self


class Option(Strict):
    """One of the ways that a choice may go."""

    share: Share
    steps: list[Step]


class Choice(Strict):
    """One of several lists of steps, drawn for every clip by their shares: a step that is taken or not, one codec of
    several, or the order of two steps."""

    op: Literal["choice"]
    of: Annotated[list[Option], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Choice:
        _shares(dict(enumerate(option.share for option in self.of)))
        return self


Step = Annotated[
    Bicubic
    | Gaussian
    | Anisotropic
    | Temporal
    | X264
    | Mpeg4
    | Sharpen
    | Blur
    | Resize
    | Fit
    | GaussianNoise
    | PoissonNoise
    | Jpeg
    | Choice,
    Field(discriminator="op"),
]
Recipe = Annotated[list[Step], Field(min_length=1)]
Option.model_rebuild()
Choice.model_rebuild()

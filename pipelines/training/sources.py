"""Where the LR clips of a training come from: a store of them, or HR clips that every step degrades anew."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.clips.store import Clip, Store
from pipelines.degradations import recipes
from pipelines.degradations.draw import draw, rng, scale_of
from pipelines.degradations.sharpen import unsharp
from pipelines.errors import VSRError
from pipelines.monitoring import validation
from pipelines.params import Bicubic, Range, Recipe, Training
from pipelines.priors.kinds import KINDS, there_and_back
from pipelines.training.crops import (
    CPU,
    Batch,
    HRCrops,
    PairCrops,
    Window,
    as_tensor,
    check_prior,
    common_scale,
    generator,
    stack,
    to_device,
    to_tensor,
)

SHARPENED = "sharpened"
"""HR sharpened, in a batch."""


@dataclass(frozen=True)
class View:
    """A clip that is validated, at a scale; `shown` says whether its frames are to be looked at."""

    clip: Clip
    scale: float
    shown: bool


class Source(Protocol):
    """Aligned LR and HR clips. `scale` is the size of HR over that of LR, None where every step has another; `views` is what
    is validated, ordered by scale."""

    scale: float | None
    views: list[View]

    def batch(self, step: int, indices: Iterable[int], device: torch.device) -> Batch:
        """As `pipelines.training.loop.Task.batch`: `lr` (N, T, 3, h, w), `hr` (N, T, 3, H, W), float32 RGB in [0, 1], and priors
        (N, T, C, h, w) by their names; `sharpened`, as `hr`, where the recipe compares with that. With `mirror` clips go forwards and
        then backwards, (N, 2T, ...)."""
        ...

    def middle(self, view: View, device: torch.device) -> Batch:
        """The same without N, of the middle frames of a clip, cut to its middle."""
        ...


class Stored:
    """LR clips of a store, the HR clips that they were made of, and what is known of the LR frames.

    Args:
        training: the recipe.
        hr, lr, priors: as `PairCrops`, with clips in the splits `train`, and `validation` or `test`.

    Raises:
        VSRError: the stores do not belong together, or do not fit the recipe.
    """

    def __init__(self, training: Training, hr: Store, lr: Store, priors: Mapping[str, Store] | None = None) -> None:
        self._hr, self._lr, self._priors, self._length = hr, lr, priors or {}, training.clip_length
        self._mirror = training.mirror
        self._crops = PairCrops(
            hr,
            lr,
            split="train",
            crop=training.crop,
            clip_length=self._length,
            seed=training.seed,
            priors=self._priors,
            flips=not training.upright,
        )
        clips = validation.clips(lr)
        self.scale: float | None = self._crops.scale
        if common_scale(hr, clips, str(lr.path)) != self.scale:
            raise VSRError(f"the clips of {lr.path} have several scales: training takes a degradation of one whole scale.")
        for clip in clips:
            for name, prior in self._priors.items():
                check_prior(name, prior, lr, clip)
        self.views = [View(clip, self._crops.scale, index < validation.SHOWN) for index, clip in enumerate(clips)]

    def batch(self, step: int, indices: Iterable[int], device: torch.device = CPU) -> Batch:
        batch = to_device(self._crops.batch(step, indices), device)
        return mirrored(batch) if self._mirror else batch

    def middle(self, view: View, device: torch.device = CPU) -> Batch:
        window = Window.middle(view.clip, self._length, validation.SIDE)
        cut = {"lr": to_tensor(window.of(self._lr)), "hr": to_tensor(window.of(self._hr, self._crops.scale))}
        cut |= {name: as_tensor(window.of_prior(name, store)) for name, store in self._priors.items()}
        return to_device(cut, device)


class Degraded:
    """HR clips that are degraded in every step by the `degradation` of a recipe, drawn anew for each.

    Where its bicubic step has a range of scales, one is drawn evenly for all clips of a step, and LR crops have the side
    `crop` at all of them.

    Sources: Hu et al., "Meta-SR", CVPR 2019, Sec. 4.1, for one scale in a batch; Chen et al., "Learning Continuous Image
    Representation with Local Implicit Image Function", CVPR 2021, Sec. 4.1, for LR crops of one size.

    Args:
        training: the recipe, with a `degradation`.
        hr: store with clips in the splits `train`, and `validation` or `test`.

    Raises:
        VSRError: this machine lacks what the degradation needs; it leaves frames out, or does not fit the clips.
    """

    def __init__(self, training: Training, hr: Store) -> None:
        assert training.degradation is not None
        self._steps, self._training, self._hr = training.degradation, training, hr
        self._range = training.scales
        recipes.check(self._steps)
        low, high = (self._range.low, self._range.high) if self._range else (_scale(self._steps),) * 2
        self.scale = None if self._range else low
        side = self._hr_side(high)
        self._crops = HRCrops(
            hr,
            split="train",
            clip_length=training.clip_length,
            seed=training.seed,
            side=self.side,
            flips=not training.upright,
            largest=(side, f"`crop` {training.crop} at scale {high:g}"),
        )
        trial = self._pair(
            np.random.default_rng(0),
            torch.zeros(training.clip_length, 3, side, side, dtype=torch.uint8),
            side / training.crop,
            25,
        )
        if trial["lr"].shape[0] != training.clip_length:
            raise VSRError("the `degradation` of the recipe leaves frames out: train on one that keeps them all.")
        if trial["lr"].shape[-1] != training.crop:
            raise VSRError("beside a range of scales no other step of a `degradation` may reduce frames: leave it out.")
        clips = validation.clips(hr)
        scales = _whole(self._range) if self._range else [low]
        self.views = [
            View(clip, scale, scale == scales[-1] and index < validation.SHOWN)
            for scale in scales
            for index, clip in enumerate(clips)
        ]

    def side(self, step: int) -> int:
        """The side of the HR crops of a step, in pixels."""
        if self._range is None:
            assert self.scale is not None
            return self._hr_side(self.scale)
        # The fourth number keeps it apart from the draws of crops, which have three.
        drawn = generator(self._training.seed, step, 0, 1).uniform(self._range.low, self._range.high)
        return round(self._training.crop * drawn)

    def batch(self, step: int, indices: Iterable[int], device: torch.device = CPU) -> Batch:
        samples = []
        for index in indices:
            clip, hr = self._crops.sample(step, index)
            random = generator(self._training.seed, step, index, 2)
            scale = hr.shape[-1] / self._training.crop
            fps = self._hr.clips[clip].attributes.fps
            if self._training.mirror:  # before it is degraded: what walks from frame to frame walks on (RealBasicVSR, Sec. 5)
                hr = torch.cat([hr, hr.flip(0)])
            samples.append(self._pair(random, hr.to(device), scale, fps))
        return stack(samples)

    def middle(self, view: View, device: torch.device = CPU) -> Batch:
        multiple = int(view.scale) if view.scale.is_integer() else 1
        window = Window.middle(view.clip, self._training.clip_length, validation.SIDE, multiple)
        hr = torch.from_numpy(window.of(self._hr)).permute(0, 3, 1, 2).to(device)
        return self._pair(rng("validation", view.clip.name), hr, view.scale, view.clip.attributes.fps)

    def _hr_side(self, scale: float) -> int:
        """Of the smallest HR crop that gives a whole LR crop, or for a scale that is drawn of the nearest."""
        side = self._training.crop * scale
        return round(side) if self._range else math.ceil(side - 1e-9)

    def _pair(self, random: np.random.Generator, hr: Tensor, scale: float, fps: float) -> Batch:
        """LR and HR of an HR clip, (T, 3, H, W) uint8 RGB, on its device.

        LR is what the degradation makes: computed in double precision, rounded to 8 bits. Where the recipe compares with HR
        sharpened, that is what the degradation's first step makes.
        """
        height, width = hr.shape[-2:]
        drawn = draw(_at(self._steps, scale), random, len(hr), (height, width), fps)
        height, width = drawn["crop"]
        clip = hr[..., :height, :width].double()
        found = {"hr": clip.float() / 255}
        if self._training.sharpened:
            sharpen, *others = drawn["steps"]
            clip = unsharp(clip, sharpen["weight"], sharpen["radius"], sharpen["threshold"])
            found[SHARPENED] = clip.float() / 255
            drawn = {**drawn, "steps": others}
        return {"lr": recipes.apply(drawn, clip).float() / 255, **found}


def mirrored(batch: Batch) -> Batch:
    """Clips (N, T, ...) and priors by their names forwards and then backwards, (N, 2T, ...)."""
    return {
        name: there_and_back(name, clips) if name in KINDS else torch.cat([clips, clips.flip(1)], dim=1)
        for name, clips in batch.items()
    }


def source(training: Training, hr: Store, lr: Store | None, priors: Mapping[str, Store]) -> Source:
    """Where LR clips come from.

    Raises:
        VSRError: as `Stored` and `Degraded`, or there are priors of frames that every step makes anew.
    """
    if training.degradation is not None:
        if lr is not None or priors:
            raise VSRError(
                "the recipe degrades HR clips in every step, and there are neither LR clips nor priors of them: train without, or leave "
                "`degradation` out of the recipe."
            )
        return Degraded(training, hr)
    if lr is None:
        raise VSRError("the recipe has no `degradation` to make LR clips by: add it, or train on a pair.")
    return Stored(training, hr, lr, priors)


def _at(steps: Recipe, scale: float) -> Recipe:
    """A degradation whose range of scales is one of them."""
    return [
        step.model_copy(update={"scale": scale}) if isinstance(step, Bicubic) and isinstance(step.scale, Range) else step
        for step in steps
    ]


def _scale(steps: Recipe) -> float:
    """The size of HR over that of LR."""
    down, along = scale_of(steps)
    if down != along:
        raise VSRError(f"the `degradation` of the recipe reduces by {down:g} and {along:g}: train with one scale for both axes.")
    return down


def _whole(scales: Range) -> list[float]:
    """The whole scales of a range, which are validated."""
    found = [float(scale) for scale in range(max(2, math.ceil(scales.low)), math.floor(scales.high) + 1)]
    if not found:
        raise VSRError(
            f"the scales from {scales.low:g} to {scales.high:g} have none to validate at: let a whole one be among them, 2 at least."
        )
    return found

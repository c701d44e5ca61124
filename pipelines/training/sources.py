"""Where the LR clips of a training come from: a store of them, or HR clips that every step degrades anew."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines.clips import fit
from pipelines.clips.store import Clip, Store
from pipelines.degradations import recipes
from pipelines.degradations.draw import draw, frames_for, rng, scale_of, time_scale_of
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
    """Aligned LR and HR clips. `scale` is the size of HR over that of LR, None where every step has another, `time_scale` how many
    HR frames it is from one LR frame to the next; `views` is what is validated, ordered by scale."""

    scale: float | None
    time_scale: int
    views: list[View]

    def batch(self, step: int, indices: Iterable[int], device: torch.device) -> Batch:
        """As `pipelines.training.loop.Task.batch`: `lr` (N, T, 3, h, w), `hr` (N, time_scale (T - 1) + 1, 3, H, W), float32 RGB in
        [0, 1], and priors (N, T, C, h, w) by their names; `sharpened`, as `hr`, where the recipe compares with that. Where frames are left
        out in the step, `between` has all frames of HR reduced as those of LR are. With `mirror` clips go forwards and then
        backwards, (N, 2T, ...)."""
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
        self.time_scale = self._crops.time_scale
        if common_scale(hr, clips, str(lr.path)) != (self.scale, self.time_scale):
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
        seen = fit.spanned(view.clip, window.frames)
        cut = {"lr": to_tensor(window.of(self._lr)), "hr": to_tensor(window.of(self._hr, self._crops.scale, seen))}
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
        VSRError: this machine lacks what the degradation needs; it does not fit the clips, or leaves out frames and does what cannot
            be done to those as well.
    """

    def __init__(self, training: Training, hr: Store) -> None:
        assert training.degradation is not None
        self._steps, self._training, self._hr = training.degradation, training, hr
        self._range = training.scales
        recipes.check(self._steps)
        low, high = (self._range.low, self._range.high) if self._range else (_scale(self._steps),) * 2
        self.scale = None if self._range else low
        self.time_scale = time_scale_of(self._steps)
        side, frames = self._hr_side(high), frames_for(self._steps, training.clip_length)
        self._crops = HRCrops(
            hr,
            split="train",
            clip_length=frames,
            seed=training.seed,
            side=self.side,
            flips=not training.upright,
            largest=(side, f"`crop` {training.crop} at scale {high:g}"),
        )
        black = torch.zeros(frames, 3, side, side, dtype=torch.uint8)
        trial, _ = self._pair(np.random.default_rng(0), black, side / training.crop, 25)
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
        return stack(self.sample(step, index, device)[0] for index in indices)

    def sample(self, step: int, index: int, device: torch.device = CPU) -> tuple[Batch, recipes.Drawn]:
        """Sample `index` of the global batch of `step`, without N, and what was drawn for it."""
        clip, hr = self._crops.sample(step, index)
        random = generator(self._training.seed, step, index, 2)
        scale = hr.shape[-1] / self._training.crop
        if self._training.mirror:  # before it is degraded: what walks from frame to frame walks on (RealBasicVSR, Sec. 5)
            hr = torch.cat([hr, hr.flip(0)])
        return self._pair(random, hr.to(device), scale, self._hr.clips[clip].attributes.fps)

    def middle(self, view: View, device: torch.device = CPU) -> Batch:
        multiple = int(view.scale) if view.scale.is_integer() else 1
        frames = frames_for(self._steps, self._training.clip_length)
        window = Window.middle(view.clip, frames, validation.SIDE, multiple)
        hr = torch.from_numpy(window.of(self._hr)).permute(0, 3, 1, 2).to(device)
        return self._pair(rng("validation", view.clip.name), hr, view.scale, view.clip.attributes.fps)[0]

    def _hr_side(self, scale: float) -> int:
        """Of the smallest HR crop that gives a whole LR crop, or for a scale that is drawn of the nearest."""
        side = self._training.crop * scale
        return round(side) if self._range else math.ceil(side - 1e-9)

    def _pair(self, random: np.random.Generator, hr: Tensor, scale: float, fps: float) -> tuple[Batch, recipes.Drawn]:
        """LR and HR of an HR clip, (T, 3, H, W) uint8 RGB, on its device, and what was drawn.

        LR is what the degradation makes: computed in double precision, rounded to 8 bits. Where the recipe compares with HR
        sharpened, that is what the degradation's first step makes.
        """
        height, width = hr.shape[-2:]
        drawn = draw(_at(self._steps, scale), random, len(hr), (height, width), fps)
        kept = recipes.kept(drawn)[: self._training.clip_length * (1 + self._training.mirror)]
        seen = hr[kept[0] : kept[-1] + 1]
        height, width = drawn["crop"]
        pair = {"hr": seen[..., :height, :width].float() / 255}
        if self._training.sharpened:
            sharpen, *others = drawn["steps"]
            sharp = unsharp(hr[..., :height, :width].double(), sharpen["weight"], sharpen["radius"], sharpen["threshold"])
            pair[SHARPENED] = sharp[kept[0] : kept[-1] + 1].float() / 255
            pair["lr"] = levels({**drawn, "steps": others}, sharp)[: len(kept)]
        else:
            pair["lr"] = levels(drawn, hr)[: len(kept)]
        if self.time_scale > 1:
            pair["between"] = levels(recipes.spatial(drawn, (hr.shape[-2], hr.shape[-1])), seen)
        return pair, drawn


def levels(drawn: recipes.Drawn, clip: Tensor) -> Tensor:
    """What a drawn degradation makes of a clip, (T, 3, H, W) in 8-bit levels: (t, 3, h, w) float32 in [0, 1]."""
    return recipes.apply(drawn, clip.double()).float() / 255


def mirrored(batch: Batch) -> Batch:
    """Clips (N, T, ...) and priors by their names forwards and then backwards, (N, 2T, ...)."""
    return {
        name: there_and_back(name, clips) if name in KINDS else torch.cat([clips, clips.flip(1)], dim=1)
        for name, clips in batch.items()
    }


class Tasks(Degraded):
    """Clips with a degradation of their own each, and what the LR clip itself gives to learn from (Ada-VSR, ACM MM 2021, Sec. 3.1).

    Args:
        training: the recipe, whose `degradation` is that of tasks.
        hr: as `Degraded`.

    Raises:
        VSRError: as `Degraded`; the degradation has more than one scale, or LR crops cannot be reduced by it once more.
    """

    def __init__(self, training: Training, hr: Store) -> None:
        super().__init__(training, hr)
        if self.scale is None or self.scale != round(self.scale) or training.crop % round(self.scale):
            raise VSRError(
                f"meta-learning reduces LR crops of `crop` {training.crop} once more by the scale of the recipe's `degradation`: give a "
                "multiple of it, and one whole scale."
            )

    def batch(self, step: int, indices: Iterable[int], device: torch.device = CPU) -> Batch:
        """The samples of `Degraded`, and of each `inner`, the LR clip reduced once more by the same kernel, all of its frames
        (t, 3, h / scale, w / scale), and `inner_lr`, those of them that the same temporal step keeps. They have the name of the sample's
        place and a point in front, and no N: tasks differ in how many frames they keep. The first number of `inner_first` is the
        frame that `inner_lr` begins with."""
        found: Batch = {}
        for place, index in enumerate(indices):
            sample, drawn = self.sample(step, index, device)
            clip = sample["lr"] * 255
            inner = levels(recipes.spatial(drawn, (clip.shape[-2], clip.shape[-1])), clip)
            side = inner.shape[-2], inner.shape[-1]
            sample |= {"inner": inner, "inner_lr": levels(recipes.temporal(drawn, side), inner * 255)}
            sample["inner_first"] = torch.tensor([drawn["time"]["first"]])
            found |= {f"{place}.{name}": value for name, value in sample.items()}
        return found


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
        return Tasks(training, hr) if training.meta else Degraded(training, hr)
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

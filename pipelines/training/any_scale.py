"""Restoration at any scale: every step reduces HR clips by a scale of its own, and the network brings them back.

Source: Hu et al., "Meta-SR", CVPR 2019, Sec. 4.1: one scale for all samples of a batch, drawn evenly; Chen et
al., "Learning Continuous Image Representation with Local Implicit Image Function", CVPR 2021, Sec. 4.1: LR
patches of one size.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models import Network
from models.parts.blocks import full_precision
from pipelines.clips.store import Store
from pipelines.degradations.resize import bicubic
from pipelines.errors import VSRError
from pipelines.params import Training
from pipelines.training import validation
from pipelines.training.crops import AnyScaleCrops, Batch, Window, to_planes
from pipelines.training.loop import Images, Metrics
from pipelines.training.restoration import Supervised, check_length, first_network


class AnyScaleRestoration(Supervised):
    """A network learning to undo the bicubic reduction by any scale.

    Args:
        network: an `any_scale` one.
        training: the recipe, with `scales`.
        hr: store with clips in the splits `train`, and `validation` or `test`.

    Raises:
        VSRError: the network or the clips do not fit the recipe.
    """

    def __init__(self, network: Network, training: Training, hr: Store) -> None:
        super().__init__(network, training)
        scales = training.scales
        if not network.any_scale or network.priors:
            raise VSRError(f"{network.name} does not restore clips at any scale: train it on a pair.")
        if scales is None:
            raise VSRError(f"the recipe of {network.name} has no `scales` to draw from: add them, e.g. {{low: 1, high: 4}}.")
        self._scales = range(max(2, math.ceil(scales.low)), math.floor(scales.high) + 1)
        if not self._scales:
            raise VSRError(
                f"`scales` from {scales.low:g} to {scales.high:g} have none to validate at: let a whole one be among them, 2 at least."
            )
        length = training.clip_length
        self._crops = AnyScaleCrops(hr, split="train", crop=training.crop, scales=scales, clip_length=length, seed=training.seed)
        self._hr = hr
        self._validation = validation.clips(hr)
        for clip in self._validation:
            check_length(network, training, hr, clip.name)

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        return self._crops.batch(step, indices)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        side = self.training.crop
        lr, truth = pair(batch["hr"], (side, side))
        return self.error(network, lr, truth, size=tuple(truth.shape[-2:]))

    def validate(self, network: nn.Module, device: torch.device, step: int) -> tuple[Metrics, Images]:
        """`psnr_x2`, … on Y at the whole scales that are learnt, over the middle `clip_length` frames of every validation
        clip, their mean `psnr`, and `gain`, what of it is above bicubic. Shown are `validation.images` at the largest."""
        metrics: Metrics = {}
        means: list[Metrics] = []
        found: list[validation.Compared] = []
        for scale in self._scales:
            found = []
            for clip in self._validation:
                window = Window.middle(clip, self.training.clip_length, validation.SIDE, multiple=scale)
                hr = to_planes(window.of(self._hr)).to(device)
                lr, truth = pair(hr[None], (window.height // scale, window.width // scale))
                restored = self.restored(network, lr[0], size=(window.height, window.width))
                found.append(validation.compare(clip.name, lr[0], restored, truth[0], shown=len(found) < validation.SHOWN))
            means.append(validation.metrics(found))
            metrics[f"psnr_x{scale}"] = means[-1]["psnr"]
        both = {name: float(np.mean([mean[name] for mean in means])) for name in ("psnr", "gain")}
        return metrics | both, validation.images(found, step)


def pair(hr: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """LR and HR of 8-bit HR clips, on their device.

    LR is what the bicubic degradation of that scale makes: computed in double precision, rounded to 8 bits.

    Args:
        hr: (N, T, 3, H, W) uint8 RGB.
        size: (h, w) of LR.

    Returns:
        (N, T, 3, h, w) and (N, T, 3, H, W), float32 RGB in [0, 1].
    """
    scale = hr.shape[-2] / size[0], hr.shape[-1] / size[1]
    with full_precision(hr.device):
        lr = bicubic(hr.flatten(0, 1), scale).add(0.5).floor().clamp(0, 255)
    return lr.unflatten(0, hr.shape[:2]).float() / 255, hr.float() / 255


def any_scale_task(
    network: str, options: Mapping[str, Any], training: Training, hr: Path, start: Path | None = None
) -> AnyScaleRestoration:
    """The task from what params.yaml says; the arguments are those of `restoration_task`.

    Raises:
        VSRError: as `AnyScaleRestoration` and `first_network`.
    """
    return AnyScaleRestoration(first_network(network, options, training, start), training, Store(hr))

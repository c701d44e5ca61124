"""Supervised restoration: LR clips in, HR clips out, the Charbonnier loss between (BasicVSR, CVPR 2021, Sec. 4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines import networks
from pipelines.clips.store import Clip, Store
from pipelines.errors import VSRError
from pipelines.evaluation.metrics import luma, psnr
from pipelines.evaluation.restore import quantise
from pipelines.params import Training
from pipelines.training.crops import PairCrops, common_scale, to_tensor
from pipelines.training.initial import stay_near_the_base
from pipelines.training.loop import Group, Images, Metrics
from pipelines.training.losses import charbonnier

_VALIDATION_SIDE = 256
"""Validation looks at the middle of the LR frames, at most this many pixels a side."""

_SHOWN = 2
"""Clips of which frames are shown."""


class Restoration:
    """A network learning to restore a pair; see `pipelines.training.loop.Task`.

    A network with a flow network inside has it as `spynet`.

    Args:
        network: (N, T, 3, H, W) to (N, T, 3, sH, sW), RGB in [0, 1].
        training: the recipe.
        hr, lr: as `PairCrops`, with clips in the splits `train`, and `validation` or `test`.

    Raises:
        VSRError: the pair does not fit the network or the recipe.
    """

    def __init__(self, network: nn.Module, training: Training, hr: Store, lr: Store) -> None:
        self.network, self.ema = network, training.ema
        self._training = training
        self._crops = PairCrops(hr, lr, split="train", crop=training.crop, clip_length=training.clip_length, seed=training.seed)
        self._hr, self._lr = hr, lr
        # REDS4 and Vimeo-90K have none: their test clips are looked at then, by which nothing is chosen.
        splits = {clip.attributes.split for clip in lr.clips.values()}
        self._validation = lr.split("validation" if "validation" in splits else "test")
        for scale in (self._crops.scale, common_scale(hr, self._validation, str(lr.path))):
            if scale != network.scale:
                raise VSRError(
                    f"the network enlarges by {network.scale} and {lr.path} is smaller by {scale}: train it on a pair of its scale."
                )
        least = int(network.min_frames)  # type: ignore[arg-type]
        if training.clip_length < least:
            raise VSRError(f"the network takes at least {least} frames: raise `clip_length` from {training.clip_length}.")
        self._bicubic = networks.create("bicubic", scale=self._crops.scale)

    def groups(self) -> list[Group]:
        flow = getattr(self.network, "spynet", None)
        if flow is None:
            return [Group(list(self.network.parameters()))]
        inner = {id(parameter) for parameter in flow.parameters()}
        outer = [parameter for parameter in self.network.parameters() if id(parameter) not in inner]
        # A rate of 0 never learns: without gradients it costs less.
        frozen = self._training.freeze_flow if self._training.flow_rate else self._training.iterations
        return [Group(outer), Group(list(flow.parameters()), self._training.flow_rate, frozen)]

    def batch(self, step: int, indices: Iterable[int]) -> tuple[Tensor, ...]:
        return self._crops.batch(step, indices)

    def loss(self, network: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        lr, hr = batch
        return charbonnier(network(lr).float(), hr)

    def validate(self, network: nn.Module, device: torch.device, step: int) -> tuple[Metrics, Images]:
        """`psnr`, on Y over the middle `clip_length` frames of every validation clip, and `gain`, what
        of it is above bicubic. Shown are the middle frames of the first clips: `<clip>/restored`, and
        before the first step also `lr`, `bicubic` and `truth`."""
        restored_psnr, bicubic_psnr, images = [], [], {}
        for number, clip in enumerate(self._validation):
            lr, hr = (part.to(device) for part in self._middle(clip))
            clips = {"lr": lr, "bicubic": self._bicubic(lr), "restored": network(lr[None])[0], "truth": hr}
            frames = {name: [quantise(frame) for frame in part] for name, part in clips.items()}
            restored_psnr.append(_luma_psnr(frames["restored"], frames["truth"]))
            bicubic_psnr.append(_luma_psnr(frames["bicubic"], frames["truth"]))
            if number < _SHOWN:
                names = ["restored"] if step else list(frames)
                images.update({f"{clip.name}/{name}": frames[name][len(lr) // 2] for name in names})
        mean = float(np.mean(restored_psnr))
        return {"psnr": mean, "gain": mean - float(np.mean(bicubic_psnr))}, images

    def _middle(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """The window of a clip that is validated: LR (T, 3, h, w) and HR."""
        scale, length = self._crops.scale, min(self._training.clip_length, clip.frames)
        first = (clip.frames - length) // 2
        sides = clip.attributes.height, clip.attributes.width
        height, width = (min(side, _VALIDATION_SIDE) for side in sides)
        top, left = (sides[0] - height) // 2, (sides[1] - width) // 2

        def cut(store: Store, scale: int) -> Tensor:
            frames = (store.frame(clip.name, t) for t in range(first, first + length))
            rows, columns = slice(top * scale, (top + height) * scale), slice(left * scale, (left + width) * scale)
            return to_tensor(np.stack([frame[rows, columns] for frame in frames]))

        return cut(self._lr, 1), cut(self._hr, scale)


def _luma_psnr(restored: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """Mean over the frames of a clip, in dB."""
    return float(np.mean([psnr(luma(ours), luma(theirs)) for ours, theirs in zip(restored, truth, strict=True)]))


def restoration_task(
    network: str, options: Mapping[str, Any], training: Training, hr: Path, lr: Path, start: Path | None = None
) -> Restoration:
    """The task from what params.yaml says.

    Args:
        network, options: for `models.create`; the first weights derive from the recipe's seed.
        start: a flow network saved by `models.save`, whose weights the network's own one begins with.

    Raises:
        VSRError: as `Restoration`; or the start is of another network than the method's flow network.
    """
    torch.manual_seed(training.seed)
    created = networks.create(network, **options)
    if training.initial == "near_base":
        stay_near_the_base(created)
    if start is not None:
        flow = getattr(created, "spynet", None)
        if flow is None:
            raise VSRError(f"{network} has no flow network to start from {start}: leave the start out.")
        try:
            flow.load_state_dict(networks.load(start).state_dict())
        except (RuntimeError, ValueError) as error:
            raise VSRError(
                f"{start} does not hold the flow network of {network}: {' '.join(str(error).split())[:200]}"
            ) from error
    return Restoration(created, training, Store(hr), Store(lr))

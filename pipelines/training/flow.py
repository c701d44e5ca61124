"""Pre-training of a flow network on exact flow.

Flow networks inside VSR methods start from weights trained on rendered scenes (SPyNet: Ranjan and
Black, CVPR 2017, on Flying Chairs and Sintel). Here the scenes are a corpus that carries its own exact flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.spynet import SPyNet
from pipelines import networks
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.params import Schedule
from pipelines.training.crops import FLOW_SCALE, Batch, FlowCrops, flow_clips, flow_pair, reduce, to_tensor
from pipelines.training.initial import mind_changes
from pipelines.training.loop import Group, Images, Metrics, mean_over_ranks
from pipelines.training.losses import endpoint_error

HIDDEN_WEIGHT = 0.1
"""What a pixel counts that the other frame does not show: nothing there can be matched, but the
motion around it is the better guess."""

_VALIDATION_PAIRS = 3


class FlowTask:
    """A flow network learning the exact flow of a corpus; see `pipelines.training.loop.Task`.

    Args:
        network: called with ref and supp, (N, 3, H, W) each, gives (N, 2, H, W) in pixels.
        schedule: its `crop` is the side that the network sees; `clip_length` is 2.
        hr, truth: as `FlowCrops`.

    Raises:
        VSRError: the corpus has no exact flow, its clips do not fit the schedule, or `clip_length` is not 2.
    """

    ema: float | None = None

    def __init__(self, network: nn.Module, schedule: Schedule, hr: Store, truth: Store) -> None:
        if schedule.clip_length != 2:
            raise VSRError(f"flow is between 2 frames: set `clip_length`, {schedule.clip_length} now, to 2.")
        self.network = network
        self._crops = FlowCrops(hr, truth, split="train", crop=schedule.crop, seed=schedule.seed)
        self._hr, self._truth = hr, truth
        self._validation = flow_clips(hr, truth, "validation")

    def groups(self) -> list[Group]:
        return [Group(list(self.network.parameters()))]

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        return self._crops.batch(step, indices)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        ref, supp, flow, visible = (batch[name] for name in ("ref", "supp", "flow", "visible"))
        weight = HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * visible
        # Ranks see more or less of what is visible, and the mean over all of it is what is learnt from.
        counted = weight.sum()
        return endpoint_error(network(ref, supp).float(), flow, weight) * (counted / mean_over_ranks(counted))

    def validate(self, network: nn.Module, device: torch.device, step: int) -> tuple[Metrics, Images]:
        """`epe`, the endpoint error of visible pixels in pixels of frames reduced by `FLOW_SCALE`, and
        `epe_zero`, that of no motion at all."""
        errors, zeros = [], []
        for clip in self._validation:
            firsts = np.linspace(0, clip.frames - 2, min(_VALIDATION_PAIRS, clip.frames - 1)).astype(int)
            pairs = [self._small(clip.name, int(first), forward) for first in firsts for forward in (True, False)]
            ref, supp, flow, visible = (torch.stack(parts).to(device) for parts in zip(*pairs, strict=True))
            errors.append(endpoint_error(network(ref, supp), flow, visible).item())
            zeros.append(endpoint_error(torch.zeros_like(flow), flow, visible).item())
        return {"epe": float(np.mean(errors)), "epe_zero": float(np.mean(zeros))}, {}

    def _small(self, clip: str, first: int, forward: bool) -> list[Tensor]:
        pair = flow_pair(self._hr, self._truth, clip, first, forward)
        ref, supp, flow, visible = (reduce(to_tensor(part), FLOW_SCALE) for part in pair)
        return [ref, supp, flow / FLOW_SCALE, visible]


def flow_task(network: str, options: Mapping[str, Any], schedule: Schedule, hr: Path, truth: Path) -> FlowTask:
    """The task from what params.yaml says; the network's first weights derive from the schedule's seed.

    Raises:
        VSRError: as `FlowTask`, or the network is no flow network.
    """
    torch.manual_seed(schedule.seed)
    created = networks.create(network, **options)
    if not isinstance(created, SPyNet):
        raise VSRError(f"{network} is not a flow network: start from spynet.")
    mind_changes(created)
    return FlowTask(created, schedule, Store(hr), Store(truth))

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
from pipelines.clips.levels import to_tensor
from pipelines.clips.store import Clip, Store
from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics
from pipelines.params import Schedule
from pipelines.training.crops import CPU, FLOW_SCALE, Batch, FlowCrops, flow_clips, flow_pair, reduce, to_device
from pipelines.training.initial import mind_changes
from pipelines.training.learners import Learner
from pipelines.training.loop import mean_over_ranks
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

    def __init__(self, network: nn.Module, schedule: Schedule, hr: Store, truth: Store) -> None:
        if schedule.clip_length != 2:
            raise VSRError(f"flow is between 2 frames: set `clip_length`, {schedule.clip_length} now, to 2.")
        self.network = network
        self.learners = [Learner("flow", network, schedule)]
        self.frozen: dict[str, str] = {}
        self._crops = FlowCrops(hr, truth, split="train", crop=schedule.crop, seed=schedule.seed)
        self._hr, self._truth = hr, truth
        self.views = flow_clips(hr, truth, "validation")

    def batch(self, step: int, indices: Iterable[int], device: torch.device = CPU) -> Batch:
        return to_device(self._crops.batch(step, indices), device)

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        ref, supp, flow, visible = (batch[name] for name in ("ref", "supp", "flow", "visible"))
        weight = HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * visible
        # Ranks see more or less of what is visible, and the mean over all of it is what is learnt from.
        counted = weight.sum()
        error = endpoint_error(self.network(ref, supp).float(), flow, weight)
        return {"epe": error * (counted / mean_over_ranks(counted))}

    def validate(self, network: nn.Module, view: Clip, device: torch.device) -> Metrics:
        """`epe`, the endpoint error of visible pixels in pixels of frames reduced by `FLOW_SCALE`, and
        `epe_zero`, that of no motion at all; the mean over some pairs of frames of a clip."""
        firsts = np.linspace(0, view.frames - 2, min(_VALIDATION_PAIRS, view.frames - 1)).astype(int)
        pairs = [self._small(view.name, int(first), forward) for first in firsts for forward in (True, False)]
        ref, supp, flow, visible = (torch.stack(parts).to(device) for parts in zip(*pairs, strict=True))
        return {
            "epe": endpoint_error(network(ref, supp), flow, visible).item(),
            "epe_zero": endpoint_error(torch.zeros_like(flow), flow, visible).item(),
        }

    def summary(self, found: list[Metrics], step: int) -> tuple[Metrics, Images]:
        """The means over clips."""
        return {name: float(np.mean([each[name] for each in found])) for name in found[0]}, {}

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

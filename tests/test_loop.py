"""The training loop: what ranks learn from together, and what it tells of samples that run away."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
from moving import training
from torch import Tensor, nn

from models.parts.deform import GuidedDeformConv
from pipelines.clips.store import Store
from pipelines.monitoring import Metrics
from pipelines.monitoring.progress import TrainingLog
from pipelines.training import loop
from pipelines.training.crops import Batch
from pipelines.training.flow import HIDDEN_WEIGHT, FlowTask
from pipelines.training.restoration import restoration_task


class Scaled(nn.Module):
    """Flow of one parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

    def forward(self, ref: Tensor, supp: Tensor) -> Tensor:
        return self.factor * ref[:, :2]


def pairs() -> Batch:
    """Four pairs, of which the first two are all but hidden."""
    generator = torch.Generator().manual_seed(0)
    ref, supp = torch.rand(2, 4, 3, 6, 5, generator=generator, dtype=torch.float64)
    flow = torch.randn(4, 2, 6, 5, generator=generator)
    visible = torch.rand(4, 1, 6, 5, generator=generator) < torch.tensor([0.05, 0.1, 0.9, 1.0]).view(4, 1, 1, 1)
    return {"ref": ref, "supp": supp, "flow": flow, "visible": visible.float()}


def slope(batch: Batch) -> Tensor:
    network = Scaled()
    task = object.__new__(FlowTask)
    task.network = network
    task.loss("flow", batch)["epe"].backward()
    assert network.factor.grad is not None
    return network.factor.grad


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(slope({name: part[2 * rank : 2 * rank + 2] for name, part in pairs().items()}), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_flow_is_learnt_from_all_that_is_visible_on_any_rank(tmp_path: Path) -> None:
    """The mean of the ranks' gradients is that of the weighted mean over the whole batch."""
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(rank, tmp_path)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    ref, _, flow, visible = pairs().values()
    factor = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    weight = HIDDEN_WEIGHT + (1 - HIDDEN_WEIGHT) * visible[:, 0]
    length = ((factor * ref[:, :2] - flow) ** 2).sum(1).add(1e-6).sqrt()
    ((length * weight).sum() / weight.sum()).backward()
    assert factor.grad is not None
    assert torch.allclose((first + second) / 2, factor.grad, rtol=1e-5)
    assert not torch.allclose(first, second, rtol=1e-2)


def test_offsets_are_measured_in_pixels() -> None:
    conv = GuidedDeformConv(4, 2).train()
    conv.conv_offset.bias.data[:36] = torch.tensor([-3.0, 1.0] * 18)  # 2 coordinates of 9 samples of 2 groups
    conv(torch.rand(1, 4, 5, 5), torch.rand(1, 4, 5, 5))
    assert conv.moved is not None and conv.moved.item() == pytest.approx(2.0)


def test_samples_that_run_away_are_told_once(hr: Store, lr: Store) -> None:
    recipe = training(iterations=3, clip_length=5, ema=None, groups=())
    options = {"channels": 4, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2, "upsample_channels": 4}
    task = restoration_task("edvr_m", options, recipe, hr.path, lr.path)
    for conv in task.network.modules():
        if isinstance(conv, GuidedDeformConv):
            nn.init.constant_(conv.conv_offset.bias, 80.0)  # type: ignore[arg-type]
            break
    seen: list[Metrics] = []
    said: list[str] = []
    progress = TrainingLog(recipe.iterations, said.append)

    def log(step: int, metrics: Metrics) -> None:
        seen.append(metrics)
        progress.log(step, metrics)

    loop.fit(task, recipe, on_log=log)
    assert all(metrics["offset"] > 60 for metrics in seen)
    warnings = [line for line in said if line.startswith("warning")]
    assert len(warnings) == 1 and "pixels away" in warnings[0] and "lower `rate`" in warnings[0]

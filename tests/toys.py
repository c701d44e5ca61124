"""Toy tasks of several kinds, small enough to be trained many times: an adversarial one and one with an inner loop."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from moving import schedule
from torch import Tensor, nn
from torch.func import functional_call

from pipelines.monitoring import Images, Metrics
from pipelines.params import Schedule
from pipelines.training.crops import Batch
from pipelines.training.learners import Group, Learner


def recipe(**changes: object) -> Schedule:
    return schedule(**{"iterations": 8, "batch": 4, "rate": 0.02, "final_rate": 0.01, "ema": 0.7, **changes})


@dataclass
class Toy:
    """What toys share: numbers to learn from, and being killed once, before the checkpoint of a step."""

    folder: Path
    kill_at: int | None = None
    frozen: dict[str, str] = field(default_factory=dict)
    views: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        raise NotImplementedError  # makes the networks and learners

    def batch(self, step: int, indices: Iterable[int], device: torch.device) -> Batch:
        draws = [np.random.default_rng([step, index]).normal(size=8) for index in indices]
        return {"x": torch.tensor(np.stack(draws), dtype=torch.float32, device=device)}

    def validate(self, network: nn.Module, view: int, device: torch.device) -> float:
        return view + float(sum(parameter.sum() for parameter in network.parameters()))

    def summary(self, found: list[float], step: int) -> tuple[Metrics, Images]:
        if step == self.kill_at and not (self.folder / "killed").exists():
            (self.folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return {"sum": float(np.mean(found))}, {}


class Gan(Toy):
    """A generator that bends numbers and a discriminator with spectral norms that tells them from squared ones, each with an
    optimiser and a rate of its own. The discriminator's first layer thaws at step 3."""

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
        normed = torch.nn.utils.parametrizations.spectral_norm
        self.discriminator = nn.Sequential(normed(nn.Linear(8, 4)), nn.LeakyReLU(0.2), nn.Linear(4, 1))
        first, *others = list(self.discriminator.parameters())
        self.learners = [
            Learner("generator", self.generator, recipe()),
            Learner(
                "discriminator",
                self.discriminator,
                recipe(ema=None, rate=0.05, optimiser={"kind": "adamw", "betas": [0.5, 0.9], "decay": 0.01}),
                [Group(others), Group([first], 0.5, 3)],
            ),
        ]

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        if learner == "discriminator":
            real, made = self.discriminator(batch["x"].square()), self.discriminator(batch["made"])
            return {"real": (1 - real).relu().mean(), "made": (1 + made).relu().mean()}
        made = self.generator(batch["x"])
        batch["made"] = made.detach()
        return {"near": 0.1 * (made - batch["x"].square()).abs().mean(), "adversarial": -self.discriminator(made).mean()}


class Inner(Toy):
    """A network that is trained to be good after one step of gradient descent of its own (Finn et al., "Model-Agnostic
    Meta-Learning", ICML 2017, Eq. 1, by second derivatives), and draws noise as it does."""

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
        self.learners = [Learner("meta", self.network, recipe(clip_gradients=1.0))]

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        x, target = batch["x"], batch["x"].cumsum(1)
        weights = dict(self.network.named_parameters())
        inner = (functional_call(self.network, weights, (x[:, :],)) - target).square().mean()
        gradients = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
        adapted = {name: weight - 0.1 * gradient for (name, weight), gradient in zip(weights.items(), gradients, strict=True)}
        query = x + 0.1 * torch.randn_like(x)
        return {"query": (functional_call(self.network, adapted, (query,)) - query.cumsum(1)).square().mean()}


TOYS = {"gan": Gan, "inner": Inner}


def make(name: str, folder: Path, kill_at: int | None = None) -> Toy:
    return TOYS[name](folder, kill_at)

"""Networks that learn: their parameters, optimiser and average."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from models.parts.deform import GuidedDeformConv
from pipelines.errors import VSRError
from pipelines.monitoring import Metrics
from pipelines.params import Learning, Schedule
from pipelines.training.schedules import rate


@dataclass(frozen=True)
class Group:
    """Parameters that learn at `factor` times the rate, once `frozen` steps are over."""

    parameters: list[nn.Parameter]
    factor: float = 1.0
    frozen: int = 0


class Learner:
    """One network of a training.

    Args:
        name: what it is called in states and curves.
        network: what learns.
        learning: how.
        groups: its parameters, each in one group; by default all in one. Those in none never learn.
        backbones: modules of it, by name, that were loaded from files and never learn. They are neither averaged nor
            written to states.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        learning: Learning,
        groups: list[Group] | None = None,
        backbones: Iterable[str] = (),
    ) -> None:
        self.name, self.network, self.learning = name, network, learning
        self._backbones = [f"{backbone}." for backbone in backbones]
        own = [parameter for key, parameter in network.named_parameters() if not self._is_frozen(key)]
        self.groups = [Group(own)] if groups is None else groups
        self._unbounded = [module for module in network.modules() if isinstance(module, GuidedDeformConv)]

    def begin(self, schedule: Schedule, device: torch.device) -> None:
        """Get ready for the first step."""
        self.network.to(device)
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.learning.optimiser.kind]
        how = {"betas": self.learning.optimiser.betas, "weight_decay": self.learning.optimiser.decay}
        self._optimiser = kind([{"params": group.parameters} for group in self.groups], **how)
        self._scaler = torch.amp.GradScaler(device.type, enabled=schedule.precision == "float16")
        self._average = None if self.learning.ema is None else self._copy()
        self._iterations = schedule.iterations

    @property
    def final(self) -> nn.Module:
        """The network that is validated and left in the end: the averaged one if there is one."""
        return self.network if self._average is None else self._average

    def thaws(self, step: int) -> bool:
        """Whether parameters begin to learn at this step."""
        return any(group.frozen == step for group in self.groups)

    def take_turn(self, step: int) -> None:
        """Let the parameters that learn at this step have gradients."""
        for group in self.groups:
            for parameter in group.parameters:
                parameter.requires_grad_(step >= group.frozen)
        self.network.train()
        for backbone in self._backbones:
            self.network.get_submodule(backbone[:-1]).eval()

    def rest(self) -> None:
        """Let no parameter have a gradient: another learner's loss looks at the network."""
        self.network.requires_grad_(False)

    def update(self, terms: dict[str, Tensor], step: int) -> Metrics:
        """Make the sum of the terms smaller by one step.

        Returns:
            The `loss` and its terms where there are several, the `rate`, the norm of the `gradient` and, for networks with
            deformable convolutions whose samples may go anywhere, the largest mean `offset` of one in pixels.

        Raises:
            VSRError: the loss or its gradient is not finite.
        """
        loss = torch.stack(list(terms.values())).sum() if len(terms) > 1 else next(iter(terms.values()))
        for group, options in zip(self.groups, self._optimiser.param_groups, strict=True):
            options["lr"] = rate(self.learning, self._iterations, step, group.factor)
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        parameters = [parameter for group in self.groups for parameter in group.parameters]
        norm = nn.utils.clip_grad_norm_(parameters, self.learning.clip_gradients or float("inf"))
        self._check(loss, norm, step)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._follow()
        metrics = {"loss": loss.item(), "rate": rate(self.learning, self._iterations, step), "gradient": norm.item()}
        if len(terms) > 1:
            metrics |= {f"loss/{name}": term.item() for name, term in terms.items()}
        moved = [conv.moved for conv in self._unbounded if conv.moved is not None]
        return metrics | ({"offset": torch.stack(moved).max().item()} if moved else {})

    def state(self) -> dict[str, Any]:
        """`network`, `optimiser`, `average` and `scaler`: state dicts without backbones, or None for what there is not."""
        return {
            "network": self._own(self.network),
            "optimiser": self._optimiser.state_dict(),
            "average": None if self._average is None else self._own(self._average),
            "scaler": self._scaler.state_dict() if self._scaler.is_enabled() else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state.

        Raises:
            VSRError: it is of another network or recipe.
        """
        for key, wanted, found in (
            ("ema", self._average is not None, state["average"] is not None),
            ("precision", self._scaler.is_enabled(), state["scaler"] is not None),
        ):
            if wanted != found:
                raise VSRError(f"the training state and the recipe disagree on `{key}`: remove the state to start over.")
        try:
            self._put(self.network, state["network"])
            self._optimiser.load_state_dict(state["optimiser"])
            if self._average is not None:
                self._put(self._average, state["average"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise VSRError("the training state is of another network: remove it to start over.") from error
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(state["scaler"])

    def _check(self, loss: Tensor, norm: Tensor, step: int) -> None:
        # The norm is the same on every rank, so all stop together; a loss that is infinite on one rank alone stops the others through
        # Ray. Differences whose squares overflow have a loss without an end and a gradient of 0.
        # With scaled losses an overflow is no fault: the step is left out and the next scale is half as large.
        if torch.isfinite(norm) and torch.isfinite(loss) or self._scaler.get_scale() > 1:
            return
        raise VSRError(
            f"the loss is {loss.item():g} and its gradient {norm.item():g} at step {step} with the rate "
            f"{rate(self.learning, self._iterations, step):g}: lower `rate` or set `clip_gradients`."
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Bring the average one step nearer to the network; buffers are the network's."""
        if self._average is None or self.learning.ema is None:
            return
        ours, theirs = (
            [parameter for key, parameter in network.named_parameters() if not self._is_frozen(key)]
            for network in (self._average, self.network)
        )
        get_ema_multi_avg_fn(self.learning.ema)(ours, theirs, None)
        for mine, other in zip(self._average.buffers(), self.network.buffers(), strict=True):
            mine.copy_(other)

    def _copy(self) -> nn.Module:
        """The network once more, its backbones shared."""
        shared = [self.network.get_submodule(backbone[:-1]) for backbone in self._backbones]
        return copy.deepcopy(self.network, {id(module): module for module in shared}).requires_grad_(False)

    def _is_frozen(self, key: str) -> bool:
        return any(key.startswith(backbone) for backbone in self._backbones)

    def _own(self, network: nn.Module) -> dict[str, Tensor]:
        return {key: value for key, value in network.state_dict().items() if not self._is_frozen(key)}

    def _put(self, network: nn.Module, state: dict[str, Tensor]) -> None:
        frozen = {key: value for key, value in network.state_dict().items() if self._is_frozen(key)}
        network.load_state_dict({**state, **frozen})

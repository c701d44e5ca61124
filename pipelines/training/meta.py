"""Meta-transfer learning: weights that a few steps of gradient descent adapt to a clip.

Source: Gupta et al., "Ada-VSR: Adaptive Video Super-Resolution with Meta-Learning", ACM MM 2021, Sec. 3.1, Eqs. 3 to 9: what is read of the two
that contradict each other is the equations, with one rate for both modules in the inner loop, and of the tasks that the two loops see
Algorithm 1, where weights are tested on the task that they were adapted to.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from models import Network
from models.parts.blocks import full_precision
from pipelines.degradations.draw import frames_for
from pipelines.errors import VSRError
from pipelines.params import Training
from pipelines.training.crops import Batch
from pipelines.training.objective import RESTORED
from pipelines.training.restoration import Restoration
from pipelines.training.sources import Source

Weights = dict[str, Tensor]


class MetaTransfer(Restoration):
    """A network learning to be adapted: the losses are those of weights that have learnt from the LR clip.

    Args:
        network, training, source: as `Restoration`; the recipe has `meta`, and the source is `Tasks`.

    Raises:
        VSRError: as `Restoration`, or the LR clips leave too few frames to be adapted to.
    """

    def __init__(self, network: Network, training: Training, source: Source) -> None:
        super().__init__(network, training, source)
        least = frames_for(training.degradation or [], network.min_frames)
        if training.clip_length < least:
            raise VSRError(
                f"meta-learning leaves out frames of the LR clips once more, and the network takes at least {network.min_frames}: raise "
                f"`clip_length` from {training.clip_length} to {least}."
            )

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        places = dict.fromkeys(name.partition(".")[0] for name in batch)
        found = [self._of_task({name: batch[f"{place}.{name}"][None] for name in _names(batch, place)}) for place in places]
        return {name: torch.stack([terms[name] for terms in found]).mean() for name in found[0]}

    def _of_task(self, task: Batch) -> dict[str, Tensor]:
        """The losses of a task, each (1, ...), with the weights that its LR clip adapts."""
        learns = Learns(self.network)
        outputs = functional_call(learns, self.adapted(learns, task), (task["lr"],))
        return self.terms({name: output.float() for name, output in outputs.items()}, task, task["hr"])

    def adapted(self, learns: Learns, task: Batch) -> Weights:
        """The weights after the inner loop (Eqs. 5, 6)."""
        meta = self.training.meta
        assert meta is not None
        weights: Weights = {name: weight for name, weight in learns.named_parameters() if weight.requires_grad}
        with full_precision(task["lr"].device):
            for _ in range(meta.steps):
                loss = inner_loss(functional_call(learns, weights, (task["inner_lr"],)), task)
                found = torch.autograd.grad(loss, list(weights.values()), create_graph=meta.order == 2, allow_unused=True)
                weights = {
                    name: weight if gradient is None else weight - meta.rate * gradient
                    for (name, weight), gradient in zip(weights.items(), found, strict=True)
                }
        return weights


class Learns(nn.Module):
    """`Network.learn` as a call, which takes other weights."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        return self.network.learn(clip)


def inner_loss(outputs: dict[str, Tensor], task: Batch) -> Tensor:
    """The mean absolute difference of what is made of the LR clip's own reduction to that clip and, where the network gives frames
    `between`, to all frames of the reduction (Eqs. 3, 4)."""
    first, count = int(task["inner_first"]), outputs[RESTORED].shape[1]
    wanted = {RESTORED: task["lr"], "between": task["inner"]}
    losses = [F.l1_loss(outputs[name], clip[:, first : first + count]) for name, clip in wanted.items() if name in outputs]
    return torch.stack(losses).sum()


def _names(batch: Batch, place: str) -> list[str]:
    return [name.partition(".")[2] for name in batch if name.partition(".")[0] == place]

"""The losses of a recipe, ready to be computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from models import Network
from pipelines import params, weights
from pipelines.errors import VSRError, unknown
from pipelines.training import losses

RESTORED = "restored"
"""What `Network.learn` calls the restored frames."""


@dataclass(frozen=True)
class Term:
    """A weighted loss of one of the outputs of `Network.learn`; without `loss` the output is the loss itself. `summed` says
    that it grows with the batch."""

    name: str
    weight: float
    of: str
    loss: Callable[[Tensor, Tensor], Tensor] | None
    summed: bool = False

    def value(self, outputs: dict[str, Tensor], truth: Tensor, middle: Tensor) -> Tensor:
        """The weighted loss.

        Args:
            outputs: of `Network.learn`, float32.
            truth: HR clips (N, T, 3, H, W).
            middle: what of them a network with a window restores, (N, 3, H, W), else all.

        Raises:
            VSRError: the network gives no such output.
        """
        if self.of not in outputs:
            raise unknown("output of the network, for its losses,", self.of, outputs)
        output = outputs[self.of]
        if self.loss is None:
            return self.weight * output
        wanted = truth if output.dim() == truth.dim() else middle
        return self.weight * self.loss(output, reduced(wanted, output))


def reduced(truth: Tensor, like: Tensor) -> Tensor:
    """Frames (..., H, W) in the size of others, which are not larger, by means over areas."""
    if truth.shape[-2:] == like.shape[-2:]:
        return truth
    height, width = like.shape[-2:]
    small = F.adaptive_avg_pool2d(truth.flatten(0, -4), (height, width))
    return small.unflatten(0, truth.shape[:-3])


def terms(chosen: Iterable[params.Loss], network: Network) -> list[Term]:
    """The losses of a recipe but the adversarial one, which has a learner of its own.

    Raises:
        VSRError: one does not fit the network, or parameters that it needs are not there.
    """
    found: list[Term] = []
    for loss in chosen:
        if isinstance(loss, params.Adversarial):
            continue
        if isinstance(loss, params.FrameDifference) and network.window is not None:
            raise VSRError("the network restores one frame, and frame_difference compares neighbouring ones: leave it out.")
        of = loss.of or RESTORED
        name = loss.kind if of == RESTORED else of if isinstance(loss, params.Own) else f"{loss.kind}_{of}"
        if any(term.name == name for term in found):
            raise VSRError(f"the loss {name} stands twice in `losses`: leave one of them out.")
        found.append(Term(name, loss.weight, of, _function(loss), getattr(loss, "reduction", "mean") == "sum"))
    return found


def backbones(chosen: Iterable[params.Loss]) -> dict[str, str]:
    """The sha256 of the networks that losses look through and that do not learn, by the name of their weights.

    Raises:
        VSRError: one is neither here nor can be downloaded.
    """
    names = {loss.weights for loss in chosen if isinstance(loss, params.Perceptual)}
    return {name: weights.digest(weights.resolve(name)) for name in sorted(names)}


def _function(loss: params.Loss) -> Callable[[Tensor, Tensor], Tensor] | None:
    match loss:
        case params.Charbonnier():
            return lambda restored, truth: losses.charbonnier(restored, truth, loss.reduction)
        case params.Huber():
            return lambda restored, truth: F.huber_loss(restored, truth, delta=loss.delta)
        case params.Perceptual():
            return losses.Perceptual(loss.weights, weights.resolve(loss.weights), loss.layers)
        case params.L1():
            return F.l1_loss
        case params.Mse():
            return F.mse_loss
        case params.Fft():
            return losses.fft
        case params.FrameDifference():
            return lambda restored, truth: losses.frame_difference(restored, truth, loss.squared)
    return None

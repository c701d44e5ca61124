"""Noise of diffusion models: how much of it there is at every time, and how it is taken away.

A noisy latent is `alpha x + sigma noise` with `alpha² + sigma² = 1` (Song et al., "Score-Based Generative Modeling through Stochastic
Differential Equations", ICLR 2021, the variance-preserving process).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 1000
"""Times of a training, from the least noise to the most."""


@dataclass(frozen=True)
class Schedule:
    """`sigma` of every time, (LEVELS,) float64, rising; `alpha` is what it leaves of the signal."""

    sigma: Tensor

    @property
    def alpha(self) -> Tensor:
        return (1 - self.sigma.square()).sqrt()

    def at(self, times: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """`alpha` and `sigma` at times (N,), of the type of `like`, (N, …), and ready to be multiplied with it."""
        shape = (-1, *(1,) * (like.dim() - 1))
        places = times.cpu()
        return tuple(part[places].to(like).view(shape) for part in (self.alpha, self.sigma))  # type: ignore[return-value]


def scaled_linear(first: float = 0.00085, last: float = 0.012) -> Schedule:
    """The roots of the variances that are added rise evenly: Stable Diffusion's (Rombach et al., CVPR 2022)."""
    added = torch.linspace(first**0.5, last**0.5, LEVELS, dtype=torch.float64, device="cpu").square()
    return Schedule((1 - (1 - added).cumprod(0)).sqrt())


def shifted_cosine(bound: float = 15, least: float = 2, most: float = 4) -> Schedule:
    """The logarithm of the ratio of signal to noise falls from `bound` to `-bound` along a cosine, lowered as for images `least`
    (without noise) to `most` times (all noise) as large as 64 pixels; the last time has no signal.

    Hoogeboom et al., "simple diffusion", ICML 2023, Sec. 3.1 and 3.2, with the bounds of STAR (arXiv:2501.02976), and its terminal
    ratio of zero by stretching sigma to 1.
    """
    clean = torch.linspace(1, 0, LEVELS, dtype=torch.float64, device="cpu")
    steep, flat = math.atan(math.exp(bound / 2)), math.atan(math.exp(-bound / 2))
    ratio = -2 * torch.log(torch.tan(steep + clean * (flat - steep)))
    ratio = ratio - 2 * (clean * math.log(least) + (1 - clean) * math.log(most))
    sigma = torch.sigmoid(-ratio).sqrt()
    return Schedule(sigma[0] + (sigma - sigma[0]) * (1 - sigma[0]) / (sigma[-1] - sigma[0]))


def steps(count: int, first: int = LEVELS - 1) -> Iterator[tuple[int, int | None]]:
    """The times of a sampling, evenly from `first` down to 0, each with the one that follows it; None follows the last."""
    times = torch.linspace(first, 0, count, dtype=torch.float64, device="cpu").round().int().tolist()
    return zip(times, [*times[1:], None], strict=True)


def posterior(schedule: Schedule, time: int, following: int | None, noisy: Tensor, clean: Tensor) -> tuple[Tensor, float]:
    """What a latent is at the following time, given what it is now and without noise: mean and variance of a Gaussian.

    Ho et al., "Denoising Diffusion Probabilistic Models", NeurIPS 2020, Eq. 6 and 7. It is also the step of first order of
    SDE-DPM-Solver++ (Lu et al., arXiv:2211.01095).

    Args:
        schedule: how much noise there is.
        time, following: of `steps`; at None there is no noise.
        noisy, clean: of one shape.
    """
    alpha, sigma = float(schedule.alpha[time]), float(schedule.sigma[time])
    if following is None:
        return clean, 0.0
    after, left = float(schedule.alpha[following]), float(schedule.sigma[following])
    kept = alpha / after  # of the signal, by the step from the following time to this one
    added = sigma**2 - (kept * left) ** 2
    mean = (kept * left**2 / sigma**2) * noisy + (after * added / sigma**2) * clean
    return mean, added * left**2 / sigma**2


def draw(shape: tuple[int, ...], like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of the type and on the device of `like`, which are the same on every device."""
    if like.device.type == "meta":
        return like.new_empty(shape)
    return torch.randn(shape, generator=generator).to(like)


class TwoSteps:
    """Clean latents as DPM-Solver++(2M) (Lu et al., arXiv:2211.01095, Algorithm 2) has them: the line through those of this and of
    the step before, where `posterior` takes the present one."""

    def __init__(self, schedule: Schedule) -> None:
        self._ratio = torch.log(schedule.alpha / schedule.sigma)
        self._before: tuple[float, Tensor] | None = None

    def __call__(self, time: int, following: int | None, clean: Tensor) -> Tensor:
        """The clean latent to step with, from `time` to `following`."""
        if following is None:
            return clean
        step = float(self._ratio[following] - self._ratio[time])
        before, self._before = self._before, (step, clean)
        if before is None:
            return clean
        ahead = step / (2 * before[0])
        return (1 + ahead) * clean - ahead * before[1]

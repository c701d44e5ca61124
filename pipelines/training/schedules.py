"""Rates as closed forms of the step, so that a resumed run needs no state for them."""

from __future__ import annotations

import math

from pipelines.params import Learning


def rate(learning: Learning, iterations: int, step: int, factor: float = 1.0) -> float:
    """The learning rate at a step of `iterations`, of what learns at `factor` times the rate.

    One cosine over all steps, or one for each of `learning.periods`: its first step has the weighted rate,
    as BasicSR's `CosineAnnealingRestartLR` has it one step later.

    Loshchilov and Hutter, "SGDR", ICLR 2017, Eq. 5; the weights are BasicSR's, of what is above the final rate.
    """
    highest, final = learning.rate * factor, learning.final_rate
    begin = 0
    for period in learning.periods or ():
        if step < begin + period.iterations:
            return final + period.weight * (cosine(step - begin, period.iterations, highest, final) - final)
        begin += period.iterations
    return cosine(step, iterations, highest, final)


def cosine(step: int, iterations: int, rate: float, final_rate: float) -> float:
    """One half period of a cosine from `rate` at step 0 to `final_rate` at step `iterations`."""
    return final_rate + 0.5 * (rate - final_rate) * (1 + math.cos(math.pi * step / iterations))

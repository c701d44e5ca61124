"""Rates as closed forms of the step, so that a resumed run needs no state for them."""

from __future__ import annotations

import math


def cosine(step: int, iterations: int, rate: float, final_rate: float) -> float:
    """One half period of a cosine from `rate` at step 0 to `final_rate` at step `iterations`.

    Loshchilov and Hutter, "SGDR", ICLR 2017, Eq. 5 without restarts.
    """
    return final_rate + 0.5 * (rate - final_rate) * (1 + math.cos(math.pi * step / iterations))

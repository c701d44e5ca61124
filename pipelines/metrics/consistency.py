"""Consistency: whether restored frames, degraded again as LR was made, give LR.

What a method invents and LR does not bear out shows here, however good it looks. A truth that is degraded again gives LR to the
bit, noise and coding included, for what was drawn for a clip stands in its manifest.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from pipelines.degradations import recipes
from pipelines.metrics.fidelity import PSNR_CAP, psnr
from pipelines.metrics.framewise import Framewise
from pipelines.metrics.metric import Metric


def unlike(parameters: Mapping[str, Any]) -> str | None:
    """Why restored frames cannot be degraded as an LR clip was, as the end of a sentence, or None if they can.

    Args:
        parameters: of the LR clip, from its manifest.
    """
    if "steps" not in parameters:
        return "needs LR clips that a recipe made, and these came with their corpus"
    if parameters["time"]["factor"] != 1:
        return "needs a recipe that keeps all frames"
    return None


def again(parameters: Mapping[str, Any], restored: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Restored frames, (H, W, 3) uint8 RGB, degraded by what was drawn for their LR clip: (h, w, 3) uint8 RGB."""
    # What coders measure is written into the entries.
    return recipes.remake(copy.deepcopy(dict(parameters)), restored)


def invented(degraded: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """How far a restored frame, degraded again, is from its LR frame: (h, w, 3) uint8, in every channel the mean absolute
    difference of the three in 8-bit levels."""
    difference = np.abs(degraded.astype(np.float64) - lr).mean(-1, keepdims=True)
    return np.rint(difference).astype(np.uint8).repeat(3, -1)


METRICS = (
    Metric(
        name="consistency",
        label="consistency",
        unit="dB",
        decimals=2,
        higher_is_better=True,
        low=0.0,
        high=PSNR_CAP,
        channel="rgb",
        reference=False,
        licence="Apache-2.0",
        source="PSNR of restored frames degraded again by what was drawn for their clip, against the LR frames; those that are equal count as 100 dB",
        build=lambda device: Framewise(psnr),
        degraded=True,
    ),
)

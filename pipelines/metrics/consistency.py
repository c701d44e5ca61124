"""Consistency: whether restored frames, degraded again as LR was made, give LR.

What a method invents and LR does not bear out shows here, however good it looks. A truth that is degraded again gives LR to the
bit, noise and coding included, for what was drawn for a clip stands in its manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

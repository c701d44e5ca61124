"""EDVR-M: a frame restored from a window around it, aligned by deformable convolutions; see `models.parts.edvr`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts import edvr
from models.parts.registry import register
from models.parts.weights import basicsr, measured, openmmlab

SOURCE = "mmagic, configs/edvr/README.md"

WEIGHTS = {
    # Of the paper's authors.
    "edvr_m_reds4": basicsr(
        "1dd6aFj-5w2v08VJTq5mS9OFsD-wALYD6",
        "EDVR_M_x4_SR_REDS_official-32075921.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(30.53, 0.8699)),
    ),
    "edvr_m_reds4_without_tsa": basicsr(
        "1C_WdN-NyNj-P7SOB5xIVuHl4EBOwd-Ny",
        "EDVR_M_woTSA_x4_SR_REDS_official-1edf645c.pth",
        trained_on="reds/bi_x4",
        options={"tsa": False},
        differs="the network has no TSA",
    ),
    # Trained again.
    "edvr_m_reds4_mmagic": openmmlab(
        "edvr",
        "edvrm_x4_8x4_600k_reds_20210625-e29b71b5.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(30.4194, 0.8684)),
        source=SOURCE,
    ),
    "edvr_m_reds4_without_tsa_mmagic": openmmlab(
        "edvr",
        "edvrm_wotsa_x4_8x4_600k_reds_20200522-0570e567.pth",
        trained_on="reds/bi_x4",
        options={"tsa": False},
        differs="the network has no TSA",
        reported=measured(reds4__bi_x4=(30.3430, 0.8664)),
        source=SOURCE,
    ),
}


@register("edvr_m")
class EDVRM(edvr.EDVR):
    """`models.parts.edvr.EDVR` as it is by default."""

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        options = edvr.options_of(state)
        return options if options and options["channels"] <= edvr.MEDIUM else None

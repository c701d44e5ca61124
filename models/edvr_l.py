"""EDVR-L: a frame restored from a window around it, aligned by deformable convolutions; see `models.parts.edvr`."""

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
    "edvr_l_reds4": basicsr(
        "127KXEjlCwfoPC1aXyDkluNwr9elwyHNb",
        "EDVR_L_x4_SR_REDS_official-9f5f5039.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(31.09, 0.8800)),
    ),
    "edvr_l_vimeo90k_bi": basicsr(
        "1aVR3lkX6ItCphNLcT7F5bbbC484h4Qqy",
        "EDVR_L_x4_SR_Vimeo90K_official-162b54e4.pth",
        trained_on="vimeo90k/bi_x4",
        options={"frames": 7},
        reported=measured(vid4__bi_x4=(27.35, 0.8264)),
    ),
    # Trained again.
    "edvr_l_reds4_mmagic": openmmlab(
        "edvr",
        "edvrl_c128b40_8x8_lr2e-4_600k_reds4_20220104-4509865f.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(31.0467, 0.8793)),
        source=SOURCE,
    ),
    "edvr_l_reds4_without_tsa_mmagic": openmmlab(
        "edvr",
        "edvrl_wotsa_c128b40_8x8_lr2e-4_600k_reds4_20211228-d895a769.pth",
        trained_on="reds/bi_x4",
        options={"tsa": False},
        differs="the network has no TSA",
        reported=measured(reds4__bi_x4=(31.0010, 0.8784)),
        source=SOURCE,
    ),
}


@register("edvr_l")
class EDVRL(edvr.EDVR):
    """`models.parts.edvr.EDVR` with the width and depth of EDVR-L."""

    def __init__(
        self,
        channels: int = 128,
        frames: int = 5,
        extraction_blocks: int = 5,
        reconstruction_blocks: int = 40,
        groups: int = 8,
        tsa: bool = True,
        upsample_channels: int = 64,
        base: str = "bilinear",
    ) -> None:
        super().__init__(channels, frames, extraction_blocks, reconstruction_blocks, groups, tsa, upsample_channels, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        options = edvr.options_of(state)
        return options if options and options["channels"] > edvr.MEDIUM else None

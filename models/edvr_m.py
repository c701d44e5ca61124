"""EDVR-M: a frame restored from a window around it, aligned by deformable convolutions; see `models.parts.edvr`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts import edvr
from models.parts.registry import register


@register("edvr_m")
class EDVRM(edvr.EDVR):
    """`models.parts.edvr.EDVR` with the width and depth of EDVR-M."""

    def __init__(
        self,
        channels: int = 64,
        frames: int = 5,
        extraction_blocks: int = 5,
        reconstruction_blocks: int = 10,
        groups: int = 8,
        tsa: bool = True,
        upsample_channels: int = 64,
        base: str = "bilinear",
    ) -> None:
        super().__init__(channels, frames, extraction_blocks, reconstruction_blocks, groups, tsa, upsample_channels, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        options = edvr.options_of(state)
        return options if options and options["channels"] <= edvr.MEDIUM else None

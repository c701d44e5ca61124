"""RDG-s: online, guided by a renderer's buffers, small; see `models.parts.rdg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts import rdg
from models.parts.registry import register
from models.parts.weights import Published, measured

WEIGHTS = {
    "rdg_s_rdg": Published(
        "https://github.com/sunny2109/RDG/raw/c60c5f5976b25d1d11ee44f5e33625da45e3b778/pretrained_models/",
        "RDG_Small.pth",
        "83e5ca5720edfff78913640c27dc111b42917b1c5c246500e5e172f361f70555",
        "Apache-2.0",
        "sunny2109/RDG, README.md",
        trained_on="rdg/rendered",
        reported=measured(rdg__rendered=(29.37, 0.8421)),
    ),
}


@register("rdg_s")
class RDGS(rdg.RDG):
    """`models.parts.rdg.RDG` with the width of RDG-s."""

    def __init__(self, channels: int = rdg.SMALL, variant: str = "release", base: str = "none") -> None:
        super().__init__(channels, variant, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        options = rdg.options_of(state)
        return options if options and options["channels"] <= rdg.SMALL else None

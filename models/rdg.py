"""RDG: online, guided by a renderer's buffers; see `models.parts.rdg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts import rdg
from models.parts.registry import register


@register("rdg")
class RDG(rdg.RDG):
    """`models.parts.rdg.RDG` with the width of RDG."""

    def __init__(self, channels: int = 36, variant: str = "release", base: str = "none") -> None:
        super().__init__(channels, variant, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        options = rdg.options_of(state)
        return options if options and options["channels"] > rdg.SMALL else None

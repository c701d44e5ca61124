"""EDVR-M: a frame restored from a window around it, aligned by deformable convolutions; see `models.parts.edvr`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts import edvr
from models.parts.registry import register


@register("edvr_m")
class EDVRM(edvr.EDVR):
    """`models.parts.edvr.EDVR` as it is by default."""

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        options = edvr.options_of(state)
        return options if options and options["channels"] <= edvr.MEDIUM else None

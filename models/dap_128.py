"""DAP-128: online, by attention to a few places of the frame before; see `models.parts.dap`."""

from __future__ import annotations

from models.parts.dap import DAP
from models.parts.registry import register


@register("dap_128")
class DAP128(DAP):
    """`models.parts.dap.DAP` with the width of DAP-128."""

    def __init__(
        self,
        channels: int = 128,
        encoder_channels: int = 64,
        levels: int = 4,
        samples: int = 4,
        blocks: int = 5,
        offsets: bool = True,
        pyramid: bool = True,
        attention: bool = True,
        base: str = "bilinear",
    ) -> None:
        super().__init__(channels, encoder_channels, levels, samples, blocks, offsets, pyramid, attention, base)

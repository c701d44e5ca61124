"""Real-ESRGAN's compact network for footage of all kinds, with 32 layers. Source: `models.parts.srvgg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts.registry import register
from models.parts.srvgg import CompactNetwork, published_options
from models.parts.weights import Published
from models.unet_discriminator import UNetDiscriminator

LAYERS = 32
RELEASE = "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/"

WEIGHTS = {
    "realesr_general_x4v3": Published(
        RELEASE,
        "realesr-general-x4v3.pth",
        "8dc7edb9ac80ccdc30c3a5dca6616509367f05fbc184ad95b731f05bece96292",
        "BSD-3-Clause",
        "Real-ESRGAN, docs/model_zoo.md",
        differs="how it was trained is not published",
    ),
    "realesr_general_wdn_x4v3": Published(
        RELEASE,
        "realesr-general-wdn-x4v3.pth",
        "1641f8c4464b9f097c9fdda5589273713f67cf59f3d909e0bd688f0cee269dca",
        "BSD-3-Clause",
        "Real-ESRGAN, docs/model_zoo.md",
        differs="how it was trained is not published; it removes less noise",
    ),
}


@register("realesr_general")
class RealESRGeneral(CompactNetwork):
    """Super-resolution of single frames; see `CompactNetwork.add_layers`."""

    discriminator = UNetDiscriminator

    def __init__(self, channels: int = 64, layers: int = LAYERS, scale: int = 4, base: str = "nearest") -> None:
        super().__init__()
        self.add_layers(channels, layers, scale, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        return published_options(state, LAYERS)

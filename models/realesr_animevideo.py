"""Real-ESRGAN's compact network for drawn video, with 16 layers. Source: `models.parts.srvgg`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts.registry import register
from models.parts.srvgg import CompactNetwork, published_options
from models.parts.weights import Published
from models.unet_discriminator import UNetDiscriminator

LAYERS = 16

WEIGHTS = {
    "realesr_animevideo_v3": Published(
        "https://github.com/xinntao/Real-ESRGAN/releases/download/v0.2.5.0/",
        "realesr-animevideov3.pth",
        "b8a8376811077954d82ca3fcf476f1ac3da3e8a68a4f4d71363008000a18b75d",
        "BSD-3-Clause",
        "Real-ESRGAN, docs/anime_video_model.md",
        differs="how it was trained is not published; it is for drawn pictures",
    )
}


@register("realesr_animevideo")
class RealESRAnimeVideo(CompactNetwork):
    """Super-resolution of drawn video, frame by frame; see `CompactNetwork.add_layers`."""

    discriminator = UNetDiscriminator

    def __init__(self, channels: int = 64, layers: int = LAYERS, scale: int = 4, base: str = "nearest") -> None:
        super().__init__()
        self.add_layers(channels, layers, scale, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        return published_options(state, LAYERS)

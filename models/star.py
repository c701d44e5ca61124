"""STAR's denoiser at its published size, under the names of its release.

Source: Xie et al., "STAR: Spatial-Temporal Augmentation with Text-to-Video Models for Real-World Video Super-Resolution", arXiv:2501.02976.
Its published parameters (`light_deg.pt`, `heavy_deg.pt`; I2VGen-XL's licence, MIT) load. The system around it, the autoencoder of Stable
Video Diffusion and OpenCLIP's text encoder, is not part of this project: `star_mini` is a whole one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from models.parts import liem as gates
from models.parts.latent import widths
from models.parts.registry import Network, misspelt, positive, register
from models.parts.video_unet import ControlledVideoUNet, Form


@register("star")
class STAR(ControlledVideoUNet, Network):
    """The denoiser: from noisy latents of a clip, those of the LR clip, the time and the text to what takes the noise away.

    Args:
        channels: of its levels, from the finest.
        attention: for each of them, whether it has Transformers.
        blocks: residual blocks of a level.
        head: channels of an attention head.
        first_heads: heads of the Transformer over frames that comes first.
        context: length of the text's vectors.
        latents: channels of the latents.
        groups: of the normalisations.
        liem: the gates before attention: "none", "released" or "paper".

    Raises:
        ValueError: an option has no such value.
    """

    restores = False

    def __init__(
        self,
        channels: Sequence[int] = (320, 640, 1280, 1280),
        attention: Sequence[bool] = (True, True, True, False),
        blocks: int = 2,
        head: int = 64,
        first_heads: int = 8,
        context: int = 1024,
        latents: int = 4,
        groups: int = 32,
        liem: str = "released",
    ) -> None:
        levels = widths(self.name, "channels", channels)
        positive(self.name, blocks=blocks, head=head, first_heads=first_heads, context=context, latents=latents, groups=groups)
        if liem not in gates.FORMS:
            raise ValueError(misspelt(f"value of liem of {self.name}", str(liem), gates.FORMS))
        super().__init__(Form(latents, levels, attention, blocks, head, first_heads, context, groups, liem))

    def forward(self, noisy: Tensor, hint: Tensor, times: Tensor, text: Tensor) -> Tensor:
        """See `ControlledVideoUNet.velocity`."""
        return self.velocity(noisy, hint, times, text)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        return {} if "VideoControlNet.input_hint_block.weight" in state else None

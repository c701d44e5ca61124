"""SDATC, small enough to be trained here: its very modules on a small denoiser and autoencoder that are trained here too.

Source: "Spatial Degradation-Aware and Temporal Consistent Diffusion Model for Compressed Video Super-Resolution", arXiv:2502.07381.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.parts.registry import register
from models.sdatc import SDATC


@register("sdatc_mini")
class SDATCMini(SDATC):
    """Latents have the LR clip's size and eight channels, and what is enlarged in closed form is added to. Arguments as of `SDATC`."""

    def __init__(
        self,
        stage: str = "decoder",
        dcm_channels: int = 24,
        dcm_blocks: int = 6,
        dcm_layers: int = 2,
        dcm_heads: int = 4,
        window: int = 8,
        dcm_hidden: int = 16,
        base: str = "bicubic",
        control_channels: int = 32,
        control_multiples: Sequence[int] = (1, 2),
        channels: Sequence[int] = (32, 64),
        attention: Sequence[bool] = (False, True),
        layers: int = 1,
        head: int = 16,
        context: int = 16,
        tokens: int = 1,
        vae_channels: Sequence[int] = (16, 32, 64),
        vae_layers: int = 1,
        vae_attention: bool = False,
        latents: int = 8,
        groups: int = 8,
        prompts: int = 5,
        steps: int = 10,
        guidance: float = 0.1,
        fidelity: float = 0.75,
        chunk: int = 5,
        overlap: int = 1,
        seed: int = 1,
    ) -> None:
        super().__init__(**{name: value for name, value in locals().items() if name not in ("self", "__class__")})

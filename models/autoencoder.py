"""The autoencoder of latent diffusion: frames to small latents and back.

Source: Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022, Sec. 3.1, by diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.latent import AfterBlock, AfterLevel, as_it_is, autoencoder, decoded, encoded, widths
from models.parts.registry import Network, positive, register, switches

STABLE = 0.18215
"""What Stable Diffusion multiplies latents with, so that they have the variance of noise."""

LOGARITHM = -8.0
"""Of the variance of latents, at first."""

MOMENTUM = 0.05
"""The share of a step in the statistics of latents."""


@register("autoencoder")
class Autoencoder(Network):
    """Latents with the mean and the deviation of noise, which are kept beside the parameters and followed while it learns.

    Args:
        channels: of every level, from the finest; each but the first halves the sides.
        layers: residual blocks of a level of the encoder; the decoder has one more.
        latents: channels of the latents.
        groups: of the normalisations.
        attention: whether the coarsest level attends to all of the frame.
        base: "none" as published; else the first three latents carry the frame reduced by means over areas, and what is decoded is added
            to these enlarged, "bilinear" or "bicubic", so that short trainings begin with a frame (after the shortcuts of Chen et al.,
            "Deep Compression Autoencoder", ICLR 2025, Sec. 3.2).

    Raises:
        ValueError: an option has no such value, or diffusers is not installed.
    """

    mean: Tensor
    deviation: Tensor
    restores = False

    def __init__(
        self,
        channels: Sequence[int] = (128, 256, 512, 512),
        layers: int = 2,
        latents: int = 4,
        groups: int = 32,
        attention: bool = True,
        base: str = "none",
    ) -> None:
        super().__init__()
        levels = widths(self.name, "channels", channels)
        positive(self.name, layers=layers, latents=latents, groups=groups)
        switches(self.name, attention=attention)
        self.enlarge = enlarger_if_any(self.name, base)
        self.reduction = 2 ** (len(levels) - 1)
        self.levels, self.layers, self.latents = levels, layers, latents
        self.kl = autoencoder(levels, layers, latents, groups, attention)
        # Little noise at first: the latents are learnt before how sure they are.
        nn.init.constant_(self.kl.quant_conv.bias[latents:], LOGARITHM)
        if self.enlarge is not None:
            with torch.no_grad():
                self.kl.quant_conv.weight[:3] = 0
                self.kl.quant_conv.bias[:3] = 0
            nn.init.zeros_(self.kl.decoder.conv_out.weight)
            nn.init.zeros_(self.kl.decoder.conv_out.bias)
        self.register_buffer("mean", torch.zeros(latents, 1, 1))
        self.register_buffer("deviation", torch.full((latents, 1, 1), 1 / STABLE))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, H, W) RGB in [0, 1], encoded and decoded, unclipped."""
        return self.decode(self.encode(frames)[0])

    def encode(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The latents of frames (N, 3, H, W) RGB in [0, 1], sides multiples of `reduction`, the means of their distributions; and the
        features of the encoder's levels from the finest."""
        found, features = self.moments(frames)
        return (found.chunk(2, dim=1)[0] - self.mean) / self.deviation, features

    def moments(self, frames: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Means and logarithms of variances, (N, 2 latents, h, w), as the encoder gives them; and its features."""
        found, features = encoded(self.kl.encoder, 2 * frames - 1)
        moments = self.kl.quant_conv(found)
        if self.enlarge is not None:
            small = F.avg_pool2d(2 * frames - 1, self.reduction)
            moments = torch.cat([moments[:, :3] + small, moments[:, 3:]], dim=1)
        return moments, features

    def decode(self, latents: Tensor, after_block: AfterBlock = as_it_is, after_level: AfterLevel = as_it_is) -> Tensor:
        """The frames of latents (N, C, h, w), RGB about in [0, 1], unclipped, refined on the way."""
        raw = latents * self.deviation + self.mean
        frames = decoded(self.kl.decoder, self.kl.post_quant_conv(raw), after_block, after_level)
        return (on_enlarged(frames, raw[:, :3], self.enlarge) + 1) / 2

    def train_on(self, frames: Tensor) -> dict[str, Tensor]:
        """What it gives while it learns, of frames as of `encode`: `frames`, decoded from latents drawn from their distributions, and
        `divergence`, how far these are from noise, per value (Kingma and Welling, ICLR 2014, Appendix B). Follows the statistics."""
        mean, logarithm = self.moments(frames)[0].chunk(2, dim=1)
        logarithm = logarithm.clamp(-30, 20)
        drawn = mean + torch.randn_like(mean) * (logarithm / 2).exp()
        with torch.no_grad():
            self.mean.lerp_(drawn.mean((0, 2, 3)).view_as(self.mean), MOMENTUM)
            self.deviation.lerp_(drawn.std((0, 2, 3)).view_as(self.deviation), MOMENTUM)
        decoded_frames = self.decode((drawn - self.mean) / self.deviation)
        divergence = 0.5 * (mean.square() + logarithm.exp() - 1 - logarithm).mean()
        return {"frames": decoded_frames, "divergence": divergence}

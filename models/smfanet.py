"""SMFANet: every frame by itself, its features modulated by what is large and what varies in the frame, beside local detail.

Source: Zheng et al., "SMFANet: A Lightweight Self-Modulation Feature Aggregation Network for Efficient Image Super-Resolution",
ECCV 2024, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.framewise import FeatureNetwork, feature_options
from models.parts.registry import positive, register
from models.parts.weights import Published

AREA = 8
"""Side of the areas whose maxima modulate features, in pixels."""

WEIGHTS = {
    "smfanet_df2k": Published(
        "https://github.com/Zheng-MJ/SMFANet/raw/b3ac071264c64daebb06e304e161a9b3d32d2e5f/pretrain/SMFANet_DF2K_100w_x4SR.pth",
        "smfanet_x4.pth",
        "3141324e9ef6ebdd2338566b30ad034a3bf0c3c34e8030d4086ce4330c319402",
        "Apache-2.0",
        "SMFANet, README.md and options",
        trained_on="df2k/bi_x4",
    )
}


@register("smfanet")
class SMFANet(FeatureNetwork):
    """Super-resolution by four of single frames of any size.

    Args:
        channels: of the features, an even number.
        blocks: how many.
        base: see `FeatureNetwork.add_layers`.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int = 36, blocks: int = 8, base: str = "none") -> None:
        super().__init__()
        positive("smfanet", channels=channels, blocks=blocks)
        if channels % 2:
            raise ValueError(f"option 'channels' of smfanet is {channels}: give an even number.")
        self.add_layers(channels, [Block(channels) for _ in range(blocks)], base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        try:
            return feature_options(state) if "feats.0.smfa.alpha" in state else None
        except KeyError:
            return None


class Block(nn.Module):
    """Aggregation of features, then mixing of channels; each sees its input with pixels of unit length, and is added to it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.smfa = Aggregation(channels)
        self.pcfn = PartialMixer(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.smfa(F.normalize(x))
        return x + self.pcfn(F.normalize(x))


class Aggregation(nn.Module):
    """Half of the features modulated by the frame around them, the other half convolved.

    What modulates a channel are the maxima of its areas and its variance over the frame, each by a weight that is learnt.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear_0 = nn.Conv2d(channels, 2 * channels, 1)
        self.linear_1 = nn.Conv2d(channels, channels, 1)
        self.linear_2 = nn.Conv2d(channels, channels, 1)
        self.lde = LocalDetail(channels)
        self.dw_conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.alpha = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.belt = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        local, seen = self.linear_0(x).chunk(2, dim=1)
        maxima = F.adaptive_max_pool2d(seen, (max(1, height // AREA), max(1, width // AREA)))
        varied = torch.var(seen, dim=(-2, -1), keepdim=True, correction=int(height * width > 1))
        weights = F.gelu(self.linear_1(self.dw_conv(maxima) * self.alpha + varied * self.belt))
        return self.linear_2(seen * F.interpolate(weights, size=(height, width), mode="nearest") + self.lde(local))


class LocalDetail(nn.Module):
    """A depthwise convolution to twice the channels, a 1x1 convolution, GELU, and a 1x1 convolution back."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.conv_0 = nn.Sequential(nn.Conv2d(channels, wide, 3, padding=1, groups=channels), nn.Conv2d(wide, wide, 1))
        self.conv_1 = nn.Conv2d(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_1(F.gelu(self.conv_0(x)))


class PartialMixer(nn.Module):
    """To twice the channels and back by 1x1 convolutions, a quarter of them convolved in between."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.parts = (wide // 4, wide - wide // 4)
        self.conv_0 = nn.Conv2d(channels, wide, 1)
        self.conv_1 = nn.Conv2d(self.parts[0], self.parts[0], 3, padding=1)
        self.conv_2 = nn.Conv2d(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        convolved, kept = F.gelu(self.conv_0(x)).split(self.parts, dim=1)
        return self.conv_2(torch.cat([F.gelu(self.conv_1(convolved)), kept], dim=1))

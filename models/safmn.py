"""SAFMN: every frame by itself, its features modulated by what lies around them at four scales.

Source: Sun et al., "Spatially-Adaptive Feature Modulation for Efficient Image Super-Resolution", ICCV 2023, Sec. 3, and what its
authors entered for the NTIRE 2023 challenge on efficient super-resolution; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.framewise import FeatureNetwork, feature_options
from models.parts.registry import misspelt, positive, register
from models.parts.weights import Published

LEVELS = 4
"""Parts of the features, each seen at a scale of its own."""

VARIANTS = ("paper", "ntire")
EPSILON = 1e-6

WEIGHTS = {
    "safmn_ntire2023": Published(
        "https://github.com/sunny2109/SAFMN/raw/c534a148912851f076de56682c1fc9656e76e893/NTIRE2023_ESR/model_zoo/team15_SAFMN.pth",
        "safmn_x4.pth",
        "93fe3d7175ef1446cfcb3a884ddf8bbb4391f31190e9d1bf6c6c1cb768f8b565",
        "MIT",
        "SAFMN, NTIRE2023_ESR",
        options={"variant": "ntire", "base": "bilinear"},
        differs="the entry for NTIRE 2023 and not the network of the paper",
    )
}


@register("safmn")
class SAFMN(FeatureNetwork):
    """Super-resolution by four of single frames of any size.

    Args:
        channels: of the features, a multiple of four.
        blocks: how many.
        variant: "paper", or "ntire" as entered for that challenge: features are normalised once, by their energy over the frame,
            and not in every block; the blocks have no biases and see their scales coarser by two; there is no skip over all of them.
        base: see `FeatureNetwork.add_layers`. The entry has "bilinear".

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int = 36, blocks: int = 8, variant: str = "paper", base: str = "none") -> None:
        super().__init__()
        positive("safmn", channels=channels, blocks=blocks)
        if channels % LEVELS:
            raise ValueError(f"option 'channels' of safmn is {channels}: give a multiple of {LEVELS}.")
        if variant not in VARIANTS:
            raise ValueError(misspelt("variant of safmn", str(variant), VARIANTS))
        self.entry = variant == "ntire"
        if self.entry:
            self.norm = ResponseNorm(channels)
        self.add_layers(channels, [Block(channels, self.entry) for _ in range(blocks)], base)

    def features(self, shallow: Tensor) -> Tensor:
        return self.feats(self.norm(shallow)) if self.entry else super().features(shallow)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        if "feats.0.safm.aggr.weight" not in state:
            return None
        try:
            options = feature_options(state)
        except KeyError:
            return None
        return {**options, **(dict(variant="ntire", base="bilinear") if "norm.gamma" in state else {})}


class Block(nn.Module):
    """Spatially adaptive modulation, then mixing of channels; each is added to its input."""

    def __init__(self, channels: int, entry: bool) -> None:
        super().__init__()
        self.norm1 = nn.Identity() if entry else ChannelNorm(channels)
        self.norm2 = nn.Identity() if entry else ChannelNorm(channels)
        self.safm = Modulation(channels, entry)
        self.ccm = ChannelMixer(channels, bias=not entry)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.safm(self.norm1(x))
        return x + self.ccm(self.norm2(x))


class Modulation(nn.Module):
    """Features times what is found around them at four scales.

    A part of the channels is seen at full size, the others as the maxima of ever larger areas.
    """

    def __init__(self, channels: int, entry: bool) -> None:
        super().__init__()
        part = channels // LEVELS
        self.finest = 4 if entry else 2
        self.mfr = nn.ModuleList(nn.Conv2d(part, part, 3, padding=1, groups=part, bias=not entry) for _ in range(LEVELS))
        self.aggr = nn.Conv2d(channels, channels, 1, bias=not entry)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        found = []
        for level, (part, conv) in enumerate(zip(x.chunk(LEVELS, dim=1), self.mfr, strict=True)):
            if level == 0:
                found.append(conv(part))
            else:
                side = self.finest << (level - 1)
                small = conv(F.adaptive_max_pool2d(part, (max(1, height // side), max(1, width // side))))
                found.append(F.interpolate(small, size=(height, width), mode="nearest"))
        return F.gelu(self.aggr(torch.cat(found, dim=1))) * x


class ChannelMixer(nn.Module):
    """A 3x3 convolution to twice the channels, GELU, and a 1x1 convolution back."""

    def __init__(self, channels: int, bias: bool) -> None:
        super().__init__()
        self.ccm = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 3, padding=1, bias=bias),
            nn.GELU(),
            nn.Conv2d(2 * channels, channels, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.ccm(x)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of every pixel, (N, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, keepdim=True, correction=0)
        return (x - mean) / (variance + EPSILON).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]


class ResponseNorm(nn.Module):
    """Global response normalisation: a channel counts by its energy over the frame, relative to the mean of all channels
    (Woo et al., "ConvNeXt V2", CVPR 2023), (N, C, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        energy = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
        return x + self.gamma * x * energy / (energy.mean(dim=1, keepdim=True) + EPSILON) + self.beta

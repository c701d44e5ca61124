"""RDG: a renderer's frames restored one by one, guided by its buffers.

Source: Zheng et al., "Efficient Video Super-Resolution for Real-time Rendering with Decoupled G-buffer Guidance", CVPR 2025, and the
names and behaviour of the network that its authors released.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.online import OnlineNetwork, State
from models.parts.priors import given
from models.parts.registry import misspelt, positive
from models.parts.warp import flow_warp

MULTIPLE = 4
"""The smallest level has a quarter of the frame's size."""

HEADS = 4
"""Of the attention over channels."""

GUIDES = 6
"""Channels of normals and reflectance."""

REACH = 7
"""How many places in a row the released encoder takes its channels from."""

SIDE = 3
"""Of the square of places that the paper's encoder takes its channels from."""

CHANNELS: Mapping[str, int] = {"motion": 2, "normalised_depth": 1, "normals": 3, "normalised_albedo": 3}
"""Of the priors that the network sees."""

SMALL = 16
"""The channels of RDG-s."""

VARIANTS = ("release", "paper")

Place = tuple[int, int]


class ShiftConv(nn.Module):
    """A 1x1 convolution of channels that are taken from other places than the pixel's, zero outside of the frame.

    Source: Chen et al., "CycleMLP", ICLR 2022, Sec. 3.2. Slices do what a deformable convolution with constant offsets does.

    Args:
        places: of every channel, how many pixels down and to the right.
    """

    offset: Tensor

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__()
        layer = nn.Conv2d(len(places), len(places), 1)
        self.weight, self.bias = layer.weight, layer.bias
        # As released: what a deformable convolution is given. It is not read.
        self.register_buffer("offset", torch.tensor(places).float().view(1, -1, 1, 1))
        self.runs = {place: [i for i, found in enumerate(places) if found == place] for place in dict.fromkeys(places)}
        self.reach = max(abs(side) for place in places for side in place)
        self.order = [i for run in self.runs.values() for i in run]

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        height, width = x.shape[-2:]
        padded = F.pad(x, [self.reach] * 4)
        period = len(self.runs)
        moved = [
            padded[:, run[0] :: period, self.reach + down :, self.reach + right :][..., :height, :width]
            for (down, right), run in self.runs.items()
        ]
        return F.conv2d(torch.cat(moved, dim=1), self.weight[:, self.order], self.bias)


class CCM(nn.Module):
    """Mixes channels: a 3x3 convolution to twice as many, GELU, and a 1x1 one back.

    Args:
        channels: of the input and output, (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fn = nn.Sequential(nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.GELU(), nn.Conv2d(2 * channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x)


class DFM(nn.Module):
    """Features from far along rows and columns, gated; released by two shifted convolutions, in the paper by one.

    Args:
        channels: of the input and output, (N, channels, H, W).
        variant: "release" or "paper".
    """

    def __init__(self, channels: int, variant: str) -> None:
        super().__init__()
        self.proj_in = nn.Sequential(_depthwise(channels, 2 * channels), nn.Conv2d(2 * channels, 2 * channels, 1))
        self.released = variant == "release"
        if self.released:
            along = [(i + REACH // 2) % REACH - REACH // 2 for i in range(channels)]
            self.mlp_h = ShiftConv([(0, place) for place in along])
            self.mlp_w = ShiftConv([(place, 0) for place in along])
        else:
            self.mlp = ShiftConv([(i % SIDE - 1, i // SIDE % SIDE - 1) for i in range(channels)])
        self.merge = nn.Conv2d(2 * channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate, wide = self.proj_in(x).chunk(2, dim=1)
        wide = self.mlp_w(self.mlp_h(wide)) if self.released else self.mlp(wide)
        return self.proj_out(F.gelu(gate) * self.merge(torch.cat([x, wide], dim=1)))


class HFB(nn.Module):
    """Details of the buffers, gated by the features and the other way round.

    Args:
        channels: of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_g = nn.Conv2d(GUIDES, channels, 3, padding=1)
        self.conv_x = nn.Conv2d(channels, channels, 3, padding=1)
        self.proj_out = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """Features (N, channels, H, W) and normals with reflectance (N, 6, H, W) to (N, channels, H, W)."""
        one, other = self.conv_x(x), self.conv_g(guide)
        return self.proj_out(torch.cat([one * F.gelu(other), other * F.gelu(one)], dim=1))


class CTR(nn.Module):
    """What the frame before adds: attention of the features' channels to those of its own, over all pixels.

    Args:
        channels: of the features, a multiple of `HEADS`.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.to_q = nn.Sequential(nn.Conv2d(channels, 2 * channels, 1), _depthwise(2 * channels, 2 * channels))
        self.to_kv = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), _depthwise(4 * channels, 4 * channels))
        self.proj_out = nn.Conv2d(2 * channels + 1, channels, 1)
        # As released, where nothing reads it and it stayed zero.
        self.alpha = nn.Parameter(torch.zeros(1, 1, channels // HEADS, 2 * channels // HEADS), requires_grad=False)

    def forward(self, x: Tensor, depth: Tensor, before: Tensor) -> Tensor:
        """Refine.

        Args:
            x: (N, channels, H, W).
            depth: (N, 1, H, W).
            before: (N, channels, H, W), of the frame before where it is now.

        Returns:
            (N, channels, H, W), what is added to `x`.
        """
        query, kept = self.to_q(x).chunk(2, dim=1)
        key, value = self.to_kv(before).chunk(2, dim=1)
        query, key, value = (part.flatten(2).unflatten(1, (HEADS, -1)) for part in (query, key, value))
        fit = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-1, -2)
        found = (torch.softmax(fit, dim=-1) @ value).flatten(1, 2).unflatten(2, x.shape[-2:])
        return self.proj_out(torch.cat([found, kept, depth], dim=1))


class EncodeLayer(nn.Module):
    """(N, channels, H, W) to the same."""

    def __init__(self, channels: int, variant: str) -> None:
        super().__init__()
        self.dfm = DFM(channels, variant)
        self.ffn = CCM(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dfm(x)
        return x + self.ffn(x)


class DecodeLayer(nn.Module):
    """Features guided by the buffers and by those of the frame before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hfb = HFB(channels)
        self.ctr = CTR(channels)
        self.ffn = CCM(channels)

    def forward(self, x: Tensor, guide: Tensor, depth: Tensor, before: Tensor | None, motion: Tensor) -> Tensor:
        """Decode.

        Args:
            x: (N, channels, h, w).
            guide, depth: (N, 6 and 1, H, W), of the frame's size.
            before: (N, channels, h, w), what this layer gave for the frame before; None for the first.
            motion: (N, 2, h, w), pixels of this level to the right and down.
        """
        guide, depth = (_resized(part, x) for part in (guide, depth))
        x = x + self.hfb(x, guide)
        x = x + self.ctr(x, depth, x if before is None else flow_warp(before, motion))
        return x + self.ffn(x)


class Upsampling(nn.Module):
    """Bilinearly to twice the size, and a 3x3 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))


class RDG(OnlineNetwork):
    """Super-resolution by four, frame after frame, guided by a renderer's buffers.

    The state is what the three decoders gave for the frame before, and its motion. Frames are padded by zeros, at the right and
    below, to multiples of 4.

    "release" is the network whose parameters its authors published, with what it does otherwise than the paper: channels
    are taken from a row and then a column of seven places; what is carried on is moved by the motion of the frame before, and by as
    many pixels on the smaller levels as on the largest. "paper" takes channels from a square of three by three places at once,
    and moves by the frame's own motion, in pixels of the level.

    Args:
        channels: on the largest level, a multiple of 4; twice and three times as many on the smaller ones.
        variant: "release" or "paper".
        base: what the output is added to: "none" as published, or frames enlarged by "bilinear" or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    priors = tuple(CHANNELS)
    scale = 4

    def __init__(self, channels: int, variant: str, base: str) -> None:
        super().__init__()
        positive(self.name, channels=channels)
        if channels % HEADS:
            raise ValueError(f"option 'channels' of {self.name} is {channels}: give a multiple of {HEADS}.")
        if variant not in VARIANTS:
            raise ValueError(misspelt(f"variant of {self.name}", str(variant), VARIANTS))
        one, two, three = channels, 2 * channels, 3 * channels
        self.variant = variant
        self.enlarge = enlarger_if_any(self.name, base)
        self.first_conv = nn.Conv2d(3, one, 3, padding=1)
        self.encoders = nn.ModuleList(nn.Sequential(EncodeLayer(width, variant)) for width in (one, two))
        self.downs = nn.ModuleList(nn.Conv2d(width, width + one, 3, stride=2, padding=1) for width in (one, two))
        self.middle_encoders = nn.Sequential(EncodeLayer(three, variant))
        self.middle_decoders = DecodeLayer(three)
        self.ups = nn.ModuleList(Upsampling(width + one, width) for width in (two, one))
        self.decoders = nn.ModuleList(DecodeLayer(width) for width in (two, one))
        # Of the largest level first, as the encoders; zero, so that at first nothing skips.
        self.skip_alphas = nn.ParameterList(nn.Parameter(torch.zeros(1, width, 1, 1)) for width in (one, two))
        self.UpSample = nn.Sequential(nn.Conv2d(one, 3 * 4**2, 3, padding=1), nn.PixelShuffle(4))

    @property
    def last(self) -> nn.Module:
        """The layer that makes the output."""
        return self.UpSample[0]

    def forward(
        self,
        clip: Tensor,
        *,
        motion: Tensor | None = None,
        normalised_depth: Tensor | None = None,
        normals: Tensor | None = None,
        normalised_albedo: Tensor | None = None,
    ) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].
            motion: (N, T, 2, H, W), pixels to the previous frame, to the right and down.
            normalised_depth: (N, T, 1, H, W) in [0, 1].
            normals: (N, T, 3, H, W), unit vectors.
            normalised_albedo: (N, T, 3, H, W) in [0, 1].

        Returns:
            (N, T, 3, 4H, 4W), unclipped.

        Raises:
            ValueError: a buffer is missing or not of the clip.
        """
        buffers = dict(zip(CHANNELS, (motion, normalised_depth, normals, normalised_albedo), strict=True))
        seen = {name: given(self.name, name, clip, buffer, CHANNELS[name]) for name, buffer in buffers.items()}
        return self.in_steps(clip, None, **seen)[0]

    def step(
        self,
        frame: Tensor,
        state: State | None,
        *,
        motion: Tensor,
        normalised_depth: Tensor,
        normals: Tensor,
        normalised_albedo: Tensor,
    ) -> tuple[Tensor, State]:
        """See `OnlineNetwork`; priors as in `forward`."""
        height, width = frame.shape[-2:]
        buffers = frame, motion, normalised_depth, (normals + 1) / 2, normalised_albedo
        x, own, depth, facing, albedo = (F.pad(part, (0, -width % MULTIPLE, 0, -height % MULTIPLE)) for part in buffers)
        guide = torch.cat([facing, albedo], dim=1)
        *hidden, before = state or (None, None, None, own)
        moved = own if self.variant == "paper" else before
        assert moved is not None

        x = first = self.first_conv(x)
        skips = []
        for encoder, down in zip(self.encoders, self.downs, strict=True):
            skips.append(encoder(x))
            x = down(skips[-1])
        x = self.middle_encoders(x)
        x = self.middle_decoders(x, guide, depth, hidden[0], self.at_level(moved, x))
        kept = [x]
        for level, (up, decoder) in enumerate(zip(self.ups, self.decoders, strict=True), 1):
            x = up(x) + self.skip_alphas[-level] * skips[-level]
            x = decoder(x, guide, depth, hidden[level], self.at_level(moved, x))
            kept.append(x)
        restored = self.UpSample((x + first)[..., :height, :width])
        return on_enlarged(restored, frame, self.enlarge), (*kept, own)

    def at_level(self, motion: Tensor, like: Tensor) -> Tensor:
        """Motion (N, 2, H, W) in the size of (N, ..., h, w), and in the paper's variant in its pixels."""
        small = _resized(motion, like)
        return small if self.variant == "release" else small * (like.shape[-1] / motion.shape[-1])


def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """See `models.Network.options_of`."""
    try:
        variant = "release" if "encoders.0.0.dfm.mlp_h.weight" in state else "paper"
        return {"channels": len(state["first_conv.weight"]), "variant": variant} if "skip_alphas.1" in state else None
    except KeyError:
        return None


def _depthwise(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, groups=inputs)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """(N, C, H, W) bilinearly to the size of (N, ..., h, w)."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)

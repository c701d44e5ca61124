"""Residual Swin Transformer blocks, and the distortion control module that SDATC has of them.

Sources: Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCVW 2021; Liu et al., "Swin Transformer", ICCV 2021; SDATC
(arXiv:2502.07381), Sec. III-B. Names of parameters are SwinIR's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import enlarger_if_any, on_enlarged


class WindowAttention(nn.Module):
    """Self-attention among the pixels of windows, with a bias for every head and relative position.

    Args:
        channels: of the features, a multiple of the heads.
        heads: of the attention.
        window: side of a window in pixels.
    """

    places: Tensor

    def __init__(self, channels: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        rows, columns = (part.flatten() for part in torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij"))
        apart = [part[:, None] - part + window - 1 for part in (rows, columns)]
        self.register_buffer("places", apart[0] * (2 * window - 1) + apart[1], persistent=False)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """Windows (N, K, pixels, channels); `apart` is (K, pixels, pixels), true where two pixels do not see each other, or None."""
        count, windows, pixels, channels = x.shape
        query, key, value = self.qkv(x).view(count, windows, pixels, 3, self.heads, -1).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[self.places].permute(2, 0, 1)[None]
        if apart is not None:
            bias = bias.masked_fill(apart[:, None], -torch.inf)
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype)[None])
        return self.proj(found.transpose(2, 3).reshape(count, windows, pixels, channels))


class MLP(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwinLayer(nn.Module):
    """Attention in windows, which lie half a window further if `shifted`, and an MLP, each after a normalisation and added to its
    input (Swin Transformer, Eq. 3)."""

    def __init__(self, channels: int, heads: int, window: int, shifted: bool) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels, heads, window)
        self.mlp = MLP(channels, 2 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, channels), sides multiples of the window."""
        height, width = x.shape[1:3]
        shift = self.shift if height > self.window or width > self.window else 0
        moved = self.norm1(x).roll((-shift, -shift), (1, 2))
        found = self.attn(self._windows(moved), self._apart(height, width, shift, x.device) if shift else None)
        moved = self._frame(found, height, width)
        x = x + moved.roll((shift, shift), (1, 2))
        return x + self.mlp(self.norm2(x))

    def _windows(self, x: Tensor) -> Tensor:
        """(N, H, W, C) to (N, K, pixels, C)."""
        count, height, width, channels = x.shape
        side = self.window
        x = x.view(count, height // side, side, width // side, side, channels).transpose(2, 3)
        return x.reshape(count, -1, side * side, channels)

    def _frame(self, windows: Tensor, height: int, width: int) -> Tensor:
        """The way back from `_windows`."""
        count, side = len(windows), self.window
        x = windows.view(count, height // side, width // side, side, side, -1).transpose(2, 3)
        return x.reshape(count, height, width, -1)

    def _apart(self, height: int, width: int, shift: int, device: torch.device) -> Tensor:
        """Which pixels of a window of the moved frame do not see each other: those that come from opposite edges of the frame."""
        rows, columns = (torch.arange(side, device=device) >= side - shift for side in (height, width))
        regions = (2 * rows[:, None] + columns[None]).view(1, height, width, 1)
        found = self._windows(regions)[0, ..., 0]
        return found[:, :, None] != found[:, None]


class Group(nn.Module):
    """A chain of layers, every second of them shifted."""

    def __init__(self, channels: int, heads: int, window: int, layers: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(SwinLayer(channels, heads, window, bool(index % 2)) for index in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class RSTB(nn.Module):
    """Swin layers and a convolution, added to their input (SwinIR, Eq. 5); (N, channels, H, W)."""

    def __init__(self, channels: int, heads: int, window: int, layers: int) -> None:
        super().__init__()
        self.residual_group = Group(channels, heads, window, layers)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.residual_group(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class DistortionControl(nn.Module):
    """SDATC's distortion control module: LR frames enlarged four times, without their distortions (Eq. 4).

    Args:
        network: that it is a part of, for errors.
        channels: of the features, a multiple of the heads.
        blocks, layers: RSTBs, and the Swin layers of each.
        heads, window: of the attention.
        hidden: channels of the layers at the output's resolution.
        base: "none" as published, or the enlarged frames that the output is added to.

    Raises:
        ValueError: there is no such base.
    """

    def __init__(
        self, network: str, channels: int, blocks: int, layers: int, heads: int, window: int, hidden: int, base: str
    ) -> None:
        super().__init__()
        self.enlarge = enlarger_if_any(network, base)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.layers = nn.ModuleList(RSTB(channels, heads, window, layers) for _ in range(blocks))
        self.norm = nn.LayerNorm(channels)
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_before_upsample = nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.LeakyReLU())
        up = [nn.Sequential(nn.Conv2d(hidden, 4 * hidden, 3, padding=1), nn.PixelShuffle(2)) for _ in range(2)]
        self.upsample = nn.Sequential(*(layer for pair in up for layer in pair))
        self.conv_last = nn.Conv2d(hidden, 3, 3, padding=1)
        if self.enlarge is not None:  # the first output is the base
            nn.init.zeros_(self.conv_last.weight)
            nn.init.zeros_(self.conv_last.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        """(N, 3, h, w) RGB in [0, 1], sides multiples of the window, to (N, 3, 4h, 4w), unclipped."""
        shallow = self.conv_first(frames)
        deep = shallow
        for layer in self.layers:
            deep = layer(deep)
        deep = self.norm(deep.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = self.upsample(self.conv_before_upsample(self.conv_after_body(deep) + shallow))
        return on_enlarged(self.conv_last(x), frames, self.enlarge)

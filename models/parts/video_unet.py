"""The denoiser of STAR: a U-Net of clips, in space and in time by turns, with a copy of its encoder for what it is told of the LR clip.

Sources: Xie et al., STAR, arXiv:2501.02976, Sec. 3.1; Zhang et al., "I2VGen-XL", arXiv:2311.04145, and Wang et al., "ModelScope
Text-to-Video", arXiv:2308.06571, for the layers. Names of parameters are those of STAR's release, misspellings included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.control import sinusoids
from models.parts.liem import SpatialGate, TemporalGate, gated
from models.parts.prompts import zero

DROPOUT = 0.1


class Seen(NamedTuple):
    """What layers know beside their features: the embedding of the time (N, channels), the text (N, tokens, length), and how many
    frames a clip has."""

    time: Tensor
    text: Tensor
    frames: int


def _silenced(inputs: int, layer: nn.Module, groups: int, dropout: bool = False) -> nn.Sequential:
    """Normalisation, SiLU, maybe dropout, and a layer."""
    return nn.Sequential(nn.GroupNorm(groups, inputs), nn.SiLU(), *([nn.Dropout(DROPOUT)] if dropout else []), layer)


class TemporalConv(nn.Module):
    """Four convolutions over time, added to their input, the last of which begins as nothing; (N * T, channels, H, W)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        for index in range(1, 5):
            conv = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0))
            setattr(self, f"conv{index}", _silenced(channels, conv, groups, dropout=index > 1))
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        clip = x.unflatten(0, (-1, seen.frames)).transpose(1, 2)
        inner = clip
        for index in range(1, 5):
            inner = getattr(self, f"conv{index}")(inner)
        return (clip + inner).transpose(1, 2).flatten(0, 1)


class Residual(nn.Module):
    """A residual block that knows the time, then a convolution over frames; (N * T, inputs, H, W) to (N * T, outputs, H, W)."""

    def __init__(self, inputs: int, outputs: int, known: int, groups: int) -> None:
        super().__init__()
        self.in_layers = _silenced(inputs, nn.Conv2d(inputs, outputs, 3, padding=1), groups)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(known, outputs))
        self.out_layers = _silenced(outputs, zero(nn.Conv2d(outputs, outputs, 3, padding=1)), groups, dropout=True)
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.temopral_conv = TemporalConv(outputs, groups)

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        inner = self.in_layers(x) + self.emb_layers(seen.time)[..., None, None]
        return self.temopral_conv(self.skip_connection(x) + self.out_layers(inner), seen)


class Attention(nn.Module):
    """Attention of tokens (N, K, channels) to each other, or to others (N, L, length)."""

    def __init__(self, channels: int, length: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, channels, bias=False) for width in (channels, length, length))
        self.to_out = nn.Sequential(nn.Linear(channels, channels), nn.Dropout(0.0))

    def forward(self, tokens: Tensor, others: Tensor | None = None) -> Tensor:
        others = tokens if others is None else others
        query, key, value = (
            layer(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, part in ((self.to_q, tokens), (self.to_k, others), (self.to_v, others))
        )
        return self.to_out(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class GatedGELU(nn.Module):
    """A linear layer, half of which is gated by the GELU of the other (Shazeer, arXiv:2002.05202)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.proj = nn.Linear(channels, 2 * hidden)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """Two linear layers, the first four times as wide and gated."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedGELU(channels, 4 * channels), nn.Dropout(0.0), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(nn.Module):
    """A Transformer block whose first attention is of tokens to each other, and the second to the text, or where there is no `length`
    of it to each other again; with STAR's gates."""

    def __init__(self, channels: int, length: int | None, heads: int, liem: str) -> None:
        super().__init__()
        self.liem = liem
        self.attn1 = Attention(channels, channels, heads)
        self.attn2 = Attention(channels, length or channels, heads)
        self.ff = FeedForward(channels)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        gates = liem != "none"
        self.local1 = (SpatialGate() if length else TemporalGate()) if gates else None
        self.local2 = TemporalGate() if gates and not length else None

    def forward(self, x: Tensor, text: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = x + self.attn1(gated(self.liem, self.local1, self.norm1, x, size))
        x = x + self.attn2(gated(self.liem, self.local2, self.norm2, x, size), text)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A block over the pixels of every frame, added to its input; (N * T, channels, H, W)."""

    def __init__(self, channels: int, length: int, heads: int, groups: int, liem: str) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList([Block(channels, length, heads, liem)])
        self.proj_out = nn.Linear(channels, channels)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        size = (x.shape[-2], x.shape[-1])
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        tokens = self.transformer_blocks[0](tokens, seen.text, size)
        return x + self.proj_out(tokens).transpose(1, 2).unflatten(2, size)


class TemporalTransformer(nn.Module):
    """A block over the frames at every pixel, added to its input; (N * T, channels, H, W)."""

    def __init__(self, channels: int, heads: int, head: int, groups: int, liem: str) -> None:
        super().__init__()
        inner = heads * head
        self.norm = nn.GroupNorm(groups, channels, eps=1e-6)
        self.proj_in = nn.Conv1d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList([Block(inner, None, heads, liem)])
        self.proj_out = nn.Conv1d(inner, channels, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        height, width = size = (x.shape[-2], x.shape[-1])
        # Clips are normalised whole.
        clip = self.norm(x.unflatten(0, (-1, seen.frames)).transpose(1, 2))
        tokens = self.proj_in(clip.permute(0, 3, 4, 1, 2).flatten(0, 2)).transpose(1, 2)
        tokens = self.transformer_blocks[0](tokens, None, size)
        found = self.proj_out(tokens.transpose(1, 2)).unflatten(0, (-1, height, width))
        return x + found.permute(0, 4, 3, 1, 2).flatten(0, 1)


class Downsample(nn.Module):
    """Half the size; two rows are added above and below, so that h rows become h / 2 + 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=(2, 1))

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Twice the size, less a row above and below."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, seen: Seen) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest")[..., 1:-1, :])


class First(nn.Conv2d):
    """The convolution that latents begin with, after which the hint is added."""

    def forward(self, x: Tensor, seen: Seen) -> Tensor:  # type: ignore[override]
        return super().forward(x)


class Form(NamedTuple):
    """What a U-Net is made of.

    Args:
        latents: channels of the latents.
        channels: of every level, from the finest.
        attention: for each of them, whether it has Transformers.
        blocks: residual blocks of a level.
        head: channels of an attention head; the Transformer over frames that comes first has `first_heads` of these.
        context: length of the text's vectors.
        groups: of the normalisations.
        liem: a form of `models.parts.liem`.
    """

    latents: int
    channels: tuple[int, ...]
    attention: Sequence[bool]
    blocks: int
    head: int
    first_heads: int
    context: int
    groups: int
    liem: str


class Encoder(nn.Module):
    """The encoder and the middle of the U-Net."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        latents, channels, attention, blocks, head, first_heads, context, groups, liem = form
        self.widths, self._context, self._head, self._groups, self._liem = channels, context, head, groups, liem
        finest, known = channels[0], 4 * channels[0]
        self.time_embed = nn.Sequential(nn.Linear(finest, known), nn.SiLU(), nn.Linear(known, known))
        first = TemporalTransformer(finest, first_heads, head, groups, liem)
        self.input_blocks = nn.ModuleList([nn.ModuleList([First(latents, finest, 3, padding=1), first])])
        self.handed = [finest]  # channels of what the decoder is handed
        width = finest
        for level, (output, attends) in enumerate(zip(channels, attention, strict=True)):
            for _ in range(blocks):
                self.input_blocks.append(nn.ModuleList([Residual(width, output, known, groups), *self.pair(output, attends)]))
                self.handed.append(output)
                width = output
            if level < len(channels) - 1:
                self.input_blocks.append(Downsample(output))
                self.handed.append(output)
        middle = [Residual(width, width, known, groups), *self.pair(width, True), Residual(width, width, known, groups)]
        self.middle_block = nn.ModuleList(middle)

    def pair(self, channels: int, attends: bool) -> list[nn.Module]:
        """The Transformers over pixels and over frames, or none."""
        if not attends:
            return []
        heads = channels // self._head
        spatial = SpatialTransformer(channels, self._context, heads, self._groups, self._liem)
        return [spatial, TemporalTransformer(channels, heads, self._head, self._groups, self._liem)]

    def known(self, times: Tensor, text: Tensor, frames: int) -> Seen:
        """What layers know, from times (N,) and the text (N, tokens, length) of clips."""
        time = self.time_embed(sinusoids(times, self.widths[0]).to(text.dtype))
        return Seen(time.repeat_interleave(frames, 0), text.repeat_interleave(frames, 0), frames)

    def encode(self, x: Tensor, seen: Seen, hint: Tensor | None = None) -> list[Tensor]:
        """What every block gives for (N * T, C, h, w), and last the middle; the hint is added to the first convolution's output."""
        found = []
        for block in self.input_blocks:
            for layer in block if isinstance(block, nn.ModuleList) else [block]:
                x = layer(x, seen)
                if hint is not None:
                    x, hint = x + hint, None
            found.append(x)
        for layer in self.middle_block:
            x = layer(x, seen)
        return [*found, x]


class VideoControlNet(Encoder):
    """A copy of the encoder, told of the LR clip, whose outputs pass convolutions that begin as nothing."""

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        self.zero_convs = nn.ModuleList(nn.Sequential(zero(nn.Conv2d(width, width, 1))) for width in self.handed)
        coarsest = form.channels[-1]
        self.middle_block_out = nn.Sequential(zero(nn.Conv2d(coarsest, coarsest, 1)))
        self.input_hint_block = zero(nn.Conv2d(form.latents, form.channels[0], 3, padding=1))

    def forward(self, x: Tensor, hint: Tensor, times: Tensor, text: Tensor, frames: int) -> list[Tensor]:
        *found, middle = self.encode(x, self.known(times, text, frames), self.input_hint_block(hint))
        return [*(conv(part) for conv, part in zip(self.zero_convs, found, strict=True)), self.middle_block_out(middle)]


class ControlledVideoUNet(Encoder):
    """The whole denoiser.

    The sides of latents have to be multiples of 2 to the number of halvings, n, and their rows 2 more than such a multiple (see
    `Downsample`); with one halving, that is the same.
    """

    def __init__(self, form: Form) -> None:
        super().__init__(form)
        channels, blocks, groups = form.channels, form.blocks, form.groups
        known, width, handed = 4 * channels[0], channels[-1], list(self.handed)
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(channels))):
            output = channels[level]
            for index in range(blocks + 1):
                layers = [Residual(width + handed.pop(), output, known, groups), *self.pair(output, form.attention[level])]
                if level and index == blocks:
                    layers.append(Upsample(output))
                self.output_blocks.append(nn.ModuleList(layers))
                width = output
        self.out = _silenced(width, zero(nn.Conv2d(width, form.latents, 3, padding=1)), groups)
        self.VideoControlNet = VideoControlNet(form)

    @property
    def halvings(self) -> int:
        """How often sides are halved."""
        return len(self.widths) - 1

    def velocity(self, noisy: Tensor, hint: Tensor, times: Tensor, text: Tensor) -> Tensor:
        """What the denoiser predicts, `alpha noise - sigma x`.

        Args:
            noisy: latents (N, T, C, h, w).
            hint: those of the LR clip, of the same shape.
            times: (N,).
            text: (N, tokens, length).
        """
        frames = noisy.shape[1]
        x = noisy.flatten(0, 1)
        control = self.VideoControlNet(x, hint.flatten(0, 1), times, text, frames)
        seen = self.known(times, text, frames)
        *handed, x = (own + added for own, added in zip(self.encode(x, seen), control, strict=True))
        for block in self.output_blocks:
            x = torch.cat([x, handed.pop()], dim=1)
            for layer in block:  # type: ignore[attr-defined]
                x = layer(x, seen)
        return self.out(x).unflatten(0, noisy.shape[:2])

"""DAP: a recurrence whose hidden state is fetched by attention to a few places that a pyramid of offsets finds.

Source: Fuoli et al., "Fast Online Video Super-Resolution with Deformable Attention Pyramid", WACV 2023, Sec. 3. Its authors
published no code. What the paper leaves open is chosen so that the operations are those of its tables: 64 channels of the encoder, four levels, four samples, five
blocks, one head of attention; and the first places of the samples, the padding and the base are chosen freely.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import bilinear, enlarger, on_enlarged
from models.parts.blocks import LEAK, RESIDUAL_GAIN, leaky_relu
from models.parts.deform import zero_init
from models.parts.online import OnlineNetwork, State
from models.parts.registry import positive, switches
from models.parts.warp import flow_warp

PLACES = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1), (1, -1), (-1, 1))
"""What is added to the offsets of samples, pixels to the right and down: all at one place, they would learn the same."""

LEAK_IMDB = 0.05
"""The slope on negative values in `IMDB`, as its authors have it."""


class Encoder(nn.Module):
    """A U-Net that gives a frame's features on several levels, each half the size of the one before.

    Args:
        channels: of the features.
        levels: how many.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(*(layer for _ in range(2) for layer in (nn.Conv2d(channels, channels, 3, padding=1), _leaky())))
            for _ in range(levels)
        )
        self.downs = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(levels - 1))
        self.merges = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(levels - 1))

    def forward(self, frame: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to (N, channels, ceil(H / 2^l), ceil(W / 2^l)) of every level l, the finest first."""
        x = self.blocks[0](leaky_relu(self.first(frame)))
        levels = [x]
        for down, block in zip(self.downs, self.blocks[1:], strict=True):
            levels.append(block(leaky_relu(down(levels[-1]))))
        for level in reversed(range(len(levels) - 1)):
            levels[level] = leaky_relu(self.merges[level](levels[level] + up2(levels[level + 1], levels[level])))
        return levels


class Fetch(nn.Module):
    """Features of the frame before, fetched to the current one from given places.

    With attention, what is found at the samples' places is weighed by how its key fits the pixel's query; without, there is one
    sample, which is taken as it is.

    Args:
        channels: of queries and keys.
        values: channels of what is fetched.
        attention: whether samples are weighed.
    """

    def __init__(self, channels: int, values: int, attention: bool) -> None:
        super().__init__()
        if attention:
            self.q = nn.Conv2d(channels, channels, 1)
            self.k = nn.Conv2d(channels, channels, 1)
        self.attention = attention
        self.v = nn.Conv2d(values, values, 1)

    def forward(self, now: Tensor, before: Tensor, values: Tensor, moves: Tensor) -> Tensor:
        """Fetch.

        Args:
            now, before: (N, channels, H, W), features of the current frame and of the one before.
            values: (N, values, H, W), what is fetched; as `before` stands in place.
            moves: (N, 2 * samples, H, W), how many pixels to the right and down of a pixel its samples are.

        Returns:
            (N, values, H, W).
        """
        value = self.v(values)
        if not self.attention:
            return flow_warp(value, moves, "border")
        query, key = self.q(now), self.k(before)
        maps = torch.cat([key, value], dim=1)
        found = torch.stack([flow_warp(maps, move, "border") for move in moves.split(2, dim=1)], dim=1)
        keys, found = found.split([key.shape[1], value.shape[1]], dim=2)
        fit = (query[:, None] * keys).sum(2, keepdim=True) / query.shape[1] ** 0.5
        return (torch.softmax(fit, dim=1) * found).sum(1)


class IMDB(nn.Module):
    """A block of information multi-distillation: of what each layer gives, a quarter is kept and the rest goes on.

    Source: Hui et al., "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019, Fig. 3,
    without its attention over channels.

    Args:
        channels: of the input and output, (N, channels, H, W), a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept, self.rest = channels // 4, channels - channels // 4
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.c2 = nn.Conv2d(self.rest, channels, 3, padding=1)
        self.c3 = nn.Conv2d(self.rest, channels, 3, padding=1)
        self.c4 = nn.Conv2d(self.rest, self.kept, 3, padding=1)
        self.c5 = nn.Conv2d(channels, channels, 1)
        self.c5.weight.data.mul_(RESIDUAL_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        kept, rest = [], x
        for layer in (self.c1, self.c2, self.c3):
            part, rest = F.leaky_relu(layer(rest), LEAK_IMDB).split([self.kept, self.rest], dim=1)
            kept.append(part)
        return x + self.c5(torch.cat([*kept, self.c4(rest)], dim=1))


class DAP(OnlineNetwork):
    """Super-resolution by four, frame after frame.

    The state is the features of the frame before, on all levels, so that none are computed twice, and the hidden state; at the
    beginning the frame before is the first itself and the hidden state is zero.

    Args:
        channels: of the hidden state and of what restores the frame, a multiple of 4; the paper's 64 or 128.
        encoder_channels: of the features that offsets and attention come from.
        levels: of the pyramid.
        samples: per pixel.
        blocks: of distillation.
        offsets: whether samples move; else they are taken around the pixel itself.
        pyramid: whether offsets are found from the coarsest level to the finest; else at the finest alone.
        attention: whether samples are weighed; else there is one.
        base: the enlarged frames that the residual is added to: "bilinear" or "bicubic".

    Raises:
        ValueError: an option has no such value, or there is a pyramid without offsets.
    """

    scale = 4
    places: Tensor

    def __init__(
        self,
        channels: int,
        encoder_channels: int,
        levels: int,
        samples: int,
        blocks: int,
        offsets: bool,
        pyramid: bool,
        attention: bool,
        base: str,
    ) -> None:
        super().__init__()
        positive(self.name, channels=channels, encoder_channels=encoder_channels, levels=levels, samples=samples, blocks=blocks)
        switches(self.name, offsets=offsets, pyramid=pyramid, attention=attention)
        if channels % 4:
            raise ValueError(f"option 'channels' of {self.name} is {channels}: give a multiple of 4.")
        if samples > len(PLACES):
            raise ValueError(f"option 'samples' of {self.name} is {samples}: give at most {len(PLACES)}.")
        if pyramid and not offsets:
            raise ValueError(
                f"{self.name} has the option 'pyramid', which is one of offsets, without 'offsets': set both or none."
            )
        self.channels = channels
        self.enc = Encoder(encoder_channels, levels)
        samples = samples if attention else 1
        self.register_buffer("places", torch.tensor(PLACES[:samples]).float().view(1, 2 * samples, 1, 1), persistent=False)
        finding = levels if pyramid else int(offsets)
        self.off = nn.ModuleList(_offsets(encoder_channels, samples) for _ in range(finding))
        self.attn = nn.ModuleList(Fetch(encoder_channels, encoder_channels, attention) for _ in range(finding - 1))
        self.fuse = Fetch(encoder_channels, channels, attention)
        self.body_in = nn.Conv2d(3 + encoder_channels + channels, channels, 3, padding=1)
        self.body = nn.Sequential(*(IMDB(channels) for _ in range(blocks)))
        self.head_h = nn.Conv2d(channels, channels, 3, padding=1)
        self.head_img = nn.Conv2d(channels, 3 * 4**2, 3, padding=1)
        self.enlarge = enlarger(self.name, base)

    @property
    def last(self) -> nn.Module:
        """The layer that makes what is added to the enlarged frames."""
        return self.head_img

    def step(self, frame: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See `OnlineNetwork`."""
        now = self.enc(frame)
        if state is None:
            state = (*now, frame.new_zeros(len(frame), self.channels, *frame.shape[-2:]))
        *before, hidden = state
        fetched = self.fuse(now[0], before[0], hidden, self.moves(now, before))
        x = self.body(F.leaky_relu(self.body_in(torch.cat([frame, now[0], fetched], dim=1)), LEAK))
        return on_enlarged(F.pixel_shuffle(self.head_img(x), 4), frame, self.enlarge), (*now, self.head_h(x))

    def moves(self, now: list[Tensor], before: list[Tensor]) -> Tensor:
        """Where the samples of every pixel are: (N, 2 * samples, H, W) pixels to the right and down of it.

        Args:
            now, before: features of the current frame and of the one before, of every level.
        """
        moves: Tensor | None = None
        for level in reversed(range(len(self.off))):
            one, other = now[level], before[level]
            if moves is not None:
                moves = 2 * up2(moves, one)
                other = self.attn[level](one, other, other, moves + self.places)
            found = self.off[level](torch.cat([one, other], dim=1))
            moves = found if moves is None else moves + found
        nowhere = self.places.expand(len(now[0]), -1, *now[0].shape[-2:])
        return nowhere if moves is None else moves + self.places


def up2(x: Tensor, like: Tensor) -> Tensor:
    """(N, C, h, w) bilinearly to twice its size, less a last row or column that `like`, (N, ..., H, W), has not got."""
    height, width = x.shape[-2:]
    return bilinear(x, (2 * height, 2 * width))[..., : like.shape[-2], : like.shape[-1]]


def _offsets(channels: int, samples: int) -> nn.Sequential:
    """What finds by how much samples move, from two features one on the other; at first by nothing."""
    return nn.Sequential(
        nn.Conv2d(2 * channels, channels, 3, padding=1),
        _leaky(),
        nn.Conv2d(channels, channels, 3, padding=1),
        _leaky(),
        zero_init(nn.Conv2d(channels, 2 * samples, 3, padding=1)),
    )


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(LEAK, inplace=True)

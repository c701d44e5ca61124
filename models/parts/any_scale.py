"""Recurrent features, enlarged to any size by a head in place of the sub-pixel convolutions."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.parts.base import enlarger
from models.parts.recurrent import RecurrentFeatures
from models.parts.registry import Network

Size = tuple[int, int]
"""(H, W) of the output; a factor of its own for each axis is as good as one for both."""


class Head(nn.Module):
    """Makes of LR features what is added to the enlarged frame, at any size.

    A subclass names its last layer, and defines `forward` or, where a frame depends on the one before it, `frames`.
    """

    @property
    def last(self) -> nn.Module:
        """The layer without which there is nothing to add: with its parameters at zero the head gives zeros."""
        raise NotImplementedError

    def forward(self, features: Tensor, size: Size) -> Tensor:
        """(N, channels, h, w) to (N, 3, *size), which is no smaller."""
        raise NotImplementedError

    def frames(self, features: Iterator[Tensor], to_previous: Tensor, size: Size) -> Iterator[Tensor]:
        """The residuals of a clip, frame after frame.

        Args:
            features: T of (N, channels, h, w).
            to_previous: (N, T-1, 2, h, w) in LR pixels: entry t leads from frame t+1 to frame t.
            size: of the output.

        Yields:
            T of (N, 3, *size).
        """
        return (self(x, size) for x in features)


class AnyScaleNetwork(RecurrentFeatures, Network):
    """What networks share that restore clips at any scale, also a fractional one or one per axis.

    A subclass calls `add_head` at the end of its `__init__`.
    """

    scale = 4
    any_scale = True

    def add_head(self, head: Head, base: str) -> None:
        """Set the head.

        Args:
            head: see `Head`.
            base: the enlarged frames that the residual is added to: "bilinear" or "bicubic".

        Raises:
            ValueError: there is no such base.
        """
        self.enlarge = enlarger(self.name, base)
        self.head = head

    @property
    def last(self) -> nn.Module:
        """The layer that makes what is added to the enlarged frames."""
        return self.head.last

    def forward(self, clip: Tensor, *, size: Size | None = None, flow: Tensor | None = None) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, h, w) RGB in [0, 1].
            size: (H, W) of the output, each at least that of the clip; by default `scale` times it, rounded.
            flow: see `flows`.

        Returns:
            (N, T, 3, H, W), unclipped.

        Raises:
            ValueError: the size is smaller than the clip's, or as `flows`.
        """
        height, width = clip.shape[-2:]
        size = size or (round(self.scale * height), round(self.scale * width))
        if size[0] < height or size[1] < width:
            raise ValueError(
                f"{self.name} enlarges, but {size[1]}x{size[0]} is smaller than {width}x{height}: give a larger size."
            )
        to_next, to_previous = self.flows(clip, flow)
        residuals = self.head.frames(self.features(clip, to_next, to_previous), to_previous, size)
        return torch.stack([x + self.enlarge(clip[:, t], size) for t, x in enumerate(residuals)], dim=1)

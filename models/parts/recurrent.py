"""Recurrent propagation: features of a whole clip carried along its optical flow, and networks that upsample them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.parts.blocks import SubPixelNetwork, in_parts


class RecurrentFeatures(nn.Module):
    """The features that the frames of a clip are restored from (BasicVSR, CVPR 2021, Sec. 3).

    A subclass has a flow network as `spynet`, says how many `channels` its features have, and defines `features`.
    """

    spynet: nn.Module
    channels: int

    def features(self, clip: Tensor, to_next: Tensor, to_previous: Tensor) -> Iterator[Tensor]:
        """What frames are restored from, frame after frame.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].
            to_next, to_previous: of `flows`.

        Yields:
            T of (N, channels, H, W).
        """
        raise NotImplementedError

    def flows(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The flow from every frame to the next and from every frame but the first to its predecessor.

        Args:
            clip: (N, T, 3, H, W).

        Returns:
            Two of (N, T-1, 2, H, W) in pixels: entry t of the first aligns frame t+1 with t, entry t of
            the second aligns frame t with t+1.
        """
        count, frames, _, height, width = clip.shape
        if frames == 1:
            none = clip.new_zeros(count, 0, 2, height, width)
            return none, none
        earlier, later = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
        found = in_parts(self.spynet, torch.cat([earlier, later]), torch.cat([later, earlier]))
        to_next, to_previous = found.view(2, count, frames - 1, 2, height, width)
        return to_next, to_previous


class RecurrentNetwork(RecurrentFeatures, SubPixelNetwork):
    """Recurrent features, enlarged four times by sub-pixel convolutions."""

    def forward(self, clip: Tensor) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].

        Returns:
            (N, T, 3, 4H, 4W), unclipped.
        """
        return self.restore(self.features(clip, *self.flows(clip)), clip)

    def restore(self, features: Iterator[Tensor], clip: Tensor) -> Tensor:
        """The restored clip, of whose frames `features` are."""
        return torch.stack([self.upsample(x, clip[:, t]) for t, x in enumerate(features)], dim=1)

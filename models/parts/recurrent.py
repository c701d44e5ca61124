"""Recurrent propagation: features of a whole clip carried along its optical flow, and networks that upsample them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from models.parts.blocks import SubPixelNetwork, in_parts
from models.parts.priors import FLOW, given
from models.parts.registry import misspelt
from models.spynet import SPyNet

FLOWS = ("own", "given")
"""Where flow comes from: the network's own SPyNet, or a prior of the clip."""


class RecurrentFeatures(nn.Module):
    """The features that the frames of a clip are restored from (BasicVSR, CVPR 2021, Sec. 3).

    A subclass calls `add_flow` in its `__init__`, says how many `channels` its features have, and defines `features`.
    """

    name: str
    priors: tuple[str, ...]
    channels: int

    def add_flow(self, flow: str) -> None:
        """Set where the flow comes from: "own", a SPyNet as published, or "given", by the keyword `flow`.

        Raises:
            ValueError: it is neither.
        """
        if flow not in FLOWS:
            raise ValueError(misspelt(f"value of flow of {self.name}", str(flow), FLOWS))
        if flow == "own":
            self.spynet = SPyNet()
        else:
            self.priors = (*self.priors, "flow")

    def features(self, clip: Tensor, to_next: Tensor, to_previous: Tensor) -> Iterator[Tensor]:
        """What frames are restored from, frame after frame.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].
            to_next, to_previous: of `flows`.

        Yields:
            T of (N, channels, H, W).
        """
        raise NotImplementedError

    def flows(self, clip: Tensor, flow: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The flow from every frame to the next and from every frame but the first to its predecessor.

        Args:
            clip: (N, T, 3, H, W).
            flow: (N, T, 4, H, W), see `models.parts.priors.FLOW`, for networks without a flow network.

        Returns:
            Two of (N, T-1, 2, H, W) in pixels: entry t of the first aligns frame t+1 with t, entry t of
            the second aligns frame t with t+1.

        Raises:
            ValueError: the flow is missing, not of the clip, or given to a network that computes its own.
        """
        if "flow" in self.priors:
            flow = given(self.name, "flow", clip, flow, FLOW)
            return flow[:, :-1, :2], flow[:, 1:, 2:]
        if flow is not None:
            raise ValueError(f"{self.name} computes its own flow: leave `flow` out, or create the network with flow='given'.")
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

    def forward(self, clip: Tensor, *, flow: Tensor | None = None) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].
            flow: see `flows`.

        Returns:
            (N, T, 3, 4H, 4W), unclipped.

        Raises:
            ValueError: as `flows`.
        """
        return self.restore(self.features(clip, *self.flows(clip, flow)), clip)

    def restore(self, features: Iterator[Tensor], clip: Tensor) -> Tensor:
        """The restored clip, of whose frames `features` are."""
        return torch.stack([self.upsample(x, clip[:, t]) for t, x in enumerate(features)], dim=1)

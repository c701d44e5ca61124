"""What networks share that make frames in between."""

from __future__ import annotations

from torch import Tensor

from models.parts.registry import Network


def check_clip(network: Network, clip: Tensor) -> None:
    """Raises ValueError: the clip, (N, T, 3, H, W), has no two frames to make one in between of."""
    if clip.shape[1] < network.min_frames:
        raise ValueError(
            f"{network.name} restores clips of at least {network.min_frames} frames but got {clip.shape[1]}: give a longer clip."
        )

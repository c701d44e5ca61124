"""What networks see of every frame beside the clip, and take by keyword."""

from __future__ import annotations

from torch import Tensor

from models.parts.blocks import pad_to_multiple

PLANES = 64
"""Channels of `masks`, one per mask of a frame; the rest is empty."""

FLOW = 4
"""Channels of `flow`, in pixels, to the right and down: two to the next frame, then two to the previous one. What leads out
of the clip is not looked at."""


def given(network: str, prior: str, clip: Tensor, planes: Tensor | None, channels: int) -> Tensor:
    """A prior, if it is of the clip.

    Args:
        network: its name.
        prior: the keyword that it takes the prior by.
        clip: (N, T, 3, H, W).
        planes: (N, T, channels, H, W).

    Raises:
        ValueError: there is none, or it is of another clip.
    """
    wanted = (*clip.shape[:2], channels, *clip.shape[-2:])
    if planes is None:
        raise ValueError(f"{network} is guided by {prior} but got none: give {prior} of the clip, {wanted}, by keyword.")
    if planes.shape != wanted:
        raise ValueError(f"{network} got {prior} of shape {tuple(planes.shape)}: give {prior} of the clip, {wanted}.")
    return planes


def pad_flow(flow: Tensor, multiple: int) -> Tensor:
    """`models.parts.blocks.pad_to_multiple` for `flow`, (N, T, FLOW, H, W): a mirror turns motion round.

    Raises:
        ValueError: a side is too short to be mirrored so far.
    """
    height, width = flow.shape[-2:]
    padded = pad_to_multiple(flow, multiple)
    signs = flow.new_ones(FLOW, *padded.shape[-2:])
    signs[0::2, :, width:] = -1
    signs[1::2, height:] = -1
    return padded * signs

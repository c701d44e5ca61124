"""Frames in the middle between those of a clip, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor

from models.parts.warp import flow_warp

TAPS = {"linear": (0.0, 0.5, 0.5, 0.0), "cubic": (-1 / 16, 9 / 16, 9 / 16, -1 / 16)}
"""What the two frames before and the two after count, by a straight line or Keys' cubic convolution (see `models.parts.resize`)."""


def in_between(clip: Tensor, kind: str = "cubic") -> Tensor:
    """A clip at the times 0, 1/2, 1, … of its frames, each pixel by itself; beyond its ends its end frames are repeated.

    Args:
        clip: (N, T, ...).
        kind: "linear" or "cubic".

    Returns:
        (N, 2T - 1, ...); the given frames are as they are.
    """
    held = torch.cat([clip[:, :1], clip, clip[:, -1:]], dim=1)
    count = clip.shape[1] - 1
    terms = (weight * held[:, start : start + count] for start, weight in enumerate(TAPS[kind]) if weight)
    return interleave(clip, sum(terms, start=torch.zeros_like(clip[:, 1:])))


def sight(reach: int) -> int:
    """How many frames after a given one it and the one made after it depend on, where what sees `reach` frames ahead sees a clip of
    `in_between`, by cubic convolution."""
    return reach // 2 + 2


def along_flow(clip: Tensor, flow: Tensor) -> Tensor:
    """A clip at the times 0, 1/2, 1, … of its frames: between them the mean of both neighbours, moved half way along their flow.

    Where a pixel of the frame in between comes from is approximated by flows that begin in the neighbours at the same place (Jiang et al.,
    "Super SloMo", CVPR 2018, Eq. 4, at t = 1/2).

    Args:
        clip: (N, T, 3, H, W).
        flow: (N, T, 4, H, W) in pixels, to the right and down: to the next frame, then to the previous one.

    Returns:
        (N, 2T - 1, 3, H, W).
    """
    onwards, back = flow[:, :-1, :2].flatten(0, 1), flow[:, 1:, 2:].flatten(0, 1)
    before, after = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
    to_before = (back - onwards) / 4
    made = (flow_warp(before, to_before, "border") + flow_warp(after, -to_before, "border")) / 2
    return interleave(clip, made.unflatten(0, (clip.shape[0], clip.shape[1] - 1)))


def interleave(given: Tensor, made: Tensor) -> Tensor:
    """(N, T, ...) and (N, T - 1, ...) in turn: (N, 2T - 1, ...)."""
    pairs = torch.stack([given[:, :-1], made], dim=2).flatten(1, 2)
    return torch.cat([pairs, given[:, -1:]], dim=1)

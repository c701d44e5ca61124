"""Colours of restored frames as they are in the LR frames."""

from __future__ import annotations

from torch import Tensor

EPS = 1e-5
"""Added to variances."""


def adain(frames: Tensor, like: Tensor) -> Tensor:
    """Frames with the mean and the standard deviation of others, in every channel.

    Huang and Belongie, "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization", ICCV 2017, Eq. 8, of frames in
    place of features, as SDATC (arXiv:2502.07381, Sec. III-E) and STAR (arXiv:2501.02976) end with.

    Args:
        frames: (..., 3, H, W).
        like: (..., 3, h, w), of the same meaning.
    """

    def statistics(x: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean((-2, -1), keepdim=True), (x.var((-2, -1), keepdim=True, correction=0) + EPS).sqrt()

    mean, deviation = statistics(frames)
    wanted, spread = statistics(like)
    return (frames - mean) / deviation * spread + wanted

"""What benchmarks of restoring share: a clip with motion, and networks."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import nn

import models
from models import Network
from pipelines import params
from pipelines.clips import parallax
from pipelines.clips.levels import to_tensor

RESIDUAL = 10
"""Levels that a network of random parameters is to add to the enlarged frames, as root mean square: about what trained ones do."""


def clip(frames: int, height: int, width: int) -> list[np.ndarray]:
    """LR frames, (height, width, 3) uint8: one shot of the corpus `parallax`, rendered at this size."""
    corpus = params.Parallax(
        kind="parallax", source="pipelines/clips/parallax", seed=0, height=height, width=width, frames=frames, clips={"test": 1}
    )
    ((name, _),) = parallax.clips(corpus)
    return [frame["rgb"] for frame in islice(parallax.render(corpus, name), frames)]


def network(name: str, weights: Path | None = None) -> Network:
    """A network of its published size with parameters from a file, else with random ones.

    The residual of a random network is next to nothing and would hide every difference; its last layer is scaled up.
    """
    if weights is not None:
        return models.load(weights, name).eval()
    torch.manual_seed(0)
    made = models.create(name).eval()
    last = made.last
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    seen = to_tensor(clip(made.window or max(3, made.min_frames), 48, 64))[None]
    with torch.inference_mode():
        added = made(seen)
        plain = last.weight.clone(), last.bias.clone()
        last.weight.zero_()
        last.bias.zero_()
        added -= made(seen)
        for parameter, value in zip((last.weight, last.bias), plain, strict=True):
            parameter.copy_(value * (RESIDUAL / 255 / added.square().mean().sqrt()))
    return made


def difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, int]:
    """PSNR in dB, infinite for equal ones, and the largest difference in levels of two 8-bit frames or clips."""
    off = ours.astype(np.int16) - theirs
    error = float(np.mean(np.square(off, dtype=np.int32)))
    return (10 * np.log10(255**2 / error) if error else float("inf")), int(np.abs(off).max())

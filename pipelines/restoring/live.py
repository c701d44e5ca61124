"""Restores a stream: every frame as soon as the frames that it is restored from are there, in memory that does not grow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from models import Network
from pipelines.errors import VSRError
from pipelines.restoring.restore import check_inputs, check_passes, checked, in_passes, reaching, runner, windows
from pipelines.restoring.speed import PLAIN, Speed, accelerate
from pipelines.restoring.tiles import Size


@dataclass(frozen=True)
class Lookahead:
    """The passes that a stream is restored in: of `window` frames, of which `overlap` are dropped at each side."""

    window: int
    overlap: int

    @property
    def first(self) -> int:
        """How many frames have to arrive after the first one before it is restored."""
        return self.window - 1

    @property
    def delay(self) -> int:
        """How many frames at most have to arrive after a later one before it is restored."""
        return self.window - 1 - self.overlap


def lookahead(network: Network, window: int, overlap: int) -> Lookahead:
    """The shortest passes for a network, or where it looks ahead to the end of a clip those that are given.

    Raises:
        VSRError: the passes do not fit together; the network sees priors, which a stream of frames does not bring.
    """
    if network.priors:
        raise VSRError(
            f"{network.name} sees {' and '.join(network.priors)} of every frame, which cannot come through a pipe: "
            "restore a file or a folder of frames."
        )
    if network.lookahead is None:
        overlap = reaching(network, overlap)
        check_passes(network, window, overlap)
        return Lookahead(window, overlap)
    return Lookahead(max(network.min_frames, 2 * network.lookahead + 1), network.lookahead)


def live(
    network: Network,
    frames: Iterable[np.ndarray],
    passes: Lookahead,
    *,
    device: torch.device | str = "cpu",
    size: Size | None = None,
    speed: Speed = PLAIN,
) -> Iterator[np.ndarray]:
    """Super-resolve a stream. The frames are those that `restore` gives of the whole clip in such passes; of an online network,
    which carries its state from frame to frame, those of one pass.

    Args:
        network: see `restore`; one that sees no priors.
        frames: LR frames, (h, w, 3) uint8 RGB, as they arrive.
        passes: of `lookahead`.
        device: where the network runs.
        size: (H, W) of the restored frames, for networks that restore at any scale.
        speed: how the network is run.

    Yields:
        As many frames, or `network.made` of them, (s*h, s*w, 3) uint8 RGB.

    Raises:
        VSRError: as `restore`.
    """
    check_inputs(network, {}, size)
    place = torch.device(device)
    run = runner(network)(accelerate(network.eval().to(place), speed), place, speed, mirrored=False)
    yield from in_passes(run, windows(checked(frames, {}), passes.window, passes.overlap, at_once=True), size)

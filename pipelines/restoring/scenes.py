"""Cuts of a clip, over which networks carry nothing: each scene is restored as a clip of its own.

A frame begins a scene if it differs from the one before by far more than frames around it do, and the next one stays where it is:
a flash comes and goes. Frames are compared by the means of a grid of cells, which motion hardly changes. Dissolves and fades are
no cuts. Measured in docs/footage.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import cv2
import numpy as np

from models import Network
from models.parts.online import OnlineNetwork
from pipelines.restoring.restore import restore

CELLS = 16
"""Of the grid, along a side."""
LEAST = 12.0
"""Levels, of 255, that the cells of a new scene differ from those before, in the mean."""
TIMES = 3.0
"""How many times more than the frames around it do."""
AROUND = 3
"""Frames to each side that are looked at."""


def looks_around(network: Network) -> bool:
    """Whether a restored frame depends on others."""
    return network.lookahead != 0 or isinstance(network, OnlineNetwork)


def signature(frame: np.ndarray) -> np.ndarray:
    """(CELLS, CELLS, 3) in levels of 255: the means of a frame's cells, (H, W, 3) uint8 or uint16."""
    cells = cv2.resize(frame, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float32)
    return cells / 257 if frame.dtype == np.uint16 else cells


def cuts(frames: Iterable[np.ndarray]) -> list[int]:
    """The first frames of all scenes but the first, of frames (H, W, 3) RGB."""
    return cuts_of([signature(frame) for frame in frames])


def cuts_of(signatures: Sequence[np.ndarray]) -> list[int]:
    """`cuts`, of the frames' signatures."""
    if len(signatures) < 2:
        return []
    cells = np.stack(signatures)
    steps = np.abs(np.diff(cells, axis=0)).mean(axis=(1, 2, 3))  # of frame t + 1 from t
    found = []
    for index in np.flatnonzero(steps > LEAST):
        around = np.concatenate([steps[max(0, index - AROUND) : index], steps[index + 1 : index + 1 + AROUND]])
        stays = index + 2 >= len(cells) or np.abs(cells[index + 2] - cells[index]).mean() > steps[index] / 2
        if stays and steps[index] > TIMES * (np.median(around) if len(around) else 0):
            found.append(int(index) + 1)
    return found


def restore_scenes(
    network: Network,
    frames: Iterable[np.ndarray],
    first: Sequence[int],
    *,
    priors: Mapping[str, Iterable[np.ndarray]],
    begin: int = 0,
    **how: Any,
) -> Iterator[np.ndarray]:
    """`restore`, scene by scene.

    A scene of fewer frames than the network needs is shown to it there and back again.

    Args:
        network, frames, priors, begin, how: see `restore`.
        first: the first frames of all scenes but the first, see `cuts`.
    """
    source, planes = iter(frames), {name: iter(prior) for name, prior in priors.items()}
    for start, end in zip([0, *first], [*first, None], strict=True):
        count = None if end is None else end - start
        scene: Iterable[np.ndarray] = islice(source, count)
        guides: dict[str, Iterable[np.ndarray]] = {name: islice(prior, count) for name, prior in planes.items()}
        if end is not None and end <= begin:
            for each in (scene, *guides.values()):
                for _ in each:
                    pass
            continue
        scene = _lasting(list(islice(scene, network.min_frames)), scene, network.min_frames)
        guides = {
            name: _lasting(list(islice(guide, network.min_frames)), guide, network.min_frames) for name, guide in guides.items()
        }
        restored = restore(network, scene, priors=guides, begin=max(0, begin - start), **how)
        yield from restored if count is None or count >= network.min_frames else islice(restored, count)


def _lasting(head: list[np.ndarray], rest: Iterable[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """A scene, there and back again until it has frames enough."""
    yield from head
    yield from rest
    back = [*range(len(head) - 2, 0, -1), *range(len(head))] or [0]
    for turn in range(max(0, least - len(head)) if head else 0):
        yield head[back[turn % len(back)]]

"""Cuts of a clip, over which networks carry nothing: each scene is restored as a clip of its own.

A frame begins a scene if it differs from the one before by far more than frames around it do, and so do the two before and the two
after: a flash comes and goes. Frames are compared by the means of a grid of cells, which motion hardly changes. Dissolves and fades are
no cuts. Measured in docs/footage.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
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
    for index in map(int, np.flatnonzero(steps > LEAST)):
        around = np.concatenate([steps[max(0, index - AROUND) : index], steps[index + 1 : index + 1 + AROUND]])
        before, after = max(0, index - 1), min(index + 2, len(cells) - 1)
        lasting = min(np.abs(cells[after] - cells[index]).mean(), np.abs(cells[index + 1] - cells[before]).mean())
        if lasting > steps[index] / 2 and steps[index] > TIMES * (np.median(around) if len(around) else 0):
            found.append(index + 1)
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

    A scene of fewer frames than the network needs is shown to it there and back again. Where frames are made in between, the last one
    of a scene stays until the next begins.

    Args:
        network, frames, priors, begin, how: see `restore`.
        first: the first frames of all scenes but the first, see `cuts`.
    """
    scale = network.time_scale
    source, planes = iter(frames), {name: iter(prior) for name, prior in priors.items()}
    for start, end in zip([0, *first], [*first, None], strict=True):
        count = None if end is None else end - start
        scene: Iterable[np.ndarray] = islice(source, count)
        guides: dict[str, Iterable[np.ndarray]] = {name: islice(prior, count) for name, prior in planes.items()}
        if end is not None and scale * end <= begin:
            for each in (scene, *guides.values()):
                for _ in each:
                    pass
            continue
        if not first:
            yield from restore(network, scene, priors=guides, begin=begin, **how)
            return
        least = network.min_frames
        head = list(islice(scene, least))
        whole = len(head) == least
        heads = {name: list(islice(guide, least)) for name, guide in guides.items()}
        if whole:
            scene, guides = chain(head, scene), {name: chain(heads[name], guide) for name, guide in guides.items()}
        else:
            scene, guides = _again(head, least), {name: _again(guide, least) for name, guide in heads.items()}
        offset = max(0, begin - scale * start)
        skipped = offset if scale == 1 else 0
        restored = restore(network, scene, priors=guides, begin=skipped, **how)
        if not whole:
            restored = islice(restored, network.made(len(head)) - skipped)
        yield from islice(_held(restored, 0 if end is None else scale - 1), offset - skipped, None)


def _held(frames: Iterable[np.ndarray], times: int) -> Iterator[np.ndarray]:
    """Frames, and the last of them so many times more."""
    last: np.ndarray | None = None
    for last in frames:
        yield last
    if last is not None:
        yield from repeat(last, times)


def _again(frames: list[np.ndarray], least: int) -> list[np.ndarray]:
    """A scene there and back again, until it has as many frames."""
    turn = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    return [frames[turn[index % len(turn)]] for index in range(least if frames else 0)]

"""Cuts, and scenes that are restored one by one."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from front_door import moving
from torch import Tensor

from models import Network, create
from models.parts.online import OnlineNetwork, State
from pipelines.restoring.restore import restore
from pipelines.restoring.scenes import cuts, looks_around, restore_scenes


def scene(seed: int, count: int) -> list[np.ndarray]:
    """A picture of its own that drifts."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    wide = colours.repeat(12, 0).repeat(12, 1)
    return [np.roll(wide, 2 * t, 1)[4:52, 4:84] for t in range(count)]


class Memory(Network):
    """Gives of every frame the mean of all of its pass: whatever is carried shows."""

    scale = 1
    lookahead = None

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean(1, keepdim=True).expand_as(clip)


def test_cuts_are_found_and_motion_and_flashes_are_none() -> None:
    film = [*scene(1, 9), *scene(2, 4), *scene(3, 1), *scene(4, 12)]
    film[20] = np.full_like(film[20], 255)
    assert cuts(film) == [9, 13, 14]
    assert cuts(film[:1]) == cuts([]) == []
    assert cuts([np.roll(moving(1)[0], 3 * t, 1) for t in range(12)]) == []
    deep = [frame.astype(np.uint16) * 257 for frame in film]
    assert cuts(deep) == [9, 13, 14]


@pytest.mark.parametrize("begin", [0, 1, 3, 7])
def test_nothing_is_carried_over_a_cut(begin: int) -> None:
    parts = [[np.full((8, 8, 3), level + t, np.uint8) for t in range(count)] for level, count in ((10, 3), (100, 1), (200, 5))]
    restored = list(restore_scenes(Memory(), itertools.chain(*parts), [3, 4], priors={}, begin=begin, window=30, overlap=5))
    expected = [np.full((8, 8, 3), level, np.uint8) for level, count in ((11, 3), (100, 1), (202, 5)) for _ in range(count)]
    assert same(restored, expected[begin:])


class Middle(Network):
    """Gives the mean of the five frames around each."""

    scale = 1
    window = min_frames = 5
    lookahead = 2

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean(1)


class Running(OnlineNetwork):
    """Gives the mean of a frame and of what it gave before."""

    scale = 1

    def step(self, frame: Tensor, state: State | None = None, **priors: Tensor) -> tuple[Tensor, State]:
        mean = frame if state is None else (frame + state[0]) / 2  # type: ignore[index]
        return mean, (mean,)  # type: ignore[return-value]


def test_a_scene_shorter_than_the_network_needs() -> None:
    clip = moving(9, 8, 8)
    restored = list(restore_scenes(Middle(), clip, [2], priors={}, window=30, overlap=5))
    assert len(restored) == 9 and same(restored[2:], list(restore(Middle(), clip[2:], window=30, overlap=5)))
    there_and_back = [clip[index] for index in (0, 1, 0, 1, 0)]
    assert same(restored[:2], list(restore(Middle(), there_and_back, window=30, overlap=5))[:2])


def test_restoring_goes_on_from_any_frame() -> None:
    """The frames that an interrupted run lacks are those of an undisturbed one."""
    clip = moving(23, 8, 8)
    for network in (Memory(), Middle(), Running()):
        whole = list(restore(network, clip, window=7, overlap=2))
        for begin in range(23):
            assert same(list(restore(network, clip, window=7, overlap=2, begin=begin)), whole[begin:])


def test_networks_that_see_one_frame_need_no_cuts() -> None:
    assert not looks_around(create("bicubic")) and looks_around(Memory())


def same(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> bool:
    return len(ours) == len(theirs) and all((a == b).all() for a, b in zip(ours, theirs, strict=True))


def test_frames_in_between_stop_at_a_cut() -> None:
    """The last frame of a scene stays until the next begins, and a film that goes on has the same frames."""
    network = create("cascade", interpolate="linear").eval()
    frames = [*moving(5, 16, 24), *moving(4, 16, 24, seed=1)]
    how = {"window": 30, "overlap": 0, "priors": {}}
    with torch.no_grad():
        restored = list(restore_scenes(network, frames, [5], **how))
        first, second = (list(restore(network, part, **how)) for part in (frames[:5], frames[5:]))
        expected = [*first, first[-1], *second]
        assert len(restored) == 2 * len(frames) - 1
        assert all((one == other).all() for one, other in zip(restored, expected, strict=True))
        for begin in (3, 8, 9, 10, 12):
            rest = list(restore_scenes(network, frames, [5], begin=begin, **how))
            assert all((one == other).all() for one, other in zip(rest, expected[begin:], strict=True))

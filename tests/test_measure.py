"""What a method costs: which frames are timed, after how many passes, and what the numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models import Network
from pipelines.params import Passes
from pipelines.restoring import measure as measuring
from pipelines.restoring.measure import FRAMES, WARM_UP, Footage, delay_frames, footage, measure

BLOCK = 2**26
"""Bytes that the spies take in every pass: more than an allocator keeps for the next one."""


class Whole(Network):
    """Restores whole clips and counts the frames of its passes."""

    name = "whole"
    scale = 2

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def forward(self, clip: Tensor, **priors: Tensor) -> Tensor:
        self.passes.append(clip.shape[1])
        torch.ones(BLOCK, dtype=torch.uint8)
        return clip.repeat_interleave(2, -1).repeat_interleave(2, -2)


class Middle(Whole):
    """Restores the middle of five."""

    name = "middle"
    window = min_frames = 5

    def forward(self, clip: Tensor, **priors: Tensor) -> Tensor:
        return super().forward(clip)[:, 2]


def clip(count: int = FRAMES["cpu"]) -> Footage:
    hr = list(np.random.default_rng(0).integers(0, 256, (7, 17, 26, 3), np.uint8))
    return footage(hr, 2, 25.0, count)


def test_footage_goes_forwards_and_backwards() -> None:
    made = clip(16)
    assert made.lr == (8, 13) and made.size == (16, 26) and len(made.frames) == 16
    order = [0, 1, 2, 3, 4, 5, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3]
    assert all(np.array_equal(frame, made.frames[index]) for frame, index in zip(made.frames, order, strict=True))
    assert len(footage([np.zeros((8, 8, 3), np.uint8)], 4, 25.0, 3).frames) == 3


@pytest.mark.parametrize(("window", "frames"), [(100, 30), (12, 12)])
def test_a_network_of_whole_clips(monkeypatch: pytest.MonkeyPatch, window: int, frames: int) -> None:
    network = Whole()
    monkeypatch.setattr(measuring.networks, "load", lambda path: network)
    found = measure(Path("checkpoint"), clip(), Passes(window=window, overlap=1), "cpu")
    timed, on_disk = network.passes[WARM_UP["cpu"] : WARM_UP["cpu"] + 3], network.passes[WARM_UP["cpu"] + 3 :]
    assert network.passes[: WARM_UP["cpu"]] == [frames] * WARM_UP["cpu"] and timed == [frames] * 3
    assert found.frames == 3 * frames >= FRAMES["cpu"] and found.window == frames
    assert on_disk[0] == min(window, 30) and found.throughput > 0
    assert found.seconds_per_frame <= found.seconds_p95 <= found.seconds_p99
    # The first frame of a pass waits for the others, then for the pass.
    assert found.delay_frames == frames - 1
    assert found.delay == pytest.approx((frames - 1) / 25 + frames * found.seconds_per_frame)
    assert found.peak_memory is None or 0.9 * BLOCK < found.peak_memory < 4 * BLOCK
    assert (found.device, found.lr, found.precision) == ("cpu", (8, 13), "float32") and found.hardware
    assert found.threads == torch.get_num_threads()


def test_a_network_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Middle()
    monkeypatch.setattr(measuring.networks, "load", lambda path: network)
    found = measure(Path("checkpoint"), clip(), Passes(window=100, overlap=10), "cpu")
    assert set(network.passes) == {5} and found.frames == 30
    assert len(network.passes) == 30 * (WARM_UP["cpu"] + 1 + 1)  # to warm up, timed, and from disk to disk
    assert found.delay_frames == 2 and found.delay == pytest.approx(2 / 25 + found.seconds_per_frame)


def test_a_network_with_priors_is_given_some(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    class Guided(Whole):
        priors = ("masks",)

        def forward(self, clip: Tensor, masks: Tensor) -> Tensor:
            seen.append(masks.shape)
            return super().forward(clip)

    monkeypatch.setattr(measuring.networks, "load", lambda path: Guided())
    measure(Path("checkpoint"), clip(), Passes(window=100, overlap=10), "cpu")
    assert set(seen) == {(1, 30, 64, 8, 13)}


@pytest.mark.parametrize(("network", "frames"), [(Whole(), 9), (Middle(), 2)])
def test_how_many_frames_have_to_arrive(network: Network, frames: int) -> None:
    assert delay_frames(network, 10) == frames

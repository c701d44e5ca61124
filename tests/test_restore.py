"""Restoration in windows, mirrored, at any size and with priors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import models
from models import Network
from models.parts.resize import imresize_to
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.errors import VSRError
from pipelines.restoring.restore import restore, windows

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other


class Spy(Network):
    """Repeats pixels, adds nothing, and remembers the passes that it was asked for."""

    name = "spy"
    scale = 2

    def __init__(self, min_frames: int = 1) -> None:
        super().__init__()
        self.min_frames = min_frames
        self.passes: list[list[int]] = []

    def forward(self, clip: Tensor) -> Tensor:
        self.passes.append([round(float(value) * 255) for value in clip[0, :, 0, 0, 0]])
        return clip.repeat_interleave(2, -1).repeat_interleave(2, -2)


def numbered(count: int, height: int = 2, width: int = 3) -> Iterator[np.ndarray]:
    """Frames whose pixels are the frame's number."""
    for index in range(count):
        yield np.full((height, width, 3), index, np.uint8)


def noise(seed: int, count: int, height: int, width: int) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8))


def small() -> Network:
    torch.manual_seed(0)
    return models.create("basicvsr", channels=4, blocks=1, upsample_channels=4)


# ---------------------------------------------------------------- windows


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5))
def test_every_frame_is_restored_once_from_a_full_window(count: int, window: int, overlap: int) -> None:
    if window <= 2 * overlap:
        window += 2 * overlap
    network = Spy()
    restored = list(restore(network, numbered(count), window=window, overlap=overlap))
    assert [int(frame[0, 0, 0]) for frame in restored] == list(range(count))
    assert all(len(frames) == min(window, count) for frames in network.passes)
    assert all(frames == list(range(frames[0], frames[-1] + 1)) for frames in network.passes)


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 5))
def test_frames_next_to_a_cut_are_dropped(count: int, window: int, overlap: int) -> None:
    window += 2 * overlap
    given_ = []
    for clip, first, last in windows(numbered(count), window, overlap):
        begin = int(clip[0][0, 0, 0])
        assert first >= overlap or begin == 0
        assert len(clip) - last >= overlap or begin + len(clip) == count
        given_ += range(begin + first, begin + last)
    assert given_ == list(range(count))


def test_no_more_frames_are_read_than_the_passes_need() -> None:
    read = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal read
        for frame in numbered(200):
            read += 1
            yield frame

    for given_, _ in enumerate(restore(Spy(), counted(), window=10, overlap=2)):
        assert read <= min(200, given_ + 10 + 10)


def test_a_clip_that_fits_is_restored_in_one_pass() -> None:
    network, clip = small(), noise(0, 5, 8, 10)
    with torch.no_grad():
        whole = network(to_tensor(clip)[None])[0]
    for window in (5, 6, 50):
        restored = list(restore(network, clip, window=window, overlap=2))
        assert all(np.array_equal(one, to_frame(other)) for one, other in zip(restored, whole, strict=True))


def test_windows_of_a_recurrent_network_give_the_frames_of_its_passes() -> None:
    network, clip = small(), noise(1, 9, 8, 10)
    restored = list(restore(network, clip, window=5, overlap=1))
    # passes: frames 0-4 give 0-3, frames 3-7 give 4-6, frames 4-8 give 7-8
    for start, first, last in ((0, 0, 4), (3, 4, 7), (4, 7, 9)):
        part = list(restore(network, clip[start : start + 5], window=5, overlap=0))
        assert all(np.array_equal(restored[index], part[index - start]) for index in range(first, last))


def test_quantisation_clips_and_rounds() -> None:
    values = torch.tensor([-0.2, 0.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 1.7]).view(1, 1, 7).expand(3, 1, 7)
    assert to_frame(values)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


class Faulty(Spy):
    """Gives one value that is no number, in the frame of that brightness."""

    def __init__(self, frame: int, value: float) -> None:
        super().__init__()
        self.frame, self.value = frame, value

    def forward(self, clip: Tensor) -> Tensor:
        restored = super().forward(clip)
        restored[:, [number == self.frame for number in self.passes[-1]], 1, 0, 2] = self.value
        return restored


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(value: float) -> None:
    restored = restore(Faulty(7, value), numbered(9), window=5, overlap=1)
    with pytest.raises(VSRError, match="^restored frame 7 has values that are not finite numbers"):
        for given_, _ in enumerate(restored):
            assert given_ < 7


def test_restoring_does_not_leak_its_inference_mode() -> None:
    for _ in restore(Spy(), numbered(2), window=2, overlap=0):
        assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("frames", "window", "overlap", "needed", "message"),
    [
        (3, 4, 2, 1, "a window of at least 5"),
        (3, 4, -1, 1, "overlap of at least 0"),
        (3, 2, 0, 3, "a window of at least 3"),
        (2, 5, 0, 3, "has 2 frames but spy needs 3"),
        (0, 5, 0, 1, "has no frames"),
    ],
)
def test_clips_that_cannot_be_restored(frames: int, window: int, overlap: int, needed: int, message: str) -> None:
    with pytest.raises(VSRError, match=message):
        list(restore(Spy(needed), numbered(frames), window=window, overlap=overlap))


def test_frames_that_cannot_be_restored() -> None:
    with pytest.raises(VSRError, match="frame 1 is 4x4 but those before it are 4x6"):
        list(restore(Spy(), [np.zeros((6, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)], window=4, overlap=0))
    with pytest.raises(VSRError, match="frame 0 is float32"):
        list(restore(Spy(), [np.zeros((6, 4, 3), np.float32)], window=4, overlap=0))


# ---------------------------------------------------------------- mirrored, any size, priors


def test_a_mirrored_clip_by_hand() -> None:
    """BasicVSR's way with Vimeo-90K: 2T frames in one pass, and the mean of both that show the same."""
    network, clip = small(), noise(2, 5, 8, 10)
    x = to_tensor(clip)[None]
    with torch.no_grad():
        both = network(torch.cat([x, x.flip(1)], dim=1))[0]
        alone = network(x)[0]
    found = list(restore(network, clip, window=5, overlap=0, mirrored=True))
    for t, frame in enumerate(found):
        assert np.array_equal(frame, to_frame((both[t] + both[9 - t]) / 2))
    assert any(not np.array_equal(frame, to_frame(other)) for frame, other in zip(found, alone, strict=True))


def test_a_mirrored_clip_is_shown_forwards_and_backwards() -> None:
    network = Spy(min_frames=7)
    found = list(restore(network, numbered(6), window=8, overlap=1, mirrored=True))
    assert network.passes == [[0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0]]  # long enough as it is shown
    assert [int(frame[0, 0, 0]) for frame in found] == list(range(6))
    network = Spy()
    found = list(restore(network, numbered(6), window=4, overlap=1, mirrored=True))
    assert network.passes == [[0, 1, 2, 3, 3, 2, 1, 0], [2, 3, 4, 5, 5, 4, 3, 2]]
    assert [int(frame[0, 0, 0]) for frame in found] == list(range(6))


class Middle(Spy):
    """Restores the middle of three frames."""

    window = min_frames = 3

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, clip: Tensor) -> Tensor:
        return super().forward(clip)[:, 1]


def test_a_window_is_not_mirrored() -> None:
    passes = []
    for mirrored in (False, True):
        network = Middle()
        found = list(restore(network, numbered(4), window=4, overlap=0, mirrored=mirrored))
        assert [int(frame[0, 0, 0]) for frame in found] == list(range(4))
        passes.append(network.passes)
    assert passes[0] == passes[1] == [[2, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 1]]


@pytest.mark.parametrize("size", [(15, 20), (14, 31), (96, 132)])
def test_a_size_that_is_given(size: tuple[int, int]) -> None:
    clip = noise(3, 3, 8, 11)
    found = list(restore(models.create("bicubic"), clip, window=2, overlap=0, size=size))
    assert all((one == to_frame(imresize_to(to_tensor([lr])[0], size))).all() for one, lr in zip(found, clip, strict=True))
    torch.manual_seed(0)
    network = models.create("basicvsr_liif", channels=4, blocks=1, hidden=8)
    with torch.no_grad():
        whole = network(to_tensor(clip)[None], size=size)[0]
    found = list(restore(network, clip, window=3, overlap=0, size=size))
    assert all(np.array_equal(one, to_frame(other)) for one, other in zip(found, whole, strict=True))
    with pytest.raises(VSRError, match="basicvsr enlarges 4 times and to no other size"):
        list(restore(small(), clip, window=3, overlap=0, size=size))


class Guided(Network):
    """Repeats pixels, and checks that masks are those of its frames: equal to what the frames are made of."""

    name = "guided"
    scale = 2
    priors = ("masks",)

    def __init__(self, window: int | None = None) -> None:
        super().__init__()
        self.window = window
        self.min_frames = window or 1
        self.passes = 0

    def forward(self, clip: Tensor, *, masks: Tensor) -> Tensor:
        self.passes += 1
        count, frames, _, height, width = clip.shape
        assert masks.shape == (count, frames, 8, height, width) and masks.dtype == clip.dtype
        bits = 2.0 ** torch.arange(8)
        assert torch.equal((masks * bits.view(8, 1, 1)).sum(2), (255 * clip[:, :, 0]).round())
        restored = clip.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return restored if self.window is None else restored[:, self.window // 2]


def bits_of(frames: list[np.ndarray], kind: type = np.bool_) -> Iterator[np.ndarray]:
    for frame in frames:
        yield np.stack([(frame[..., 0] >> bit) & 1 for bit in range(8)]).astype(kind)


@pytest.mark.parametrize("kind", [np.bool_, np.uint8])
@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize(
    "how", [{"window": 20}, {"window": 5}, {"window": 6, "tile": 8, "tile_overlap": 1}, {"window": 4, "mirrored": True}]
)
def test_priors_go_where_their_frames_go(how: dict[str, Any], window: int | None, kind: type) -> None:
    clip, network = noise(4, 9, 12, 18), Guided(window)
    found = list(restore(network, clip, overlap=1, priors={"masks": bits_of(clip, kind)}, **how))
    assert all((one[::2, ::2] == frame).all() for one, frame in zip(found, clip, strict=True))
    assert network.passes >= 1


def test_priors_that_do_not_fit() -> None:
    clip = noise(5, 3, 8, 8)
    for network, priors, told in (
        (Guided(), {}, "guided takes masks of every frame beside the clip, but is given nothing"),
        (Guided(), {"flow": bits_of(clip)}, "guided takes masks of every frame beside the clip, but is given flow"),
        (Spy(), {"masks": bits_of(clip)}, "spy takes nothing beside the clip, but is given masks"),
        (Guided(), {"masks": bits_of(clip[:2])}, "its priors end after 2 frames"),
        (Guided(), {"masks": bits_of([*clip, clip[0]])}, "the clip ends after 3 frames"),
        (
            Guided(),
            {"masks": bits_of([frame[1:] for frame in clip])},
            r"frame 0 is 8x8 but its prior is bool of shape \(8, 7, 8\)",
        ),
        (Guided(), {"masks": (bits.astype(float) for bits in bits_of(clip))}, "its prior is float64"),
    ):
        with pytest.raises(VSRError, match=told):
            list(restore(network, clip, window=9, overlap=0, priors=priors))

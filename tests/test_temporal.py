"""Temporal metrics and profiles against slow second implementations, exact motion, and a published restoration."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from models.parts.resize import imresize
from pipelines import metrics
from pipelines.clips import parallax
from pipelines.clips.images import read_picture
from pipelines.errors import VSRError
from pipelines.evaluation.profiles import most_active_row, temporal_profile
from pipelines.evaluation.score import Detailed
from pipelines.metrics import Measure, temporal
from pipelines.params import Parallax
from pipelines.priors import flows

SPEC = Parallax(
    kind="parallax", source="pipelines/clips/parallax", seed=0, height=216, width=384, frames=4, clips={"train": 3, "test": 4}
)
VARIED = ["train_000_dolly", "train_001_pan", "test_000_orbit", "test_001_zoom", "test_002_handheld", "test_003_whip"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def raft(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAFT-small's published parameters are at hand."""
    if not (shared_weights / "raft_small_torchvision.pth").exists():
        pytest.skip("needs raft_small_torchvision.pth")
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))


@lru_cache(maxsize=2)
def rendered(name: str) -> list[dict[str, np.ndarray]]:
    return list(parallax.render(SPEC, name))


def real(frames: list[np.ndarray]) -> list[np.ndarray]:
    return [frame.astype(np.float64) for frame in frames]


def exact(frames: list[np.ndarray], name: str) -> float:
    """A clip's warping error by the exact flow of a rendered one."""
    truth = rendered(name)
    pairs = zip(frames, frames[1:], truth, strict=False)
    found = [temporal.warping_error(a, b, of["flow_forward"], of["occlusion_forward"]) for a, b, of in pairs]
    assert len(found) == len(frames) - 1
    return float(np.mean([value for value in found if value is not None]))


def measured(measure: Measure, restored: list[np.ndarray], truth: list[np.ndarray]) -> list[float]:
    """What a measure of neighbours gives for the second frame and those that follow."""
    first, *values = [measure.add(*pair) for pair in zip(real(restored), real(truth), strict=True)]
    assert first is None and measure.finish() is None
    return [value for value in values if value is not None]


def sample(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """One pixel, bilinearly, the edge repeated."""
    height, width = image.shape[:2]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = min(int(x), width - 2), min(int(y), height - 2)
    a, b = x - left, y - top
    upper = (1 - a) * image[top, left] + a * image[top, left + 1]
    lower = (1 - a) * image[top + 1, left] + a * image[top + 1, left + 1]
    return np.asarray((1 - b) * upper + b * lower)


def moving(dx: int, dy: int, frames: int, height: int = 96, width: int = 136) -> list[np.ndarray]:
    """A photograph moved by whole pixels: frame t + 1 at p + (dx, dy) is frame t at p."""
    photo = data.astronaut()
    return [photo[150 - t * dy : 150 - t * dy + height, 150 - t * dx : 150 - t * dx + width].copy() for t in range(frames)]


def flickering(frames: list[np.ndarray], levels: int) -> list[np.ndarray]:
    """Every second frame is brighter."""
    return [np.clip(frame.astype(int) + levels * (t % 2), 0, 255).astype(np.uint8) for t, frame in enumerate(frames)]


# ---------------------------------------------------------------- warping error


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_warping_error_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 7, 2)
    frame, following = rng.uniform(0, 255, (2, height, width, 3))
    flow = rng.uniform(-3, 3, (height, width, 2)).astype(np.float32)
    hidden = rng.random((height, width)) < 0.3
    squares = []
    for y, x in np.ndindex(height, width):
        if not hidden[y, x]:
            there = sample(following, x + float(flow[y, x, 0]), y + float(flow[y, x, 1]))
            squares += [((a - b) / 255) ** 2 for a, b in zip(frame[y, x], there, strict=True)]
    found = temporal.warping_error(frame, following, flow, hidden)
    assert found == (pytest.approx(1000 * sum(squares) / len(squares), rel=1e-6) if squares else None)


@given(st.integers(-7, 7), st.integers(-7, 7))
@settings(max_examples=10, deadline=None)
def test_nothing_is_left_of_whole_pixel_motion(dx: int, dy: int) -> None:
    one, two = real(moving(dx, dy, 2, 30, 40))
    hidden = np.ones((30, 40), bool)
    hidden[7:-7, 7:-7] = False
    flow = np.full((30, 40, 2), (dx, dy), np.float32)
    assert temporal.warping_error(one, two, flow, hidden) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", VARIED[::3])
def test_nothing_is_left_of_a_clip_warped_by_exact_flow(name: str) -> None:
    """Each frame is made from the next one by the exact flow; rounded to 8 bits it is off by half a level at most."""
    for frame, following in zip(rendered(name), rendered(name)[1:], strict=False):
        flow, chosen = frame["flow_forward"], np.argwhere(~frame["occlusion_forward"])[::97]
        others = np.ones(flow.shape[:2], bool)
        made, source = real([frame["rgb"], following["rgb"]])
        for y, x in chosen:
            made[y, x] = sample(source, x + float(flow[y, x, 0]), y + float(flow[y, x, 1]))
            others[y, x] = False
        assert temporal.warping_error(made, source, flow, others) == pytest.approx(0, abs=1e-6)
        rounded = temporal.warping_error(np.rint(made), source, flow, others)
        assert rounded is not None and 0 < rounded < 1000 * (0.5 / 255) ** 2


@pytest.mark.parametrize("name", VARIED)
def test_exact_flow_leaves_no_more_than_interpolation(name: str) -> None:
    """A rendered clip warped by its exact flow is off by what bilinear interpolation and 8 bits cost.

    Linear interpolation between samples is off by an eighth of the second derivative at most, and two frames are each rounded by
    half a level. Second derivatives are the second differences of the 3x3 pixels around the place. Edges of objects are
    no exception: their pixels mix two surfaces, and their second differences are large.
    """
    clip = rendered(name)
    bounds = []
    for frame, following in zip(clip, clip[1:], strict=False):
        rgb = np.pad(following["rgb"].astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
        centre = rgb[1:-1, 1:-1]
        across = np.abs(rgb[1:-1, 2:] - 2 * centre + rgb[1:-1, :-2])
        down = np.abs(rgb[2:, 1:-1] - 2 * centre + rgb[:-2, 1:-1])
        largest = sum(cv2.dilate(difference, np.ones((3, 3), np.uint8)) for difference in (across, down))
        y, x = np.argwhere(~frame["occlusion_forward"]).T
        dx, dy = frame["flow_forward"][y, x].T
        there = largest[np.clip(np.rint(y + dy), 0, 215).astype(int), np.clip(np.rint(x + dx), 0, 383).astype(int)]
        bounds.append(1000 * np.mean(np.square((there / 8 + 1) / 255)))
    frames = real([frame["rgb"] for frame in clip])
    assert 0 < exact(frames, name) < np.mean(bounds) < 2.5


@pytest.mark.parametrize("name", VARIED[::2])
def test_the_warping_error_rises_with_flicker_and_out_of_order(name: str) -> None:
    truth = [frame["rgb"] for frame in rendered(name)]
    floor = exact(real(truth), name)
    steps = [exact(real(flickering(truth, levels)), name) for levels in (0, 4, 8, 16)]
    assert steps[0] == floor and steps == sorted(steps)
    # A constant offset between neighbours adds its square.
    assert steps[2] - floor == pytest.approx(1000 * (8 / 255) ** 2, rel=0.25)
    assert exact(real([truth[t] for t in (0, 2, 1, 3)]), name) > 10 * floor
    # By the metric that always runs.
    dis = [
        np.mean(measured(metrics.get("warping_error_dis").build("cpu"), clip, truth)) for clip in (truth, flickering(truth, 8))
    ]
    assert floor < dis[0] < dis[1]


def test_frames_that_share_nothing_have_no_warping_error() -> None:
    frame, flow = np.zeros((5, 6, 3)), np.zeros((5, 6, 2), np.float32)
    assert temporal.warping_error(frame, frame, flow, np.ones((5, 6), bool)) is None


def test_the_flow_is_that_of_the_true_frames() -> None:
    truth = moving(2, 1, 4)
    restored = flickering([cv2.GaussianBlur(frame, (0, 0), 1.5) for frame in truth], 10)
    columns = list(flows.Flows(temporal.MODELS["dis"], "cpu").stream(truth, truth[0].shape[:2]))
    expected = [
        temporal.warping_error(one, two, of["flow_forward"], of["occlusion_forward"])
        for one, two, of in zip(real(restored), real(restored)[1:], columns, strict=False)
    ]
    assert measured(metrics.get("warping_error_dis").build("cpu"), restored, truth) == expected
    # A clip that follows another starts anew.
    assert measured(metrics.get("warping_error_dis").build("cpu"), restored[1:], truth[1:]) == expected[1:]


def test_the_true_flow_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    stream = flows.Flows.stream
    monkeypatch.setattr(flows.Flows, "stream", lambda self, *args: asked.append(0) or stream(self, *args))
    truth = moving(1, 1, 4)
    restored = flickering(truth, 5)
    warping, difference = metrics.get("warping_error_dis").build("cpu"), temporal._by_model("dis", "cpu")
    for pair in zip(real(restored), real(truth), strict=True):
        warping.add(*pair)
        difference.add(*pair)
    assert len(asked) == 3 * 2  # the flows of three true and three restored pairs


@pytest.mark.parametrize("name", ["warping_error_dis", "tof_farneback"])
def test_a_lone_frame_cannot_be_measured(name: str) -> None:
    measure = metrics.get(name).build("cpu")
    (frame,) = real(moving(0, 0, 1))
    assert measure.add(frame, frame) is None
    with pytest.raises(VSRError, match="needs two neighbouring frames"):
        measure.finish()


def test_raft_comes_near_the_exact_flow(raft: None) -> None:
    truth = [frame["rgb"] for frame in rendered("test_000_orbit")]
    metric = metrics.get("warping_error_raft_small")
    assert metrics.unavailable(metric) is None

    def error(clip: list[np.ndarray]) -> float:
        return float(np.mean(measured(metric.build("cpu"), clip, truth)))

    still, floor = rendered("test_000_orbit")[0], error(truth)
    change = temporal.warping_error(*real(truth[:2]), 0 * still["flow_forward"], still["occlusion_forward"])
    assert change is not None and exact(real(truth), "test_000_orbit") < floor < change / 10
    assert temporal._flow("raft_small", "cpu").made["sha256"].startswith("944a0898")
    assert error(flickering(truth, 8)) > 1.5 * floor
    assert error([truth[t] for t in (0, 2, 1, 3)]) > 10 * floor


# ---------------------------------------------------------------- tOF


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_flow_difference_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(48, 130, 2)
    one, two = rng.uniform(-5, 5, (2, height, width, 2)).astype(np.float32)
    kept_height, kept_width = (max(side for side in range(32, 130, 32) if side <= full - 16) for full in (height, width))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    lengths = [
        ((float(one[y, x, 0]) - two[y, x, 0]) ** 2 + (float(one[y, x, 1]) - two[y, x, 1]) ** 2) ** 0.5
        for y in range(top, top + kept_height)
        for x in range(left, left + kept_width)
    ]
    assert temporal.flow_difference(one, two) == pytest.approx(np.mean(lengths), rel=1e-5)


@pytest.mark.parametrize("name", ["tof_farneback", "tof_raft_small"])
def test_tof_of_known_motion(name: str, request: pytest.FixtureRequest) -> None:
    """The truth moves by (2, -1) pixels per frame. What moves alike differs by nothing, what stands still by that motion."""
    if "raft" in name:
        request.getfixturevalue("raft")
    noise = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 1, (120, 160, 3)), (0, 0), 2)
    texture = np.clip(128 + 250 * noise, 0, 255).astype(np.uint8)
    truth = [texture[12 + t : 108 + t, 12 - 2 * t : 148 - 2 * t] for t in range(3)]
    metric = metrics.get(name)
    assert measured(metric.build("cpu"), truth, truth) == [0, 0]
    assert measured(metric.build("cpu"), [truth[0]] * 3, truth) == pytest.approx([5**0.5] * 2, rel=0.15)
    assert np.mean(measured(metric.build("cpu"), truth[::-1], truth)) == pytest.approx(2 * 5**0.5, rel=0.15)


def test_a_published_restoration_moves_more_like_the_truth_than_bicubic_does(shared_data: Path) -> None:
    """The authors' own frames of DUF-52L on Vid4; both papers' tables have it far ahead of bicubic."""
    folders = shared_data / "Vid4" / "GT" / "calendar", shared_data / "Vid4" / "published" / "DUF-52L_BDx4" / "calendar"
    truth, duf = ([read_picture(path) for path in sorted(folder.glob("*.png"))[10:13]] for folder in folders)
    bicubic = []
    for frame in truth:
        small = imresize(torch.from_numpy(frame).permute(2, 0, 1).double(), 0.25).round().clamp(0, 255)
        bicubic.append(imresize(small, 4.0).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
    metric = metrics.get("tof_farneback")
    ahead, behind = (np.mean(measured(metric.build("cpu"), clip, truth)) for clip in (duf, bicubic))
    assert 0.1 < ahead < behind / 1.5


def test_names_say_the_flow() -> None:
    for metric in temporal.METRICS:
        if metric.name != "vmaf":
            flow = metric.name.removeprefix("warping_error_").removeprefix("tof_")
            assert flow in {*temporal.MODELS, "farneback"} and metric.weights == ((flow,) if "raft" in flow else ())
            if not metric.weights:
                measure = metric.build("cpu")
                assert isinstance(measure, Detailed) and measure.details()["backend"] == flow


# ---------------------------------------------------------------- profiles


def test_a_profile_is_a_row_through_time() -> None:
    clip = np.random.default_rng(0).integers(0, 256, (7, 5, 9, 3), np.uint8)

    def frames() -> Iterator[np.ndarray]:
        buffer = np.empty((5, 9, 3), np.uint8)  # one for all: nothing may be kept of a frame but its row
        for frame in clip:
            buffer[:] = frame
            yield buffer

    for row in range(5):
        profile = temporal_profile(frames(), row)
        assert profile.dtype == np.uint8 and np.array_equal(profile, clip[:, row])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_most_active_row_changes_most(seed: int) -> None:
    rng = np.random.default_rng(seed)
    clip = rng.integers(0, 256, (int(rng.integers(1, 5)), int(rng.integers(1, 6)), 4, 3), np.uint8)
    changes = np.zeros(clip.shape[1])
    for t, y in np.ndindex(len(clip) - 1, clip.shape[1]):
        changes[y] += sum(abs(int(a) - int(b)) for a, b in zip(clip[t, y].ravel(), clip[t + 1, y].ravel(), strict=True))
    assert most_active_row(iter(clip)) == int(np.flatnonzero(changes == changes.max())[0])


def test_profiles_that_cannot_be() -> None:
    frame, wide, tall = (np.zeros(shape, np.uint8) for shape in ((4, 6, 3), (4, 7, 3), (5, 6, 3)))
    with pytest.raises(VSRError, match="frame 0 has 4 rows and no row 4"):
        temporal_profile([frame], 4)
    with pytest.raises(VSRError, match="frame 1 is 7 wide but the first is 6"):
        temporal_profile([frame, wide], 1)
    with pytest.raises(VSRError, match="frame 1 is 6x5 but those before it are 6x4"):
        most_active_row([frame, tall])
    for nothing in (lambda: temporal_profile([], 0), lambda: most_active_row([])):
        with pytest.raises(VSRError, match="there are no frames"):
            nothing()

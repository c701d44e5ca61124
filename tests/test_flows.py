"""Flows against slow second implementations, torchvision's own network, exact motion, and real weights where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torchvision.models import optical_flow

from benchmarks.flows import warping_error
from models.parts.resize import imresize
from pipelines import params, weights
from pipelines.clips import parallax
from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, Store, assemble
from pipelines.errors import VSRError
from pipelines.metrics import luma
from pipelines.priors import flows

DIS = params.Dis(backend="dis", preset="medium", enlarge=1)
RAFT = params.Raft(backend="raft", weights="raft_small", updates=12, enlarge=1, batch=4)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def raft(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> params.Raft:
    """RAFT-small with its published parameters."""
    if not (shared_weights / "raft_small_torchvision.pth").exists():
        pytest.skip("needs raft_small_torchvision.pth")
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    return RAFT


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], torch.nn.Module]:
    """Makes a RAFT with random parameters the published one of its name, and returns it as torchvision has it."""
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))

    def make(name: str) -> torch.nn.Module:
        torch.manual_seed(3)
        network = getattr(optical_flow, name)(weights=None).eval()
        torch.save(network.state_dict(), tmp_path / f"{name}.pth")
        published = weights.Weights("https://nowhere.example/", {f"{name}.pth": None}, "none")
        monkeypatch.setitem(weights.REGISTRY, name, published)
        return network

    return make


def write(folder: Path, clips: Mapping[str, list[Frame]] | list[Frame], scales: Mapping[str, float] | None = None) -> Store:
    """A store of these clips, or of one clip `a`."""
    clips = {"a": clips} if isinstance(clips, list) else clips
    for name, frames in clips.items():
        with ClipWriter(folder / "parts", name, scales) as writer:
            for frame in frames:
                writer.append(frame)
            height, width = next(iter(frames[0].values())).shape[:2]
            writer.finish(ClipAttributes("test", 25.0, height, width, f"{name}.mp4"))
    assemble(folder / "parts", list(clips), folder / "store")
    return Store(folder / "store")


def moving(dx: int, dy: int, frames: int, height: int = 96, width: int = 136) -> list[np.ndarray]:
    """A photograph moved by whole pixels: frame t + 1 at p + (dx, dy) is frame t at p."""
    photo = data.astronaut()
    return [
        np.ascontiguousarray(photo[150 - t * dy : 150 - t * dy + height, 150 - t * dx : 150 - t * dx + width])
        for t in range(frames)
    ]


def estimated(model: flows.Model, frames: list[np.ndarray]) -> list[Frame]:
    return list(flows.Flows(model, "cpu").stream(frames, frames[0].shape[:2]))


def columns(forward: np.ndarray, backward: np.ndarray, hidden: np.ndarray) -> Frame:
    return {"flow_forward": forward, "flow_backward": backward, "occlusion_forward": hidden, "occlusion_backward": hidden}


# ---------------------------------------------------------------- the columns


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_occlusion_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 7, 2)
    flow, back = rng.uniform(-2, 2, (2, 3, height, width, 2)).astype(np.float32)
    expected = np.zeros((3, height, width), bool)
    near = np.zeros((3, height, width), bool)
    for n, y, x in np.ndindex(*expected.shape):
        u, v = (float(value) for value in flow[n, y, x])
        tx, ty = min(max(x + u, 0), width - 1), min(max(y + v, 0), height - 1)
        x0, y0 = min(int(tx), width - 2), min(int(ty), height - 2)
        a, b = tx - x0, ty - y0
        there = (1 - b) * ((1 - a) * back[n, y0, x0] + a * back[n, y0, x0 + 1]) + b * (
            (1 - a) * back[n, y0 + 1, x0] + a * back[n, y0 + 1, x0 + 1]
        )
        gap = (u + there[0]) ** 2 + (v + there[1]) ** 2
        bound = 0.01 * (u**2 + v**2 + there[0] ** 2 + there[1] ** 2) + 0.5
        outside = not (-0.5 <= x + u <= width - 0.5 and -0.5 <= y + v <= height - 0.5)
        expected[n, y, x] = gap > bound or outside
        near[n, y, x] = abs(gap - bound) < 1e-4
    got = flows.occluded(*(torch.from_numpy(field).permute(0, 3, 1, 2) for field in (flow, back))).numpy()
    assert np.array_equal(got[~near], expected[~near])


def test_columns_and_ends(tmp_path: Path) -> None:
    store = write(tmp_path, [{"rgb": frame} for frame in moving(2, -1, 4)])
    *lists, attributes = flows.Flows(DIS, "cpu")((store.path, "a"))
    assert isinstance(attributes, ClipAttributes)
    found = [frame for frames in lists for frame in frames]  # type: ignore[union-attr]
    assert len(found) == 4
    for frame in found:
        assert isinstance(frame, dict)
        assert frame["flow_forward"].shape == frame["flow_backward"].shape == (96, 136, 2)
        assert frame["flow_forward"].dtype == np.float32
        assert frame["occlusion_forward"].shape == (96, 136) and frame["occlusion_forward"].dtype == np.bool_
    assert not found[-1]["flow_forward"].any() and found[-1]["occlusion_forward"].all()
    assert not found[0]["flow_backward"].any() and found[0]["occlusion_backward"].all()
    assert attributes.parameters == {"backend": "dis", "preset": "medium", "enlarge": 1}
    assert (attributes.split, attributes.height, attributes.width, attributes.source) == ("test", 96, 136, "a.mp4")
    again = estimated(DIS, list(store.frames("a")))
    assert all(np.array_equal(one[key], two[key]) for one, two in zip(found, again, strict=True) for key in one)


@pytest.mark.parametrize(("frames", "batch"), [(1, 3), (2, 3), (4, 3), (5, 3), (7, 3), (8, 3), (5, 1)])
def test_all_pairs_come_once_and_few_frames_are_held(monkeypatch: pytest.MonkeyPatch, frames: int, batch: int) -> None:
    """An estimator that only subtracts what its frames say: flow is then known, whatever the batches."""
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for index in range(frames):
            taken += 1
            yield np.full((2, 3, 3), index * index, np.uint8)

    def difference(run: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert 2 <= len(run) <= batch + 1
        level = run[:, :2] / 1e3
        return level[1:] - level[:-1], level[:-1] - level[1:]

    monkeypatch.setattr(flows, "_raft", lambda model, device: difference)
    monkeypatch.setattr(weights, "provenance", lambda model: {})
    worker = flows.Flows(RAFT.model_copy(update={"batch": batch}), "cpu")
    for index, frame in enumerate(worker.stream(source(), (2, 3))):
        assert taken <= index + 1 + batch
        ahead = 2 * index + 1 if index + 1 < frames else 0
        behind = 1 - 2 * index if index else 0
        assert np.allclose(frame["flow_forward"], ahead / 1e3) and np.allclose(frame["flow_backward"], behind / 1e3)
    assert taken == frames == index + 1


@pytest.mark.parametrize("wrong", [600.0, -512.5, np.nan])
def test_flow_that_cannot_be_kept_is_told(tmp_path: Path, wrong: float) -> None:
    still, hidden = np.zeros((4, 5, 2), np.float32), np.zeros((4, 5), bool)
    bad = still.copy()
    bad[1, 2, 0] = wrong
    with pytest.raises(VSRError, match=r"clip 'a' frame 1: flow_backward is not within ±511\.9"):
        write(tmp_path, [columns(still, still, hidden), columns(still, bad, hidden)], flows.SCALES)


def test_flow_is_kept_to_half_a_step(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flow = rng.uniform(-511, 511, (40, 50, 2)).astype(np.float32)
    store = write(tmp_path, [columns(flow, -flow, np.zeros((40, 50), bool))], flows.SCALES)
    assert np.abs(store.frame("a", 0, "flow_forward") - flow).max() <= 1 / 128


# ---------------------------------------------------------------- dense inverse search


@pytest.mark.parametrize(("dx", "dy"), [(2, -1), (-5, 3)])
def test_dis_finds_a_shift(dx: int, dy: int) -> None:
    found = estimated(DIS, moving(dx, dy, 3))
    inner = np.s_[8:-8, 8:-8]
    assert np.linalg.norm(found[1]["flow_forward"][inner] - (dx, dy), axis=-1).mean() < 0.25
    assert np.linalg.norm(found[1]["flow_backward"][inner] + (dx, dy), axis=-1).mean() < 0.25
    assert found[1]["occlusion_forward"][inner].mean() < 0.02


def test_dis_sees_no_motion_in_one_colour() -> None:
    assert not any(frame["flow_forward"].any() for frame in estimated(DIS, [np.full((40, 52, 3), 90, np.uint8)] * 3))


def test_frames_too_small_for_dis() -> None:
    with pytest.raises(VSRError, match="30x7 are too small"):
        estimated(DIS, [np.zeros((7, 30, 3), np.uint8)] * 2)


# ---------------------------------------------------------------- RAFT


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (54, 96), (128, 128), (129, 320), (180, 131)])
def test_raft_padding(size: tuple[int, int]) -> None:
    left, right, top, bottom = flows._padding(*size)
    height, width = size[0] + top + bottom, size[1] + left + right
    assert height % 8 == width % 8 == 0 and min(height, width) >= 128
    assert abs(left - right) <= 1 and abs(top - bottom) <= 1
    assert height - size[0] < 8 or height == 128


@pytest.mark.parametrize("name", ["raft_small", "raft_large"])
@pytest.mark.parametrize("enlarge", [1, 2])
def test_raft_is_torchvisions_pair_by_pair(
    untrained: Callable[[str], torch.nn.Module], name: Literal["raft_small", "raft_large"], enlarge: int
) -> None:
    """On sizes that need no padding: its own transforms, one pair and direction at a time, means over blocks in loops."""
    network = untrained(name)
    prepare = optical_flow.Raft_Small_Weights.DEFAULT.transforms()
    frames = moving(3, 1, 3, 128 // enlarge, 144 // enlarge)

    def between(one: np.ndarray, two: np.ndarray) -> np.ndarray:
        pair = [torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255 for frame in (one, two)]
        pair = [imresize(frame, enlarge) for frame in pair] if enlarge > 1 else pair
        with torch.no_grad():
            fine = network(*prepare(*pair), num_flow_updates=2)[-1][0].permute(1, 2, 0).numpy()
        coarse = np.zeros((*one.shape[:2], 2), np.float32)
        for y, x in np.ndindex(*one.shape[:2]):
            coarse[y, x] = fine[y * enlarge : (y + 1) * enlarge, x * enlarge : (x + 1) * enlarge].mean((0, 1)) / enlarge
        return coarse

    model = params.Raft(backend="raft", weights=name, updates=2, enlarge=enlarge, batch=4)
    found = estimated(model, frames)
    for index in (0, 1):
        expected = between(frames[index], frames[index + 1])
        assert np.abs(expected).max() > 0.05
        assert np.abs(found[index]["flow_forward"] - expected).max() < 1e-2
        expected = between(frames[index + 1], frames[index])
        assert np.abs(found[index + 1]["flow_backward"] - expected).max() < 1e-2


@pytest.mark.parametrize(("size", "enlarge"), [((1, 1), 1), ((8, 8), 4), ((13, 30), 3), ((54, 97), 2), ((127, 131), 1)])
def test_raft_takes_any_size(untrained: Callable[[str], torch.nn.Module], size: tuple[int, int], enlarge: int) -> None:
    untrained("raft_small")
    frames = list(np.random.default_rng(0).integers(0, 256, (3, *size, 3), np.uint8))
    found = estimated(RAFT.model_copy(update={"updates": 1, "enlarge": enlarge}), frames)
    assert len(found) == 3
    for frame in found:
        assert frame["flow_forward"].shape == frame["flow_backward"].shape == (*size, 2)
        assert frame["occlusion_forward"].shape == size
        assert np.isfinite(frame["flow_forward"]).all()


@pytest.mark.parametrize("model", [DIS, RAFT], ids=["dis", "raft"])
def test_a_lone_frame_has_no_flow(untrained: Callable[[str], torch.nn.Module], tmp_path: Path, model: flows.Model) -> None:
    untrained("raft_small")
    found = estimated(model, moving(0, 0, 1))
    assert len(found) == 1 and found[0]["occlusion_forward"].all() and not found[0]["flow_backward"].any()
    assert set(flows.summary(write(tmp_path, found, flows.SCALES)).values()) == {0.0}


def test_too_little_memory_is_told(
    untrained: Callable[[str], torch.nn.Module], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    untrained("raft_small")

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(optical_flow.RAFT, "forward", full)
    with pytest.raises(VSRError, match="no memory for RAFT on 2 pairs of 272x192, enlarged 2 times: lower batch or enlarge"):
        estimated(RAFT.model_copy(update={"enlarge": 2}), moving(0, 0, 3))


@pytest.mark.parametrize(("dx", "dy", "enlarge"), [(3, -2, 1), (-6, 4, 1), (2, 1, 2)])
def test_raft_finds_a_shift(raft: params.Raft, dx: int, dy: int, enlarge: int) -> None:
    found = estimated(raft.model_copy(update={"enlarge": enlarge}), moving(dx, dy, 2))  # 96 high: padded to 128
    assert np.linalg.norm(found[0]["flow_forward"][8:-8, 8:-8] - (dx, dy), axis=-1).mean() < 0.4
    assert np.linalg.norm(found[1]["flow_backward"][8:-8, 8:-8] + (dx, dy), axis=-1).mean() < 0.4
    assert found[0]["occlusion_forward"][8:-8, 8:-8].mean() < 0.05
    assert str(weights.provenance(raft)["sha256"]).startswith("944a0898")


def test_raft_sees_hardly_any_motion_in_one_colour(raft: params.Raft) -> None:
    found = estimated(raft, [np.full((40, 52, 3), 90, np.uint8)] * 3)
    assert max(float(np.abs(frame["flow_forward"]).max()) for frame in found) < 0.5
    assert found[0]["occlusion_forward"].mean() < 0.1


def test_the_batch_does_not_matter(raft: params.Raft) -> None:
    frames = moving(2, 1, 6, 70, 90)
    one, four = (estimated(raft.model_copy(update={"enlarge": 2, "batch": batch}), frames) for batch in (1, 4))
    for a, b in zip(one, four, strict=True):
        for key in flows.SCALES:
            assert np.abs(a[key] - b[key]).max() < flows.SCALES[key] / 4


# ---------------------------------------------------------------- against exact flow


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    """LR frames of a parallax clip under bicubic x4, and its exact flow."""
    corpus = params.Parallax(
        kind="parallax", source="pipelines/clips/parallax", seed=0, height=216, width=384, frames=3, clips={"test": 1}
    )
    name = parallax.clips(corpus)[0][0]
    frames = list(parallax.render(corpus, name))
    folder = tmp_path_factory.mktemp("parallax")
    lr: list[Frame] = []
    for frame in frames:
        small = imresize(torch.from_numpy(frame["rgb"]).permute(2, 0, 1).double(), 0.25)
        lr.append({"rgb": small.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()})
    keys = ("flow_forward", "flow_backward", "occlusion_forward", "occlusion_backward")
    truth = write(folder / "hr", [{key: frame[key] for key in keys} for frame in frames], parallax.SCALES)
    return write(folder / "lr", lr), truth


def errors(model: flows.Model, frames: Store, truth: Store, folder: Path) -> tuple[float, float]:
    made = write(folder, estimated(model, list(frames.frames("a"))), flows.SCALES)
    return flows.endpoint_error(made, truth, 4), flows.endpoint_error(made, truth, 4, visible=True)


def test_dis_against_exact_flow(rendered: tuple[Store, Store], tmp_path: Path) -> None:
    every, visible = errors(DIS, *rendered, tmp_path)
    assert visible < every < 0.6


def test_enlarged_raft_against_exact_flow(rendered: tuple[Store, Store], raft: params.Raft, tmp_path: Path) -> None:
    """On small frames RAFT is worse than DIS as it stands, and far better once they are enlarged."""
    plain, _ = errors(raft, *rendered, tmp_path / "1")
    every, visible = errors(raft.model_copy(update={"enlarge": 4}), *rendered, tmp_path / "4")
    search, _ = errors(DIS, *rendered, tmp_path / "dis")
    assert visible < every < 0.25
    assert every < search / 1.5 and every < plain / 2


# ---------------------------------------------------------------- measures


def test_endpoint_error_of_known_flows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    still = np.zeros((6, 8), bool)
    # HR flow is LR flow times the scale, and one more column than the LR size takes.
    lr = (rng.integers(-200, 200, (3, 6, 8, 2)) / 64).astype(np.float32)
    hr = np.pad(lr.repeat(4, 1).repeat(4, 2) * 4, ((0, 0), (0, 0), (0, 1), (0, 0)))
    hidden = np.zeros((24, 33), bool)
    hidden[:, :3] = True
    truth = write(tmp_path / "hr", [columns(field, field, hidden) for field in hr], flows.SCALES)
    exact = write(tmp_path / "lr", [columns(field, field, still) for field in lr], flows.SCALES)
    assert flows.endpoint_error(exact, truth, 4) == pytest.approx(0, abs=1e-6)
    assert flows.endpoint_error(truth, truth, 1, visible=True) == 0
    wrong = lr.copy()
    wrong[..., 0] += 3
    wrong[..., 1] -= 4
    wrong[:, :, 0] += 5  # the first LR column holds occluded HR pixels
    off = write(tmp_path / "off", [columns(field, field, still) for field in wrong], flows.SCALES)
    assert flows.endpoint_error(off, truth, 4, visible=True) == pytest.approx(5, abs=1e-5)
    assert flows.endpoint_error(off, truth, 4) > 5


def test_endpoint_error_per_axis(tmp_path: Path) -> None:
    hidden = np.zeros((12, 8), bool)
    hr = np.broadcast_to(np.array([4, 9], np.float32), (12, 8, 2))
    lr = np.broadcast_to(np.array([2, 3], np.float32), (4, 4, 2))
    truth = write(tmp_path / "hr", [columns(hr, hr, hidden)] * 2, flows.SCALES)
    made = write(tmp_path / "lr", [columns(lr, lr, hidden[:4, :4])] * 2, flows.SCALES)
    assert flows.endpoint_error(made, truth, (3, 2)) == 0


def test_flows_that_cannot_be_compared(tmp_path: Path) -> None:
    def of(name: str, height: int, width: int, frames: int = 3, clip: str = "a") -> Store:
        field, hidden = np.zeros((height, width, 2), np.float32), np.zeros((height, width), bool)
        return write(tmp_path / name, {clip: [columns(field, field, hidden)] * frames}, flows.SCALES)

    truth, lr = of("hr", 24, 33), of("lr", 6, 8)
    assert flows.incomparable(lr, truth, 4) is None and flows.incomparable(truth, truth, 1) is None
    for made, scale, said in (
        (lr, 2, "clip 'a' of .* is 33x24, which at scale 2 does not give 8x6: give the scale"),
        (lr, 2.5, "no counterpart at scale 2.5"),
        (lr, (4, 2.5), "no counterpart at scale 4 x 2.5"),
        (of("t2", 6, 8, 2), 4, "clip 'a' has 3 frames in .* and 2 in .* without a temporal step"),
        (of("other", 6, 8, clip="b"), 4, "no flow of the same clip"),
        (of("lone", 6, 8, 1), 4, "no flow of the same clip"),
    ):
        with pytest.raises(VSRError, match=said):
            flows.endpoint_error(made, truth, scale)


def test_summary_is_that_of_all_pixels_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips, lengths, hidden = {}, [], []
    for name, size in (("a", (5, 7)), ("b", (9, 4)), ("lone", (6, 6))):
        frames = []
        for _ in range(1 if name == "lone" else 3):
            forward, backward = (rng.integers(-900, 900, (2, *size, 2)) / 64).astype(np.float32)
            frames.append(columns(forward, backward, rng.random(size) < 0.3))
        for before, after in zip(frames, frames[1:], strict=False):
            for frame, way in ((before, "forward"), (after, "backward")):
                lengths.append(np.linalg.norm(frame[f"flow_{way}"], axis=-1).ravel())
                hidden.append(frame[f"occlusion_{way}"].ravel())
        clips[name] = frames
    every = np.concatenate(lengths)
    found = flows.summary(write(tmp_path, clips, flows.SCALES))
    assert found["magnitude"] == pytest.approx(every.mean(), rel=1e-5)
    assert found["magnitude_max"] == pytest.approx(every.max(), rel=1e-6)
    assert found["occluded"] == pytest.approx(np.concatenate(hidden).mean())
    exact = np.sort(every)[int(np.ceil(0.95 * every.size)) - 1]
    assert exact <= found["magnitude_p95"] <= exact + 1 / 64


def test_warping_error_of_known_motion(tmp_path: Path) -> None:
    """With the exact flow of whole pixels nothing is left; without motion, the difference of neighbours is."""
    dx, dy = 3, -2
    images = moving(dx, dy, 3, 20, 24)
    ahead = np.broadcast_to(np.array([dx, dy], np.float32), (20, 24, 2))
    outside = np.ones((20, 24), bool)
    outside[3:-3, 3:-3] = False
    frames = write(tmp_path / "rgb", [{"rgb": image} for image in images])
    exact = write(tmp_path / "exact", [columns(ahead, -ahead, outside)] * 3, flows.SCALES)
    none = write(tmp_path / "none", [columns(0 * ahead, 0 * ahead, outside)] * 3, flows.SCALES)
    found = warping_error(frames, {"exact": exact, "none": none})
    between = np.mean([np.abs(luma(one) - luma(two))[~outside].mean() for one, two in zip(images, images[1:], strict=False)])
    assert found["exact"] == pytest.approx(0, abs=1e-9)
    assert found["none"] == pytest.approx(found["still"]) == pytest.approx(between)
    more = outside.copy()
    more[:, :12] = True  # what one calls occluded is left out for all
    half = write(tmp_path / "half", [columns(ahead, -ahead, more)] * 3, flows.SCALES)
    rest = np.mean([np.abs(luma(one) - luma(two))[~more].mean() for one, two in zip(images, images[1:], strict=False)])
    assert warping_error(frames, {"half": half, "none": none})["none"] == pytest.approx(rest)
    blind = write(tmp_path / "blind", [columns(ahead, ahead, np.ones_like(outside))] * 3, flows.SCALES)
    with pytest.raises(VSRError, match="no pixel of .* is visible to all of exact, blind"):
        warping_error(frames, {"exact": exact, "blind": blind})

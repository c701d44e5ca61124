"""Crops of clips and of flow, against slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
from hypothesis import given, settings
from hypothesis import strategies as st
from moving import FRAMES, HEIGHT, MOTION, SPLITS, WIDTH, store

from models.parts.warp import flow_warp
from pipelines.clips.store import Store, assemble
from pipelines.errors import VSRError
from pipelines.priors.kinds import KINDS
from pipelines.training.crops import FlowCrops, Orientation, PairCrops

pytestmark = pytest.mark.usefixtures("one_thread")


def places(height: int, width: int, clip: int, frames: int) -> list[dict[str, np.ndarray]]:
    """Frames whose pixels say where they are: (row, column, 16 x clip + frame)."""
    rows, columns = np.mgrid[:height, :width]
    return [{"rgb": np.stack([rows, columns, np.full_like(rows, 16 * clip + t)], -1).astype(np.uint8)} for t in range(frames)]


@pytest.fixture(scope="module")
def placed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store]:
    folder = tmp_path_factory.mktemp("placed")
    large = {name: (SPLITS[name], places(HEIGHT, WIDTH, clip, 5 + clip)) for clip, name in enumerate(SPLITS)}
    small = {name: (SPLITS[name], places(HEIGHT // 4, WIDTH // 4, clip, 5 + clip)) for clip, name in enumerate(SPLITS)}
    return store(folder / "hr", large), store(folder / "lr", small)


@settings(max_examples=50, deadline=None)
@given(step=st.integers(0, 10**6), index=st.integers(0, 63), seed=st.integers(-5, 10**12))
def test_pair_crops_are_windows_of_both_stores(placed: tuple[Store, Store], step: int, index: int, seed: int) -> None:
    crops = PairCrops(*placed, split="train", crop=8, clip_length=3, seed=seed)
    assert crops.scale == 4
    small, large = crops.sample(step, index).values()
    assert small.shape == (3, 3, 8, 8) and large.shape == (3, 3, 32, 32) and small.dtype == large.dtype == torch.float32
    again = crops.sample(step, index)
    assert torch.equal(small, again["lr"]) and torch.equal(large, again["hr"])
    lr, hr = ((part * 255).round().int() for part in (small, large))
    # Every pixel of HR lies in its pixel of LR, in the same frame of the same clip of the split.
    blocks = lr.repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert torch.equal(hr[:, :2] // 4, blocks[:, :2]) and torch.equal(hr[:, 2], blocks[:, 2])
    frames = lr[:, 2].flatten(1)
    assert (frames == frames[:, :1]).all() and (frames[1:] - frames[:-1] == 1).all() and frames.max() < 32
    # Rows and columns run evenly along the axes, one way in all frames: a square window in one of eight orientations.
    for part, side in ((lr, 8), (hr, 32)):
        place = part[:, :2]
        assert (place == place[:1]).all()
        steps = torch.stack([(place[0, :, 1:] - place[0, :, :-1])[:, :, 0], (place[0, :, :, 1:] - place[0, :, :, :-1])[:, 0]])
        assert (steps.abs().sum(1) == 1).all() and (place.amax((0, 2, 3)) - place.amin((0, 2, 3)) == side - 1).all()


def test_crops_reach_everywhere(hr: Store, lr: Store) -> None:
    """Both clips, and far more than one place of them, are drawn."""
    crops = PairCrops(hr, lr, split="train", crop=8, clip_length=FRAMES, seed=0)
    means = {round(crops.sample(0, index)["lr"].mean().item(), 6) for index in range(64)}
    assert len(means) > 40


def test_the_global_batch_does_not_depend_on_the_workers(hr: Store, lr: Store) -> None:
    whole = PairCrops(hr, lr, split="train", crop=8, clip_length=3, seed=7).batch(5, range(4))
    for world in (2, 4):
        share = 4 // world
        parts = [
            PairCrops(hr, lr, split="train", crop=8, clip_length=3, seed=7).batch(5, range(rank * share, (rank + 1) * share))
            for rank in range(world)
        ]
        for name in ("lr", "hr"):
            assert torch.equal(torch.cat([part[name] for part in parts]), whole[name])
    other = PairCrops(hr, lr, split="train", crop=8, clip_length=3, seed=8).batch(5, range(4))
    assert not torch.equal(whole["lr"], other["lr"])


@pytest.mark.parametrize(
    "changes, words", [({"crop": 17}, "smaller than `crop` 17"), ({"clip_length": 9}, "fewer than `clip_length` 9")]
)
def test_clips_too_small_or_short(hr: Store, lr: Store, changes: dict[str, int], words: str) -> None:
    with pytest.raises(VSRError, match=words):
        PairCrops(hr, lr, **{"split": "train", "crop": 8, "clip_length": 3, "seed": 0, **changes})  # type: ignore[arg-type]


def test_stores_that_do_not_belong_together(hr: Store, lr: Store, tmp_path: Path) -> None:
    options = {"split": "train", "crop": 8, "clip_length": 3, "seed": 0}
    for name, frames, words in [
        ("other", [f[::4, ::4] for f in hr.frames("a")], "is not in"),
        ("a", [f[::4, ::4] for f in hr.read("a", 0, 4)], "has 4 frames"),
        ("a", [f[::4, ::5] for f in hr.frames("a")], "one whole scale"),
    ]:
        odd = store(tmp_path / words.replace(" ", "-"), {name: ("train", [{"rgb": frame.copy()} for frame in frames])})
        with pytest.raises(VSRError, match=words):
            PairCrops(hr, odd, **options)  # type: ignore[arg-type]
    with pytest.raises(VSRError, match="did you mean 'train'"):
        PairCrops(hr, lr, **{**options, "split": "trains"})  # type: ignore[arg-type]


@pytest.mark.parametrize("turn", range(8))
def test_oriented_flow_still_leads_to_the_other_frame(turn: int) -> None:
    """Flow that differs from pixel to pixel, turned with its frames, warps them as before."""
    orientation = Orientation(bool(turn & 1), bool(turn & 2), bool(turn & 4))
    rows, columns = np.mgrid[:40, :56].astype(np.float32)
    flow = np.stack([2 + columns / 40 - rows / 25, -1 + rows / 30 + columns / 60], -1)

    def pattern(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.stack([0.5 + 0.4 * np.sin(0.13 * x + 0.07 * y), 0.5 + 0.4 * np.cos(0.11 * y - 0.05 * x), x / 80], -1)

    supp, ref = pattern(columns, rows), pattern(columns + flow[..., 0], rows + flow[..., 1])
    ref, supp = (torch.from_numpy(orientation.of_frames(frame).copy()).permute(2, 0, 1)[None].float() for frame in (ref, supp))
    turned = torch.from_numpy(orientation.of_prior(KINDS["motion"], np.moveaxis(flow, -1, 0)).copy())[None].float()
    error = (flow_warp(supp, turned) - ref).abs()[..., 6:-6, 6:-6].max()
    assert error < 5e-3


@pytest.mark.parametrize("index", range(12))
def test_flow_crops_lead_from_ref_to_supp(hr: Store, truth: Store, index: int) -> None:
    ref, supp, flow, visible = FlowCrops(hr, truth, split="train", crop=16, seed=3).sample(0, index).values()
    assert ref.shape == supp.shape == (3, 16, 16) and flow.shape == (2, 16, 16) and visible.shape == (1, 16, 16)
    assert visible.min() >= 0 and visible.max() <= 1
    assert torch.allclose(flow.abs().sum(0), torch.tensor(np.abs(MOTION).sum() / 4).float(), atol=2e-3)
    inner = (..., slice(3, -3), slice(3, -3))
    still = (supp - ref)[inner].abs().mean()
    assert (flow_warp(supp[None], flow[None])[0] - ref)[inner].abs().mean() < 0.25 * still + 0.004


def test_flow_crops_of_small_clips_are_reduced_less(hr: Store, truth: Store) -> None:
    for crop, scale in ((16, 4), (17, 2), (32, 2), (33, 1), (64, 1)):
        flow = FlowCrops(hr, truth, split="train", crop=crop, seed=0).sample(0, 0)["flow"]
        assert flow.shape == (2, crop, crop) and flow.abs().sum(0).mean().item() == pytest.approx(
            np.abs(MOTION).sum() / scale, rel=2e-3
        )
    with pytest.raises(VSRError, match="smaller than `crop` 65"):
        FlowCrops(hr, truth, split="train", crop=65, seed=0)


def test_flow_is_visible_where_it_stays_in_the_crop(hr: Store, truth: Store) -> None:
    """Nothing is that leaves the crop, and of the rest what the truth says: at most half of a crop is marked as hidden."""
    crops = FlowCrops(hr, truth, split="train", crop=16, seed=0)
    for index in range(20):
        _, _, flow, visible = crops.sample(1, index).values()
        rows, columns = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
        inside = (columns + flow[0] >= 0) & (columns + flow[0] <= 15) & (rows + flow[1] >= 0) & (rows + flow[1] <= 15)
        assert not visible[0][~inside].any()
        assert visible[0][inside].mean().item() > 0.4 and set(visible[0][inside].tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}


def test_flow_needs_a_corpus_that_carries_it(hr: Store, tmp_path: Path) -> None:
    assemble(tmp_path / "parts", [], tmp_path / "truth")
    with pytest.raises(VSRError, match="holds no exact flow"):
        FlowCrops(hr, Store(tmp_path / "truth"), split="train", crop=16, seed=0)

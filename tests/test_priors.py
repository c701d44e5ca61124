"""What all priors share: the kinds and how they turn, where they lie, and which one a network was trained with."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from models.parts.warp import flow_warp
from pipelines import params
from pipelines.clips import parallax
from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, Store, assemble
from pipelines.clips.streaming import BATCH_BYTES, batches
from pipelines.errors import VSRError
from pipelines.params import Parallax, Rendered
from pipelines.priors import kinds
from pipelines.priors.kinds import KINDS
from pipelines.training.crops import Orientation, PairCrops
from stages import common, priors
from stages.common import prior_store


def test_lists_are_bounded_and_keep_the_order() -> None:
    frames = [{"a": np.full(BATCH_BYTES // 3, index, np.uint8)} for index in range(8)]
    lists = list(batches(frames))
    assert [int(frame["a"][0]) for frames in lists for frame in frames] == list(range(8))
    assert max(len(frames) for frames in lists) == 4
    assert list(batches([])) == []


# ---------------------------------------------------------------- kinds

SPEC = Parallax(
    kind="parallax",
    source="pipelines/clips/parallax",
    seed=0,
    height=128,
    width=160,
    frames=3,
    clips={"train": 2},
    rendered=Rendered(scale=4),
)
CLIP = "train_001_pan"
ORIENTATIONS = [Orientation(*bits) for bits in product((False, True), repeat=3)]


@pytest.fixture(scope="module")
def frames() -> list[dict[str, np.ndarray]]:
    """Rendered LR frames with their buffers, 32 x 40."""
    return list(parallax.rendered(SPEC, CLIP))


def written(folder: Path, clips: dict[str, list[Frame]], **parameters: Any) -> Store:
    parts = folder.with_name(f"{folder.name} parts")
    for name, of in clips.items():
        with ClipWriter(parts, name, parallax.SCALES) as writer:
            for frame in of:
                writer.append(frame)
            height, width = next(iter(of[0].values())).shape[:2]
            writer.finish(ClipAttributes("train", 25.0, height, width, "", parameters))
    assemble(parts, list(clips), folder)
    return Store(folder)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "masks"])
def test_what_a_network_sees_is_what_was_rendered(frames: list[dict[str, np.ndarray]], name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    store = written(tmp_path / "buffers", {CLIP: frames})  # type: ignore[dict-item]
    for index, frame in enumerate(frames):
        whole = kinds.planes(kind, frame)
        assert whole.shape == (kind.channels, 32, 40) and whole.dtype == kind.dtype
        expected = {
            "flow": [frame["flow_forward"][..., 0], frame["flow_forward"][..., 1], *np.moveaxis(frame["flow_backward"], 2, 0)],
            "occlusion": [frame["occlusion_forward"], frame["occlusion_backward"]],
            "motion": np.moveaxis(frame["flow_backward"], 2, 0),
            "depth": [frame["depth"]],
            "normals": np.moveaxis(frame["normals"], 2, 0),
            "albedo": np.moveaxis(frame["albedo"], 2, 0) / np.float32(255),
            "normalised_depth": [(frame["depth"] - frame["depth"].min()) / np.ptp(frame["depth"])],
            "normalised_albedo": (np.moveaxis(frame["albedo"], 2, 0) - float(frame["albedo"].min())) / np.ptp(frame["albedo"]),
        }
        np.testing.assert_allclose(whole.astype(float), np.stack(list(expected[name])).astype(float), atol=1e-6 * kind.spread)
        cut = kinds.of_store(kind, store, CLIP, index, slice(3, 20), slice(5, 9))
        np.testing.assert_allclose(cut.astype(float), whole[:, 3:20, 5:9].astype(float), atol=1 / 128)
    with pytest.raises(VSRError, match="the prior has no .*, only rgb: choose one that has"):
        kinds.planes(kind, {"rgb": frames[0]["rgb"]})


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(VSRError, match="unknown kind of prior 'flows': did you mean 'flow'"):
        kinds.get("flows")


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).double()[None]


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_turned_flow_warps_the_turned_neighbour(frames: list[dict[str, np.ndarray]], orientation: Orientation) -> None:
    """Onto what the warped neighbour is when it is turned; motion is the way back."""
    before, now, after = frames
    turned = {name: tensor(orientation.of_prior(KINDS[name], kinds.planes(KINDS[name], now))) for name in ("flow", "motion")}
    plain = {name: tensor(kinds.planes(KINDS[name], now)) for name in turned}
    for neighbour, name, channels in (
        (after, "flow", slice(0, 2)),
        (before, "flow", slice(2, 4)),
        (before, "motion", slice(0, 2)),
    ):
        image = np.moveaxis(neighbour["rgb"], -1, 0)
        warped = flow_warp(tensor(image), plain[name][:, channels], padding="border")[0].numpy()
        laid = tensor(np.moveaxis(orientation.of_frames(neighbour["rgb"]), -1, 0))
        found = flow_warp(laid, turned[name][:, channels], padding="border")[0].numpy()
        expected = np.moveaxis(orientation.of_frames(np.moveaxis(warped, 0, -1)), -1, 0)
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("orientation", ORIENTATIONS, ids=str)
def test_turned_normals_are_those_of_turned_depth(frames: list[dict[str, np.ndarray]], orientation: Orientation) -> None:
    """They stand upright on what depth says of a plane, and face the camera, whose axis is in the middle of the frame."""
    frame = frames[1]
    normals = orientation.of_prior(KINDS["normals"], kinds.planes(KINDS["normals"], frame)).astype(np.float64)
    (depth,) = orientation.of_prior(KINDS["depth"], kinds.planes(KINDS["depth"], frame)).astype(np.float64)
    ids = orientation.of_frames(frame["ids"][..., None])[..., 0]
    focal = parallax.scene(SPEC, CLIP).camera(1 / parallax.FPS).focal / 4
    height, width = depth.shape
    x, y = np.arange(width) - (width - 1) / 2, (np.arange(height) - (height - 1) / 2)[:, None]
    points = np.stack([x * depth / focal, y * depth / focal, depth])
    assert (((normals * points).sum(0)) < 0).all()
    for axis in (1, 2):
        step = np.diff(points, axis=axis)
        own = normals[:, :-1] if axis == 1 else normals[:, :, :-1]
        plane = (np.diff(ids.astype(int), axis=axis - 1) == 0) & (np.abs(np.diff(normals, axis=axis)).max(0) == 0)
        slope = np.abs((own * step).sum(0)) / np.linalg.norm(step, axis=0)
        assert plane.mean() > 0.5 and slope[plane].max() < 1e-3


def test_priors_are_cropped_and_turned_with_their_frames(frames: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    """In crops of any place and orientation, neighbours are brought onto each other and normals face the camera."""
    lr = written(tmp_path / "lr", {CLIP: [{"rgb": frame["rgb"]} for frame in frames]})
    hr = written(tmp_path / "hr", {CLIP: [{"rgb": frame["rgb"]} for frame in parallax.render(SPEC, CLIP)]})
    buffers = written(tmp_path / "buffers", {CLIP: [{k: v for k, v in frame.items() if k != "rgb"} for frame in frames]})
    seen = dict.fromkeys(("flow", "occlusion", "normals", "albedo"), buffers)
    crops = PairCrops(hr, lr, split="train", crop=24, clip_length=3, seed=0, priors=seen)
    totals = dict.fromkeys(("warped", "still", "turned wrong"), 0.0)
    for index in range(24):
        crop = crops.sample(0, index)
        assert all(crop[name].shape == (3, KINDS[name].channels, 24, 24) for name in seen)
        assert all(crop[name].dtype == torch.float32 for name in seen)
        for t, other, way in ((0, 1, 0), (1, 0, 1)):
            here, there = crop["lr"][t : t + 1], crop["lr"][other : other + 1]
            flow = crop["flow"][t : t + 1, 2 * way : 2 * way + 2]
            inside = (flow_warp(torch.ones_like(there), flow)[:, :1] > 0.999) & (crop["occlusion"][t, way] == 0)
            totals["warped"] += float(((flow_warp(there, flow) - here).abs() * inside).sum())
            totals["still"] += float(((there - here).abs() * inside).sum())
            wrong = flow_warp(there, flow.flip(1), padding="border")
            totals["turned wrong"] += float(((wrong - here).abs() * inside).sum())
    # A pixel of a rendered frame is a point: finer texture aliases, and is not brought back.
    assert totals["warped"] < 0.6 * totals["still"] < 0.6 * totals["turned wrong"]
    with pytest.raises(VSRError, match=r"has no masks \(masks\), only .*: name a prior that has"):
        PairCrops(hr, lr, split="train", crop=24, clip_length=3, seed=0, priors={"masks": buffers})


def test_normals_in_the_world_s_axes_are_not_turned(frames: list[dict[str, np.ndarray]], tmp_path: Path) -> None:
    lr = written(tmp_path / "lr", {CLIP: [{"rgb": frame["rgb"]} for frame in frames]})
    stores = {
        axes: written(tmp_path / axes, {CLIP: [{"normals": frame["normals"]} for frame in frames]}, normals=axes, crop=[128, 160])
        for axes in ("camera", "world")
    }

    def crops(axes: str, flips: bool) -> PairCrops:
        priors = {"normals": stores[axes]}
        return PairCrops(lr, lr, split="train", crop=32, clip_length=3, seed=0, priors=priors, flips=flips)

    with pytest.raises(VSRError, match="in the world's axes, which do not turn with a flipped crop: set `upright: true`"):
        crops("world", True)
    whole = np.stack([kinds.planes(KINDS["normals"], frame) for frame in frames])

    def as_it_lies(crop: Tensor) -> bool:
        return any(np.allclose(crop, whole[..., left : left + 32], atol=1e-4) for left in range(9))

    assert all(as_it_lies(crops("world", False).sample(0, index)["normals"]) for index in range(8))
    assert not all(as_it_lies(crops("camera", True).sample(0, index)["normals"]) for index in range(8))


@pytest.mark.parametrize("name", ["flow", "occlusion", "masks", "depth"])
def test_a_clip_there_and_back(name: str) -> None:
    """What leads from each frame to those beside it, frame by frame; at the turn, nothing moves."""
    kind, length = KINDS[name], 4
    clip = torch.rand(2, length, kind.channels, 3, 5)
    order = [*range(length), *reversed(range(length))]
    expected = clip[:, order].clone()
    for place, t in enumerate(order):
        for channels, step in ((kind.ahead, 1), (kind.behind, -1)):
            if not channels or not 0 <= place + step < 2 * length:
                continue  # what leads out of the clip is not looked at
            to = order[place + step]
            source = {t: None, t + 1: kind.ahead, t - 1: kind.behind}[to]
            expected[:, place, list(channels)] = 0 if source is None else clip[:, t, list(source)]
    found = kinds.there_and_back(name, clip)
    inner = slice(1, -1) if kind.ahead else slice(None)
    assert found.shape == expected.shape and torch.equal(found[:, inner], expected[:, inner])
    assert torch.equal(found[:, 0, list(kind.ahead)], clip[:, 0, list(kind.ahead)])


def test_motion_alone_has_no_way_back() -> None:
    with pytest.raises(VSRError, match="motion leads to the previous frame alone"):
        kinds.there_and_back("motion", torch.zeros(1, 2, 2, 3, 3))


# ---------------------------------------------------------------- the prior that a network was trained with


def _store(folder: Path, **parameters: Any) -> Store:
    parts = folder.with_name(f"{folder.name} parts")
    with ClipWriter(parts, "clip") as writer:
        writer.append({"masks": np.zeros((1, 4, 4), bool)})
        writer.finish(ClipAttributes("test", 25.0, 4, 4, "", parameters))
    assemble(parts, ["clip"], folder)
    return Store(folder)


@pytest.mark.parametrize(
    ("name", "kind", "model"),
    [
        ("segments", "masks", {"backend": "felzenszwalb", "scale": 60.0}),
        ("motion", "flow", {"backend": "dis", "preset": "medium"}),
        ("rendered", "rendered", {"backend": "rendered", "normals": "camera"}),
    ],
)
def test_records_say_which_prior_a_network_learnt_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str, model: dict[str, Any]
) -> None:
    """And what made it, but not which part of HR a clip shows: that differs from corpus to corpus."""
    monkeypatch.setattr(common, "data", tmp_path.joinpath)
    store = prior_store(name, "lr/city/bi_x4")
    _store(store, **model, crop=[16, 16])
    assert priors.learnt_with(name, store, params.load()) == {"kind": kind, "name": name, "model": model}

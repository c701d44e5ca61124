"""Masks and flows against slow second implementations, exact motion, and real weights where they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from pipelines import params
from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, Store, assemble
from pipelines.clips.streaming import BATCH_BYTES, batches
from pipelines.errors import VSRError
from pipelines.priors import flows, masks, picture, weights

FELZENSZWALB = params.Felzenszwalb(backend="felzenszwalb", scale=60, sigma=0.6, min_size=24, max_masks=64)
DIS = params.Dis(backend="dis", preset="medium")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write(folder: Path, frames: list[Frame], scales: Mapping[str, float] | None = None) -> Store:
    """A store of one clip `a`."""
    height, width = next(iter(frames[0].values())).shape[-3:-1] if "masks" not in frames[0] else frames[0]["masks"].shape[1:]
    with ClipWriter(folder / "parts", "a", scales) as writer:
        for frame in frames:
            writer.append(frame)
        writer.finish(ClipAttributes("test", 25.0, height, width, "a.mp4"))
    assemble(folder / "parts", ["a"], folder / "store")
    return Store(folder / "store")


def moving(dx: int, dy: int, frames: int, height: int = 96, width: int = 136) -> list[np.ndarray]:
    """A photograph moved by whole pixels: frame t + 1 at p + (dx, dy) is frame t at p."""
    photo = data.astronaut()
    return [
        np.ascontiguousarray(photo[150 - t * dy : 150 - t * dy + height, 150 - t * dx : 150 - t * dx + width])
        for t in range(frames)
    ]


def run(worker: masks.Masks | flows.Flows, store: Store) -> tuple[list[Frame], ClipAttributes]:
    *lists, attributes = worker((store.path, "a"))
    assert isinstance(attributes, ClipAttributes)
    return [frame for frames in lists for frame in frames], attributes  # type: ignore[union-attr]


# ---------------------------------------------------------------- streaming


def test_lists_are_bounded_and_keep_the_order() -> None:
    frames = [{"a": np.full(BATCH_BYTES // 3, index, np.uint8)} for index in range(8)]
    lists = list(batches(frames))
    assert [int(frame["a"][0]) for frames in lists for frame in frames] == list(range(8))
    assert max(len(frames) for frames in lists) == 4
    assert list(batches([])) == []


# ---------------------------------------------------------------- masks


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_largest_is_a_plain_sort(candidates: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    field = rng.random((candidates, 3, 4)) < rng.choice([0.0, 0.2, 0.5])
    scores = rng.integers(0, 3, candidates).astype(np.float32)
    rows = [
        (-mask.sum(), np.flatnonzero(mask)[0], -score, index)
        for index, (mask, score) in enumerate(zip(field, scores, strict=True))
        if mask.any()
    ]
    expected = [row[-1] for row in sorted(rows)][:count]
    kept, kept_scores = masks.largest(field, scores, count)
    assert kept.shape == (len(expected), 3, 4)
    assert np.array_equal(kept, field[expected])
    assert np.array_equal(kept_scores, scores[expected])


def test_felzenszwalb_parts_the_frame(tmp_path: Path) -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:, 20:] = (200, 30, 30)
    frame[10:30, 30:50] = (20, 220, 40)
    store = write(tmp_path, [{"rgb": frame}, {"rgb": frame[::-1].copy()}])
    sharp = FELZENSZWALB.model_copy(update={"sigma": 0.01})
    found, attributes = run(masks.Masks(sharp, "cpu"), store)
    assert len(found) == 2
    got = found[0]["masks"]
    assert got.dtype == np.bool_ and got.sum((1, 2)).tolist() == [1200, 800, 400]
    assert got[0, 5, 55] and got[1, 20, 5] and got[2, 20, 40]
    assert (got.sum(0) == 1).all() and np.isnan(found[0]["scores"]).all()
    assert attributes.parameters == sharp.model_dump()
    assert (attributes.split, attributes.height, attributes.width, attributes.source) == ("test", 40, 60, "a.mp4")


def test_felzenszwalb_keeps_the_largest(tmp_path: Path) -> None:
    store = write(tmp_path, [{"rgb": moving(0, 0, 1)[0]}])
    whole, _ = run(masks.Masks(FELZENSZWALB.model_copy(update={"max_masks": 10**6}), "cpu"), store)
    few, _ = run(masks.Masks(FELZENSZWALB.model_copy(update={"max_masks": 7}), "cpu"), store)
    assert len(whole[0]["masks"]) > 7 and whole[0]["masks"].any(0).all()
    assert np.array_equal(few[0]["masks"], whole[0]["masks"][:7])


def test_masks_come_back_from_the_store(tmp_path: Path) -> None:
    two = np.zeros((2, 5, 6), bool)
    two[0, :, :3] = two[1, 0] = True
    frames = [
        {"masks": two, "scores": np.array([0.9, 0.8], np.float32)},
        {"masks": two[:0], "scores": np.zeros(0, np.float32)},
    ]
    store = write(tmp_path, frames)
    assert np.array_equal(store.frame("a", 0, "masks"), two)
    assert store.frame("a", 1, "masks").shape == (0, 5, 6)
    assert masks.summary(store) == pytest.approx({"masks": 1.0, "coverage": 18 / 30 / 2, "few": 1.0})


@pytest.fixture(scope="module")
def tiny_sam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segment Anything of a few thousand random parameters, saved as the published ones are."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(4)
    vision = {
        "hidden_size": 16,
        "output_channels": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 4,
        "mlp_dim": 32,
        "initializer_range": 0.5,
    }
    prompt = {"hidden_size": 8, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 8,
        "mlp_dim": 16,
        "num_attention_heads": 2,
        "attention_downsample_rate": 2,
        "iou_head_hidden_dim": 8,
    }
    network = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))
    with torch.no_grad():  # random, but such that the masks of different points differ and are stable
        for name, parameter in network.named_parameters():
            if "layer_norm" not in name:
                parameter.normal_(0, 0.7)
        for layers in network.mask_decoder.output_hypernetworks_mlps:
            layers.proj_out.weight.mul_(20)
            layers.proj_out.bias.zero_()
    folder = tmp_path_factory.mktemp("weights")
    network.save_pretrained(folder / "sam_tiny")
    return folder


@pytest.fixture
def sam(tiny_sam: Path, monkeypatch: pytest.MonkeyPatch) -> params.Sam:
    sha256 = hashlib.sha256((tiny_sam / "sam_tiny" / "model.safetensors").read_bytes()).hexdigest()
    files = {"config.json": None, "model.safetensors": sha256}
    monkeypatch.setitem(weights.REGISTRY, "sam_tiny", weights.Weights("http://127.0.0.1:9/", files, "none", folder=True))
    monkeypatch.setenv("VSR_WEIGHTS", str(tiny_sam))
    return params.Sam(
        backend="sam",
        weights="sam_tiny",
        points_per_side=8,
        pred_iou_threshold=0.5,
        stability_threshold=0.3,
        nms_threshold=0.7,
        max_masks=64,
    )


def slow_sam(folder: Path, frame: np.ndarray, model: params.Sam) -> tuple[np.ndarray, np.ndarray]:
    """The automatic mask generation of the paper, one point at a time and NMS in plain loops."""
    from torchvision.transforms.v2.functional import resize
    from transformers import SamModel

    network = SamModel.from_pretrained(folder).eval()
    side = network.config.vision_config.image_size
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = int(height * scale + 0.5), int(width * scale + 0.5)
    image = resize(torch.from_numpy(frame).permute(2, 0, 1), list(size), antialias=True).float() / 255
    image = (image - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    padded = torch.zeros(1, 3, side, side)
    padded[0, :, : size[0], : size[1]] = image
    with torch.no_grad():
        embedded = network.get_image_embeddings(padded)
    found = []
    for row in range(model.points_per_side):
        for column in range(model.points_per_side):
            x = (column + 0.5) / model.points_per_side * size[1]
            y = (row + 0.5) / model.points_per_side * size[0]
            with torch.no_grad():
                out = network(
                    image_embeddings=embedded, input_points=torch.tensor([[[[x, y]]]]), input_labels=torch.tensor([[[1]]])
                )
            logits = torch.nn.functional.interpolate(out.pred_masks[0], (side, side), mode="bilinear", align_corners=False)
            logits = torch.nn.functional.interpolate(
                logits[..., : size[0], : size[1]], (height, width), mode="bilinear", align_corners=False
            )[0]
            for logit, iou in zip(logits.numpy(), out.iou_scores[0, 0].numpy(), strict=True):
                mask = logit > 0
                union = (logit > -1).sum()
                if (
                    iou > model.pred_iou_threshold
                    and union
                    and (logit > 1).sum() / union > model.stability_threshold
                    and mask.any()
                ):
                    ys, xs = np.nonzero(mask)
                    found.append((mask, iou, (xs.min(), ys.min(), xs.max(), ys.max())))
    kept: list = []
    for mask, iou, box in sorted(found, key=lambda entry: -entry[1]):
        if all(overlap(box, other) <= model.nms_threshold for _, _, other in kept):
            kept.append((mask, iou, box))
    return masks.largest(np.array([mask for mask, _, _ in kept]), np.array([iou for _, iou, _ in kept]), model.max_masks)


def overlap(a: tuple, b: tuple) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    areas = sum(float(box[2] - box[0]) * float(box[3] - box[1]) for box in (a, b))
    return common / (areas - common) if areas > common else 0.0


@pytest.mark.parametrize(("nms_threshold", "at_least"), [(0.7, 1), (0.97, 2), (1.0, 70)])
def test_sam_is_the_papers_mask_generation(
    tmp_path: Path, sam: params.Sam, tiny_sam: Path, nms_threshold: float, at_least: int
) -> None:
    sam = sam.model_copy(update={"nms_threshold": nms_threshold, "max_masks": 192})
    frame = np.ascontiguousarray(data.astronaut()[::11, ::8])
    store = write(tmp_path, [{"rgb": frame}])
    found, attributes = run(masks.Masks(sam, "cpu"), store)
    expected, scores = slow_sam(tiny_sam / "sam_tiny", frame, sam)
    assert len(expected) >= at_least
    got = found[0]["masks"]
    assert got.shape == expected.shape
    assert (np.diff(got.sum((1, 2))) <= 0).all()
    # A logit within rounding of 0 may fall on either side, and masks of nearly one area may change places.
    apart = (got[:, None] != expected[None]).mean((2, 3))
    assert apart.min(0).max() < 2e-3 and apart.min(1).max() < 2e-3
    assert np.sort(found[0]["scores"]) == pytest.approx(np.sort(scores), abs=1e-3)
    assert attributes.parameters["weights"] == "sam_tiny" and len(attributes.parameters["sha256"]) == 64


def test_sam_may_find_nothing(tmp_path: Path, sam: params.Sam) -> None:
    store = write(tmp_path, [{"rgb": np.zeros((20, 30, 3), np.uint8)}])
    found, _ = run(masks.Masks(sam.model_copy(update={"pred_iou_threshold": 1e9}), "cpu"), store)
    assert found[0]["masks"].shape == (0, 20, 30) and found[0]["scores"].shape == (0,)


def test_sam_without_weights_is_told(sam: params.Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(VSRError, match="the weights 'sam_tiny' are not in"):
        masks.Masks(sam, "cpu")


# ---------------------------------------------------------------- flows


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_occlusion_is_its_formula(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(2, 7, 2)
    flow, back = rng.uniform(-2, 2, (2, height, width, 2)).astype(np.float32)
    expected = np.zeros((height, width), bool)
    near = np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            u, v = (float(value) for value in flow[y, x])
            tx, ty = min(max(x + u, 0), width - 1), min(max(y + v, 0), height - 1)
            x0, y0 = min(int(tx), width - 2), min(int(ty), height - 2)
            a, b = tx - x0, ty - y0
            there = (1 - b) * ((1 - a) * back[y0, x0] + a * back[y0, x0 + 1]) + b * (
                (1 - a) * back[y0 + 1, x0] + a * back[y0 + 1, x0 + 1]
            )
            gap = (u + there[0]) ** 2 + (v + there[1]) ** 2
            bound = 0.01 * (u**2 + v**2 + there[0] ** 2 + there[1] ** 2) + 0.5
            outside = not (-0.5 <= x + u <= width - 0.5 and -0.5 <= y + v <= height - 0.5)
            expected[y, x] = gap > bound or outside
            near[y, x] = abs(gap - bound) < 1e-4
    got = flows.occluded(flow, back)
    assert np.array_equal(got[~near], expected[~near])


def test_flow_columns_and_ends(tmp_path: Path) -> None:
    store = write(tmp_path, [{"rgb": frame} for frame in moving(2, -1, 4)])
    found, attributes = run(flows.Flows(DIS, "cpu"), store)
    assert len(found) == 4
    for frame in found:
        assert frame["flow_forward"].shape == frame["flow_backward"].shape == (96, 136, 2)
        assert frame["flow_forward"].dtype == np.float32
        assert frame["occlusion_forward"].shape == (96, 136) and frame["occlusion_forward"].dtype == np.bool_
    assert not found[-1]["flow_forward"].any() and found[-1]["occlusion_forward"].all()
    assert not found[0]["flow_backward"].any() and found[0]["occlusion_backward"].all()
    assert attributes.parameters == {"backend": "dis", "preset": "medium"}
    again, _ = run(flows.Flows(DIS, "cpu"), store)
    assert all(np.array_equal(one[key], two[key]) for one, two in zip(found, again, strict=True) for key in one)


@pytest.mark.parametrize(("dx", "dy"), [(2, -1), (-5, 3)])
def test_dis_finds_a_shift(tmp_path: Path, dx: int, dy: int) -> None:
    found, _ = run(flows.Flows(DIS, "cpu"), write(tmp_path, [{"rgb": frame} for frame in moving(dx, dy, 3)]))
    inner = np.s_[8:-8, 8:-8]
    error = np.linalg.norm(found[1]["flow_forward"][inner] - (dx, dy), axis=-1).mean()
    assert error < 0.25
    assert np.linalg.norm(found[1]["flow_backward"][inner] + (dx, dy), axis=-1).mean() < 0.25
    assert found[1]["occlusion_forward"][inner].mean() < 0.02


def test_a_lone_frame_has_no_flow(tmp_path: Path) -> None:
    store = write(tmp_path, [{"rgb": moving(0, 0, 1)[0]}])
    found, _ = run(flows.Flows(DIS, "cpu"), store)
    assert len(found) == 1 and found[0]["occlusion_forward"].all() and not found[0]["flow_backward"].any()
    assert flows.summary(write(tmp_path / "out", found, flows.SCALES)) == {"magnitude": 0.0, "occluded": 0.0}


def test_frames_too_small_for_dis(tmp_path: Path) -> None:
    store = write(tmp_path, [{"rgb": np.zeros((7, 30, 3), np.uint8)}] * 2)
    with pytest.raises(VSRError, match="30x7 are too small"):
        run(flows.Flows(DIS, "cpu"), store)


@pytest.mark.parametrize("size", [(1, 1), (54, 96), (128, 128), (129, 320), (180, 131)])
def test_raft_padding(size: tuple[int, int]) -> None:
    left, right, top, bottom = flows._padding(*size)
    height, width = size[0] + top + bottom, size[1] + left + right
    assert height % 8 == width % 8 == 0 and min(height, width) >= 128
    assert abs(left - right) <= 1 and abs(top - bottom) <= 1
    assert height - size[0] < 8 or height == 128


@pytest.fixture
def raft(shared_weights: Path, monkeypatch: pytest.MonkeyPatch) -> params.Raft:
    if not (shared_weights / "raft_small_torchvision.pth").exists():
        pytest.skip("needs raft_small_torchvision.pth")
    monkeypatch.setenv("VSR_WEIGHTS", str(shared_weights))
    return params.Raft(backend="raft", weights="raft_small", updates=12)


@pytest.mark.parametrize(("dx", "dy"), [(3, -2), (-6, 4)])
def test_raft_finds_a_shift(tmp_path: Path, raft: params.Raft, dx: int, dy: int) -> None:
    store = write(tmp_path, [{"rgb": frame} for frame in moving(dx, dy, 2)])  # 96 high: padded to 128
    found, attributes = run(flows.Flows(raft, "cpu"), store)
    error = np.linalg.norm(found[0]["flow_forward"][8:-8, 8:-8] - (dx, dy), axis=-1).mean()
    assert error < 0.4
    assert np.linalg.norm(found[1]["flow_backward"][8:-8, 8:-8] + (dx, dy), axis=-1).mean() < 0.4
    assert found[0]["occlusion_forward"][8:-8, 8:-8].mean() < 0.05
    assert attributes.parameters["sha256"].startswith("944a0898")


def test_raft_takes_frames_as_torchvision_does(tmp_path: Path, raft: params.Raft) -> None:
    """Without padding, the flow is that of torchvision's own transforms and network."""
    from torchvision.models.optical_flow import Raft_Small_Weights, raft_small

    one, two = moving(3, 1, 2, 128, 136)
    network = raft_small().eval()
    network.load_state_dict(torch.load(weights.resolve("raft_small"), weights_only=True))
    prepare = Raft_Small_Weights.DEFAULT.transforms()
    pair = prepare(*(torch.from_numpy(frame).permute(2, 0, 1)[None] for frame in (one, two)))
    with torch.no_grad():
        expected = network(*pair)[-1][0].permute(1, 2, 0).numpy()
    found, _ = run(flows.Flows(raft, "cpu"), write(tmp_path, [{"rgb": one}, {"rgb": two}]))
    assert np.abs(found[0]["flow_forward"] - expected).max() < 1e-2


def test_endpoint_error_of_known_flows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    still = np.zeros((6, 8), bool)

    def frame(flow: np.ndarray, occlusion: np.ndarray) -> Frame:
        ways = ("forward", "backward")
        return {f"flow_{way}": flow for way in ways} | {f"occlusion_{way}": occlusion for way in ways}

    # HR flow is LR flow times the scale, and one more column than the LR size takes.
    lr = (rng.integers(-200, 200, (3, 6, 8, 2)) / 64).astype(np.float32)
    hr = np.pad(lr.repeat(4, 1).repeat(4, 2) * 4, ((0, 0), (0, 0), (0, 1), (0, 0)))
    hidden = np.zeros((24, 33), bool)
    hidden[:, :3] = True
    truth = write(tmp_path / "hr", [frame(field, hidden) for field in hr], flows.SCALES)
    exact = write(tmp_path / "lr", [frame(field, still) for field in lr], flows.SCALES)
    assert flows.endpoint_error(exact, truth, 4) == pytest.approx(0, abs=1e-6)
    wrong = lr.copy()
    wrong[..., 0] += 3
    wrong[..., 1] -= 4
    wrong[:, :, 0] += 5  # the first LR column holds occluded HR pixels
    off = write(tmp_path / "off", [frame(field, still) for field in wrong], flows.SCALES)
    assert flows.endpoint_error(off, truth, 4, visible=True) == pytest.approx(5, abs=1e-5)
    assert flows.endpoint_error(off, truth, 4) > 5
    with pytest.raises(VSRError, match="33x24"):
        flows.endpoint_error(off, truth, 2)
    assert flows.summary(exact)["magnitude"] == pytest.approx(
        np.mean([np.linalg.norm(lr[t], axis=-1).mean() for t in (0, 1, 1, 2)]), rel=1e-5
    )


# ---------------------------------------------------------------- pictures


def test_masks_are_coloured_where_they_are() -> None:
    frame = np.full((6, 8, 3), 100, np.uint8)
    stack = np.zeros((2, 6, 8), bool)
    stack[0, :4], stack[1, :2] = True, True
    out = picture.masks_over(frame, stack)
    assert out.dtype == np.uint8 and out.shape == frame.shape
    assert (out[4:] == 100).all()
    colours = {tuple(colour) for colour in out.reshape(-1, 3)}
    assert len(colours) == 3
    assert np.array_equal(picture.masks_over(frame, stack, 0.0), frame)


def test_flow_is_on_the_wheel() -> None:
    """The ends of the wheel's legs are known: right is red, left is a blue between cyan and blue; rest is white."""
    field = np.array([[[4, 0], [0, 0], [-4, 0], [8, 0]]], np.float32)
    red, white, left, beyond = picture.flow(field, longest=4)[0]
    assert tuple(red) == (255, 0, 0) and tuple(white) == (255, 255, 255)
    assert left[0] == 0 and left[2] == 255
    assert tuple(beyond) == (191, 0, 0)
    assert (picture.flow(np.zeros((2, 2, 2), np.float32)) == 255).all()
    half = picture.flow(np.array([[[2, 0]]], np.float32), longest=4)[0, 0]
    assert tuple(half) == (255, 127, 127)

"""Masks against slow second implementations, with the real classes of transformers and tiny random parameters."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from pipelines import params, weights
from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, Store, assemble
from pipelines.errors import VSRError
from pipelines.priors import masks

FELZENSZWALB = params.Felzenszwalb(backend="felzenszwalb", scale=60, sigma=0.6, min_size=24, max_masks=64)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def write(folder: Path, frames: list[Frame]) -> Store:
    """A store of one clip `a`."""
    height, width = frames[0]["masks"].shape[1:] if "masks" in frames[0] else frames[0]["rgb"].shape[:2]
    with ClipWriter(folder / "parts", "a") as writer:
        for frame in frames:
            writer.append(frame)
        writer.finish(ClipAttributes("test", 25.0, height, width, "a.mp4"))
    assemble(folder / "parts", ["a"], folder / "store")
    return Store(folder / "store")


def run(model: masks.Model, store: Store) -> tuple[list[Frame], ClipAttributes]:
    *lists, attributes = masks.Masks(model, "cpu")((store.path, "a"))
    assert isinstance(attributes, ClipAttributes)
    return [frame for frames in lists for frame in frames], attributes  # type: ignore[union-attr]


def photograph(height: int = 47, width: int = 64) -> np.ndarray:
    photo = data.astronaut()
    return np.ascontiguousarray(photo[:: len(photo) // height, :: len(photo) // width][:height, :width])


# ---------------------------------------------------------------- what is kept, in which order


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 8), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_largest_is_a_plain_sort(candidates: int, count: int, seed: int) -> None:
    """By area, then by the pixels themselves, read row by row, then by the score."""
    rng = np.random.default_rng(seed)
    field = rng.random((candidates, 3, 4)) < rng.choice([0.0, 0.2, 0.5])
    field[candidates // 2 :] = field[: candidates - candidates // 2]  # some come twice, with other scores
    scores = rng.integers(0, 3, candidates).astype(np.float32)
    rows = [
        (-mask.sum(), [not pixel for pixel in mask.ravel().tolist()], -score, index)
        for index, (mask, score) in enumerate(zip(field, scores, strict=True))
        if mask.any()
    ]
    expected = [row[-1] for row in sorted(rows)][:count]
    kept, kept_scores = masks.largest(field, scores, count)
    assert kept.shape == (len(expected), 3, 4)
    assert np.array_equal(kept, field[expected])
    assert np.array_equal(kept_scores, scores[expected])
    shuffled = rng.permutation(candidates)  # the order of the candidates says nothing
    again, again_scores = masks.largest(field[shuffled], scores[shuffled], count)
    assert np.array_equal(again, kept) and np.array_equal(again_scores, kept_scores)


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
    expected = {"masks_mean": 1.0, "masks_min": 0.0, "masks_max": 2.0, "coverage": 18 / 30 / 2, "few": 1.0}
    assert masks.summary(store) == pytest.approx(expected)


# ---------------------------------------------------------------- the classical segmenter


def test_felzenszwalb_parts_the_frame(tmp_path: Path) -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[:, 20:] = (200, 30, 30)
    frame[10:30, 30:50] = (20, 220, 40)
    store = write(tmp_path, [{"rgb": frame}, {"rgb": frame[::-1].copy()}])
    sharp = FELZENSZWALB.model_copy(update={"sigma": 0.01})
    found, attributes = run(sharp, store)
    assert len(found) == 2
    got = found[0]["masks"]
    assert got.dtype == np.bool_ and got.sum((1, 2)).tolist() == [1200, 800, 400]
    assert got[0, 5, 55] and got[1, 20, 5] and got[2, 20, 40]
    assert (got.sum(0) == 1).all() and np.isnan(found[0]["scores"]).all()
    assert attributes.parameters == sharp.model_dump()
    assert (attributes.split, attributes.height, attributes.width, attributes.source) == ("test", 40, 60, "a.mp4")


def test_felzenszwalb_keeps_the_largest(tmp_path: Path) -> None:
    store = write(tmp_path, [{"rgb": photograph(96, 128)}])
    whole, _ = run(FELZENSZWALB.model_copy(update={"max_masks": 10**6}), store)
    few, _ = run(FELZENSZWALB.model_copy(update={"max_masks": 7}), store)
    assert len(whole[0]["masks"]) > 7 and whole[0]["masks"].any(0).all()
    assert np.array_equal(few[0]["masks"], whole[0]["masks"][:7])


# ---------------------------------------------------------------- Segment Anything

PROMPT = {"hidden_size": 32, "image_size": 64, "mask_input_channels": 4}
DECODER = {
    "hidden_size": 32,
    "mlp_dim": 64,
    "num_attention_heads": 2,
    "attention_downsample_rate": 2,
    "iou_head_hidden_dim": 32,
}


def restless(network: torch.nn.Module, sharpness: float) -> torch.nn.Module:
    """Random, but such that the masks of different points differ and are stable."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "layer_norm" not in name:
                parameter.normal_(0, 0.5)
        for layers in network.mask_decoder.output_hypernetworks_mlps:  # type: ignore[union-attr]
            layers.proj_out.weight.mul_(sharpness)
            layers.proj_out.bias.zero_()
    return network


def sam_network() -> torch.nn.Module:
    from transformers import SamConfig, SamModel

    torch.manual_seed(2)
    vision = {
        "hidden_size": 16,
        "output_channels": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "num_pos_feats": 16,
        "mlp_dim": 32,
    }
    prompt = {**PROMPT, "patch_size": 8}
    return restless(SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=DECODER)), 20)


def sam2_parts() -> dict[str, dict]:
    """What the image and the video model of SAM 2 have in common."""
    backbone = {
        "hidden_size": 8,
        "image_size": [64, 64],
        "window_positional_embedding_background_size": [2, 2],
        "blocks_per_stage": [1, 1, 2, 1],
        "embed_dim_per_stage": [8, 16, 24, 32],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 4, 4, 2],
        "global_attention_blocks": [3],
    }
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", **backbone},
        "backbone_channel_list": [32, 24, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        "fpn_hidden_size": 32,
    }
    return {"vision_config": vision, "prompt_encoder_config": {**PROMPT, "patch_size": 16}, "mask_decoder_config": DECODER}


def sam2_network() -> torch.nn.Module:
    from transformers import Sam2Config, Sam2Model

    torch.manual_seed(0)
    return restless(Sam2Model(Sam2Config(**sam2_parts())), 0.3)


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {"sam": sam_network, "sam2": sam2_network}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Segment Anything 1 and 2 of a few thousand random parameters, saved as the published ones are."""
    folder = tmp_path_factory.mktemp("weights")
    for backend, network in NETWORKS.items():
        network().save_pretrained(folder / backend)  # type: ignore[operator]
    return folder


THRESHOLDS = {"sam": (0.1, 0.9), "sam2": (0.01, 0.9)}
"""Of predicted IoU and stability: some of the masks of random parameters pass, some do not."""


@pytest.fixture(params=["sam", "sam2"])
def model(request: pytest.FixtureRequest, folders: Path) -> params.Sam:
    likely, stable = THRESHOLDS[request.param]
    return params.Sam(
        backend=request.param,
        weights=str(folders / request.param),
        points_per_side=8,
        masks_per_point=3,
        pred_iou_threshold=likely,
        stability_threshold=stable,
        nms_threshold=0.7,
        max_masks=64,
        batch=64,
    )


def slow_candidates(folder: Path, frame: np.ndarray, model: params.Sam) -> list[tuple[np.ndarray, float]]:
    """The logits at the frame's size and the predicted IoU of every mask, one point at a time."""
    from torchvision.transforms.v2.functional import resize
    from transformers import Sam2Model, SamModel

    network = (SamModel if model.backend == "sam" else Sam2Model).from_pretrained(folder).eval()
    side = 64
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    size = (int(height * scale + 0.5), int(width * scale + 0.5)) if model.backend == "sam" else (side, side)
    image = resize(torch.from_numpy(frame).permute(2, 0, 1), list(size), antialias=True).float() / 255
    image = (image - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    padded = torch.zeros(1, 3, side, side)
    padded[0, :, : size[0], : size[1]] = image
    found = []
    with torch.no_grad():
        embedded = network.get_image_embeddings(padded)
        for row in range(model.points_per_side):
            for column in range(model.points_per_side):
                x = (column + 0.5) / model.points_per_side * size[1]
                y = (row + 0.5) / model.points_per_side * size[0]
                out = network(
                    image_embeddings=embedded,
                    input_points=torch.tensor([[[[x, y]]]]),
                    input_labels=torch.tensor([[[1]]]),
                    multimask_output=model.masks_per_point > 1,
                )
                logits = out.pred_masks[0]
                if model.backend == "sam":
                    logits = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)
                logits = torch.nn.functional.interpolate(
                    logits[..., : size[0], : size[1]] if model.backend == "sam" else logits,
                    (height, width),
                    mode="bilinear",
                    align_corners=False,
                )[0]
                found += zip(logits.numpy(), out.iou_scores[0, 0].tolist(), strict=True)
    return found


def slow_filter(found: list[tuple[np.ndarray, float]], model: params.Sam) -> tuple[np.ndarray, np.ndarray]:
    """Both thresholds and NMS in plain loops, then `largest`."""
    good = []
    for logit, iou in found:
        mask = logit > 0
        union = int((logit > -1).sum())
        if iou > model.pred_iou_threshold and union and (logit > 1).sum() / union >= model.stability_threshold:
            ys, xs = np.nonzero(mask)
            good.append((mask, iou, (xs.min(), ys.min(), xs.max(), ys.max())))
    kept: list = []
    for mask, iou, box in sorted(good, key=lambda entry: -entry[1]):
        if all(overlap(box, other) <= model.nms_threshold for _, _, other in kept):
            kept.append((mask, iou, box))
    return masks.largest(np.array([mask for mask, _, _ in kept]), np.array([iou for _, iou, _ in kept]), model.max_masks)


def overlap(a: tuple, b: tuple) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(width, 0) * max(height, 0)
    areas = sum(float(box[2] - box[0]) * float(box[3] - box[1]) for box in (a, b))
    return common / (areas - common) if areas > common else 0.0


def close(got: Frame, expected: np.ndarray, scores: np.ndarray) -> None:
    """A logit within rounding of 0 may fall on either side, and masks of nearly one area may change places."""
    found = got["masks"]
    assert found.shape == expected.shape
    assert (np.diff(found.sum((1, 2))) <= 0).all()
    apart = (found[:, None] != expected[None]).mean((2, 3))
    assert apart.min(0).max() < 2e-3 and apart.min(1).max() < 2e-3
    assert np.sort(got["scores"]) == pytest.approx(np.sort(scores), abs=1e-3)


@pytest.mark.parametrize(("nms_threshold", "at_least"), [(0.7, 2), (0.97, 4), (1.0, 40)])
@pytest.mark.parametrize("size", [(47, 64), (60, 33)])
def test_sam_is_the_papers_mask_generation(
    tmp_path: Path, model: params.Sam, size: tuple[int, int], nms_threshold: float, at_least: int
) -> None:
    model = model.model_copy(update={"nms_threshold": nms_threshold, "max_masks": 192})
    frame = photograph(*size)
    found, _ = run(model, write(tmp_path, [{"rgb": frame}]))
    candidates = slow_candidates(Path(model.weights), frame, model)
    expected, scores = slow_filter(candidates, model)
    assert at_least <= len(expected) < len(candidates) == 192
    close(found[0], expected, scores)


def test_a_point_may_make_one_mask(model: params.Sam) -> None:
    """64 in all, of which the same thresholds and the same overlap leave some."""
    single = model.model_copy(
        update={"masks_per_point": 1, "pred_iou_threshold": 1e-9, "stability_threshold": 0.5, "nms_threshold": 1.0}
    )
    frame = photograph(47, 64)
    candidates = slow_candidates(Path(model.weights), frame, single)
    assert len(candidates) == 64
    expected, scores = slow_filter(candidates, single)
    assert len(expected) > 2
    close(masks.Masks(single, "cpu").frame(frame), expected, scores)


def test_sam_agrees_with_the_pipeline_of_transformers(tmp_path: Path, model: params.Sam) -> None:
    """On a square frame: on others the pipeline places SAM 2's points elsewhere, see `masks._sam`."""
    from PIL import Image
    from transformers import Sam2ImageProcessor, Sam2Model, SamImageProcessor, SamModel
    from transformers.pipelines import MaskGenerationPipeline

    size = {"height": 64, "width": 64}
    if model.backend == "sam":
        network, processor = SamModel, SamImageProcessor(size={"longest_edge": 64}, pad_size=size)
    else:
        network, processor = Sam2Model, Sam2ImageProcessor(size=size)
    generate = MaskGenerationPipeline(
        model=network.from_pretrained(model.weights).eval(), image_processor=processor, device=torch.device("cpu")
    )
    frame = photograph(50, 50)
    theirs = generate(
        Image.fromarray(frame),
        points_per_crop=model.points_per_side,
        pred_iou_thresh=model.pred_iou_threshold,
        stability_score_thresh=model.stability_threshold,
        crops_nms_thresh=model.nms_threshold,
    )
    found, _ = run(model, write(tmp_path, [{"rgb": frame}]))
    close(found[0], *masks.largest(np.stack(theirs["masks"]).astype(bool), theirs["scores"].numpy(), 64))


def test_neither_the_batch_nor_a_second_time_changes_the_masks(tmp_path: Path, model: params.Sam) -> None:
    model = model.model_copy(update={"nms_threshold": 1.0})
    store = write(tmp_path, [{"rgb": photograph()}, {"rgb": photograph()[::-1].copy()}])
    first, _ = run(model, store)
    assert len(first) == 2 and all(len(frame["masks"]) > 9 for frame in first)
    for batch in (1, 7, 64, 500):
        again, _ = run(model.model_copy(update={"batch": batch}), store)
        for one, two in zip(first, again, strict=True):
            close(two, one["masks"], one["scores"])
    again, _ = run(model, store)
    assert all(np.array_equal(one[key], two[key]) for one, two in zip(first, again, strict=True) for key in one)


def test_sam_keeps_at_most_so_many(tmp_path: Path, model: params.Sam) -> None:
    loose = model.model_copy(update={"nms_threshold": 1.0, "max_masks": 192})
    store = write(tmp_path, [{"rgb": photograph()}])
    whole, _ = run(loose, store)
    few, _ = run(loose.model_copy(update={"max_masks": 9}), store)
    assert len(whole[0]["masks"]) > 9
    assert np.array_equal(few[0]["masks"], whole[0]["masks"][:9])


def test_sam_may_find_nothing(tmp_path: Path, model: params.Sam) -> None:
    store = write(tmp_path, [{"rgb": np.zeros((20, 30, 3), np.uint8)}])
    found, _ = run(model.model_copy(update={"pred_iou_threshold": 1e9}), store)
    assert found[0]["masks"].shape == (0, 20, 30) and found[0]["scores"].shape == (0,)


# ---------------------------------------------------------------- its weights


def test_provenance_knows_a_folder_by_what_it_holds(tmp_path: Path, model: params.Sam) -> None:
    shutil.copytree(model.weights, tmp_path / "elsewhere")
    _, attributes = run(model, write(tmp_path, [{"rgb": photograph()}]))
    sha256 = hashlib.sha256((Path(model.weights) / "model.safetensors").read_bytes()).hexdigest()
    changes = {"weights": "local", "model_type": model.backend, "sha256": sha256}
    assert attributes.parameters == {**model.model_dump(), **changes}
    assert weights.provenance(model.model_copy(update={"weights": str(tmp_path / "elsewhere")})) == attributes.parameters


def test_a_published_name_is_the_same_as_its_folder(
    tmp_path: Path, model: params.Sam, folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = weights.digest(folders / model.backend)
    files = {"config.json": None, "model.safetensors": sha256}
    monkeypatch.setitem(weights.REGISTRY, model.backend, weights.Weights("http://127.0.0.1:9/", files, "none", folder=True))
    monkeypatch.setenv("VSR_WEIGHTS", str(folders))
    named = model.model_copy(update={"weights": model.backend})
    store = write(tmp_path, [{"rgb": photograph()}])
    found, attributes = run(named, store)
    assert attributes.parameters == {**named.model_dump(), "sha256": sha256}
    assert np.array_equal(found[0]["masks"], run(model, store)[0][0]["masks"])
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(VSRError, match=f"the weights '{model.backend}' are not in"):
        masks.Masks(named, "cpu")


def test_sam2_runs_as_it_is_published(tmp_path: Path, folders: Path) -> None:
    """The published folders of SAM 2 hold its video model, of which the image model is a part."""
    from transformers import Sam2VideoConfig, Sam2VideoModel

    torch.manual_seed(0)
    memory = {
        "memory_attention_hidden_size": 32,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 32,
        "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 32,
        "memory_encoder_output_channels": 8,
        "memory_fuser_embed_dim": 32,
        "memory_fuser_intermediate_dim": 32,
        "mask_downsampler_embed_dim": 32,
        "image_size": 64,
    }
    video = Sam2VideoModel(Sam2VideoConfig(**sam2_parts(), **memory))
    image = sam2_network()
    loaded = video.load_state_dict(image.state_dict(), strict=False)
    assert not loaded.unexpected_keys
    video.save_pretrained(tmp_path / "video")
    assert json.loads((tmp_path / "video" / "config.json").read_text())["model_type"] == "sam2_video"
    likely, stable = THRESHOLDS["sam2"]
    same = {"points_per_side": 8, "masks_per_point": 3, "nms_threshold": 0.7, "max_masks": 64, "batch": 64}
    same |= {"backend": "sam2", "pred_iou_threshold": likely, "stability_threshold": stable}
    store = write(tmp_path, [{"rgb": photograph()}])
    found, attributes = run(params.Sam(weights=str(tmp_path / "video"), **same), store)  # type: ignore[arg-type]
    expected, _ = run(params.Sam(weights=str(folders / "sam2"), **same), store)  # type: ignore[arg-type]
    assert attributes.parameters["model_type"] == "sam2_video"
    assert np.array_equal(found[0]["masks"], expected[0]["masks"])


def test_another_network_is_told(tmp_path: Path, model: params.Sam, folders: Path) -> None:
    other = {"sam": "sam2", "sam2": "sam"}[model.backend]
    with pytest.raises(VSRError, match=f"says model_type '{other}', which the backend '{model.backend}' does not run"):
        masks.Masks(model.model_copy(update={"weights": str(folders / other)}), "cpu")
    shutil.copytree(model.weights, tmp_path / "bert")
    (tmp_path / "bert" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(VSRError, match="says model_type 'bert'"):
        weights.provenance(model.model_copy(update={"weights": str(tmp_path / "bert")}))


def test_damaged_weights_are_told(tmp_path: Path, model: params.Sam) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(model.weights, folder)
    damaged = model.model_copy(update={"weights": str(folder)})
    whole = load_file(folder / "model.safetensors")
    name = next(name for name in whole if name.startswith("mask_decoder"))
    save_file({key: value for key, value in whole.items() if key != name}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(VSRError, match=f"lacks 1 of the parameters of .*, first {name}"):
        masks.Masks(damaged, "cpu")
    save_file({**whole, name: torch.zeros(3, 3)}, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(VSRError, match="cannot be read as"):
        masks.Masks(damaged, "cpu")
    (folder / "model.safetensors").write_bytes(b"no parameters at all")
    with pytest.raises(VSRError, match="cannot be read as"):
        masks.Masks(damaged, "cpu")

"""Masks of what is in a frame, as a prior per frame: Segment Anything 1 or 2, or a classical segmenter.

Columns of the store: `masks` (K, H, W) bool, K at most `max_masks`, by falling area, because a method
that stacks them as channels needs one order; `scores` (K,) float32, the mask quality (IoU) that SAM
predicts for itself, NaN where the segmenter predicts none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from pipelines import params, weights
from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.errors import VSRError

Model = params.Sam | params.Felzenszwalb


class Segmenter(Protocol):
    """Segments one frame, (H, W, 3) uint8, into candidates in any order: masks (K, H, W) bool and scores (K,) float32."""

    def __call__(self, frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class Masks:
    """A worker that makes the masks of one clip at a time; its weights are loaded once.

    Args:
        model: which segmenter, from params.
        device: where a network runs, e.g. `cpu` or `cuda`.
    """

    def __init__(self, model: Model, device: str) -> None:
        self._model = model
        self._provenance = weights.provenance(model)
        self._segment: Segmenter = _sam(model, device) if isinstance(model, params.Sam) else _felzenszwalb(model)
        self._store = lru_cache(maxsize=1)(Store)  # of many clips, opened once

    def __call__(self, job: tuple[Path | str, str]) -> Iterator[list[Frame] | ClipAttributes]:
        """The frames of the clip `job = (store of LR frames, clip name)`, and last its attributes."""
        path, clip = job
        store = self._store(path)
        of = store.clips[clip].attributes
        yield from batches(self.stream(store.frames(clip), (of.height, of.width)))
        yield ClipAttributes(of.split, of.fps, of.height, of.width, of.source, self._provenance)

    def stream(self, frames: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[Frame]:
        """The columns of a clip's frames, (H, W, 3) uint8 of that size, one frame at a time."""
        return map(self.frame, frames)

    def frame(self, frame: np.ndarray) -> Frame:
        """The masks and scores of a frame, (H, W, 3) uint8."""
        masks, scores = largest(*self._segment(frame), self._model.max_masks)
        return {"masks": masks, "scores": scores}


def largest(masks: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest masks by falling area, (K, H, W), with their scores; empty ones are left out.

    Of equal areas, the one that has the first pixel (row by row) in which they differ goes first. A predicted
    quality decides only between equal masks: its last digits depend on the device, the masks' order must not.
    """
    areas = masks.sum((1, 2))
    # Packed eight to a byte and inverted, so that bytes compare as the pixels do.
    outside = [np.packbits(~mask).tobytes() for mask in masks]
    order = sorted(np.flatnonzero(areas), key=lambda index: (-areas[index], outside[index], -scores[index]))[:count]
    return np.ascontiguousarray(masks[order]), scores[order].astype(np.float32)


def summary(store: Store) -> dict[str, float]:
    """Of all frames: the number of masks (`masks_mean`, `masks_min`, `masks_max`), the mean share of pixels
    that some mask covers (`coverage`), and the share of frames with fewer than five masks (`few`); zeros without frames."""
    counts, covered = [], []
    for clip in store.clips:
        for masks in store.frames(clip, "masks"):
            counts.append(len(masks))
            covered.append(float(masks.any(0).mean()) if len(masks) else 0.0)
    if not counts:
        return dict.fromkeys(("masks_mean", "masks_min", "masks_max", "coverage", "few"), 0.0)
    return {
        "masks_mean": float(np.mean(counts)),
        "masks_min": float(min(counts)),
        "masks_max": float(max(counts)),
        "coverage": float(np.mean(covered)),
        "few": float(np.mean([count < 5 for count in counts])),
    }


def _felzenszwalb(model: params.Felzenszwalb) -> Segmenter:
    """Felzenszwalb and Huttenlocher, Efficient graph-based image segmentation, IJCV 2004."""
    from skimage.segmentation import felzenszwalb

    def segment(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        labels = felzenszwalb(frame, scale=model.scale, sigma=model.sigma, min_size=model.min_size, channel_axis=-1)
        areas = np.bincount(labels.ravel())
        # Labels are many in a textured frame and only the largest are kept; ties at the cut-off stay in.
        cut = np.sort(areas)[::-1][: model.max_masks][-1]
        kept = np.flatnonzero(areas >= cut)
        return labels[None] == kept[:, None, None], np.full(len(kept), np.nan, np.float32)

    return segment


def _sam(model: params.Sam, device: str) -> Segmenter:
    """Automatic mask generation: Kirillov et al., Segment Anything, ICCV 2023, Sec. 5 and App. B; Ravi et al., SAM 2:
    Segment anything in images and videos, 2024.

    Points at the centres of a grid's cells prompt three masks each, or one. Those stay whose predicted IoU is above its
    threshold and whose stability, |logits > 1| / |logits > -1|, is at least its own; of boxes that overlap, the one
    of the best predicted IoU. As in the authors' generator without crops: transformers' `mask-generation` pipeline
    asks for a stability above the threshold, and places the points of SAM 2, whose input is a square whatever the
    frame, as if the frame's shape were kept.
    """
    from torchvision.ops import masks_to_boxes, nms

    network, processor = _load(model)
    network.to(device)
    side = network.config.prompt_encoder_config.image_size
    cells = (torch.arange(model.points_per_side) + 0.5) / model.points_per_side
    grid = torch.stack(torch.meshgrid(cells, cells, indexing="xy"), -1).reshape(-1, 1, 2)

    def candidates(embedded: Any, points: Tensor, sizes: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The masks (K, H, W) bool that pass both thresholds, and their predicted IoU, for points (P, 1, 2)."""
        labels = torch.ones(1, *points.shape[:2], dtype=torch.int64, device=device)
        several = model.masks_per_point > 1
        out = network(
            image_embeddings=embedded, input_points=points[None].to(device), input_labels=labels, multimask_output=several
        )
        likely = out.iou_scores.flatten() > model.pred_iou_threshold
        height, width = sizes["original_sizes"][0].tolist()
        if not likely.any():
            return torch.zeros(0, height, width, dtype=torch.bool), torch.zeros(0)
        # Only these are brought to the frame's size, which is most of the work after the network's.
        logits = out.pred_masks.flatten(0, 2)[likely][None]
        logits = processor.post_process_masks([logits], **sizes, binarize=False)[0][0]
        stable = (logits > 1).sum((1, 2)) / (logits > -1).sum((1, 2)) >= model.stability_threshold
        return (logits[stable] > 0).cpu(), out.iou_scores.flatten()[likely][stable].cpu()

    @torch.inference_mode()
    def segment(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inputs = processor(images=torch.tensor(frame).permute(2, 0, 1), input_data_format="channels_first", return_tensors="pt")
        pixels = inputs.pop("pixel_values")
        # SAM's longest side fills the square and the rest is padding; SAM 2 stretches the frame over all of it.
        height, width = inputs["reshaped_input_sizes"][0].tolist() if "reshaped_input_sizes" in inputs else (side, side)
        # TensorFloat-32 would round masks' edges differently from a CPU.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            embedded = network.get_image_embeddings(pixels.to(device))
            points = (grid * torch.tensor([width, height])).split(model.batch)
            masks, scores = map(torch.cat, zip(*(candidates(embedded, some, inputs) for some in points), strict=True))
        kept = nms(masks_to_boxes(masks), scores, model.nms_threshold)
        return masks[kept].numpy(), scores[kept].numpy()

    return segment


def _load(model: params.Sam) -> tuple[Any, Any]:
    """The network in single precision and the preparation of its input.

    Raises:
        VSRError: the weights cannot be read, or are not whole.
    """
    from safetensors import SafetensorError
    from transformers import Sam2ImageProcessor, Sam2Model, SamImageProcessor, SamModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # SAM 2 is published as a video model, whose memory is not needed for a frame
    folder = weights.resolve(model.weights)
    kind: Any = SamModel if model.backend == "sam" else Sam2Model
    how: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "dtype": torch.float32, "output_loading_info": True}
    try:
        network, loaded = kind.from_pretrained(folder, **how)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise VSRError(f"the weights in {folder} cannot be read as {kind.__name__} ({reason}): fetch them again.") from error
    if missing := sorted(loaded["missing_keys"]):
        raise VSRError(
            f"{folder / 'model.safetensors'} lacks {len(missing)} of the parameters of {kind.__name__}, first {missing[0]}: "
            "fetch it again, or give the folder that was saved whole."
        )
    side = network.config.prompt_encoder_config.image_size
    square = {"height": side, "width": side}
    if model.backend == "sam":
        return network.eval(), SamImageProcessor(size={"longest_edge": side}, pad_size=square)
    return network.eval(), Sam2ImageProcessor(size=square)

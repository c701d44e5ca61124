"""Masks of what is in a frame, as a prior per LR frame: Segment Anything, or a classical segmenter.

Columns of the store: `masks` (K, H, W) bool, K at most `max_masks`, by falling area, because a method
that stacks them as channels needs one order; `scores` (K,) float32, the mask quality (IoU) that SAM
predicts for itself, NaN where the segmenter predicts none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from pipelines import params
from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.priors import weights

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

    def __call__(self, job: tuple[Path | str, str]) -> Iterator[list[Frame] | ClipAttributes]:
        """The frames of the clip `job = (store of LR frames, clip name)`, and last its attributes."""
        path, clip = job
        store = Store(path)
        yield from batches(self._frame(frame) for frame in store.frames(clip))
        of = store.clips[clip].attributes
        yield ClipAttributes(of.split, of.fps, of.height, of.width, of.source, self._provenance)

    def _frame(self, frame: np.ndarray) -> Frame:
        masks, scores = largest(*self._segment(frame), self._model.max_masks)
        return {"masks": masks, "scores": scores}


def largest(masks: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest masks by falling area, (K, H, W), with their scores; empty ones are left out.

    Of equal areas the one whose first pixel (row by row) comes first goes first, then the higher score.
    """
    flat = masks.reshape(len(masks), masks[0].size if len(masks) else 0)
    areas = flat.sum(1)
    first = flat.argmax(1) if len(flat) else areas
    order = np.lexsort((-scores, first, -areas))
    order = order[areas[order] > 0][:count]
    return np.ascontiguousarray(masks[order]), scores[order].astype(np.float32)


def summary(store: Store) -> dict[str, float]:
    """Of all frames: the mean number of masks (`masks`), the mean share of pixels that some mask covers
    (`coverage`), and the share of frames with fewer than five masks (`few`)."""
    counts, covered = [], []
    for clip in store.clips:
        for masks in store.frames(clip, "masks"):
            counts.append(len(masks))
            covered.append(float(masks.any(0).mean()) if len(masks) else 0.0)
    few = float(np.mean([count < 5 for count in counts]))
    return {"masks": float(np.mean(counts)), "coverage": float(np.mean(covered)), "few": few}


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


_POINTS_AT_ONCE = 16
"""Bounds the memory for logits at SAM's full resolution: 3 x 16 of 1024 x 1024; the masks do not depend on it."""


def _sam(model: params.Sam, device: str) -> Segmenter:
    """Kirillov et al., Segment Anything, ICCV 2023, Sec. 5 and App. D.1: a grid of point prompts at cell
    centres, three masks each; those of predicted IoU and stability over their thresholds; box NMS."""
    from PIL import Image
    from transformers import SamImageProcessor, SamModel
    from transformers.pipelines import MaskGenerationPipeline
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # frames come one by one because memory is bounded, not for want of a batch
    folder = weights.resolve(model.weights)
    network = SamModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32).eval()
    # The longest side fills the network's input, the rest is padded at the right and bottom.
    side = network.config.vision_config.image_size
    processor = SamImageProcessor(size={"longest_edge": side}, pad_size={"height": side, "width": side})
    generate = MaskGenerationPipeline(model=network, image_processor=processor, device=torch.device(device))

    def segment(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = generate(
            Image.fromarray(frame),
            points_per_crop=model.points_per_side,
            points_per_batch=_POINTS_AT_ONCE,
            pred_iou_thresh=model.pred_iou_threshold,
            stability_score_thresh=model.stability_threshold,
            crops_nms_thresh=model.nms_threshold,
        )
        masks = [np.asarray(mask, bool) for mask in found["masks"]]
        scores = np.asarray(found["scores"].float().cpu(), np.float32)
        return np.stack(masks) if masks else np.zeros((0, *frame.shape[:2]), bool), scores

    return segment

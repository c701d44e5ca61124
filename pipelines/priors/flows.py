"""Optical flow between neighbouring LR frames as a prior: RAFT, or dense inverse search.

Columns of the store, all at the frames' own size, flow in pixels with channel 0 = dx:

==================== ====================== ========================================================
`flow_forward`       (H, W, 2) scaled int16 from frame t to t + 1; zero for the last frame
`flow_backward`      (H, W, 2) scaled int16 from frame t to t - 1; zero for the first frame
`occlusion_forward`  (H, W) bool            no match in frame t + 1; all true for the last frame
`occlusion_backward` (H, W) bool            no match in frame t - 1; all true for the first frame
==================== ====================== ========================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from pipelines import params
from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.errors import VSRError
from pipelines.priors import weights

Model = params.Raft | params.Dis

SCALES = {"flow_forward": 1 / 64, "flow_backward": 1 / 64}
"""Flow is kept in steps of 1/64 px, which reaches ±511 px."""


class Estimator(Protocol):
    """Flow both ways between two frames, (H, W, 3) uint8: from `one` to `two` and from `two` to `one`,
    each (H, W, 2) float32 in pixels."""

    def __call__(self, one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class Flows:
    """A worker that makes the flows of one clip at a time, holding two frames; its weights are loaded once.

    Args:
        model: which estimator, from params.
        device: where a network runs, e.g. `cpu` or `cuda`.
    """

    def __init__(self, model: Model, device: str) -> None:
        self._provenance = weights.provenance(model)
        self._estimate: Estimator = _raft(model, device) if isinstance(model, params.Raft) else _dis(model)

    def __call__(self, job: tuple[Path | str, str]) -> Iterator[list[Frame] | ClipAttributes]:
        """The frames of the clip `job = (store of LR frames, clip name)`, and last its attributes."""
        path, clip = job
        store = Store(path)
        yield from batches(self._frames(store, clip))
        of = store.clips[clip].attributes
        yield ClipAttributes(of.split, of.fps, of.height, of.width, of.source, self._provenance)

    def _frames(self, store: Store, clip: str) -> Iterator[Frame]:
        of = store.clips[clip].attributes
        none = np.zeros((of.height, of.width, 2), np.float32), np.ones((of.height, of.width), bool)
        to_previous = none
        for one, two in pairwise(store.frames(clip)):
            forward, backward = self._estimate(one, two)
            yield _frame((forward, occluded(forward, backward)), to_previous)
            to_previous = backward, occluded(backward, forward)
        yield _frame(none, to_previous)


def occluded(flow: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Pixels without a match in the other frame, by forward-backward consistency: |f + b(p + f)|² >
    0.01 (|f|² + |b(p + f)|²) + 0.5 (Sundaram et al., Dense point trajectories, ECCV 2010), or p + f outside
    the frame.

    Args:
        flow: from this frame to the other, (H, W, 2) float32 in pixels.
        back: from the other frame to this one, likewise.

    Returns:
        (H, W) bool.
    """
    height, width = flow.shape[:2]
    x = np.arange(width, dtype=np.float32) + flow[..., 0]
    y = np.arange(height, dtype=np.float32)[:, None] + flow[..., 1]
    grid = np.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    field = torch.from_numpy(back).permute(2, 0, 1)[None]
    returned = F.grid_sample(field, torch.from_numpy(grid)[None], mode="bilinear", padding_mode="border", align_corners=True)
    back_there = returned[0].permute(1, 2, 0).numpy()
    gap = ((flow + back_there) ** 2).sum(-1)
    bound = 0.01 * ((flow**2).sum(-1) + (back_there**2).sum(-1)) + 0.5
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return (gap > bound) | outside


def summary(store: Store) -> dict[str, float]:
    """Over all frames that have the neighbour in question, both directions: the mean length of the flow in
    pixels (`magnitude`) and the share of occluded pixels (`occluded`)."""
    lengths, shares = [], []
    for clip in store.clips.values():
        for index in range(clip.frames):
            for way in _ways(index, clip.frames):
                lengths.append(float(np.linalg.norm(store.frame(clip.name, index, f"flow_{way}"), axis=-1).mean()))
                shares.append(float(store.frame(clip.name, index, f"occlusion_{way}").mean()))
    if not lengths:
        return {"magnitude": 0.0, "occluded": 0.0}
    return {"magnitude": float(np.mean(lengths)), "occluded": float(np.mean(shares))}


def endpoint_error(store: Store, truth: Store, scale: int, *, visible: bool = False) -> float:
    """The mean distance in LR pixels between the flows of a store and the exact ones.

    Args:
        store: flows at LR size.
        truth: exact flow at HR size under the same clip names and columns; its mean over each
            `scale` x `scale` block, divided by `scale`, is the exact LR flow.
        scale: the whole number of HR pixels along a side of an LR pixel.
        visible: leave out the LR pixels of which any part is occluded in truth.

    Raises:
        VSRError: the stores share no clip, or their sizes do not fit the scale.
    """
    total, count = 0.0, 0
    for clip in store.clips.values():
        if clip.name not in truth.clips:
            continue
        for index in range(clip.frames):
            for way in _ways(index, clip.frames):
                flow = store.frame(clip.name, index, f"flow_{way}")
                exact = _blocks(truth.frame(clip.name, index, f"flow_{way}"), flow.shape[:2], scale, truth, clip.name)
                distance = np.linalg.norm(flow - exact.mean((1, 3)) / scale, axis=-1)
                if visible:
                    hidden = truth.frame(clip.name, index, f"occlusion_{way}")
                    distance = distance[~_blocks(hidden, flow.shape[:2], scale, truth, clip.name).any((1, 3))]
                total += float(distance.sum(dtype=np.float64))
                count += distance.size
    if not count:
        raise VSRError(f"{store.path} and {truth.path} have no flow of the same clip: give the truth of the same corpus.")
    return total / count


def _blocks(array: np.ndarray, size: tuple[int, int], scale: int, truth: Store, clip: str) -> np.ndarray:
    """(H, W, ...) HR as (h, scale, w, scale, ...)."""
    height, width = size
    if not (0 <= array.shape[0] - height * scale < scale and 0 <= array.shape[1] - width * scale < scale):
        raise VSRError(
            f"clip {clip!r} of {truth.path} is {array.shape[1]}x{array.shape[0]}, which at scale {scale} does not give "
            f"{width}x{height}: give the scale of the degradation."
        )
    return array[: height * scale, : width * scale].reshape(height, scale, width, scale, *array.shape[2:])


def _ways(index: int, frames: int) -> list[str]:
    """The directions in which a frame has a neighbour."""
    return ["forward"] * (index + 1 < frames) + ["backward"] * (index > 0)


def _frame(forward: tuple[np.ndarray, np.ndarray], backward: tuple[np.ndarray, np.ndarray]) -> Frame:
    return {
        "flow_forward": forward[0],
        "flow_backward": backward[0],
        "occlusion_forward": forward[1],
        "occlusion_backward": backward[1],
    }


def _raft(model: params.Raft, device: str) -> Estimator:
    """Teed and Deng, RAFT: Recurrent all-pairs field transforms for optical flow, ECCV 2020."""
    from torchvision.models import optical_flow

    path = weights.resolve(model.weights)
    network = getattr(optical_flow, model.weights)(weights=None)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval().to(device)

    @torch.inference_mode()
    def estimate(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frames = torch.from_numpy(np.stack([one, two])).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        padding = _padding(*one.shape[:2])
        frames = F.pad(frames, padding, mode="replicate")
        # A list of ever better flows; both directions in one batch.
        flows = network(frames, frames.flip(0), num_flow_updates=model.updates)[-1]
        left, right, top, bottom = padding
        flows = flows[..., top : flows.shape[-2] - bottom, left : flows.shape[-1] - right]
        forward, backward = flows.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return forward, backward

    return estimate


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Left, right, top, bottom, split evenly, to multiples of 8 and at least 128 px: below that the
    coarsest of RAFT's four correlation levels is empty."""
    x = max(-width % 8, 128 - width)
    y = max(-height % 8, 128 - height)
    return x // 2, x - x // 2, y // 2, y - y // 2


_DIS_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}


def _dis(model: params.Dis) -> Estimator:
    """Kroeger et al., Fast optical flow using dense inverse search, ECCV 2016, as OpenCV has it."""
    cv2.setNumThreads(1)  # sums in one order, so the same bytes on any machine
    search: Any = cv2.DISOpticalFlow.create(_DIS_PRESETS[model.preset])

    def estimate(one: np.ndarray, two: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = one.shape[:2]
        if min(height, width) < 8 or max(height, width) < 12:
            raise VSRError(f"frames of {width}x{height} are too small for DIS flow: it takes 12x8 and larger.")
        grey = cv2.cvtColor(one, cv2.COLOR_RGB2GRAY), cv2.cvtColor(two, cv2.COLOR_RGB2GRAY)
        return search.calc(grey[0], grey[1], None), search.calc(grey[1], grey[0], None)

    return estimate

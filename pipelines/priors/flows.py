"""Optical flow between neighbouring frames as a prior: RAFT, or dense inverse search.

Columns of the store, all at the frames' own size, flow in pixels with channel 0 = dx:

==================== ====================== ========================================================
`flow_forward`       (H, W, 2) scaled int16 from frame t to t + 1; zero for the last frame
`flow_backward`      (H, W, 2) scaled int16 from frame t to t - 1; zero for the first frame
`occlusion_forward`  (H, W) bool            no match in frame t + 1; all true for the last frame
`occlusion_backward` (H, W) bool            no match in frame t - 1; all true for the first frame
==================== ====================== ========================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.parts.resize import imresize
from models.parts.warp import flow_warp
from pipelines import params, weights
from pipelines.clips.store import Clip, ClipAttributes, Frame, Store
from pipelines.clips.streaming import batches
from pipelines.errors import VSRError

Model = params.Raft | params.Dis

SCALES = {"flow_forward": 1 / 64, "flow_backward": 1 / 64}
"""Flow is kept in steps of 1/64 px: an error of at most 1/128 px, and a reach of ±511 px."""


class Estimator(Protocol):
    """Flow both ways between neighbours.

    Takes frames (P + 1, 3, H, W) in 8-bit levels, float32, and gives the flow from each of the first P to the next, and
    from each of the last P to the one before: two (P, 2, H, W) float32 in pixels.
    """

    def __call__(self, frames: Tensor) -> tuple[Tensor, Tensor]: ...


class Flows:
    """A worker that makes the flows of one clip at a time; its weights are loaded once.

    It holds the frames of one batch of pairs, whatever the length of the clip.

    Args:
        model: which estimator, from params.
        device: where a network runs, e.g. `cpu` or `cuda`.
    """

    def __init__(self, model: Model, device: str) -> None:
        self._provenance = weights.provenance(model)
        self._model, self._device = model, device
        self._estimator: Estimator = _raft(model, device) if isinstance(model, params.Raft) else _dis(model)
        self._pairs = model.batch if isinstance(model, params.Raft) else 1
        self._store = lru_cache(maxsize=1)(Store)  # of many clips, opened once

    def __call__(self, job: tuple[Path | str, str]) -> Iterator[list[Frame] | ClipAttributes]:
        """The flows of the clip `job = (store of frames, clip name)`, and last their attributes.

        Raises:
            VSRError: the frames are too small for DIS, or the GPU's memory too small for RAFT's batch.
        """
        path, clip = job
        store = self._store(path)
        of = store.clips[clip].attributes
        yield from batches(self.stream(store.frames(clip), (of.height, of.width)))
        yield ClipAttributes(of.split, of.fps, of.height, of.width, of.source, self._provenance)

    @torch.inference_mode()
    def _estimate(self, frames: np.ndarray) -> tuple[Tensor, Tensor]:
        """Of frames (P + 1, H, W, 3) uint8, what the estimator makes of them enlarged, at their own size."""
        enlarge = self._model.enlarge
        x = torch.from_numpy(frames).to(self._device).permute(0, 3, 1, 2).float().contiguous()
        forward, backward = self._estimator(imresize(x, enlarge) if enlarge > 1 else x)
        return F.avg_pool2d(forward, enlarge) / enlarge, F.avg_pool2d(backward, enlarge) / enlarge

    def stream(self, frames: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[Frame]:
        """The columns of a clip's frames, (H, W, 3) uint8 of that size, one frame at a time."""
        none = np.zeros((*size, 2), np.float32), np.ones(size, bool)
        to_previous = none
        for run in _runs(frames, self._pairs):
            forward, backward = self._estimate(np.stack(run))
            to_next = zip(*_arrays(forward, occluded(forward, backward)), strict=True)
            to_last = zip(*_arrays(backward, occluded(backward, forward)), strict=True)
            for ahead, back in zip(to_next, to_last, strict=True):
                yield _frame(ahead, to_previous)
                to_previous = back
        yield _frame(none, to_previous)


def occluded(flow: Tensor, back: Tensor) -> Tensor:
    """Pixels without a match in the other frame, by forward-backward consistency: |f + b(p + f)|² >
    0.01 (|f|² + |b(p + f)|²) + 0.5 (Sundaram et al., Dense point trajectories, ECCV 2010), or p + f outside
    the frame.

    Args:
        flow: from these frames to the others, (N, 2, H, W) in pixels.
        back: from the others to these, likewise.

    Returns:
        (N, H, W) bool.
    """
    height, width = flow.shape[-2:]
    returned = flow_warp(back, flow, padding="border")
    gap = (flow + returned).square().sum(1)
    bound = 0.01 * (flow.square().sum(1) + returned.square().sum(1)) + 0.5
    x = torch.arange(width, device=flow.device) + flow[:, 0]
    y = torch.arange(height, device=flow.device)[:, None] + flow[:, 1]
    outside = (x < -0.5) | (x > width - 0.5) | (y < -0.5) | (y > height - 0.5)
    return (gap > bound) | outside


def summary(store: Store) -> dict[str, float]:
    """What the flows of a store are like, over all pixels of all frames that have the neighbour in question, both
    directions: the mean length in pixels (`magnitude`), the length that 95 % do not exceed, rounded up to the store's
    step (`magnitude_p95`), the largest (`magnitude_max`) and the share of occluded pixels (`occluded`).

    One frame is read at a time, and lengths are counted by steps: a store of any size takes the same memory.
    """
    step = SCALES["flow_forward"]
    counts = np.zeros(1 + int(np.hypot(32767, 32767)), np.int64)
    total, longest, hidden = 0.0, 0.0, 0
    for clip in store.clips.values():
        for index in range(clip.frames):
            for way in ways(index, clip.frames):
                lengths = np.linalg.norm(store.frame(clip.name, index, f"flow_{way}"), axis=-1).ravel()
                counts += np.bincount((lengths / step).astype(np.int64), minlength=len(counts))
                total += float(lengths.sum(dtype=np.float64))
                longest = max(longest, float(lengths.max()))
                hidden += int(store.frame(clip.name, index, f"occlusion_{way}").sum())
    pixels = int(counts.sum())
    if not pixels:
        return {"magnitude": 0.0, "magnitude_p95": 0.0, "magnitude_max": 0.0, "occluded": 0.0}
    p95 = min(step * (1 + int(np.searchsorted(counts.cumsum(), 0.95 * pixels))), longest)
    return {"magnitude": total / pixels, "magnitude_p95": p95, "magnitude_max": longest, "occluded": hidden / pixels}


def endpoint_error(store: Store, truth: Store, scale: float | tuple[float, float], *, visible: bool = False) -> float:
    """The mean distance in pixels between the flows of a store and the exact ones.

    Args:
        store: flows of HR or LR frames.
        truth: exact flow at HR size under the same clip names and columns; its mean over each
            `scale` x `scale` block, divided by `scale`, is the exact LR flow.
        scale: the size of HR over that of the frames, 1 for HR; of two numbers the first is that of the height.
        visible: leave out the pixels of which any part is occluded in truth.

    Raises:
        VSRError: they cannot be compared, see `incomparable`.
    """
    reason = incomparable(store, truth, scale)
    if reason is not None:
        raise VSRError(reason)
    down, right = (int(number) for number in _per_axis(scale))
    total, count = 0.0, 0
    for clip in _common(store, truth):
        for index in range(clip.frames):
            for way in ways(index, clip.frames):
                flow = store.frame(clip.name, index, f"flow_{way}")
                shape = flow.shape[0], down, flow.shape[1], right
                exact = _blocks(truth.frame(clip.name, index, f"flow_{way}"), shape).mean((1, 3))
                distance = np.linalg.norm(flow - exact / (right, down), axis=-1)
                if visible:
                    hidden = truth.frame(clip.name, index, f"occlusion_{way}")
                    distance = distance[~_blocks(hidden, shape).any((1, 3))]
                total += float(distance.sum(dtype=np.float64))
                count += distance.size
    return total / count


def incomparable(store: Store, truth: Store, scale: float | tuple[float, float]) -> str | None:
    """Why the flows of a store cannot be measured against the exact ones, in a sentence; None if they can."""
    if not all(float(number).is_integer() and number >= 1 for number in _per_axis(scale)):
        shown = " x ".join(f"{number:g}" for number in _per_axis(scale)) if isinstance(scale, tuple) else f"{scale:g}"
        return f"exact flow has no counterpart at scale {shown}: it is averaged over blocks of whole HR pixels, so compare at a whole scale."
    down, right = _per_axis(scale)
    shared = _common(store, truth)
    if not shared:
        return f"{store.path} and {truth.path} have no flow of the same clip: give the truth of the same corpus."
    for clip in shared:
        exact = truth.clips[clip.name]
        if exact.frames != clip.frames:
            return (
                f"clip {clip.name!r} has {exact.frames} frames in {truth.path} and {clip.frames} in {store.path}: exact flow is "
                "between neighbouring HR frames, so compare flows of a recipe without a temporal step."
            )
        of, at = exact.attributes, clip.attributes
        if not (0 <= of.height - at.height * down < down and 0 <= of.width - at.width * right < right):
            return (
                f"clip {clip.name!r} of {truth.path} is {of.width}x{of.height}, which at scale {right:g} does not give "
                f"{at.width}x{at.height}: give the scale of the degradation."
            )
    return None


def _common(store: Store, truth: Store) -> list[Clip]:
    """The clips of a store that have a neighbour to flow to and are in the truth."""
    return [clip for clip in store.clips.values() if clip.name in truth.clips and clip.frames > 1]


def _per_axis(scale: float | tuple[float, float]) -> tuple[float, float]:
    return scale if isinstance(scale, tuple) else (scale, scale)


def _blocks(array: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """(H, W, ...) HR as (h, scale, w, scale, ...), what is left over at the right and bottom cut off."""
    height, down, width, right = shape
    return array[: height * down, : width * right].reshape(*shape, *array.shape[2:])


def ways(index: int, frames: int) -> list[str]:
    """The directions in which a frame has a neighbour."""
    return ["forward"] * (index + 1 < frames) + ["backward"] * (index > 0)


def _runs(frames: Iterable[np.ndarray], pairs: int) -> Iterator[list[np.ndarray]]:
    """All pairs of neighbours, so many at a time: lists of one frame more, each from the last frame of the list before."""
    source = iter(frames)
    run = list(islice(source, 1))
    while len(run := run[-1:] + list(islice(source, pairs))) > 1:
        yield run


def _arrays(flow: Tensor, hidden: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(P, 2, H, W) flow and (P, H, W) occlusion as the store has them."""
    return flow.permute(0, 2, 3, 1).contiguous().cpu().numpy(), hidden.cpu().numpy()


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
    _encode_once(network.feature_encoder, 2)
    _encode_once(network.context_encoder, 1)

    def estimate(frames: Tensor) -> tuple[Tensor, Tensor]:
        left, right, top, bottom = _padding(*frames.shape[-2:])
        x = F.pad(frames / 127.5 - 1, (left, right, top, bottom), mode="replicate")
        first, second = x[:-1], x[1:]
        try:
            # A list of ever better flows; both directions in one batch.
            flows = network(torch.cat([first, second]), torch.cat([second, first]), num_flow_updates=model.updates)[-1]
        except torch.OutOfMemoryError as error:
            height, width = frames.shape[-2:]
            raise VSRError(
                f"{device} has no memory for RAFT on {len(first)} pairs of {width}x{height}, enlarged {model.enlarge} times: "
                "lower batch or enlarge of these flows in params.yaml."
            ) from error
        flows = flows[..., top : flows.shape[-2] - bottom, left : flows.shape[-1] - right]
        forward, backward = flows.chunk(2)
        return forward, backward

    return estimate


def _encode_once(encoder: nn.Module, rounds: int) -> None:
    """Let one of RAFT's encoders compute the maps of each frame once.

    With the P pairs of P + 1 neighbours, both ways, it is given the first frame of each pair and the second
    (`rounds` 1, the context), and with `rounds` 2 the second and the first again (the features).
    """

    def distinct(_: nn.Module, given: tuple[Tensor]) -> Tensor:
        pairs = len(given[0]) // (2 * rounds)
        return torch.cat([given[0][:pairs], given[0][2 * pairs - 1 : 2 * pairs]])

    def spread(_: nn.Module, __: tuple[Tensor], maps: Tensor) -> Tensor:
        first, second = maps[:-1], maps[1:]
        return torch.cat([first, second, second, first][: 2 * rounds])

    encoder.register_forward_pre_hook(distinct)
    encoder.register_forward_hook(spread)


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

    def between(one: np.ndarray, two: np.ndarray) -> Tensor:
        return torch.from_numpy(search.calc(one, two, None)).permute(2, 0, 1)

    def estimate(frames: Tensor) -> tuple[Tensor, Tensor]:
        height, width = frames.shape[-2:]
        if min(height, width) < 8 or max(height, width) < 12:
            raise VSRError(f"frames of {width}x{height} are too small for DIS flow: it takes 12x8 and larger.")
        levels = frames.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().cpu().numpy()
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in levels]
        forward = [between(one, two) for one, two in pairwise(grey)]
        backward = [between(two, one) for one, two in pairwise(grey)]
        return torch.stack(forward), torch.stack(backward)

    return estimate

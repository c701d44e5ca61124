"""Training crops from memory-mapped clip stores.

A crop is a function of (seed, step, index in the global batch) and of nothing else: any number of
workers sees the same global batches, and a resumed run goes on with the very data it would have seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipelines.clips import fit
from pipelines.clips.levels import to_planes, to_tensor
from pipelines.clips.store import Clip, Store
from pipelines.errors import VSRError
from pipelines.priors import kinds
from pipelines.priors.kinds import KINDS, Kind

FLOW_SCALE = 4
"""Flow is learnt on frames this much smaller than HR: as the methods that use it see them."""


CPU = torch.device("cpu")

Batch = dict[str, Tensor]
"""Samples by name, stacked along the first axis."""


@dataclass(frozen=True)
class Orientation:
    """One of the eight ways to lay a frame down: flips, then a transposition."""

    horizontal: bool
    vertical: bool
    transpose: bool

    @staticmethod
    def draw(rng: np.random.Generator) -> Orientation:
        """Each of the three with probability 1/2, as BasicSR draws them once per clip."""
        return Orientation(*(bool(bit) for bit in rng.integers(0, 2, 3)))

    def of_frames(self, frames: np.ndarray) -> np.ndarray:
        """Frames (..., H, W, C) laid down so; a view."""
        if self.horizontal:
            frames = np.flip(frames, -2)
        if self.vertical:
            frames = np.flip(frames, -3)
        return np.swapaxes(frames, -2, -3) if self.transpose else frames

    def of_prior(self, kind: Kind, planes: np.ndarray) -> np.ndarray:
        """A prior (..., C, H, W) laid down so, see `kinds.turned`."""
        return kinds.turned(kind, planes, horizontal=self.horizontal, vertical=self.vertical, transpose=self.transpose)


UPRIGHT = Orientation(False, False, False)


@dataclass(frozen=True)
class Window:
    """Frames of a clip, cut to a rectangle; in pixels of the clip that it was chosen on."""

    clip: str
    frames: range
    top: int
    left: int
    height: int
    width: int

    @staticmethod
    def middle(clip: Clip, length: int, side: int, multiple: int = 1) -> Window:
        """The middle of a clip: at most `length` frames of at most `side` pixels a side, rounded down to a multiple."""
        frames = min(length, clip.frames)
        first = (clip.frames - frames) // 2
        sides = clip.attributes.height, clip.attributes.width
        height, width = (min(whole, side) // multiple * multiple for whole in sides)
        top, left = (sides[0] - height) // 2, (sides[1] - width) // 2
        return Window(clip.name, range(first, first + frames), top, left, height, width)

    def of(self, store: Store, scale: int = 1, frames: range | None = None) -> np.ndarray:
        """(T, H, W, 3) uint8, of a store whose frames are larger by `scale`; of other frames where they are given."""
        rows, columns = self._slices(scale)
        return np.stack([store.frame(self.clip, t)[rows, columns] for t in frames or self.frames])

    def of_prior(self, prior: str, store: Store) -> np.ndarray:
        """(T, C, h, w), see `kinds.planes`."""
        rows, columns = self._slices(1)
        return np.stack([kinds.of_store(kinds.get(prior), store, self.clip, t, rows, columns) for t in self.frames])

    def _slices(self, scale: int) -> tuple[slice, slice]:
        return (
            slice(self.top * scale, (self.top + self.height) * scale),
            slice(self.left * scale, (self.left + self.width) * scale),
        )


class _Places:
    """Square windows of `clip_length` frames of some clips, drawn evenly over all their frames."""

    def __init__(self, clips: Sequence[Clip], clip_length: int) -> None:
        self._clips, self._length = clips, clip_length
        self._windows = np.cumsum([clip.frames - clip_length + 1 for clip in clips])

    def draw(self, rng: np.random.Generator, side: int) -> Window:
        window = int(rng.integers(0, self._windows[-1]))
        which = int(np.searchsorted(self._windows, window, side="right"))
        clip, first = self._clips[which], window - (int(self._windows[which - 1]) if which else 0)
        top, left = (int(rng.integers(0, length - side + 1)) for length in (clip.attributes.height, clip.attributes.width))
        return Window(clip.name, range(first, first + self._length), top, left, side, side)


class PairCrops:
    """Aligned LR and HR clips of one split of a pair, and what is known of the LR frames.

    Args:
        hr, lr: stores with the column `rgb` and the same clips; LR is HR made smaller by a whole
            factor (`scale`), HR trimmed at the right and bottom to a multiple of it, with one of `time_scale` frames.
        split: the split that is drawn from; windows are drawn evenly over all its frames.
        crop: side of the LR crop in pixels.
        clip_length: LR frames of a crop.
        seed: what the draws derive from.
        priors: stores of priors of the LR frames, by their kinds (`pipelines.priors.kinds`).
        flips: whether crops are flipped and transposed at random.

    Raises:
        VSRError: the stores do not belong together, or a clip is shorter or smaller than a crop.
    """

    def __init__(
        self,
        hr: Store,
        lr: Store,
        *,
        split: str,
        crop: int,
        clip_length: int,
        seed: int,
        priors: Mapping[str, Store] | None = None,
        flips: bool = True,
    ) -> None:
        self._flips = flips
        self._hr, self._lr, self._crop, self._seed, self._priors = hr, lr, crop, seed, priors or {}
        clips = lr.split(split)
        self.scale, self.time_scale = common_scale(hr, clips, str(lr.path))
        for clip in clips:
            _check_room(clip, str(lr.path), crop, clip_length)
            for name, prior in self._priors.items():
                check_prior(name, prior, lr, clip)
        if flips and "normals" in self._priors:
            _check_axes(self._priors["normals"])
        self._places = _Places(clips, clip_length)

    def sample(self, step: int, index: int) -> Batch:
        """Crop `index` of the global batch of `step`.

        Returns:
            `lr` (T, 3, h, w) and `hr` (time_scale (T - 1) + 1, 3, scale*h, scale*w), float32 RGB in [0, 1], and the priors by
            their names, (T, C, h, w) float32.
        """
        rng = generator(self._seed, step, index)
        window = self._places.draw(rng, self._crop)
        orientation = Orientation.draw(rng) if self._flips else UPRIGHT
        seen = fit.spanned(self._lr.clip(window.clip), window.frames)
        cut = {"lr": window.of(self._lr), "hr": window.of(self._hr, self.scale, seen)}
        priors = {name: window.of_prior(name, store) for name, store in self._priors.items()}
        return {name: to_tensor(orientation.of_frames(frames)) for name, frames in cut.items()} | {
            name: as_tensor(orientation.of_prior(kinds.get(name), planes)) for name, planes in priors.items()
        }

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        """The crops `indices` of the global batch of `step`, stacked: see `sample`."""
        return stack(self.sample(step, index) for index in indices)


class HRCrops:
    """HR clips of one split, of a size of its own in every step.

    Args:
        hr: store with the column `rgb`.
        split, clip_length, seed: as `PairCrops`.
        side: the side of a step's crops in pixels.
        largest: the largest side, and what it comes from in words.
        flips: whether crops are flipped and transposed at random.

    Raises:
        VSRError: a clip is shorter than a crop, or smaller than the largest one.
    """

    def __init__(
        self,
        hr: Store,
        *,
        split: str,
        clip_length: int,
        seed: int,
        side: Callable[[int], int],
        largest: tuple[int, str],
        flips: bool = True,
    ) -> None:
        self._hr, self._seed, self._side, self._flips = hr, seed, side, flips
        clips = hr.split(split)
        for clip in clips:
            _check_room(clip, str(hr.path), largest[0], clip_length, largest[1])
        self._places = _Places(clips, clip_length)

    def sample(self, step: int, index: int) -> tuple[str, Tensor]:
        """Crop `index` of the global batch of `step`: its clip, and the frames (T, 3, side, side) uint8 RGB."""
        rng = generator(self._seed, step, index)
        window = self._places.draw(rng, self._side(step))
        orientation = Orientation.draw(rng) if self._flips else UPRIGHT
        return window.clip, to_planes(orientation.of_frames(window.of(self._hr)))


class FlowCrops:
    """Neighbouring frames with the exact flow between them, from one split of a corpus.

    Args:
        hr: store with the column `rgb`.
        truth: store of the same clips with `flow_forward`, `flow_backward` (H, W, 2) in pixels and
            `occlusion_forward`, `occlusion_backward` (H, W).
        split, seed: as `PairCrops`.
        crop: side of the crop in pixels of frames reduced by `FLOW_SCALE`, or by half or a quarter of it
            where a clip is too small for that.

    Raises:
        VSRError: there is no exact flow, or a clip is shorter or smaller than a crop.
    """

    def __init__(self, hr: Store, truth: Store, *, split: str, crop: int, seed: int) -> None:
        self._hr, self._truth, self._crop, self._seed = hr, truth, crop, seed
        self._clips = flow_clips(hr, truth, split)
        for clip in self._clips:
            _check_room(clip, str(hr.path), crop, 2)
        smallest = min(min(clip.attributes.height, clip.attributes.width) for clip in self._clips)
        self._scale = next(scale for scale in (FLOW_SCALE, FLOW_SCALE // 2, 1) if crop * scale <= smallest)

    def sample(self, step: int, index: int) -> Batch:
        """Crop `index` of the global batch of `step`.

        Returns:
            `ref` and `supp` (3, h, w) float32 RGB in [0, 1], `flow` (2, h, w) with ref(p) ~ supp(p + flow(p)),
            and `visible` (1, h, w), the share of each pixel of ref that supp shows within its crop.
        """
        rng = generator(self._seed, step, index)
        clip = self._clips[int(rng.integers(0, len(self._clips)))]
        first = int(rng.integers(0, clip.frames - 1))
        forward = bool(rng.integers(0, 2))
        scale, side = self._scale, self._crop * self._scale
        top, left = (int(rng.integers(0, length - side + 1)) for length in (clip.attributes.height, clip.attributes.width))
        orientation = Orientation.draw(rng)
        whole = flow_pair(self._hr, self._truth, clip.name, first, forward)
        one, other, vectors, seen = (array[top : top + side, left : left + side] for array in whole)
        ref, supp, visible = (reduce(to_tensor(orientation.of_frames(part)), scale) for part in (one, other, seen))
        turned = orientation.of_prior(KINDS["motion"], np.moveaxis(vectors, -1, 0))
        flow = reduce(as_tensor(turned), scale) / scale
        return {"ref": ref, "supp": supp, "flow": flow, "visible": visible * _lands_inside(flow)}

    def batch(self, step: int, indices: Iterable[int]) -> Batch:
        """The crops `indices` of the global batch of `step`, stacked: (N, 3 | 3 | 2 | 1, h, w)."""
        return stack(self.sample(step, index) for index in indices)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """A batch from the CPU on a device."""
    if device.type != "cuda":
        return {name: tensor.to(device) for name, tensor in batch.items()}
    return {name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in batch.items()}


def stack(samples: Iterable[Batch]) -> Batch:
    """A batch of samples, each with the same names and shapes."""
    found = list(samples)
    return {name: torch.stack([sample[name] for sample in found]) for name in found[0]}


def flow_clips(hr: Store, truth: Store, split: str) -> list[Clip]:
    """The clips of a split that have exact flow.

    Raises:
        VSRError: there are none.
    """
    if not truth.clips:
        raise VSRError(
            f"{truth.path} holds no exact flow: train the flow network on a corpus that carries it (parallax) or name published weights."
        )
    clips = [clip for clip in hr.split(split) if clip.name in truth.clips]
    if not clips:
        raise VSRError(f"{truth.path} has none of the {split} clips of {hr.path}: make both stores again.")
    return clips


def flow_pair(
    hr: Store, truth: Store, clip: str, first: int, forward: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two neighbouring frames with their exact flow.

    Args:
        first: the earlier frame.
        forward: whether the earlier frame is the reference and flow leads to the later one.

    Returns:
        ref, supp (H, W, 3) uint8, flow (H, W, 2) float32 in pixels with ref(p) ~ supp(p + flow(p)),
        visible (H, W, 1) float32, 0 where supp does not show what ref shows.
    """
    ref, supp, direction = (first, first + 1, "forward") if forward else (first + 1, first, "backward")
    flow = truth.frame(clip, ref, f"flow_{direction}").astype(np.float32)
    hidden = truth.frame(clip, ref, f"occlusion_{direction}")
    visible = 1.0 - hidden.reshape(*flow.shape[:2], 1).astype(np.float32)
    return hr.frame(clip, ref), hr.frame(clip, supp), flow, visible


def reduce(image: Tensor, scale: int) -> Tensor:
    """An image (C, H, W) made smaller by a whole factor: means over squares of `scale` pixels."""
    return torch.nn.functional.avg_pool2d(image, scale) if scale > 1 else image


def _lands_inside(flow: Tensor) -> Tensor:
    """(1, H, W), 1 where flow (2, H, W) leads to a place between pixel centres of the frame, else 0."""
    height, width = flow.shape[-2:]
    x = flow[0] + torch.arange(width)
    y = flow[1] + torch.arange(height)[:, None]
    return ((x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)).float()[None]


def common_scale(hr: Store, clips: Sequence[Clip], lr: str) -> tuple[int, int]:
    """The whole factors between the HR and LR sizes, and the HR and LR frame rates, of all `clips` (rows of the LR store named `lr`).

    Raises:
        VSRError: a clip is not in HR, has other frames there, or a factor is not whole or not one for all.
    """
    scales = set()
    for clip in clips:
        if clip.name not in hr.clips:
            raise VSRError(f"clip {clip.name!r} of {lr} is not in {hr.path}: degrade the corpus again.")
        original = hr.clips[clip.name]
        if fit.lacking(original, clip):
            raise VSRError(
                f"clip {clip.name!r} has {clip.frames} frames in {lr} and {original.frames} in {hr.path}, and its manifest says "
                "otherwise: degrade the corpus again."
            )
        large, small = original.attributes, clip.attributes
        scale = fit.whole_scale(fit.size(original), fit.size(clip))
        if scale is None:
            raise VSRError(
                f"clip {clip.name!r} is {large.width}x{large.height} in {hr.path} and {small.width}x{small.height} in {lr}: "
                "training takes a degradation of one whole scale."
            )
        scales.add((scale, fit.time_factor(clip)))
    if len(scales) > 1:
        found = sorted({scale for scale, _ in scales})
        raise VSRError(f"the clips of {lr} have the scales {found}: training takes a degradation of one whole scale.")
    return scales.pop()


def check_prior(name: str, prior: Store, lr: Store, clip: Clip) -> None:
    """A store has a prior of the kind `name` of the frames of an LR clip.

    Raises:
        VSRError: it has another number of frames of the clip, or they are of another size, or it has not got it, or none of the kind.
    """
    found = prior.clips.get(clip.name)
    wanted = clip.frames, clip.attributes.height, clip.attributes.width
    if found is None or (found.frames, found.attributes.height, found.attributes.width) != wanted:
        raise VSRError(f"{prior.path} is not of the frames of clip {clip.name!r} of {lr.path}: make it again from them.")
    held = prior.columns(clip.name)
    missing = [column for column in kinds.get(name).columns if column not in held]
    if missing:
        raise VSRError(f"{prior.path} has no {name} ({', '.join(missing)}), only {', '.join(held)}: name a prior that has.")


def _check_axes(normals: Store) -> None:
    """Normals can be turned with their crops.

    Raises:
        VSRError: they are in the world's axes, and where those point in a frame is not known.
    """
    if (kinds.provenance(normals) or {}).get("normals") == "world":
        raise VSRError(
            f"the normals of {normals.path} are in the world's axes, which do not turn with a flipped crop: set `upright: true` in the "
            "recipe, or render them in the camera's and say so in the corpus (`normals: camera`)."
        )


def _check_room(clip: Clip, store: str, side: int, clip_length: int, what: str | None = None) -> None:
    """A crop of `side` pixels, which is what `what` says, fits into the clip."""
    if clip.frames < clip_length:
        raise VSRError(
            f"clip {clip.name!r} of {store} has {clip.frames} frames, fewer than `clip_length` {clip_length}: lower it or leave the clip out."
        )
    if min(clip.attributes.height, clip.attributes.width) < side:
        size = f"{clip.attributes.width}x{clip.attributes.height}"
        raise VSRError(
            f"clip {clip.name!r} of {store} is {size}, smaller than {what or f'`crop` {side}'}: lower it or leave the clip out."
        )


def generator(seed: int, *numbers: int) -> np.random.Generator:
    """The random numbers of a step and an index in its batch; one number more keeps other draws of theirs apart."""
    return np.random.default_rng([seed % 2**64, *numbers])


def as_tensor(planes: np.ndarray) -> Tensor:
    """(..., C, H, W) of numbers or truth values as float32."""
    return torch.from_numpy(np.ascontiguousarray(planes)).float()

"""The kinds of priors: the columns of a store that hold one, what a network sees of it, and how that turns with its frames.

A prior's store has one or several kinds: `priors/masks.py` leaves masks, `priors/flows.py` flow and occlusion, and rendered
footage brings flow, occlusion, motion, depth, normals and albedo (`clips/parallax`, `clips/gbuffers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.parts.priors import FLOW, PLANES
from pipelines.clips.store import Frame, Store
from pipelines.errors import VSRError, unknown

WHOLE = slice(None)


def _as_they_are(planes: np.ndarray) -> np.ndarray:
    return planes


@dataclass(frozen=True)
class Kind:
    """A kind of prior, which a network sees as (N, T, channels, h, w), of the type of its LR clip and on its grid.

    Attributes:
        columns: of the store, stacked in this order.
        channels: that a network sees.
        dtype: of these channels before they become a tensor.
        axes: of a column's array: "HW", or "CHW", "HWC" with channels.
        vectors: pairs of channels (x, y) that are components to the right and down: a flip changes their sign, a
            transposition exchanges them.
        ahead: channels that lead to the next frame.
        behind: those that lead to the previous one, in the same order; a kind that has these alone cannot be shown backwards.
        finish: from the stacked columns, (c, h, w), to (channels, h, w).
        spread: whether values are brought to [0, 1] by the least and the greatest of the whole frame, whichever part is wanted.
    """

    columns: tuple[str, ...]
    channels: int
    dtype: type[np.generic] = np.float32
    axes: str = "HWC"
    vectors: tuple[tuple[int, int], ...] = ()
    ahead: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    finish: Callable[[np.ndarray], np.ndarray] = _as_they_are
    spread: bool = False


def mask_planes(masks: np.ndarray) -> np.ndarray:
    """The masks of a frame, (K, H, W) bool, as the channels (PLANES, H, W) that a network is given; the rest is empty.

    Raises:
        VSRError: there are more masks than channels.
    """
    if len(masks) > PLANES:
        raise VSRError(
            f"a frame has {len(masks)} masks, but a network that they guide takes {PLANES}: "
            f"give max_masks of at most {PLANES} in params.yaml."
        )
    return np.pad(masks, ((0, PLANES - len(masks)), (0, 0), (0, 0)))


def _of_levels(planes: np.ndarray) -> np.ndarray:
    """8-bit levels as [0, 1]."""
    return planes.astype(np.float32) / 255


KINDS: dict[str, Kind] = {
    # 1 where a segment is and 0 elsewhere, by falling area; channels that a frame does not need are 0.
    "masks": Kind(("masks",), PLANES, np.bool_, "CHW", finish=mask_planes),
    # Pixels to the next frame (dx, dy), then to the previous one; 0 where there is none.
    "flow": Kind(("flow_forward", "flow_backward"), FLOW, vectors=((0, 1), (2, 3)), ahead=(0, 1), behind=(2, 3)),
    # 1 where the next frame does not show the point, then the previous one.
    "occlusion": Kind(("occlusion_forward", "occlusion_backward"), 2, np.bool_, "HW", ahead=(0,), behind=(1,)),
    # Pixels to the previous frame, as renderers give it; y down, unlike Blender's.
    "motion": Kind(("flow_backward",), 2, vectors=((0, 1),), behind=(0, 1)),
    # Along the optical axis, in scene units.
    "depth": Kind(("depth",), 1, axes="HW"),
    # Unit vectors in camera axes: x right, y down, z forward.
    "normals": Kind(("normals",), 3, vectors=((0, 1),)),
    # Reflectance in [0, 1].
    "albedo": Kind(("albedo",), 3, finish=_of_levels),
    # The two as RDG sees them: from 0 to 1 in every frame, whatever is nearest or brightest there; 0 where all is the same.
    "normalised_depth": Kind(("depth",), 1, axes="HW", spread=True),
    "normalised_albedo": Kind(("albedo",), 3, spread=True),
}
"""By the name that a network gives one in `priors` and takes it by as a keyword."""


def get(name: str) -> Kind:
    """The kind of that name.

    Raises:
        VSRError: there is none.
    """
    if name not in KINDS:
        raise unknown("kind of prior", name, KINDS)
    return KINDS[name]


def planes(kind: Kind, frame: Frame, rows: slice = WHOLE, columns: slice = WHOLE) -> np.ndarray:
    """What a network sees of one frame.

    Args:
        frame: arrays by column name, those of the kind among them.
        rows, columns: the part that is wanted.

    Returns:
        (channels, h, w) of the kind's `dtype`.

    Raises:
        VSRError: a column is missing, or there are more masks than channels.
    """
    missing = [column for column in kind.columns if column not in frame]
    if missing:
        raise VSRError(f"the prior has no {' and no '.join(missing)}, only {', '.join(sorted(frame))}: choose one that has.")
    parts = [_channels_first(frame[column], kind.axes) for column in kind.columns]
    seen = [(_spread(part) if kind.spread else part)[:, rows, columns] for part in parts]
    return kind.finish(seen[0] if len(seen) == 1 else np.concatenate(seen)).astype(kind.dtype, copy=False)


def of_store(kind: Kind, store: Store, clip: str, index: int, rows: slice = WHOLE, columns: slice = WHOLE) -> np.ndarray:
    """`planes` of a frame of a store.

    Raises:
        VSRError: the store has no such frame or column.
    """
    return planes(kind, {column: store.frame(clip, index, column) for column in kind.columns}, rows, columns)


def clip_planes(kind: Kind, store: Store, clip: str) -> Iterator[np.ndarray]:
    """`of_store` for all frames of a clip."""
    return (of_store(kind, store, clip, index) for index in range(store.clips[clip].frames))


def turned(kind: Kind, planes: np.ndarray, *, horizontal: bool, vertical: bool, transpose: bool) -> np.ndarray:
    """Planes (..., channels, H, W) as they are when their frames are flipped, then transposed: moved, and vectors turned."""
    if horizontal:
        planes = np.flip(planes, -1)
    if vertical:
        planes = np.flip(planes, -2)
    if transpose:
        planes = np.swapaxes(planes, -1, -2)
    if not kind.vectors:
        return planes
    signs, order = np.ones((kind.channels, 1, 1), np.float32), list(range(kind.channels))
    for x, y in kind.vectors:
        signs[x], signs[y] = (-1 if horizontal else 1), (-1 if vertical else 1)
        if transpose:
            order[x], order[y] = y, x
    return (planes * signs)[..., order, :, :]


def there_and_back(name: str, clip: Tensor) -> Tensor:
    """A prior of a clip that is shown forwards and then backwards.

    The last frame stands next to itself, where nothing moves and nothing is hidden; backwards, what leads to the
    next frame leads to the previous one.

    Args:
        name: of the kind.
        clip: (N, T, channels, h, w).

    Returns:
        (N, 2T, channels, h, w).

    Raises:
        VSRError: the kind knows the way to one of the neighbours alone.
    """
    of = get(name)
    if len(of.ahead) != len(of.behind):
        raise VSRError(
            f"{name} leads to the previous frame alone, so no clip with it can be shown backwards: leave `mirror` out."
        )
    if not of.ahead:
        return torch.cat([clip, clip.flip(1)], dim=1)
    forwards = clip.clone()
    forwards[:, -1, list(of.ahead)] = 0
    order = list(range(of.channels))
    for one, other in zip(of.ahead, of.behind, strict=True):
        order[one], order[other] = other, one
    return torch.cat([forwards, forwards.flip(1)[:, :, order]], dim=1)


def provenance(store: Store) -> dict[str, object] | None:
    """What made a prior, as all of its clips say; None for a store without clips."""
    for clip in store.clips.values():
        # A rendered clip says beside which part of its HR frames it shows.
        return {key: value for key, value in clip.attributes.parameters.items() if key != "crop"}
    return None


def _spread(whole: np.ndarray) -> np.ndarray:
    """All of a frame, from its least value to its greatest as [0, 1]; 0 where the two are one."""
    low, high = float(whole.min()), float(whole.max())
    return (whole - low) / (high - low) if high > low else np.zeros(whole.shape)


def _channels_first(array: np.ndarray, axes: str) -> np.ndarray:
    """(C, H, W), a view."""
    if axes == "HW":
        return array[None]
    return array if axes == "CHW" else np.moveaxis(array, -1, 0)

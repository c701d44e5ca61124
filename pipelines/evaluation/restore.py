"""Restores clips with a network: whole where they fit, in overlapping windows of time where they do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from models import Network
from pipelines.errors import VSRError


def restore(
    network: Network,
    frames: Iterable[np.ndarray],
    *,
    window: int,
    overlap: int,
    device: torch.device | str = "cpu",
) -> Iterator[np.ndarray]:
    """Super-resolve a clip frame by frame.

    A clip of at most `window` frames is restored in one pass, as recurrent networks are scored in the
    literature. A longer one is restored in passes of `window` frames, of which the `overlap` frames next
    to a cut are dropped in favour of those of the neighbouring pass. Memory does not grow with the clip.

    A network that restores the middle of a window of frames gets, for every frame, the window around it
    (`neighbours`), wherever the passes are cut.

    Args:
        network: takes (1, T, 3, H, W) in [0, 1] and gives (1, T, 3, sH, sW), or (1, 3, sH, sW) if it has
            a `window`; moved to `device`.
        frames: LR frames, (h, w, 3) uint8 RGB.
        window: frames per pass.
        overlap: frames dropped at each side of a pass that has a neighbour there.
        device: where the network runs.

    Yields:
        As many frames, (s*h, s*w, 3) uint8 RGB.

    Raises:
        VSRError: the windows do not fit together, the clip is shorter than the network needs, or its
            frames differ in size or are too small for the network; or what it gives is not finite.
    """
    if overlap < 0 or window <= 2 * overlap or window < network.min_frames:
        raise VSRError(
            f"a window of {window} frames with {overlap} dropped at each side cannot be restored: "
            f"give a window of at least {max(2 * overlap + 1, network.min_frames)} and an overlap of at least 0."
        )
    if network.window:
        overlap = network.window // 2
    network.eval().to(device)
    clip: list[np.ndarray] = []
    given = 0
    for clip, first, last in windows(_checked(frames), window, overlap):
        if len(clip) < network.min_frames:
            raise VSRError(f"the clip has {len(clip)} frames but {network.name} needs {network.min_frames}: give a longer clip.")
        for restored in _restored(network, to_tensor(clip)[None].to(device), first, last):
            yield quantise(restored, f"restored frame {given}")
            given += 1
    if not clip:
        raise VSRError("the clip has no frames: there is nothing to restore.")


def windows(frames: Iterable[np.ndarray], window: int, overlap: int) -> Iterator[tuple[list[np.ndarray], int, int]]:
    """Cut a clip into passes: the frames of each, and which of them (first, last excluded) it is to give.

    All passes of a clip that is longer than `window` have just `window` frames, the last one reaching
    back as far as that takes.
    """
    kept: list[np.ndarray] = []
    base = start = given = 0  # the frame that `kept` begins with, that the next pass begins with, that is wanted next
    for frame in frames:
        kept.append(frame)
        if base + len(kept) > start + window:  # the clip goes on, so this pass is not its last
            yield kept[start - base : start - base + window], given - start, window - overlap
            given = start + window - overlap
            # The last pass may begin at any frame after this pass's first.
            del kept[: start + 1 - base]
            base, start = start + 1, start + window - 2 * overlap
    end = base + len(kept)
    if end:
        start = max(0, end - window)
        yield kept[start - base :], given - start, end - start


def quantise(frame: Tensor, name: str = "a restored frame") -> np.ndarray:
    """(3, H, W) in [0, 1], unclipped, to (H, W, 3) uint8: what is scored, shown and saved is 8-bit.

    Raises:
        VSRError: a value is infinite or not a number, so there is no such frame; `name` is what the error calls it.
    """
    if not torch.isfinite(frame).all():
        raise VSRError(
            f"{name} has values that are not finite numbers: the network's parameters are damaged or its training "
            "diverged, train it again or give it other parameters."
        )
    return (frame.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def to_tensor(frames: list[np.ndarray]) -> Tensor:
    """T frames (H, W, 3) uint8 to (T, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255


def neighbours(centre: int, window: int, frames: int) -> list[int]:
    """The frames of the window around one of a clip.

    Before the clip's first and after its last frame stand those that are as far away beyond the window's
    other end ("reflection_circle", as EDVR is scored): of 100 frames, 0 and 1 see 4 3 0 1 2 and 4 0 1 2 3.

    Args:
        centre: index of the frame.
        window: frames of the window, an odd number.
        frames: of the clip, at least `window`.
    """
    half = window // 2

    def inside(t: int) -> int:
        if t < 0:
            return centre + half - t
        return t if t < frames else centre - half - (t - frames + 1)

    return [inside(t) for t in range(centre - half, centre + half + 1)]


def _restored(network: Network, clip: Tensor, first: int, last: int) -> Iterator[Tensor]:
    """Frames `first` to `last`, excluded, of a clip (1, T, 3, h, w), each (3, s*h, s*w)."""
    if network.window is None:
        yield from _forward(network, clip)[0, first:last]
    else:
        for t in range(first, last):
            yield _forward(network, clip[:, neighbours(t, network.window, clip.shape[1])])[0]


# The mode must end before a generator yields, or it would leak into whoever consumes the frames.
@torch.inference_mode()
def _forward(network: Network, clip: Tensor) -> Tensor:
    try:
        return network(clip)
    except ValueError as error:
        raise VSRError(str(error)) from error


def _checked(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    size: tuple[int, ...] | None = None
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise VSRError(f"LR frame {index} is {frame.dtype} of shape {frame.shape}: give (H, W, 3) uint8 RGB.")
        size = size or frame.shape
        if frame.shape != size:
            raise VSRError(
                f"LR frame {index} is {frame.shape[1]}x{frame.shape[0]} but those before it are {size[1]}x{size[0]}: "
                "give frames of one size."
            )
        yield frame

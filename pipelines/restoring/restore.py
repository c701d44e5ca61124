"""Restores clips with a network: whole where they fit, in overlapping windows of time and tiles of frames where they do not.

A clip of at most `window` frames is restored in one pass, as recurrent networks are scored in the
literature. A longer one is restored in passes of `window` frames, of which the `overlap` frames next
to a cut are dropped in favour of those of the neighbouring pass. Memory does not grow with the clip.

A network that restores the middle of a window of frames gets, for every frame, the window around it
(`neighbours`), wherever the passes are cut. One that makes frames in between gives after every frame those that follow it, so
a pass drops at least a frame at each cut. An online network, unless it is shown tiles, restores frame after frame and carries its state
through the whole clip.

With `tile`, a pass is restored tile by tile, each through all of its frames, and tiles are cut as
passes are. Memory does not grow with the frames either, but for the pass itself in 8 bits. Networks
that look further than `tile_overlap` give slightly other frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from models import Network
from models.parts.online import OnlineNetwork, State
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.errors import VSRError
from pipelines.priors import kinds
from pipelines.restoring.speed import PLAIN, Speed, accelerate, running
from pipelines.restoring.tiles import Size, tiles

TILE_OVERLAP = 16

NO_MEMORY = ("can't allocate memory", "bad allocation", "bad_alloc", "could not create a memory")
"""What torch and its libraries say on a processor where there is too little of it."""

Item = TypeVar("Item")
Seen = tuple[np.ndarray, dict[str, np.ndarray]]
"""What a network sees of one frame: the frame, and its priors by name."""


def restore(
    network: Network,
    frames: Iterable[np.ndarray],
    *,
    window: int,
    overlap: int,
    device: torch.device | str = "cpu",
    priors: Mapping[str, Iterable[np.ndarray]] | None = None,
    size: Size | None = None,
    mirrored: bool = False,
    tile: int | None = None,
    tile_overlap: int = TILE_OVERLAP,
    speed: Speed = PLAIN,
    begin: int = 0,
) -> Iterator[np.ndarray]:
    """Super-resolve a clip frame by frame, in passes and tiles as this module says.

    Args:
        network: takes (1, T, 3, H, W) in [0, 1] and gives (1, T, 3, sH, sW), or (1, 3, sH, sW) if it has
            a `window`; moved to `device` and prepared by `speed.accelerate`.
        frames: LR frames, (h, w, 3) RGB, uint8, or uint16 of full scale.
        window: frames per pass.
        overlap: frames dropped at each side of a pass that has a neighbour there.
        device: where the network runs.
        priors: what `network.priors` names: for every frame (C, h, w), as `kinds.planes` makes them.
        size: (H, W) of the restored frames, for networks that restore at any scale.
        mirrored: show the network every pass forwards and then backwards, as one of twice its length, and take
            the mean of what it makes of a frame (BasicVSR, CVPR 2021, on the seven frames of
            Vimeo-90K). One that restores the middle of a window sees no clip to mirror.
        tile: side of a tile in LR pixels, a multiple of 4; None for whole frames.
        tile_overlap: LR pixels dropped at each side of a tile that has a neighbour there.
        speed: how the network is run.
        begin: the first restored frame that is wanted; passes that give none of these are not restored, unless the network carries its
            state through all.

    Yields:
        As many frames, or `network.made` of them, less the first `begin`, (s*h, s*w, 3) RGB of the type that came.

    Raises:
        VSRError: the windows or tiles do not fit together, the clip is shorter than the network needs, or its
            frames differ in size or are too small for the network; priors or a size are given to a network that takes
            none, or lacking; it cannot be compiled; or what it gives is not finite.
    """
    overlap = reaching(network, overlap)
    check_passes(network, window, overlap)
    if network.window:
        overlap = network.window // 2
    priors = priors or {}
    check_inputs(network, priors, size)
    mirrored = mirrored and network.window is None
    kind = Runner if mirrored or tile is not None else runner(network)
    if kind is Steps:
        window, overlap = 1, 0
    run = kind(accelerate(network.eval().to(device), speed), torch.device(device), speed, mirrored)
    yield from in_passes(run, windows(checked(frames, priors), window, overlap), size, tile, tile_overlap, begin)


def in_passes(
    run: Runner,
    passes: Iterable[tuple[list[Seen], int, int]],
    size: Size | None,
    tile: int | None = None,
    tile_overlap: int = TILE_OVERLAP,
    begin: int = 0,
) -> Iterator[np.ndarray]:
    """The restored frames of a clip that `windows` has cut; arguments, frames and errors as of `restore`."""
    given = 0
    for seen, first, last in passes:
        if len(seen) * (2 if run.mirrored else 1) < run.network.min_frames:
            raise VSRError(
                f"the clip has {len(seen)} frames but {run.network.name} needs {run.network.min_frames}: give a longer clip."
            )
        made = len(run.made(seen, first, last))
        unwanted = min(max(begin - given, 0), made)
        if unwanted < made or isinstance(run, Steps):
            names = [f"restored frame {given + index}" for index in range(made)]
            restored: Iterator[np.ndarray]
            if tile is None:
                deep = seen[0][0].dtype == np.uint16
                restored = (
                    _finished(frame, name, deep) for frame, name in zip(run.restored(seen, first, last, size), names, strict=True)
                )
            else:
                restored = _tiled(run, seen, first, last, size or run.default_size(seen), tile, tile_overlap, names)
            yield from islice(restored, unwanted, None)
        given += made
    if not given:
        raise VSRError("the clip has no frames: there is nothing to restore.")


def windows(frames: Iterable[Item], window: int, overlap: int, at_once: bool = False) -> Iterator[tuple[list[Item], int, int]]:
    """Cut a clip into passes: the frames of each, and which of them (first, last excluded) it is to give.

    All passes of a clip that is longer than `window` have just `window` frames, the last one reaching
    back as far as that takes. A pass comes when it is known not to be the last, one frame after its own, or `at_once` with
    its last frame; where the clip ends there, its frames come again, for what is to be given of its end.
    """
    kept: list[Item] = []
    base = start = given = 0  # the frame that `kept` begins with, that the next pass begins with, that is wanted next
    for frame in frames:
        kept.append(frame)
        if base + len(kept) == start + window + (not at_once):  # the clip goes on, so this pass is not its last
            yield kept[start - base : start - base + window], given - start, window - overlap
            given = start + window - overlap
            # The last pass may begin at any frame after this pass's first, or `at_once` with that.
            after = start + (not at_once)
            del kept[: after - base]
            base, start = after, start + window - 2 * overlap
    end = base + len(kept)
    if end > given:
        start = max(0, end - window)
        yield kept[start - base :], given - start, end - start


def _finished(frame: Tensor, name: str, deep: bool = False) -> np.ndarray:
    """(3, H, W) in [0, 1], unclipped, to (H, W, 3) uint8, or uint16 where `deep`.

    Raises:
        VSRError: a value is infinite or not a number, so there is no such frame; `name` is what the error calls it.
    """
    if not torch.isfinite(frame).all():
        raise VSRError(
            f"{name} has values that are not finite numbers: the network's parameters are damaged or its training "
            "diverged, train it again or give it other parameters."
        )
    return to_frame(frame, deep)


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


@dataclass(frozen=True)
class Runner:
    """A network, in evaluation mode on its device, and how it is run."""

    network: Network
    device: torch.device
    speed: Speed
    mirrored: bool

    def made(self, seen: Sequence[Seen], first: int, last: int) -> range:
        """Which of the frames that a pass becomes are those of its frames `first` to `last`, excluded, with what follows each."""
        scale = self.network.time_scale
        return range(scale * first, min(scale * last, self.network.made(len(seen))))

    def restored(self, seen: Sequence[Seen], first: int, last: int, size: Size | None) -> Iterator[Tensor]:
        """What frames `first` to `last`, excluded, of a pass become, see `made`, each (3, H, W)."""
        clip = to_tensor([frame for frame, _ in seen])[None].to(self.device)
        priors = {name: torch.from_numpy(np.stack([planes[name] for _, planes in seen]))[None] for name in seen[0][1]}
        priors = {name: prior.to(self.device) for name, prior in priors.items()}
        if self.network.window is None:
            made = self.made(seen, first, last)
            yield from self.forward(clip, priors, size)[0, made.start : made.stop]
        else:
            for t in range(first, last):
                around = neighbours(t, self.network.window, clip.shape[1])
                yield self.forward(clip[:, around], {name: prior[:, around] for name, prior in priors.items()}, size)[0]

    def default_size(self, seen: Sequence[Seen]) -> Size:
        """(H, W) of the restored frames, where no size is given."""
        height, width = seen[0][0].shape[:2]
        return round(self.network.scale * height), round(self.network.scale * width)

    def call(self, clip: Tensor, **given: Any) -> Tensor:
        """The network itself."""
        restored: Tensor = self.network(clip, **given)
        return restored

    # The mode must end before a generator yields, or it would leak into whoever consumes the frames.
    @torch.inference_mode()
    def forward(self, clip: Tensor, priors: Mapping[str, Tensor], size: Size | None) -> Tensor:
        """What the network gives, in single precision: see `models.Network`.

        Args:
            clip: (1, T, 3, h, w) in [0, 1], on the device.
            priors: (1, T, C, h, w) each, by their kinds.
            size: see `restore`.

        Raises:
            VSRError: the frames are too few or too small for the network, or it cannot be compiled.
        """
        inputs: dict[str, Any] = {name: prior.float() for name, prior in priors.items()}
        made = self.network.made(clip.shape[1])
        if self.mirrored:
            clip = torch.cat([clip, clip.flip(1)], dim=1)
            inputs = {name: kinds.there_and_back(name, prior) for name, prior in inputs.items()}
        if size is not None:
            inputs["size"] = size
        try:
            with running(self.speed, self.device):
                restored = self.call(clip, **inputs).float()
        except ValueError as error:
            raise VSRError(str(error)) from error
        except (RuntimeError, MemoryError) as error:
            if self.device.type != "cpu" or not (
                isinstance(error, MemoryError) or any(words in str(error) for words in NO_MEMORY)
            ):
                raise
            height, width = clip.shape[-2:]
            raise VSRError(
                f"{clip.shape[1]} frames of {width}x{height} at once do not fit into the memory: give a smaller window or tile."
            ) from error
        if not self.mirrored:
            return restored
        return (restored[:, :made] + restored[:, -made:].flip(1)) / 2


@dataclass(frozen=True)
class Steps(Runner):
    """An online network that goes on from where the pass before ended; `kept` holds its state."""

    kept: list[State] = field(default_factory=list)

    def call(self, clip: Tensor, **given: Any) -> Tensor:
        steps: Callable[..., tuple[Tensor, State]] = self.network.in_steps  # type: ignore[assignment]
        restored, state = steps(clip, self.kept[0] if self.kept else None, **given)
        self.kept[:] = [state]
        return restored


def runner(network: Network) -> type[Runner]:
    """How the passes of a clip are restored: by an online network as one, whatever they are."""
    return Steps if isinstance(network, OnlineNetwork) else Runner


def _tiled(
    run: Runner, seen: Sequence[Seen], first: int, last: int, size: Size, side: int, overlap: int, names: Sequence[str]
) -> Iterator[np.ndarray]:
    """What frames `first` to `last`, excluded, of a pass become, each (H, W, 3) of the type that came, put together from tiles."""
    dtype = seen[0][0].dtype
    pictures = np.empty((len(names), *size, 3), dtype)
    for tile in tiles(seen[0][0].shape[:2], size, side, overlap):
        rows, columns = tile.rows, tile.columns
        part = [
            (frame[rows.lr, columns.lr], {name: planes[:, rows.lr, columns.lr] for name, planes in priors.items()})
            for frame, priors in seen
        ]
        restored = run.restored(part, first, last, tile.size if run.network.any_scale else None)
        for picture, frame, name in zip(pictures, restored, names, strict=True):
            if frame.shape[1:] != tile.size:
                raise VSRError(
                    f"{run.network.name} restores tiles to {frame.shape[2]}x{frame.shape[1]}, not {tile.size[1]}x{tile.size[0]}: "
                    "restore whole frames."
                )
            picture[rows.place, columns.place] = _finished(frame[:, rows.kept, columns.kept], name, dtype == np.uint16)
    yield from pictures


def reaching(network: Network, overlap: int) -> int:
    """How many frames a pass drops at a cut, where so many are asked for: what lies in between is made of both neighbours."""
    return max(overlap, 1) if network.time_scale > 1 else overlap


def check_passes(network: Network, window: int, overlap: int) -> None:
    if overlap < 0 or window <= 2 * overlap or window < network.min_frames:
        raise VSRError(
            f"a window of {window} frames with {overlap} dropped at each side cannot be restored: "
            f"give a window of at least {max(2 * overlap + 1, network.min_frames)} and an overlap of at least 0."
        )


def check_inputs(network: Network, priors: Mapping[str, Iterable[np.ndarray]], size: Size | None) -> None:
    if set(priors) != set(network.priors):
        takes, given = (" and ".join(names) for names in (network.priors, priors))
        raise VSRError(
            f"{network.name} takes {f'{takes} of every frame' if takes else 'nothing'} beside the clip, but is given "
            f"{given or 'nothing'}: give what it takes."
        )
    if size is not None and not network.any_scale:
        raise VSRError(
            f"{network.name} enlarges {network.scale:g} times and to no other size: leave the size out, "
            "or choose a network that restores at any scale."
        )


def checked(frames: Iterable[np.ndarray], priors: Mapping[str, Iterable[np.ndarray]]) -> Iterator[Seen]:
    """The frames, each with its priors."""
    size: tuple[int, ...] | None = None
    for index, (frame, *planes) in enumerate(zip_longest(frames, *priors.values())):
        if frame is None or any(prior is None for prior in planes):
            short = "the clip ends" if frame is None else "its priors end"
            raise VSRError(f"{short} after {index} frames, which the other does not: make the priors again from this clip.")
        if frame.dtype not in (np.uint8, np.uint16) or frame.ndim != 3 or frame.shape[2] != 3:
            raise VSRError(f"LR frame {index} is {frame.dtype} of shape {frame.shape}: give (H, W, 3) RGB, uint8 or uint16.")
        size = size or frame.shape
        if frame.shape != size:
            raise VSRError(
                f"LR frame {index} is {frame.shape[1]}x{frame.shape[0]} but those before it are {size[1]}x{size[0]}: "
                "give frames of one size."
            )
        for prior in planes:
            if prior.ndim != 3 or prior.shape[1:] != frame.shape[:2] or prior.dtype not in (np.bool_, np.uint8, np.float32):
                raise VSRError(
                    f"LR frame {index} is {frame.shape[1]}x{frame.shape[0]} but its prior is {prior.dtype} of shape {prior.shape}: "
                    "make it of this frame."
                )
        yield frame, dict(zip(priors, planes, strict=True))

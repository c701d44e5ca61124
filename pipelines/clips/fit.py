"""Whether an LR clip fits its HR clip: the same frames, or some of them, reduced by a scale.

A degradation leaves out what gives no whole LR pixel: at the right and below HR has up to an LR pixel more than LR was made
of, and half an HR pixel more where the scale is no whole number and HR has no part of a pixel either. LR frame i lies on HR
frame `first` + `factor` i, as its manifest says; a network that makes as many times the frames gives all HR frames in between.
"""

from __future__ import annotations

import numpy as np

from pipelines.clips.store import Clip
from pipelines.errors import VSRError

Size = tuple[int, int]
"""(height, width) in pixels."""


def size(clip: Clip) -> Size:
    """(H, W) of a clip's frames."""
    return clip.attributes.height, clip.attributes.width


def covers(hr: Size, restored: Size, scale: float) -> bool:
    """Whether HR frames have just the pixels of frames restored by `scale`, and those that the degradation left out."""
    room = max(scale, 1) + (0 if scale == round(scale) else 0.5)
    return all(0 <= whole - part < room for whole, part in zip(hr, restored, strict=True))


def fits(hr: Size, lr: Size, scale: float) -> bool:
    """Whether HR frames reduced by `scale` have the size of LR frames."""
    return covers(hr, (round(scale * lr[0]), round(scale * lr[1])), scale)


def whole_scale(hr: Size, lr: Size) -> int | None:
    """The whole factor by which HR frames were reduced to LR frames; None if there is none."""
    scale = hr[0] // lr[0]
    return scale if scale >= 1 and fits(hr, lr, scale) else None


def time_factor(lr: Clip) -> int:
    """How many HR frames it is from one LR frame to the next."""
    return int(lr.attributes.parameters.get("time", {}).get("factor", 1))


def spanned(lr: Clip, frames: range | None = None) -> range:
    """The HR frames from the first to the last of some frames of an LR clip, by default of all."""
    seen = range(lr.frames) if frames is None else frames
    first, factor = lr.attributes.parameters.get("time", {}).get("first", 0), time_factor(lr)
    return range(first + factor * seen[0], first + factor * seen[-1] + 1)


def lacking(hr: Clip, lr: Clip) -> bool:
    """Whether the LR clip has other frames of HR than its manifest says."""
    first, factor, covered = spanned(lr).start, time_factor(lr), spanned(lr).stop
    return not 0 <= hr.frames - covered < factor + first


def misfit(hr: Clip, lr: Clip, scale: float | None, time_scale: int = 1) -> str | None:
    """Why frames that a network restores from an LR clip are not those of the HR clip, as a part of a sentence; None if
    they are. `scale` is the network's; None for one that restores to any size. It makes `time_scale` times the frames."""
    if lacking(hr, lr) or (time_factor(lr) > 1 and time_scale == 1):
        return f"HR has {hr.frames} frames, the LR clips have {lr.frames}, and the network makes none in between"
    if time_factor(lr) != time_scale:
        return f"the network makes {time_scale} times the frames, and the LR clips have one of {time_factor(lr)} HR frames"
    if scale is not None and not fits(size(hr), size(lr), scale):
        found = f"{_written(size(lr))} for {_written(size(hr))}"
        return f"the network enlarges {scale:g} times and the LR clips are {found}"
    return None


def crop(truth: np.ndarray, restored: Size, scale: float, where: str) -> np.ndarray:
    """The part of a true frame (H, W, 3) that a restored frame shows.

    Raises:
        VSRError: they do not fit; `where` begins the sentence.
    """
    if not covers(truth.shape[:2], restored, scale):
        raise VSRError(
            f"{where}: restored is {_written(restored)} but its truth is {_written(truth.shape[:2])}: "
            f"evaluate on LR clips that are {scale:g} times smaller than their HR clips."
        )
    return truth[: restored[0], : restored[1]]


def _written(size: Size) -> str:
    return f"{size[1]}x{size[0]}"

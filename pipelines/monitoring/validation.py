"""How far a network in training has come: PSNR on Y beside bicubic interpolation, and frames to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pipelines import networks
from pipelines.clips.levels import to_frame
from pipelines.clips.store import Clip, Store
from pipelines.metrics import luma, psnr
from pipelines.monitoring import Images, Metrics

SIDE = 256
"""Validation looks at the middle of frames, at most this many pixels a side."""

SHOWN = 2
"""Clips of which frames are shown."""

OF_TEST = 8
"""Clips of the test split that are looked at where a corpus has no validation split: Vimeo-90K tests 7,824, which would take hours
at every validation."""


def clips(store: Store) -> list[Clip]:
    """The clips that trainings are validated on: the whole validation split or, where there is none, the first `OF_TEST`
    clips of the test split in the order of the store's manifest, which is the same in every run.

    Raises:
        VSRError: there are none.
    """
    # REDS4 and Vimeo-90K have no validation split; nothing is chosen by what is seen of their test clips.
    splits = {clip.attributes.split for clip in store.clips.values()}
    return store.split("validation") if "validation" in splits else store.split("test")[:OF_TEST]


@dataclass(frozen=True)
class Compared:
    """A restored clip beside bicubic interpolation: mean PSNR on Y in dB, and the middle frames if they are shown."""

    clip: str
    restored: float
    bicubic: float
    frames: Images


def compare(clip: str, lr: Tensor, restored: Tensor, truth: Tensor, shown: bool = True) -> Compared:
    """Score what a network gives for some frames of a clip.

    Args:
        clip: its name.
        lr: (T, 3, h, w) RGB in [0, 1].
        restored, truth: (T, 3, H, W).
        shown: whether frames are kept.
    """
    height, width = truth.shape[-2:]
    bicubic = networks.create("bicubic")(lr, size=(height, width))
    parts = {"lr": lr, "bicubic": bicubic, "restored": restored, "truth": truth}
    frames = {name: [to_frame(frame) for frame in part] for name, part in parts.items()}
    middle = {name: part[len(part) // 2] for name, part in frames.items()} if shown else {}
    return Compared(clip, luma_psnr(frames["restored"], frames["truth"]), luma_psnr(frames["bicubic"], frames["truth"]), middle)


def metrics(compared: Iterable[Compared]) -> Metrics:
    """`psnr`, the mean over clips, and `gain`, what of it is above bicubic."""
    found = list(compared)
    mean = float(np.mean([one.restored for one in found]))
    return {"psnr": mean, "gain": mean - float(np.mean([one.bicubic for one in found]))}


def images(compared: Iterable[Compared], step: int) -> Images:
    """The middle frames of the first clips: `<clip>/restored`, and before the first step also `lr`, `bicubic` and `truth`."""
    return {
        f"{one.clip}/{name}": frame
        for one in list(compared)[:SHOWN]
        for name, frame in one.frames.items()
        if name == "restored" or not step
    }


def luma_psnr(restored: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """On Y, the mean over the frames of a clip, (H, W, 3) uint8 each, in dB."""
    return float(np.mean([psnr(luma(ours), luma(theirs)) for ours, theirs in zip(restored, truth, strict=True)]))

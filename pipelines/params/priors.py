"""Priors: side information per frame, and what computes it."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt

from pipelines.params.base import Name, Strict


class Sam(Strict):
    """Segment Anything, or SAM 2, through transformers: a grid of points, filtered, the largest masks kept.

    `weights` is a published name or a local folder of transformers' files. `masks_per_point` is 3, as the authors' generator
    has it (parts of different sizes), or 1 (what the network gives for an unambiguous prompt). `batch` is the number of points
    that go through the mask decoder together.
    """

    backend: Literal["sam", "sam2"]
    weights: str
    points_per_side: PositiveInt
    masks_per_point: Literal[1, 3]
    pred_iou_threshold: PositiveFloat  # a threshold of 0 would switch its filter off
    stability_threshold: PositiveFloat
    nms_threshold: PositiveFloat
    max_masks: PositiveInt
    batch: PositiveInt


class Felzenszwalb(Strict):
    """A classical segmenter (scikit-image): what runs where there are no SAM weights."""

    backend: Literal["felzenszwalb"]
    scale: PositiveFloat
    sigma: PositiveFloat
    min_size: PositiveInt
    max_masks: PositiveInt


Enlarge = Annotated[int, Field(ge=1, le=8)]
"""Frames are enlarged so many times before, and the flow is brought back to their size."""


class Raft(Strict):
    """RAFT through torchvision.

    On small frames its features, at an eighth of their size, are too coarse: `enlarge` them. `batch` is the number of pairs
    of neighbours that go through the network together.
    """

    backend: Literal["raft"]
    weights: Literal["raft_small", "raft_large"]
    updates: PositiveInt
    enlarge: Enlarge
    batch: PositiveInt


class Dis(Strict):
    """Dense inverse search (OpenCV): what runs where there are no RAFT weights."""

    backend: Literal["dis"]
    preset: Literal["ultrafast", "fast", "medium"]
    enlarge: Enlarge


def _check_frames(frames: str) -> str:
    if not re.fullmatch(r"hr/[a-z0-9][a-z0-9_]*|lr/[a-z0-9][a-z0-9_]*/[a-z0-9][a-z0-9_]*", frames):
        raise ValueError("frames are 'hr/<corpus>' or 'lr/<corpus>/<degradation>'")
    return frames


class OfFrames(Strict):
    """A prior of some frames: `lr/<corpus>/<degradation>` or `hr/<corpus>`."""

    prior: Name
    frames: Annotated[str, AfterValidator(_check_frames)]

    @property
    def corpus(self) -> str:
        return self.frames.split("/")[1]

    @property
    def degradation(self) -> str | None:
        """None for HR."""
        return (self.frames.split("/") + [None])[2]


MaskModel = Sam | Felzenszwalb
FlowModel = Raft | Dis
Prior = Annotated[Sam | Felzenszwalb | Raft | Dis, Field(discriminator="backend")]
"""What computes a prior: masks (SAM, Felzenszwalb) or flow (RAFT, DIS)."""

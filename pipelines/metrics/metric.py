"""What a metric is: what it is called, which way is better, what it needs, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np


class Measure(Protocol):
    """One clip being measured: frames come one by one and are not kept longer than they are needed."""

    def add(self, restored: np.ndarray, truth: np.ndarray) -> float | None:
        """Take the next frame.

        Args:
            restored: what the metric's `channel` says of it: (H, W) luma or (H, W, 3) RGB, float64 on the 8-bit scale.
            truth: likewise.

        Returns:
            The frame's value, or None for a metric of whole clips.
        """
        ...

    def finish(self) -> Any:
        """The clip's value; None for a metric whose clip is the mean of its frames; for a metric of a whole test set
        (`Metric.combine`) what the clip adds to it, small and picklable."""
        ...


@dataclass(frozen=True)
class Metric:
    """A metric of restored footage.

    `unit` is that of its values, `decimals` how many are shown, `low` and `high` the range they can have. `channel` says what
    of a frame it looks at: "protocol", what the protocol selects (luma or RGB), or always "rgb" or "luma", inside the
    protocol's border. `reference` is false for a metric that does not look at the truth. `weights` are the names of published
    parameters that it needs, `extra` the optional extra of this project that holds its library.
    """

    name: str
    label: str
    unit: str
    decimals: int
    higher_is_better: bool
    low: float
    high: float
    channel: Literal["protocol", "rgb", "luma"]
    reference: bool
    licence: str
    source: str
    build: Callable[[str], Measure]
    """Makes the measure of one clip on a device, `cpu` or `cuda`; what it loads is kept for the next clip."""
    combine: Callable[[Sequence[Any]], float] | None = None
    """For a metric of a whole test set: its value from what `finish` gave for each clip."""
    weights: tuple[str, ...] = ()
    extra: str | None = None
    smallest: int = 1
    """The least number of pixels along a side."""
    degraded: bool = False
    """Whether it compares restored frames that are degraded again with LR frames, in place of restored and true ones."""

"""How papers score: on which channel, without which border, on which frames.

Numbers of different protocols are not comparable: the border and the skipped frames alone move a Vid4 clip by
0.8 dB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.errors import VSRError, unknown
from pipelines.evaluation.metrics import luma


@dataclass(frozen=True)
class Protocol:
    """What of a clip is scored.

    Args:
        name: how params and results call it.
        channel: "y", luma of BT.601 unrounded, or "rgb", all three channels together.
        border: pixels left out at each side of a frame.
        skip: frames left out at each end of a clip.
        source: who scores like this.

    Raises:
        VSRError: the channel is not one of these, or a number is negative.
    """

    name: str
    channel: Literal["y", "rgb"]
    border: int = 0
    skip: int = 0
    source: str = ""

    def __post_init__(self) -> None:
        if self.channel not in ("y", "rgb"):
            raise unknown("channel", self.channel, ("y", "rgb"))
        if self.border < 0 or self.skip < 0:
            raise VSRError(f"protocol {self.name!r} leaves out {self.border} px and {self.skip} frames: give 0 or more.")

    def select(self, frame: np.ndarray) -> np.ndarray:
        """What is scored of a frame.

        Args:
            frame: (H, W, 3) uint8 RGB.

        Returns:
            (H - 2 border, W - 2 border) or the same with 3 channels, float64 on the 8-bit scale.
        """
        height, width = frame.shape[:2]
        inside = frame[self.border : height - self.border, self.border : width - self.border]
        return luma(inside) if self.channel == "y" else inside.astype(np.float64)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("y", "y", source="luma, whole frame, all frames"),
        Protocol("rgb", "rgb", source="RGB, whole frame, all frames"),
        Protocol("vid4", "y", source="Vid4 as BasicVSR and its successors score it (Chan et al., CVPR 2021)"),
        Protocol("vid4_duf", "y", border=8, skip=2, source="Vid4 as DUF scores it (Jo et al., CVPR 2018)"),
        Protocol("reds4", "rgb", source="REDS4 as EDVR and its successors score it (Wang et al., CVPRW 2019)"),
    )
}


def get(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        VSRError: there is none.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]

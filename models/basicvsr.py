"""BasicVSR: bidirectional recurrent propagation with flow-aligned features.

Source: Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts.basicvsr import BasicVSRFeatures, feature_options
from models.parts.recurrent import RecurrentNetwork
from models.parts.registry import register


@register("basicvsr")
class BasicVSR(BasicVSRFeatures, RecurrentNetwork):
    """Super-resolution by four of whole clips of any length and frame size.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".
        flow: "own", of a SPyNet within the network, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self, channels: int = 64, blocks: int = 30, upsample_channels: int = 64, base: str = "bilinear", flow: str = "own"
    ) -> None:
        super().__init__(channels, blocks, flow)
        self.add_upsampler(channels, upsample_channels, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        try:
            return {**feature_options(state), "upsample_channels": state["conv_hr.weight"].shape[0]}
        except KeyError:
            return None

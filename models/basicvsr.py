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
from models.parts.weights import measured, openmmlab

SOURCE = "mmagic, configs/basicvsr/README.md"

WEIGHTS = {
    "basicvsr_reds4": openmmlab(
        "basicvsr",
        "basicvsr_reds4_20120409-0e599677.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(31.4170, 0.8909), vimeo90k__bi_x4=(36.2848, 0.9395), vid4__bi_x4=(27.2694, 0.8318)),
        source=SOURCE,
    ),
    "basicvsr_vimeo90k_bi": openmmlab(
        "basicvsr",
        "basicvsr_vimeo90k_bi_20210409-d2d8f760.pth",
        trained_on="vimeo90k/bi_x4",
        reported=measured(reds4__bi_x4=(30.3128, 0.8660), vimeo90k__bi_x4=(37.2026, 0.9434), vid4__bi_x4=(27.2755, 0.8248)),
        source=SOURCE,
    ),
    "basicvsr_vimeo90k_bd": openmmlab(
        "basicvsr",
        "basicvsr_vimeo90k_bd_20210409-0154dd64.pth",
        trained_on="vimeo90k/bd_x4",
        reported=measured(udm10__bd_x4=(39.9953, 0.9695), vimeo90k__bd_x4=(37.5501, 0.9499), vid4__bd_x4=(27.9791, 0.8556)),
        source=SOURCE,
    ),
}


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
        # RealBasicVSR has all of this, and cleans frames before.
        return None if "image_cleaning.1.weight" in state else BasicVSR.features_of(state)

    @staticmethod
    def features_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """The options of the parameters that every BasicVSR has, or None if they are not there."""
        try:
            return {**feature_options(state), "upsample_channels": state["conv_hr.weight"].shape[0]}
        except KeyError:
            return None

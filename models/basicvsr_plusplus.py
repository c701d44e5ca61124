"""BasicVSR++: second-order grid propagation with flow-guided deformable alignment.

Source: Chan et al., "BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and
Alignment", CVPR 2022, Sec. 3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from models.parts.basicvsr_plusplus import BasicVSRPlusPlusFeatures, feature_options
from models.parts.blocks import count_blocks
from models.parts.recurrent import RecurrentNetwork
from models.parts.registry import register
from models.parts.weights import measured, openmmlab

SOURCE = "mmagic, configs/basicvsr_pp/README.md"

WEIGHTS = {
    "basicvsr_plusplus_reds4": openmmlab(
        "basicvsr_plusplus",
        "basicvsr_plusplus_c64n7_8x1_600k_reds4_20210217-db622b2f.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(32.3855, 0.9069), vimeo90k__bi_x4=(36.4445, 0.9411), vid4__bi_x4=(27.7674, 0.8444)),
        source=SOURCE,
    ),
    "basicvsr_plusplus_vimeo90k_bi": openmmlab(
        "basicvsr_plusplus",
        "basicvsr_plusplus_c64n7_8x1_300k_vimeo90k_bi_20210305-4ef437e2.pth",
        trained_on="vimeo90k/bi_x4",
        reported=measured(reds4__bi_x4=(31.0126, 0.8804), vimeo90k__bi_x4=(37.7864, 0.9500), vid4__bi_x4=(27.7882, 0.8401)),
        source=SOURCE,
    ),
    "basicvsr_plusplus_vimeo90k_bd": openmmlab(
        "basicvsr_plusplus",
        "basicvsr_plusplus_c64n7_8x1_300k_vimeo90k_bd_20210305-ab315ab1.pth",
        trained_on="vimeo90k/bd_x4",
        reported=measured(udm10__bd_x4=(40.7216, 0.9722), vimeo90k__bd_x4=(38.2054, 0.9550), vid4__bd_x4=(29.0400, 0.8753)),
        source=SOURCE,
    ),
}


@register("basicvsr_plusplus")
class BasicVSRPlusPlus(BasicVSRPlusPlusFeatures, RecurrentNetwork):
    """Super-resolution by four of whole clips of any length and frame size.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per branch.
        outer_blocks: residual blocks of the feature extraction and of the reconstruction.
        groups: of the deformable convolutions, an even number that divides twice the channels.
        extraction_blocks: residual blocks of the feature extraction where it has not as many as the reconstruction.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".
        flow: "own", of a SPyNet within the network, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 7,
        outer_blocks: int = 5,
        groups: int = 16,
        upsample_channels: int = 64,
        base: str = "bilinear",
        flow: str = "own",
        extraction_blocks: int | None = None,
    ) -> None:
        super().__init__(channels, blocks, outer_blocks, groups, flow, extraction_blocks)
        self.add_upsampler(channels, upsample_channels, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        try:
            options = {**feature_options(state), "upsample_channels": state["conv_hr.weight"].shape[0]}
        except KeyError:
            return None
        extraction = count_blocks(state, "feat_extract.main.2.")
        return options if extraction == options["outer_blocks"] else {**options, "extraction_blocks": extraction}

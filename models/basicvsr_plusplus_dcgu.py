"""BasicVSR++ at any scale by dynamic context-guided upsampling.

Source: Huang et al., "Arbitrary-Scale Video Super-Resolution Guided by Dynamic Context", AAAI 2024.
"""

from __future__ import annotations

from models.heads.dcgu import DCGU
from models.parts.any_scale import AnyScaleNetwork
from models.parts.basicvsr_plusplus import BasicVSRPlusPlusFeatures
from models.parts.registry import register


@register("basicvsr_plusplus_dcgu")
class BasicVSRPlusPlusDCGU(BasicVSRPlusPlusFeatures, AnyScaleNetwork):
    """Super-resolution by any factor of whole clips of any length and frame size.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per branch.
        outer_blocks: residual blocks of the feature extraction and of the reconstruction.
        groups: of the deformable convolutions, an even number that divides twice the channels.
        hidden, neighbours, patch, context, points, gate, gps, range_filter: see `models.heads.dcgu.DCGU`.
        base: the enlarged frames that the residual is added to: "bilinear", or "bicubic".
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
        hidden: int = 256,
        neighbours: int = 25,
        patch: int = 4,
        context: str = "confidence",
        points: str = "searched",
        gate: bool = True,
        gps: bool = True,
        range_filter: str = "similarity",
        base: str = "bilinear",
        flow: str = "own",
    ) -> None:
        super().__init__(channels, blocks, outer_blocks, groups, flow)
        self.add_head(DCGU(channels, hidden, neighbours, patch, context, points, gate, gps, range_filter), base)

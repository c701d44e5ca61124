"""BasicVSR++ with the local implicit image function in place of its upsampler."""

from __future__ import annotations

from models.heads.liif import LIIF
from models.parts.any_scale import AnyScaleNetwork
from models.parts.basicvsr_plusplus import BasicVSRPlusPlusFeatures
from models.parts.registry import register


@register("basicvsr_plusplus_liif")
class BasicVSRPlusPlusLIIF(BasicVSRPlusPlusFeatures, AnyScaleNetwork):
    """Super-resolution of whole clips at any scale; see `models.heads.liif`.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per branch.
        outer_blocks: residual blocks of the feature extraction and of the reconstruction.
        groups: of the deformable convolutions, an even number that divides twice the channels.
        hidden: size of the hidden layers of the perceptron that predicts colours.
        base: the enlarged frames that the residual is added to: "bilinear" or "bicubic".

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
        base: str = "bilinear",
    ) -> None:
        super().__init__(channels, blocks, outer_blocks, groups)
        self.add_head(LIIF(channels, hidden), base)

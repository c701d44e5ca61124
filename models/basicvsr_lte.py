"""BasicVSR at any scale by the local texture estimator.

Source: Lee and Jin, "Local Texture Estimator for Implicit Representation Function", CVPR 2022.
"""

from __future__ import annotations

from models.heads.lte import LTE
from models.parts.any_scale import AnyScaleNetwork
from models.parts.basicvsr import BasicVSRFeatures
from models.parts.registry import register


@register("basicvsr_lte")
class BasicVSRLTE(BasicVSRFeatures, AnyScaleNetwork):
    """Super-resolution by any factor of whole clips of any length and frame size.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        hidden, clip_cell: see `models.heads.lte.LTE`.
        base: the enlarged frames that the residual is added to: "bilinear", or "bicubic".
        flow: "own", of a SPyNet within the network, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 30,
        hidden: int = 256,
        clip_cell: bool = True,
        base: str = "bilinear",
        flow: str = "own",
    ) -> None:
        super().__init__(channels, blocks, flow)
        self.add_head(LTE(channels, hidden, clip_cell), base)

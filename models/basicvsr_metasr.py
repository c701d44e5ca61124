"""BasicVSR with Meta-SR's upscaling in place of its upsampler."""

from __future__ import annotations

from models.heads.metasr import MetaSR
from models.parts.any_scale import AnyScaleNetwork
from models.parts.basicvsr import BasicVSRFeatures
from models.parts.registry import register


@register("basicvsr_metasr")
class BasicVSRMetaSR(BasicVSRFeatures, AnyScaleNetwork):
    """Super-resolution of whole clips at any scale; see `models.heads.metasr`.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        hidden: size of the hidden layers of the perceptron that predicts filters.
        base: the enlarged frames that the residual is added to: "bilinear" or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int = 64, blocks: int = 30, hidden: int = 256, base: str = "bilinear") -> None:
        super().__init__(channels, blocks)
        self.add_head(MetaSR(channels, hidden), base)

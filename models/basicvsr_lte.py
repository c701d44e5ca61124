"""BasicVSR with the local texture estimator in place of its upsampler."""

from __future__ import annotations

from models.heads.lte import LTE
from models.parts.any_scale import AnyScaleNetwork
from models.parts.basicvsr import BasicVSRFeatures
from models.parts.registry import register


@register("basicvsr_lte")
class BasicVSRLTE(BasicVSRFeatures, AnyScaleNetwork):
    """Super-resolution of whole clips at any scale; see `models.heads.lte`.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        hidden: size of the hidden layers of the perceptron that predicts colours, and waves of an LR pixel; even.
        base: the enlarged frames that the residual is added to: "bilinear" or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(self, channels: int = 64, blocks: int = 30, hidden: int = 256, base: str = "bilinear") -> None:
        super().__init__(channels, blocks)
        self.add_head(LTE(channels, hidden), base)

"""The spatial module of Ada-VSR: every frame by itself, four times as large.

Source: Gupta et al., "Ada-VSR: Adaptive Video Super-Resolution with Meta-Learning", ACM MM 2021, Sec. 3.1, which does not say how it is
made. Chosen here is EDSR's baseline (Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, Sec. 3),
which has no normalisation, added to the frame enlarged bicubically.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.blocks import residual_blocks
from models.parts.framewise import FramewiseNetwork
from models.parts.registry import positive, register


@register("ada_ssr")
class AdaSSR(FramewiseNetwork):
    """Super-resolution by four of single frames of any size.

    Args:
        channels: of the features.
        blocks: residual blocks.
        base: the enlarged frames that the output is added to: "bicubic", "bilinear", or "none".

    Raises:
        ValueError: an option has no such value.
    """

    scale = 4

    def __init__(self, channels: int = 64, blocks: int = 16, base: str = "bicubic") -> None:
        super().__init__()
        positive("ada_ssr", channels=channels, blocks=blocks)
        self.enlarge = enlarger_if_any("ada_ssr", base)
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = residual_blocks(channels, blocks)
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
            nn.Conv2d(channels, 4 * channels, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    @property
    def last(self) -> nn.Module:
        """The layer that makes the output."""
        return self.conv_last

    def restore(self, frames: Tensor) -> Tensor:
        shallow = self.conv_first(frames)
        restored: Tensor = self.conv_last(self.upsample(self.conv_body(self.body(shallow)) + shallow))
        return on_enlarged(restored, frames, self.enlarge)

"""Real-ESRGAN's network, that of ESRGAN: residual-in-residual dense blocks, every frame by itself.

Source: Wang et al., "ESRGAN: Enhanced Super-Resolution Generative Adversarial Networks", ECCVW 2018, Sec. 3.1, and Wang et al.,
"Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021, Sec. 3.3; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.blocks import in_parts, pad_to_multiple
from models.parts.framewise import FramewiseNetwork
from models.parts.registry import positive, register
from models.parts.rrdb import ResidualInResidual, leaky
from models.parts.weights import Published
from models.unet_discriminator import UNetDiscriminator

FOLDED = {4: 1, 2: 2, 1: 4}
"""The side of the squares of LR pixels that become channels first, by scale: features are enlarged by four at all of them."""

SOURCE = "Real-ESRGAN, docs/model_zoo.md"
IMAGES = "trained on images: DIV2K, Flickr2K and OutdoorScene"
RELEASES = "https://github.com/xinntao/Real-ESRGAN/releases/download"

WEIGHTS = {
    "realesrgan_x4plus": Published(
        f"{RELEASES}/v0.1.0/",
        "RealESRGAN_x4plus.pth",
        "4fa0d38905f75ac06eb49a7951b426670021be3018265fd191d2125df9d682f1",
        "BSD-3-Clause",
        SOURCE,
        differs=IMAGES,
    ),
    "realesrgan_x2plus": Published(
        f"{RELEASES}/v0.2.1/",
        "RealESRGAN_x2plus.pth",
        "49fafd45f8fd7aa8d31ab2a22d14d91b536c34494a5cfe31eb5d89c2fa266abb",
        "BSD-3-Clause",
        SOURCE,
        options={"scale": 2},
        differs=IMAGES,
    ),
}


@register("realesrgan")
class RealESRGAN(FramewiseNetwork):
    """Super-resolution of single frames of any size by four, two or one.

    Args:
        channels: of the features.
        blocks: residual-in-residual dense blocks.
        growth: channels that each convolution of a dense block adds.
        scale: 4, 2 or 1; squares of LR pixels become channels first for 2 and 1.
        base: "none" as published, or the enlarged frames that the output is added to: "bicubic", "bilinear" or "nearest".

    Raises:
        ValueError: an option has no such value.
    """

    discriminator = UNetDiscriminator

    def __init__(self, channels: int = 64, blocks: int = 23, growth: int = 32, scale: int = 4, base: str = "none") -> None:
        super().__init__()
        positive("realesrgan", channels=channels, blocks=blocks, growth=growth)
        if scale not in FOLDED:
            raise ValueError(f"option 'scale' of realesrgan is {scale!r}: give 4, 2 or 1.")
        self.scale, self.folded = scale, FOLDED[scale]
        self.enlarge = enlarger_if_any("realesrgan", base)
        self.conv_first = nn.Conv2d(3 * self.folded**2, channels, 3, padding=1)
        self.body = nn.Sequential(*(ResidualInResidual(channels, growth) for _ in range(blocks)))
        self.conv_body = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_up2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    @property
    def last(self) -> nn.Module:
        """The layer that makes the output."""
        return self.conv_last

    def restore(self, frames: Tensor) -> Tensor:
        height, width = (int(self.scale * side) for side in frames.shape[-2:])
        folded = F.pixel_unshuffle(pad_to_multiple(frames[:, None], self.folded)[:, 0], self.folded)
        x = self.conv_first(folded)
        x = x + self.conv_body(self.body(x))
        # At the output's size features take 16 times the memory.
        restored = in_parts(self._enlarged, x, larger=4)[..., :height, :width]
        return on_enlarged(restored, frames, self.enlarge)

    def _enlarged(self, x: Tensor) -> Tensor:
        for conv in (self.conv_up1, self.conv_up2):
            x = leaky(conv(F.interpolate(x, scale_factor=2, mode="nearest")))
        return self.conv_last(leaky(self.conv_hr(x)))

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        try:
            channels, inputs = state["conv_first.weight"].shape[:2]
            growth = state["body.0.rdb1.conv1.weight"].shape[0]
        except KeyError:
            return None
        scale = next((scale for scale, side in FOLDED.items() if inputs == 3 * side**2), None)
        if scale is None:
            return None
        blocks = sum(key.endswith(".rdb1.conv1.weight") for key in state)
        return {"channels": channels, "blocks": blocks, "growth": growth, "scale": scale}

"""The discriminator of Real-ESRGAN and RealBasicVSR: a U-Net that says of every pixel how real it is.

Source: Wang et al., "Real-ESRGAN: Training Real-World Blind Super-Resolution with Pure Synthetic Data", ICCVW 2021, Sec. 3.3, after
Schönfeld et al., "A U-Net Based Discriminator for Generative Adversarial Networks", CVPR 2020; spectral norms of Miyato et al.,
ICLR 2018.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from models.parts.registry import Network, positive, register

LEAK = 0.2


@register("unet_discriminator")
class UNetDiscriminator(Network):
    """Logits of frames, (N, 3, H, W) RGB in [0, 1] to (N, 1, H, W).

    Args:
        channels: of the first features, at full size; they double with each of the three halvings.

    Raises:
        ValueError: `channels` has no such value.
    """

    restores = False

    def __init__(self, channels: int = 64) -> None:
        super().__init__()
        positive("unet_discriminator", channels=channels)
        one, two, four, eight = (channels * factor for factor in (1, 2, 4, 8))
        self.conv0 = nn.Conv2d(3, one, 3, padding=1)
        self.conv1, self.conv2, self.conv3 = _halving(one, two), _halving(two, four), _halving(four, eight)
        self.conv4, self.conv5, self.conv6 = _normed(eight, four), _normed(four, two), _normed(two, one)
        self.conv7, self.conv8 = _normed(one, one), _normed(one, one)
        self.conv9 = nn.Conv2d(one, 1, 3, padding=1)

    def forward(self, frames: Tensor) -> Tensor:
        full = _leaky(self.conv0(frames))
        half = _leaky(self.conv1(full))
        quarter = _leaky(self.conv2(half))
        x = _leaky(self.conv3(quarter))
        for conv, skip in ((self.conv4, quarter), (self.conv5, half), (self.conv6, full)):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = _leaky(conv(x)) + skip
        return self.conv9(_leaky(self.conv8(_leaky(self.conv7(x)))))


def _halving(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=False))


def _normed(inputs: int, outputs: int) -> nn.Module:
    return spectral_norm(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAK, inplace=True)

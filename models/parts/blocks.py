"""Layers that restoration networks share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import Enlarge, enlarger, on_enlarged
from models.parts.registry import Network, positive

RESIDUAL_GAIN = 0.1
"""Residual blocks start near the identity: their initial weights are He's times this (ESRGAN, Sec. 3.1)."""

LEAK = 0.1
"""The slope of leaky rectifiers on negative values."""

PART_PIXELS = 2**19
"""Pixels of frames that a network sees at once where it works on all frames of a clip: enough to keep it
busy, small enough that its activations on a long clip do not fill the memory."""


class ResidualBlockNoBN(nn.Module):
    """Convolution, ReLU, convolution, added to the input; no normalisation (EDSR, Fig. 2c).

    Args:
        channels: of the input and output, (N, channels, H, W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for conv in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(conv.weight)
            conv.weight.data.mul_(RESIDUAL_GAIN)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class ConvResidualBlocks(nn.Module):
    """A convolution to `outputs` channels, a leaky ReLU and a chain of residual blocks.

    Args:
        inputs: channels of the input, (N, inputs, H, W).
        outputs: channels of the output, (N, outputs, H, W).
        blocks: how many residual blocks.
    """

    def __init__(self, inputs: int, outputs: int, blocks: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            residual_blocks(outputs, blocks),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class SubPixelNetwork(Network):
    """What networks share that enlarge features four times by two sub-pixel convolutions and add the
    result to the enlarged frame (EDVR, CVPRW 2019, Fig. 2; BasicVSR, CVPR 2021).

    A subclass calls `add_upsampler` at the end of its `__init__`, or `add_sub_pixels` where it sets `enlarge` itself.
    """

    scale = 4
    enlarge: Enlarge | None

    def add_upsampler(self, channels: int, upsample_channels: int, base: str) -> None:
        """Make the layers that `upsample` uses.

        Args:
            channels: of the features.
            upsample_channels: of the layers at the output's resolution.
            base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".

        Raises:
            ValueError: there is no such base.
        """
        self.add_sub_pixels(channels, upsample_channels)
        self.enlarge = enlarger(self.name, base)

    def add_sub_pixels(self, channels: int, upsample_channels: int) -> None:
        """Make the layers that `residual` uses; arguments as of `add_upsampler`."""
        positive(self.name, channels=channels, upsample_channels=upsample_channels)
        self.upconv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.upconv2 = nn.Conv2d(channels, 4 * upsample_channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(upsample_channels, upsample_channels, 3, padding=1)
        self.conv_last = nn.Conv2d(upsample_channels, 3, 3, padding=1)

    @property
    def last(self) -> nn.Module:
        """The layer that makes what is added to the enlarged frames."""
        return self.conv_last

    def upsample(self, features: Tensor, frame: Tensor) -> Tensor:
        """The restored frame.

        Args:
            features: (N, channels, H, W).
            frame: (N, 3, H, W), the LR frame.

        Returns:
            (N, 3, 4H, 4W), unclipped.
        """
        return on_enlarged(self.residual(features), frame, self.enlarge)

    def residual(self, features: Tensor) -> Tensor:
        """What features, (N, channels, H, W), add to the enlarged frame: (N, 3, 4H, 4W)."""
        x = upsample_x2(upsample_x2(features, self.upconv1), self.upconv2)
        made: Tensor = self.conv_last(leaky_relu(self.conv_hr(x)))
        return made


def residual_blocks(channels: int, blocks: int) -> nn.Sequential:
    """A chain of residual blocks."""
    return nn.Sequential(*(ResidualBlockNoBN(channels) for _ in range(blocks)))


def count_blocks(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many residual blocks a checkpoint has under `prefix`."""
    return sum(key.startswith(prefix) and key.endswith(".conv1.weight") for key in state)


def leaky_relu(x: Tensor) -> Tensor:
    """The leaky ReLU of BasicVSR, in place."""
    return F.leaky_relu(x, LEAK, inplace=True)


def upsample_x2(x: Tensor, conv: nn.Module) -> Tensor:
    """Sub-pixel convolution: `conv` to four times the channels wanted, pixel shuffle, leaky ReLU.

    Args:
        x: (N, C, H, W).
        conv: gives (N, 4 * D, H, W).

    Returns:
        (N, D, 2H, 2W). Source: Shi et al., CVPR 2016, Sec. 3.2.
    """
    return leaky_relu(F.pixel_shuffle(conv(x), 2))


def in_parts(network: Callable[..., Tensor], *batches: Tensor, larger: int = 1) -> Tensor:
    """`network(*batches)`, on at most `PART_PIXELS` pixels at once.

    Args:
        network: treats the frames of its batches one by one.
        batches: (N, ..., H, W) each.
        larger: the side of what the network works on over that of the batches.
    """
    height, width = batches[0].shape[-2:]
    frames = max(1, PART_PIXELS // (height * width * larger**2))
    return torch.cat([network(*parts) for parts in zip(*(batch.split(frames) for batch in batches), strict=True)])


def pad_to_multiple(clip: Tensor, multiple: int) -> Tensor:
    """Mirror frames at their right and lower edge, which is not repeated, to sides that are multiples.

    Args:
        clip: (N, T, C, H, W).
        multiple: of which the sides become the next.

    Raises:
        ValueError: a side is too short to be mirrored so far.
    """
    height, width = clip.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return clip
    if below >= height or right >= width:
        raise ValueError(
            f"frames of {width}x{height} are too small to be mirrored to multiples of {multiple} pixels: give larger ones."
        )
    return F.pad(clip.flatten(0, 1), (0, right, 0, below), mode="reflect").unflatten(0, clip.shape[:2])


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """A context in which autocast is off."""
    # The device without memory, on which operations are counted, has no autocast to turn off.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)

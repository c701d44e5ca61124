"""Zooming Slow-Mo: features of frames in between, a recurrent network that aligns its states, one reconstruction for all frames.

Source: Xiang et al., "Zooming Slow-Mo: Fast and Accurate One-Stage Space-Time Video Super-Resolution", CVPR 2020, Sec. 3. Written from the paper.
It prints 11.10 million parameters, which are had where the states are aligned by the module that makes features in between once more.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.blocks import SubPixelNetwork, in_parts, leaky_relu, pad_to_multiple, residual_blocks
from models.parts.edvr import MULTIPLE, PyramidAlignment
from models.parts.in_between import in_between, interleave
from models.parts.registry import positive, register
from models.parts.space_time import check_clip


@register("zooming_slowmo")
class ZoomingSlowMo(SubPixelNetwork):
    """Super-resolution by four in space and two in time, of clips of at least two frames.

    Args:
        channels: of the features.
        extraction_blocks: residual blocks before the frames in between (k1 of the paper).
        reconstruction_blocks: residual blocks after the recurrent network (k2).
        groups: of the deformable convolutions.
        base: the enlarged frames that the output is added to: "none" as in the paper, "bilinear" or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    time_scale = 2
    min_frames = 2

    def __init__(
        self,
        channels: int = 64,
        extraction_blocks: int = 5,
        reconstruction_blocks: int = 40,
        groups: int = 8,
        base: str = "none",
    ) -> None:
        super().__init__()
        positive(
            "zooming_slowmo",
            channels=channels,
            extraction_blocks=extraction_blocks,
            reconstruction_blocks=reconstruction_blocks,
            groups=groups,
        )
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.feature_extraction = residual_blocks(channels, extraction_blocks)
        self.between = Blend(channels, groups)
        self.recurrent = DeformableConvLSTM(channels, groups)
        self.fuse = nn.Conv2d(2 * channels, channels, 1)
        self.reconstruction = residual_blocks(channels, reconstruction_blocks)
        self.enlarge = enlarger_if_any("zooming_slowmo", base)
        self.add_sub_pixels(channels, channels)

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (N, T, 3, h, w) RGB in [0, 1], T at least 2, to (N, 2T - 1, 3, 4h, 4w), unclipped.

        Raises:
            ValueError: the clip is shorter, or its frames are too small to be mirrored to multiples of four.
        """
        check_clip(self, clip)
        height, width = clip.shape[-2:]
        padded = pad_to_multiple(clip, MULTIPLE)
        given = self.feature_extraction(leaky_relu(self.conv_first(padded.flatten(0, 1)))).unflatten(0, clip.shape[:2])
        between = [self.between(given[:, t], given[:, t + 1]) for t in range(clip.shape[1] - 1)]
        features = interleave(given, torch.stack(between, dim=1))
        both = [self.recurrent(features), self.recurrent(features.flip(1)).flip(1)]
        fused = self.fuse(torch.cat(both, dim=2).flatten(0, 1))
        made = in_parts(self.reconstruct, fused)[..., : 4 * height, : 4 * width]
        frames = on_enlarged(made, in_between(clip, "linear").flatten(0, 1), self.enlarge)
        return frames.unflatten(0, features.shape[:2])

    def reconstruct(self, features: Tensor) -> Tensor:
        """Features (N, channels, h, w) to frames (N, 3, 4h, 4w)."""
        return self.residual(self.reconstruction(features))


class Blend(nn.Module):
    """Features in the middle of two: each is sampled where both say, and the two are blended by a 1x1 convolution (Sec. 3.1)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv_l2_1 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv_l2_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_l3_1 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv_l3_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.from_first, self.from_second = PyramidAlignment(channels, groups), PyramidAlignment(channels, groups)
        self.blend = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, channels, H, W) each, sides multiples of 4, to the same."""
        one, other = self._pyramid(first), self._pyramid(second)
        sampled = torch.cat([self.from_first(one, other), self.from_second(other, one)], dim=1)
        blended: Tensor = self.blend(sampled)
        return blended

    def _pyramid(self, features: Tensor) -> list[Tensor]:
        half = leaky_relu(self.conv_l2_2(leaky_relu(self.conv_l2_1(features))))
        return [features, half, leaky_relu(self.conv_l3_2(leaky_relu(self.conv_l3_1(half))))]


class DeformableConvLSTM(nn.Module):
    """A convolutional LSTM whose hidden state and cell are aligned with a frame's features before they meet (Sec. 3.2)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.align_hidden, self.align_cell = Blend(channels, groups), Blend(channels, groups)
        self.gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(N, T, channels, H, W), sides multiples of 4, to the hidden states of all frames, of the same shape."""
        hidden = cell = torch.zeros_like(features[:, 0])
        states = []
        for now in features.unbind(1):
            hidden, cell = self.align_hidden(now, hidden), self.align_cell(now, cell)
            kept, added, shown, new = self.gates(torch.cat([now, hidden], dim=1)).chunk(4, dim=1)
            cell = torch.sigmoid(kept) * cell + torch.sigmoid(added) * torch.tanh(new)
            hidden = torch.sigmoid(shown) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)

"""Modulated deformable convolution, whose samples move and are weighed at every pixel.

Source: Zhu et al., "Deformable ConvNets v2: More Deformable, Better Results", CVPR 2019, Eq. 1; the names
of the parameters that EDVR and BasicVSR++ publish.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.blocks import LEAK, full_precision

TAPS = 9
"""Samples of a 3x3 kernel."""

PREDICTED = 3 * TAPS
"""What is predicted per pixel and group: two coordinates and a weight for every sample."""


BAND = 2**13
"""Pixels times groups that `by_gather` samples at once: as many as keep what they are made of in the cache."""


class ModulatedDeformConv(nn.Module):
    """A 3x3 convolution of `x` at positions and with weights that are given.

    Args:
        inputs: channels of the input, (N, inputs, H, W).
        outputs: channels of the output, (N, outputs, H, W).
        groups: parts of the input's channels that have samples of their own.

    Raises:
        ValueError: the input's channels cannot be divided into so many groups.
    """

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        if inputs % groups:
            raise ValueError(f"{inputs} channels cannot be divided into {groups} groups: give `groups` that divide them.")
        self.groups = groups
        self.weight = nn.Parameter(torch.empty(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        bound = (TAPS * inputs) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def sample(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """Convolve.

        Always in single precision or better, also under autocast: half precision loses sub-pixel
        positions.

        Args:
            x: (N, inputs, H, W), zero outside of the frame.
            offset: (N, groups * 9 * 2, H, W) in pixels: for every group and sample (row by row) how far
                down, then how far to the right of its place in the kernel it is taken.
            mask: (N, groups * 9, H, W), the weights of the samples.

        Returns:
            (N, outputs, H, W), of the type of `x`.
        """
        exact = torch.promote_types(x.dtype, torch.float32)
        given = [part.to(exact) for part in (x, offset, mask, self.weight, self.bias)]
        learning = torch.is_grad_enabled() and any(part.requires_grad for part in given)
        operator = x.device.type != "cpu" or torch.compiler.is_exporting()  # other runtimes have it as one
        way = by_operator if operator else by_grid if learning else by_gather
        with full_precision(x.device):
            return way(*given).to(x.dtype)


def by_operator(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """torchvision's operator; arguments and result as of `ModulatedDeformConv.sample`."""
    # Imported where it is needed: it takes longer than most of what runs without it.
    from torchvision.ops import deform_conv2d

    return deform_conv2d(x, offset, weight, bias, padding=1, mask=mask)


def by_gather(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What `by_operator` gives, without gradients, in a third of its time on a processor. The channels of a group lie side by side,
    so that a sample is a weighted sum of four rows of a table."""
    count, inputs, height, width = x.shape
    groups = mask.shape[1] // TAPS
    # Zeros around the frame: samples that lie farther outside are moved there.
    framed = x.new_zeros(count, height + 3, width + 3, inputs)
    framed[:, 1:-2, 1:-2] = x.permute(0, 2, 3, 1)
    stride = width + 3
    corners = groups * torch.tensor([0, 1, stride, stride + 1], dtype=torch.int32)
    group = torch.arange(groups, dtype=torch.int32)[:, None]
    columns = torch.arange(width, dtype=x.dtype)[:, None, None]
    down, right = torch.arange(TAPS, dtype=x.dtype) // 3 - 1, torch.arange(TAPS, dtype=x.dtype) % 3 - 1
    kernel = weight.reshape(len(weight), groups, -1, TAPS).permute(1, 3, 2, 0).reshape(-1, len(weight))
    moves = offset.view(count, groups, TAPS, 2, height, width).permute(0, 4, 5, 1, 2, 3)
    masks = mask.view(count, groups, TAPS, height, width).permute(0, 3, 4, 1, 2)
    made = x.new_empty(count, height, width, len(weight))
    band = max(1, BAND // (width * groups))
    for clip, top in product(range(count), range(0, height, band)):
        rows = slice(top, top + band)
        lines = torch.arange(top, min(top + band, height), dtype=x.dtype)[:, None, None, None]
        y = (moves[clip, rows, ..., 0].contiguous() + (lines + down)).clamp_(-1, height)
        along = (moves[clip, rows, ..., 1].contiguous() + (columns + right)).clamp_(-1, width)
        above, left = y.floor().nan_to_num_(), along.floor().nan_to_num_()  # what is no number stays so by its shares
        y -= above
        along -= left
        weights = masks[clip, rows].contiguous()
        lower = y * weights
        upper = weights - lower
        lower_right, upper_right = lower * along, upper * along
        shares = torch.stack([upper - upper_right, upper_right, lower - lower_right, lower_right], dim=-1)
        pixels = above.int().add_(1).mul_(stride).add_(left.int()).add_(1).mul_(groups).add_(group)
        rows_of_table, table = (pixels[..., None] + corners).view(-1, 4), framed[clip].view(-1, inputs // groups)
        found = F.embedding_bag(rows_of_table, table, mode="sum", per_sample_weights=shares.view(-1, 4))
        made[clip, rows] = torch.addmm(bias, found.view(len(lines) * width, -1), kernel).view(-1, width, len(weight))
    return made.permute(0, 3, 1, 2)


def by_grid(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """What `by_operator` gives, by `grid_sample`: its gradient takes a tenth of the operator's time on a processor."""
    count, inputs, height, width = x.shape
    groups = mask.shape[1] // TAPS
    columns = torch.arange(width, dtype=x.dtype, device=x.device)
    rows = torch.arange(height, dtype=x.dtype, device=x.device)[:, None]
    taps = torch.arange(3, dtype=x.dtype, device=x.device) - 1
    down, right = taps.repeat_interleave(3).view(TAPS, 1, 1), taps.repeat(3).view(TAPS, 1, 1)
    moves = offset.reshape(count * groups, TAPS, 2, height, width)
    y, along = rows + down + moves[:, :, 0], columns + right + moves[:, :, 1]
    grid = torch.stack([(2 * along + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    grouped = x.reshape(count * groups, inputs // groups, height, width)
    found = F.grid_sample(grouped, grid.view(count * groups, TAPS * height, width, 2), align_corners=False)
    weighed = found.view(count, groups, inputs // groups, TAPS, -1) * mask.reshape(count, groups, 1, TAPS, -1)
    summed = weight.view(1, len(weight), -1) @ weighed.view(count, inputs * TAPS, height * width)
    return summed.view(count, -1, height, width) + bias[:, None, None]


class GuidedDeformConv(ModulatedDeformConv):
    """Samples predicted from other features by one convolution (EDVR, CVPRW 2019, Eq. 2).

    At first no sample moves and all weights are 1/2.

    Args:
        channels: of input, guide and output, (N, channels, H, W).
        groups: see `ModulatedDeformConv`.
    """

    moved: Tensor | None = None
    """How many pixels samples were moved on average in the last pass of training: nothing bounds it."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, channels, groups)
        self.conv_offset = zero_init(nn.Conv2d(channels, PREDICTED * groups, 3, padding=1))

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """(N, channels, H, W) convolved where `guide`, of the same shape, says."""
        moves, weights = split(self.conv_offset(guide))
        if self.training:
            self.moved = moves.detach().abs().mean()
        return self.sample(x, moves, torch.sigmoid(weights))


class SecondOrderDeformAlignment(ModulatedDeformConv):
    """Aligns the features of the two frames before with the current one: samples follow the optical flow,
    up to a residue that is predicted (BasicVSR++, CVPR 2022, Sec. 3.2 and Eq. 4 to 7).

    At first samples follow the flow exactly and all weights are 1/2.

    Args:
        channels: of the features of one frame.
        groups: see `ModulatedDeformConv`; the first half of them samples the frame before, the second
            half the one before that.

    Raises:
        ValueError: `groups` is odd, or does not divide the channels of both frames.
    """

    reach = 10.0
    """Samples are at most so many pixels, in each direction, from where the flow leads."""

    def __init__(self, channels: int, groups: int) -> None:
        if groups % 2:
            raise ValueError(f"{groups} groups cannot be shared between two frames: give an even number of `groups`.")
        super().__init__(2 * channels, channels, groups)
        self.conv_offset = nn.Sequential(
            nn.Conv2d(3 * channels + 4, channels, 3, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            zero_init(nn.Conv2d(channels, PREDICTED * groups, 3, padding=1)),
        )

    def forward(self, before: Tensor, condition: Tensor, flow1: Tensor, flow2: Tensor) -> Tensor:
        """Align.

        Args:
            before: (N, 2 * channels, H, W), the features of the frame before and of the one before that,
                as they are there.
            condition: (N, 3 * channels, H, W), the first warped by `flow1`, the current frame's, and the
                second warped by `flow2`.
            flow1: (N, 2, H, W) in pixels, from the current frame to the one before.
            flow2: (N, 2, H, W) in pixels, from the current frame to the one before that.

        Returns:
            (N, channels, H, W).
        """
        residue, weights = split(self.conv_offset(torch.cat([condition, flow1, flow2], dim=1)))
        # Flow is (right, down), samples are (down, right).
        per_frame = self.groups // 2 * TAPS
        followed = torch.cat([flow.flip(1).repeat(1, per_frame, 1, 1) for flow in (flow1, flow2)], dim=1)
        return self.sample(before, followed + self.reach * torch.tanh(residue), torch.sigmoid(weights))


def split(predicted: Tensor) -> tuple[Tensor, Tensor]:
    """Coordinates, two thirds of the channels, and weights, before their sigmoid, of samples."""
    coordinates = predicted.shape[1] // 3 * 2
    return predicted[:, :coordinates], predicted[:, coordinates:]


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with zeros for parameters: what it predicts is zero at first."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv

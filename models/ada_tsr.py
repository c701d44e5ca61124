"""The temporal module of Ada-VSR: twice the frames, by a residue on what is interpolated along time.

Source: Gupta et al., "Ada-VSR: Adaptive Video Super-Resolution with Meta-Learning", ACM MM 2021, Sec. 3.1, Eq. 2, which does not say how it
is made. Chosen here are the layers of Zuckerman et al., "Across Scales and Across Dimensions: Temporal Super-Resolution Using Deep Internal
Learning", ECCV 2020, at half their width and without their normalisation; and two-dimensional ones on slices, nearest to the words of the paper.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.blocks import leaky_relu
from models.parts.in_between import in_between, sight
from models.parts.profiles import ProfileBlock, ReplicatedConv2d, along_slices
from models.parts.registry import Network, misspelt, positive, register
from models.parts.space_time import check_clip

MODULES = ("conv3d", "profile2d")


@register("ada_tsr")
class AdaTSR(Network):
    """Twice the frames of a clip, T to 2T - 1, of the same size.

    Args:
        module: "conv3d", convolutions of the whole volume, or "profile2d", of its slices along x and time and along y and time, averaged.
        channels: of the features.
        blocks: of the volume, layers that see single frames; of slices, residual blocks.

    Raises:
        ValueError: an option has no such value.
    """

    time_scale = 2
    min_frames = 2
    trained_alone = False
    """As a part of Ada-VSR it begins at random, and learns beside the other part."""

    def __init__(self, module: str = "conv3d", channels: int = 64, blocks: int = 5) -> None:
        super().__init__()
        positive("ada_tsr", channels=channels, blocks=blocks)
        if module not in MODULES:
            raise ValueError(misspelt("module of ada_tsr", str(module), MODULES))
        self.residue = Volume(channels, blocks) if module == "conv3d" else Profiles(channels, blocks)
        self.lookahead = sight(self.residue.reach)
        nn.init.zeros_(self.last.weight)  # at first frames are what is interpolated
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    @property
    def last(self) -> nn.Conv2d | nn.Conv3d:
        """The layer that makes the output."""
        return self.residue.last

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (N, T, 3, H, W) RGB in [0, 1], T at least 2, to (N, 2T - 1, 3, H, W), unclipped.

        Raises:
            ValueError: the clip is shorter.
        """
        check_clip(self, clip)
        profile = in_between(clip)
        made: Tensor = self.residue(profile)
        return profile + made


class Volume(nn.Module):
    """Two convolutions of space and time, `blocks` of space, and one of space and time; the clip's ends are repeated in time."""

    reach = 3

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        layers = [ReplicatedConv3d(3, channels, 3), ReplicatedConv3d(channels, channels, 3)]
        layers += [ReplicatedConv3d(channels, channels, 1) for _ in range(blocks)]
        self.layers = nn.ModuleList(layers)
        self.last = ReplicatedConv3d(channels, 3, 3)

    def forward(self, clip: Tensor) -> Tensor:
        """(N, T, 3, H, W) to the same."""
        x = clip.transpose(1, 2)
        for layer in self.layers:
            x = leaky_relu(layer(x))
        return self.last(x).transpose(1, 2)


class ReplicatedConv3d(nn.Conv3d):
    """A convolution of 3x3 pixels and `frames` frames, (N, C, T, H, W): zeros lie around a frame, and before and after a clip its end frames,
    so that a still clip stays still."""

    def __init__(self, inputs: int, outputs: int, frames: int) -> None:
        super().__init__(inputs, outputs, (frames, 3, 3), padding=(0, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        reach = self.kernel_size[0] // 2
        return super().forward(F.pad(x, (0, 0, 0, 0, reach, reach), mode="replicate") if reach else x)


class Profiles(nn.Module):
    """One network of slices, on those along x and time and on those along y and time; the mean of both."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.first = ReplicatedConv2d(3, channels)
        self.body = nn.Sequential(*(ProfileBlock(channels) for _ in range(blocks)))
        self.last = ReplicatedConv2d(channels, 3)
        self.reach = 2 + 2 * blocks

    def forward(self, clip: Tensor) -> Tensor:
        """(N, T, 3, H, W) to the same."""
        return (along_slices(self._found, clip, 3) + along_slices(self._found, clip, 4)) / 2

    def _found(self, slices: Tensor) -> Tensor:
        made: Tensor = self.last(self.body(leaky_relu(self.first(slices))))
        return made

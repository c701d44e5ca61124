"""Space-time super-resolution on temporal profiles: slices through space and time are enlarged along time like images, what is found in
them is shuffled back into frames, and frames are refined and enlarged.

Source: Xiao et al., "Space-Time Video Super-Resolution Using Temporal Profiles", ACM MM 2020, of which there is no code. The order of the parts and
what each is for is the paper's; their layers and widths are chosen here (docs/methods.md).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import enlarger_if_any
from models.parts.blocks import SubPixelNetwork, in_parts, leaky_relu, residual_blocks
from models.parts.in_between import in_between, sight
from models.parts.profiles import ProfileBlock, ReplicatedConv2d, along_slices
from models.parts.registry import positive, register
from models.parts.space_time import check_clip


@register("temporal_profile")
class TemporalProfile(SubPixelNetwork):
    """Super-resolution by four in space and two in time, of clips of at least two frames of any size.

    Args:
        channels: of the features.
        profile_blocks: residual blocks on slices.
        blocks: residual blocks on frames, where they are refined.
        base: the frames enlarged that the output is added to: "bicubic", "bilinear", or "none".

    Raises:
        ValueError: an option has no such value.
    """

    time_scale = 2
    min_frames = 2

    def __init__(self, channels: int = 64, profile_blocks: int = 10, blocks: int = 30, base: str = "bicubic") -> None:
        super().__init__()
        positive("temporal_profile", channels=channels, profile_blocks=profile_blocks, blocks=blocks)
        self.lookahead = sight(2 * profile_blocks + 3)
        self.enlarge = enlarger_if_any("temporal_profile", base)
        self.profile_first = ReplicatedConv2d(3, channels)
        self.profiles = nn.Sequential(*(ProfileBlock(channels) for _ in range(profile_blocks)))
        self.profile_last = ReplicatedConv2d(channels, 3)
        self.conv_first = nn.Conv2d(3 * 3, channels, 3, padding=1)
        self.fuse = nn.Conv2d(3 * channels, channels, 1)
        self.refine = residual_blocks(channels, blocks)
        self.add_sub_pixels(channels, channels)

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (N, T, 3, h, w) RGB in [0, 1], T at least 2, to (N, 2T - 1, 3, 4h, 4w), unclipped.

        Raises:
            ValueError: the clip is shorter.
        """
        return self.learn(clip)["restored"]

    def learn(self, clip: Tensor, **given: object) -> dict[str, Tensor]:
        """`restored`, and `between`, all frames at the size of LR, (N, 2T - 1, 3, h, w)."""
        check_clip(self, clip)
        profile = in_between(clip)
        found = [along_slices(self._found, profile, axis) for axis in (3, 4)]
        residue = sum(along_slices(self.profile_last, features, axis) for features, axis in zip(found, (3, 4), strict=True))
        between = profile + residue / 2
        # A frame is refined from itself and its neighbours, and from what its rows and columns were in the slices.
        around = torch.cat([_held(between, -1), between, _held(between, 1)], dim=2)
        frames = in_parts(self._restored, *(part.flatten(0, 1) for part in (between, around, *found)))
        return {"restored": frames.unflatten(0, between.shape[:2]), "between": between}

    def _found(self, slices: Tensor) -> Tensor:
        """Slices (N, 3, T, length) to their features."""
        features: Tensor = self.profiles(F.relu(self.profile_first(slices)))
        return features

    def _restored(self, frames: Tensor, around: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        fused = self.fuse(torch.cat([leaky_relu(self.conv_first(around)), rows, columns], dim=1))
        return self.upsample(self.refine(fused), frames)


def _held(clip: Tensor, by: int) -> Tensor:
    """The frame before (-1) or after (1) every frame of (N, T, ...); the ends are repeated."""
    last = clip.shape[1] - 1
    return clip[:, [min(max(t + by, 0), last) for t in range(last + 1)]]

"""EDVR: a frame restored from a window around it, aligned by deformable convolutions.

Source: Wang et al., "EDVR: Video Restoration with Enhanced Deformable Convolutional Networks", CVPRW
2019; the names of its published parameters. The module against blur (PreDeblur) is not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.blocks import SubPixelNetwork, count_blocks, leaky_relu, pad_to_multiple, residual_blocks
from models.parts.deform import PREDICTED, GuidedDeformConv
from models.parts.registry import positive, switches

MULTIPLE = 4
"""Sides have to be multiples of this, so that both smaller levels are exact halves."""


MEDIUM = 64
"""The channels of EDVR-M; networks with more are called EDVR-L."""


class PyramidAlignment(nn.Module):
    """Deformable alignment of a neighbour with the reference, from a quarter of the size to the full one (Sec. 3.2, Eq. 3, 4), without
    the cascade.

    Args:
        channels: of the features.
        groups: of the deformable convolutions.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()

        def conv(inputs: int) -> nn.Conv2d:
            return nn.Conv2d(inputs, channels, 3, padding=1)

        self.offset_conv1 = nn.ModuleDict({level: conv(2 * channels) for level in ("l3", "l2", "l1")})
        self.offset_conv2 = nn.ModuleDict({"l3": conv(channels), "l2": conv(2 * channels), "l1": conv(2 * channels)})
        self.offset_conv3 = nn.ModuleDict({level: conv(channels) for level in ("l2", "l1")})
        self.dcn_pack = nn.ModuleDict({level: GuidedDeformConv(channels, groups) for level in ("l3", "l2", "l1")})
        self.feat_conv = nn.ModuleDict({level: conv(2 * channels) for level in ("l2", "l1")})

    def forward(self, neighbour: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        """Align.

        Args:
            neighbour: its features at full, half and quarter size, (N, channels, H, W) and smaller.
            reference: as `neighbour`.

        Returns:
            (N, channels, H, W).
        """
        guide = leaky_relu(self.offset_conv1["l3"](torch.cat([neighbour[2], reference[2]], dim=1)))
        guide = leaky_relu(self.offset_conv2["l3"](guide))
        aligned = leaky_relu(self.dcn_pack["l3"](neighbour[2], guide))
        for index, level in ((1, "l2"), (0, "l1")):
            # What predicts offsets is doubled with the size, as a pixel of the smaller level is two of the larger.
            coarse_guide, coarse = 2 * enlarge_x2(guide), enlarge_x2(aligned)
            guide = leaky_relu(self.offset_conv1[level](torch.cat([neighbour[index], reference[index]], dim=1)))
            guide = leaky_relu(self.offset_conv2[level](torch.cat([guide, coarse_guide], dim=1)))
            guide = leaky_relu(self.offset_conv3[level](guide))
            aligned = self.dcn_pack[level](neighbour[index], guide)
            aligned = self.feat_conv[level](torch.cat([aligned, coarse], dim=1))
            if index:  # there is no activation at full size
                aligned = leaky_relu(aligned)
        return aligned


class PCDAlignment(PyramidAlignment):
    """Pyramid, cascading and deformable alignment: `PyramidAlignment`, and once more at full size."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__(channels, groups)
        self.cas_offset_conv1 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.cas_offset_conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.cas_dcnpack = GuidedDeformConv(channels, groups)

    def forward(self, neighbour: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        """See `PyramidAlignment`."""
        aligned = super().forward(neighbour, reference)
        guide = leaky_relu(self.cas_offset_conv1(torch.cat([aligned, reference[0]], dim=1)))
        guide = leaky_relu(self.cas_offset_conv2(guide))
        return leaky_relu(self.cas_dcnpack(aligned, guide))


class TSAFusion(nn.Module):
    """Fusion of aligned frames with temporal and spatial attention (Sec. 3.3, Eq. 5 to 8).

    Args:
        channels: of the features.
        frames: of the window.
    """

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.temporal_attn1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.temporal_attn2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.feat_fusion = nn.Conv2d(frames * channels, channels, 1)
        self.spatial_attn1 = nn.Conv2d(frames * channels, channels, 1)
        self.spatial_attn2 = nn.Conv2d(2 * channels, channels, 1)
        self.spatial_attn3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.spatial_attn4 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn5 = nn.Conv2d(channels, channels, 3, padding=1)
        self.spatial_attn_l1 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn_l2 = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.spatial_attn_l3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.spatial_attn_add1 = nn.Conv2d(channels, channels, 1)
        self.spatial_attn_add2 = nn.Conv2d(channels, channels, 1)

    def forward(self, aligned: Tensor) -> Tensor:
        """(N, T, channels, H, W), sides multiples of 4, to (N, channels, H, W)."""
        similar = self.temporal_attn2(aligned.flatten(0, 1)).view_as(aligned)
        reference = self.temporal_attn1(aligned[:, aligned.shape[1] // 2])
        weights = torch.sigmoid((similar * reference[:, None]).sum(dim=2, keepdim=True))
        weighed = (aligned * weights).flatten(1, 2)
        fused = leaky_relu(self.feat_fusion(weighed))

        attention = leaky_relu(self.spatial_attn1(weighed))
        attention = leaky_relu(self.spatial_attn2(halve(attention)))
        coarse = leaky_relu(self.spatial_attn_l1(attention))
        coarse = leaky_relu(self.spatial_attn_l2(halve(coarse)))
        coarse = enlarge_x2(leaky_relu(self.spatial_attn_l3(coarse)))
        attention = leaky_relu(self.spatial_attn3(attention)) + coarse
        attention = self.spatial_attn5(enlarge_x2(leaky_relu(self.spatial_attn4(attention))))
        shift = self.spatial_attn_add2(leaky_relu(self.spatial_attn_add1(attention)))
        # Twice the sigmoid is about one at first.
        return fused * torch.sigmoid(attention) * 2 + shift


class EDVRFeatures(nn.Module):
    """The features of the frame in the middle of a window: EDVR up to its reconstruction.

    Args:
        channels: of the features.
        frames: of the window.
        extraction_blocks: residual blocks before the alignment.
        groups: of the deformable convolutions.
        tsa: whether frames are fused with attention (TSA) or by a plain convolution.
    """

    trained_alone = True
    """Where it is a part of another network, it begins with parameters that EDVR was trained to."""

    def __init__(self, channels: int, frames: int, extraction_blocks: int, groups: int, tsa: bool) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.feature_extraction = residual_blocks(channels, extraction_blocks)
        self.conv_l2_1 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv_l2_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_l3_1 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.conv_l3_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.pcd_align = PCDAlignment(channels, groups)
        self.fusion = TSAFusion(channels, frames) if tsa else PlainFusion(frames * channels, channels, 1)

    def forward(self, window: Tensor) -> Tensor:
        """(N, frames, 3, H, W) RGB in [0, 1], sides multiples of 4, to (N, channels, H, W)."""
        levels = self.pyramid(self.extract(window))
        return self.fuse(levels, [level[:, window.shape[1] // 2] for level in levels])

    def extract(self, window: Tensor) -> Tensor:
        """The features of all frames, (N, T, channels, H, W)."""
        return self.feature_extraction(leaky_relu(self.conv_first(window.flatten(0, 1)))).unflatten(0, window.shape[:2])

    def pyramid(self, features: Tensor) -> list[Tensor]:
        """Features, (N, T, channels, H, W), and what they are at half and a quarter of the size."""
        half = leaky_relu(self.conv_l2_2(leaky_relu(self.conv_l2_1(features.flatten(0, 1)))))
        quarter = leaky_relu(self.conv_l3_2(leaky_relu(self.conv_l3_1(half))))
        return [features, *(level.unflatten(0, features.shape[:2]) for level in (half, quarter))]

    def fuse(self, levels: Sequence[Tensor], reference: Sequence[Tensor]) -> Tensor:
        """The fused features of all frames after alignment, (N, channels, H, W).

        Args:
            levels: the features of all frames at full, half and quarter size, (N, T, channels, H, W) and smaller.
            reference: those that they are aligned with, (N, channels, H, W) and smaller.
        """
        # The frame in the middle is aligned, too.
        aligned = [self.pcd_align([level[:, t] for level in levels], reference) for t in range(levels[0].shape[1])]
        return self.fusion(torch.stack(aligned, dim=1))


class PlainFusion(nn.Conv2d):
    """Fusion of aligned frames without attention, (N, T, channels, H, W) to (N, channels, H, W)."""

    def forward(self, aligned: Tensor) -> Tensor:
        return super().forward(aligned.flatten(1, 2))


class EDVR(EDVRFeatures, SubPixelNetwork):
    """Super-resolution by four of the frame in the middle of a window; by default as wide and deep as EDVR-M.

    Args:
        channels: of the features.
        frames: of the window, an odd number: 5 for REDS, 7 for Vimeo-90K.
        extraction_blocks: residual blocks before the alignment.
        reconstruction_blocks: residual blocks after the fusion.
        groups: of the deformable convolutions.
        tsa: whether frames are fused with attention (TSA); the first stage of training does without.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frame that the residual is added to: "bilinear" as published, or "bicubic".

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self,
        channels: int = 64,
        frames: int = 5,
        extraction_blocks: int = 5,
        reconstruction_blocks: int = 10,
        groups: int = 8,
        tsa: bool = True,
        upsample_channels: int = 64,
        base: str = "bilinear",
    ) -> None:
        positive(self.name, channels=channels, frames=frames, groups=groups)
        positive(self.name, extraction_blocks=extraction_blocks, reconstruction_blocks=reconstruction_blocks)
        if frames % 2 == 0:
            raise ValueError(f"option 'frames' of {self.name} is {frames}, which has no middle: give an odd number.")
        switches(self.name, tsa=tsa)
        super().__init__(channels, frames, extraction_blocks, groups, tsa)
        self.window = self.min_frames = frames
        self.lookahead = frames // 2
        self.reconstruction = residual_blocks(channels, reconstruction_blocks)
        self.add_upsampler(channels, upsample_channels, base)

    def forward(self, clip: Tensor) -> Tensor:
        """Restore the middle frame.

        Args:
            clip: (N, frames, 3, H, W) RGB in [0, 1].

        Returns:
            (N, 3, 4H, 4W), unclipped.

        Raises:
            ValueError: the window has another length, or frames are smaller than 3x3 and no multiples of 4.
        """
        window = self.pad(clip)
        return self.restore(self.reconstruction(super().forward(window)), window, clip)

    def pad(self, clip: Tensor) -> Tensor:
        """The clip as a window whose sides are multiples of 4.

        Raises:
            ValueError: as `forward`.
        """
        if clip.shape[1] != self.window:
            raise ValueError(f"{self.name} restores windows of {self.window} frames but got {clip.shape[1]}: give {self.window}.")
        return pad_to_multiple(clip, MULTIPLE)

    def restore(self, features: Tensor, window: Tensor, clip: Tensor) -> Tensor:
        """The restored frame, of which `features` are, without what `pad` added to the clip."""
        height, width = clip.shape[-2:]
        return self.upsample(features, window[:, window.shape[1] // 2])[..., : 4 * height, : 4 * width]


def feature_options(state: Mapping[str, Tensor], prefix: str = "") -> dict[str, Any]:
    """The options of `EDVRFeatures` whose parameters have these names, after `prefix`, and shapes.

    Raises:
        KeyError: they are not of it.
    """
    stem = state[f"{prefix}conv_first.weight"]
    tsa = f"{prefix}fusion.feat_fusion.weight" in state
    fusion = state[f"{prefix}fusion.feat_fusion.weight" if tsa else f"{prefix}fusion.weight"]
    return {
        "channels": stem.shape[0],
        "frames": fusion.shape[1] // stem.shape[0],
        "extraction_blocks": count_blocks(state, f"{prefix}feature_extraction."),
        "groups": state[f"{prefix}pcd_align.cas_dcnpack.conv_offset.weight"].shape[0] // PREDICTED,
        "tsa": tsa,
    }


def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
    try:
        return {
            **feature_options(state),
            "reconstruction_blocks": count_blocks(state, "reconstruction."),
            "upsample_channels": state["conv_hr.weight"].shape[0],
        }
    except KeyError:
        return None


def enlarge_x2(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, C, 2H, 2W), bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def halve(x: Tensor) -> Tensor:
    """(N, C, H, W), sides even, to (N, 2C, H/2, W/2): maxima and means of the neighbourhood."""
    return torch.cat([F.max_pool2d(x, 3, stride=2, padding=1), F.avg_pool2d(x, 3, stride=2, padding=1)], dim=1)

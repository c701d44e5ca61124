"""IconVSR: BasicVSR with features of keyframes filled in and branches that see each other.

Source: Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and
Beyond", CVPR 2021, Sec. 4; the names of its published parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.parts.blocks import ConvResidualBlocks, count_blocks, pad_to_multiple
from models.parts.edvr import MULTIPLE, EDVRFeatures, feature_options
from models.parts.priors import FLOW, given, pad_flow
from models.parts.recurrent import RecurrentNetwork
from models.parts.registry import positive, register
from models.parts.warp import flow_warp
from models.parts.weights import measured, openmmlab

SOURCE = "mmagic, configs/iconvsr/README.md"

WEIGHTS = {
    "iconvsr_reds4": openmmlab(
        "iconvsr",
        "iconvsr_reds4_20210413-9e09d621.pth",
        trained_on="reds/bi_x4",
        reported=measured(reds4__bi_x4=(31.6926, 0.8951), vimeo90k__bi_x4=(36.4983, 0.9416), vid4__bi_x4=(27.4809, 0.8354)),
        source=SOURCE,
    ),
    "iconvsr_vimeo90k_bi": openmmlab(
        "iconvsr",
        "iconvsr_vimeo90k_bi_20210413-7c7418dc.pth",
        trained_on="vimeo90k/bi_x4",
        options={"temporal_padding": 3},
        reported=measured(reds4__bi_x4=(30.3452, 0.8659), vimeo90k__bi_x4=(37.3729, 0.9467), vid4__bi_x4=(27.4238, 0.8297)),
        source=SOURCE,
    ),
    "iconvsr_vimeo90k_bd": openmmlab(
        "iconvsr",
        "iconvsr_vimeo90k_bd_20210414-5f38cb34.pth",
        trained_on="vimeo90k/bd_x4",
        options={"temporal_padding": 3},
        reported=measured(udm10__bd_x4=(40.0640, 0.9697), vimeo90k__bd_x4=(37.7573, 0.9517), vid4__bd_x4=(28.2464, 0.8612)),
        source=SOURCE,
    ),
}


@register("iconvsr")
class IconVSR(RecurrentNetwork):
    """Super-resolution by four of whole clips.

    Every `keyframe_stride`-th frame and the last one are keyframes. Their features, extracted as EDVR
    does from a window around them, are merged into those that are propagated.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        keyframe_stride: frames from keyframe to keyframe.
        temporal_padding: frames of a window at each side of its keyframe: 2 for REDS, 3 for Vimeo-90K.
        extraction_blocks: residual blocks before the alignment of a window.
        groups: of the deformable convolutions in the alignment.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".
        flow: "own", of a SPyNet within the network, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 30,
        keyframe_stride: int = 5,
        temporal_padding: int = 2,
        extraction_blocks: int = 5,
        groups: int = 8,
        upsample_channels: int = 64,
        base: str = "bilinear",
        flow: str = "own",
    ) -> None:
        super().__init__()
        positive(self.name, channels=channels, blocks=blocks, keyframe_stride=keyframe_stride)
        positive(self.name, temporal_padding=temporal_padding, extraction_blocks=extraction_blocks, groups=groups)
        self.channels = channels
        self.temporal_padding = temporal_padding
        self.min_frames = 2 * temporal_padding + 1
        self.period = keyframe_stride
        self.edvr = EDVRFeatures(channels, self.min_frames, extraction_blocks, groups, tsa=True)
        self.add_flow(flow)
        self.backward_fusion = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.backward_trunk = ConvResidualBlocks(channels + 3, channels, blocks)
        self.forward_fusion = nn.Conv2d(2 * channels, channels, 3, padding=1)
        self.forward_trunk = ConvResidualBlocks(2 * channels + 3, channels, blocks)
        self.add_upsampler(channels, upsample_channels, base)

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        try:
            window = feature_options(state, "edvr.")
            return {
                "channels": state["forward_fusion.weight"].shape[0],
                "blocks": count_blocks(state, "backward_trunk.main.2."),
                "temporal_padding": window["frames"] // 2,
                "extraction_blocks": window["extraction_blocks"],
                "groups": window["groups"],
                "upsample_channels": state["conv_hr.weight"].shape[0],
            }
        except KeyError:
            return None

    def forward(self, clip: Tensor, *, flow: Tensor | None = None) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1], T at least `min_frames`.
            flow: see `flows`; mirrored with the clip where its sides are no multiples of 4.

        Returns:
            (N, T, 3, 4H, 4W), unclipped.

        Raises:
            ValueError: the clip is too short, or frames are smaller than 3x3 and no multiples of 4; or as `flows`.
        """
        if clip.shape[1] < self.min_frames:
            raise ValueError(
                f"{self.name} restores clips of at least {self.min_frames} frames but got {clip.shape[1]}: give a longer one."
            )
        height, width = clip.shape[-2:]
        if "flow" in self.priors:
            flow = pad_flow(given(self.name, "flow", clip, flow, FLOW), MULTIPLE)
        return super().forward(pad_to_multiple(clip, MULTIPLE), flow=flow)[..., : 4 * height, : 4 * width]

    def features(self, clip: Tensor, to_next: Tensor, to_previous: Tensor) -> Iterator[Tensor]:
        frames = clip.shape[1]
        keyframes = self.keyframes(clip)
        state = clip.new_zeros(clip.shape[0], self.channels, *clip.shape[-2:])
        following: list[Tensor] = []
        for t in reversed(range(frames)):
            if t < frames - 1:
                state = flow_warp(state, to_next[:, t])
            if t in keyframes:
                state = self.backward_fusion(torch.cat([state, keyframes[t]], dim=1))
            state = self.backward_trunk(torch.cat([clip[:, t], state], dim=1))
            following.append(state)
        state = torch.zeros_like(state)
        for t in range(frames):
            if t > 0:
                state = flow_warp(state, to_previous[:, t - 1])
            if t in keyframes:
                state = self.forward_fusion(torch.cat([state, keyframes.pop(t)], dim=1))
            # Taken off their lists, features of restored frames are freed where no gradient needs them.
            state = self.forward_trunk(torch.cat([clip[:, t], following.pop(), state], dim=1))
            yield state

    def keyframes(self, clip: Tensor) -> dict[int, Tensor]:
        """The features of every keyframe, (N, channels, H, W) by its index.

        Before the first and after the last frame, windows go on with the frames that are
        `temporal_padding` + 1 to 2 `temporal_padding` frames away from it.
        """
        frames, padding = clip.shape[1], self.temporal_padding
        before = range(2 * padding, padding, -1)
        padded = [*before, *range(frames), *(frames - 1 - t for t in reversed(before))]
        return {t: self.edvr(clip[:, padded[t : t + 2 * padding + 1]]) for t in {*range(0, frames, self.period), frames - 1}}

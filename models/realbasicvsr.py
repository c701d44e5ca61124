"""RealBasicVSR: frames are cleaned, then restored by BasicVSR.

Source: Chan et al., "Investigating Tradeoffs in Real-World Video Super-Resolution", CVPR 2022, Sec. 4; the names of its published
parameters, without the `basicvsr.` in front of those that BasicVSR has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.basicvsr import BasicVSR
from models.parts.blocks import count_blocks, in_parts
from models.parts.cleaning import Cleaning
from models.parts.registry import positive, register
from models.parts.weights import openmmlab
from models.unet_discriminator import UNetDiscriminator

PASSES = 3
"""Of the cleaning, at most."""

WEIGHTS = {
    "realbasicvsr_reds": openmmlab(
        "real_basicvsr",
        "realbasicvsr_c64b20_1x30x8_lr5e-5_150k_reds_20211104-52f77c2c.pth",
        trained_on="reds/realworld_x4",
        source="mmagic, configs/real_basicvsr/README.md",
    ),
    "realbasicvsr_reds_first_stage": openmmlab(
        "real_basicvsr",
        "realbasicvsr_wogan_c64b20_2x30x8_lr1e-4_300k_reds_20211027-0e2ff207.pth",
        trained_on="reds/realworld_x4",
        differs="the first stage, without perceptual and adversarial losses",
        source="mmagic, configs/real_basicvsr/README.md",
    ),
}


@register("realbasicvsr")
class RealBasicVSR(BasicVSR):
    """Super-resolution by four of whole clips of any length and frame size.

    Frames are cleaned once while the network learns. Afterwards they are cleaned until a pass changes the frames of the clip by less than
    `threshold` in the mean, three times at most (Sec. 4.2, dynamic refinement). The mean is that of what is restored at once: a
    pass, or a tile of it.

    Args:
        channels: of the features.
        blocks: residual blocks per direction.
        upsample_channels: of the layers at the output's resolution.
        cleaning_blocks: residual blocks that clean.
        threshold: in 8-bit levels, 5 of the published network and 1.5 of its first stage.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".
        flow: "own", of a SPyNet within the network that sees clean frames, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    discriminator = UNetDiscriminator

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 20,
        upsample_channels: int = 64,
        cleaning_blocks: int = 20,
        threshold: float = 5.0,
        base: str = "bilinear",
        flow: str = "own",
    ) -> None:
        super().__init__(channels, blocks, upsample_channels, base, flow)
        positive("realbasicvsr", cleaning_blocks=cleaning_blocks)
        if not isinstance(threshold, int | float) or isinstance(threshold, bool) or threshold <= 0:
            raise ValueError(f"option 'threshold' of realbasicvsr is {threshold!r}: give a number of levels above 0.")
        self.threshold = threshold / 255
        self.image_cleaning = Cleaning(channels, cleaning_blocks)

    def forward(self, clip: Tensor, *, flow: Tensor | None = None) -> Tensor:
        return super().forward(self.clean(clip), flow=flow)

    def learn(self, clip: Tensor, **given: Any) -> dict[str, Tensor]:
        """`restored`, and `cleaned`, the frames (N, T, 3, h, w) that it was restored from."""
        cleaned = self.clean(clip)
        return {"restored": super().forward(cleaned, **given), "cleaned": cleaned}

    def clean(self, clip: Tensor) -> Tensor:
        """The clean frames of clips, (N, T, 3, h, w) RGB in [0, 1]; every clip by itself."""
        if self.training:
            return clip + in_parts(self.image_cleaning, clip.flatten(0, 1)).unflatten(0, clip.shape[:2])
        return torch.stack([self._refined(frames) for frames in clip])

    def _refined(self, frames: Tensor) -> Tensor:
        for _ in range(PASSES):
            change = in_parts(self.image_cleaning, frames)
            frames = frames + change
            # Where only operations are counted there are no values: one pass, as published tables have it.
            if change.is_meta or change.abs().mean() < self.threshold:
                break
        return frames

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        if "image_cleaning.1.weight" not in state:
            return None
        found = BasicVSR.features_of(state)
        return found and {**found, "cleaning_blocks": count_blocks(state, "image_cleaning.0.main.2.")}

"""EDVR guided by masks: SEEM refines what neighbours are aligned with, what is fused and what is reconstructed.

Source: Lu et al., "Can SAM Boost Video Super-Resolution?", arXiv:2305.06524, Sec. 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models import seem
from models.parts.blocks import pad_to_multiple
from models.parts.edvr import EDVR, MULTIPLE
from models.parts.priors import PLANES, given
from models.parts.registry import register


@register("seem_edvr")
class SEEMEDVR(EDVR):
    """`models.parts.edvr.EDVR` with the width and depth of EDVR-M, and SEEM at three places.

    The parameters of EDVR keep their names; those added begin with `seem.`. All three places see the
    representation of the middle frame. The refined reference is what predicts the offsets; the paper does
    not say at which size, and here its smaller levels are made from the refined full one. Neighbours are
    sampled as they are, the middle frame among them.
    """

    priors = ("masks",)

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
        super().__init__(channels, frames, extraction_blocks, reconstruction_blocks, groups, tsa, upsample_channels, base)
        self.seem = seem.modules(channels, ("align", "fusion", "recon"))

    def forward(self, clip: Tensor, *, masks: Tensor | None = None) -> Tensor:
        """Restore the middle frame.

        Args:
            clip: (N, frames, 3, H, W) RGB in [0, 1].
            masks: (N, frames, 64, H, W) of 0 and 1, of which those of the middle frame count.

        Returns:
            (N, 3, 4H, 4W), unclipped.

        Raises:
            ValueError: the window has another length, frames are smaller than 3x3 and no multiples of 4,
                or the masks are missing or not of the clip.
        """
        middle = clip.shape[1] // 2
        window = self.pad(clip)
        own = pad_to_multiple(given(self.name, "masks", clip, masks, PLANES)[:, middle : middle + 1].to(clip.dtype), MULTIPLE)[
            :, 0
        ]
        guide = self.seem["fr"](window[:, middle], own)
        features = self.extract(window)
        reference = features[:, middle]
        reference = reference + self.seem["align"](reference, guide)
        # In one batch, as a network that has learnt nothing must give EDVR's very bits and kernels depend on the batch.
        levels = self.pyramid(torch.cat([features, reference[:, None]], dim=1))
        x = self.fuse([level[:, :-1] for level in levels], [level[:, -1] for level in levels])
        x = self.reconstruction(x + self.seem["fusion"](x, guide))
        return self.restore(x + self.seem["recon"](x, guide), window, clip)

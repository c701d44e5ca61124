"""BasicVSR guided by masks: SEEM refines aligned features before and after the residual blocks.

Source: Lu et al., "Can SAM Boost Video Super-Resolution?", arXiv:2305.06524, Sec. 3.5.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor

from models import seem
from models.parts.basicvsr import BasicVSRFeatures
from models.parts.blocks import in_parts
from models.parts.priors import PLANES, given
from models.parts.recurrent import RecurrentNetwork
from models.parts.registry import misspelt, register, switches

BRANCHES = {"both": ("backward", "forward"), "forward": ("forward",), "backward": ("backward",)}


@register("seem_basicvsr")
class SEEMBasicVSR(BasicVSRFeatures, RecurrentNetwork):
    """BasicVSR with SEEM at two places of each direction.

    The parameters of BasicVSR keep their names; those added begin with `seem.`. Features that were
    enhanced after the residual blocks (Eq. 14) are fused; the paper does not say whether they are also
    carried on to the next frame. By default they are not, as a trained recurrence then sees what it knows.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        branches: the directions that have SEEM: "both", "forward" or "backward".
        propagate_enhanced: whether features are carried on enhanced.
        upsample_channels: of the layers at the output's resolution.
        base: the enlarged frames that the residual is added to: "bilinear" as published, or "bicubic".
        flow: "own", of a SPyNet within the network, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    priors = ("masks",)

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 30,
        branches: str = "both",
        propagate_enhanced: bool = False,
        upsample_channels: int = 64,
        base: str = "bilinear",
        flow: str = "own",
    ) -> None:
        super().__init__(channels, blocks, flow)
        if branches not in BRANCHES:
            raise ValueError(misspelt(f"value of branches of {self.name}", str(branches), BRANCHES))
        switches(self.name, propagate_enhanced=propagate_enhanced)
        self.propagate_enhanced = propagate_enhanced
        self.guided = BRANCHES[branches]
        self.seem = seem.modules(channels, tuple(f"{branch}_{place}" for branch in self.guided for place in ("pre", "post")))
        self.add_upsampler(channels, upsample_channels, base)

    def forward(self, clip: Tensor, *, masks: Tensor | None = None, flow: Tensor | None = None) -> Tensor:
        """Restore a clip.

        Args:
            clip: (N, T, 3, H, W) RGB in [0, 1].
            masks: (N, T, 64, H, W) of 0 and 1.
            flow: see `flows`.

        Returns:
            (N, T, 3, 4H, 4W), unclipped.

        Raises:
            ValueError: the masks are missing or not of the clip, or as `flows`.
        """
        masks = given(self.name, "masks", clip, masks, PLANES)
        guides = in_parts(self.seem["fr"], clip.flatten(0, 1), masks.flatten(0, 1)).unflatten(0, clip.shape[:2])
        features = self.propagate(clip, *self.flows(clip, flow), partial(self.guided_step, guides))
        return self.restore(features, clip)

    def guided_step(self, guides: Tensor, direction: str, t: int, seen: Tensor) -> tuple[Tensor, Tensor]:
        """`models.parts.basicvsr.Step` with SEEM (Eq. 13, 14); `guides` is (N, T, channels, H, W)."""
        if direction not in self.guided:
            return self.step(direction, t, seen)
        conv, activation, blocks = self.trunk(direction).main
        x = activation(conv(seen))
        state = blocks(x + self.seem[f"{direction}_pre"](x, guides[:, t]))
        enhanced = state + self.seem[f"{direction}_post"](state, guides[:, t])
        return enhanced if self.propagate_enhanced else state, enhanced

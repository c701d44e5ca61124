"""Ada-VSR: twice the frames, then four times the size, by two modules that are quick to adapt to a clip.

Source: Gupta et al., "Ada-VSR: Adaptive Video Super-Resolution with Meta-Learning", ACM MM 2021. How it is trained and adapted is in
`pipelines/training/meta.py` and `pipelines/restoring/adapting.py`.
"""

from __future__ import annotations

from torch import Tensor, nn

from models.ada_ssr import AdaSSR
from models.ada_tsr import AdaTSR
from models.parts.registry import Network, create, positive, register
from models.parts.space_time import check_clip


@register("ada_vsr")
class AdaVSR(Network):
    """Super-resolution by four in space and two in time, of clips of at least two frames of any size.

    Args:
        tsr: the option `module` of `ada_tsr`, which comes first.
        tsr_channels, tsr_blocks: its other options.
        channels, blocks, base: those of `ada_ssr`, which sees every frame that comes out.

    Raises:
        ValueError: an option has no such value.
    """

    scale = 4
    time_scale = 2
    min_frames = 2

    def __init__(
        self,
        tsr: str = "conv3d",
        tsr_channels: int = 64,
        tsr_blocks: int = 5,
        channels: int = 64,
        blocks: int = 16,
        base: str = "bicubic",
    ) -> None:
        super().__init__()
        positive("ada_vsr", tsr_channels=tsr_channels, tsr_blocks=tsr_blocks)
        self.tsr = create("ada_tsr", module=tsr, channels=tsr_channels, blocks=tsr_blocks)
        self.lookahead = self.tsr.lookahead
        self.ssr = create("ada_ssr", channels=channels, blocks=blocks, base=base)
        assert isinstance(self.tsr, AdaTSR) and isinstance(self.ssr, AdaSSR)

    @property
    def last(self) -> nn.Module:
        """The layer that makes what is added to the enlarged frames."""
        last = self.ssr.last
        assert isinstance(last, nn.Module)
        return last

    def forward(self, clip: Tensor) -> Tensor:
        """Clips (N, T, 3, h, w) RGB in [0, 1], T at least 2, to (N, 2T - 1, 3, 4h, 4w), unclipped.

        Raises:
            ValueError: the clip is shorter.
        """
        return self.learn(clip)["restored"]

    def learn(self, clip: Tensor, **given: object) -> dict[str, Tensor]:
        """`restored`, and `between`, all frames at the size of LR, (N, 2T - 1, 3, h, w)."""
        check_clip(self, clip)
        between = self.tsr(clip)
        return {"restored": self.ssr(between), "between": between}

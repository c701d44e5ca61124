"""BasicVSR and BasicVSR++ with a head that is made of its width alone."""

from __future__ import annotations

from collections.abc import Callable

from models.parts.any_scale import AnyScaleNetwork, Head
from models.parts.basicvsr import BasicVSRFeatures
from models.parts.basicvsr_plusplus import BasicVSRPlusPlusFeatures


class OnBasicVSR(BasicVSRFeatures, AnyScaleNetwork):
    """Super-resolution of whole clips at any scale on the features of BasicVSR; a subclass says by which `kind` of head.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per direction.
        hidden: size of the hidden layers of the head's perceptron.
        base: the enlarged frames that the residual is added to: "bilinear" or "bicubic".
        flow: "own", of a SPyNet within the network, or "given" with the clip.

    Raises:
        ValueError: an option has no such value.
    """

    kind: Callable[[int, int], Head]

    def __init__(
        self, channels: int = 64, blocks: int = 30, hidden: int = 256, base: str = "bilinear", flow: str = "own"
    ) -> None:
        super().__init__(channels, blocks, flow)
        self.add_head(type(self).kind(channels, hidden), base)


class OnBasicVSRPlusPlus(BasicVSRPlusPlusFeatures, AnyScaleNetwork):
    """The same on the features of BasicVSR++.

    Args:
        channels: of the propagated features.
        blocks: residual blocks per branch.
        outer_blocks: residual blocks of the feature extraction and of the reconstruction.
        groups: of the deformable convolutions, an even number that divides twice the channels.
        hidden, base, flow: see `OnBasicVSR`.

    Raises:
        ValueError: an option has no such value.
    """

    kind: Callable[[int, int], Head]

    def __init__(
        self,
        channels: int = 64,
        blocks: int = 7,
        outer_blocks: int = 5,
        groups: int = 16,
        hidden: int = 256,
        base: str = "bilinear",
        flow: str = "own",
    ) -> None:
        super().__init__(channels, blocks, outer_blocks, groups, flow)
        self.add_head(type(self).kind(channels, hidden), base)

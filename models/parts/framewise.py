"""Networks that restore every frame of a clip by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.blocks import in_parts
from models.parts.online import OnlineNetwork, State


class FramewiseNetwork(OnlineNetwork):
    """A network of single frames, of which nothing is kept for the next; a subclass defines `restore`."""

    def restore(self, frames: Tensor) -> Tensor:
        """Frames (N, 3, h, w) RGB in [0, 1] to (N, 3, sh, sw), unclipped."""
        raise NotImplementedError

    def forward(self, clip: Tensor) -> Tensor:
        """Restore a clip, (N, T, 3, h, w) RGB in [0, 1], to (N, T, 3, sh, sw), unclipped; or frames, (N, 3, h, w)."""
        if clip.ndim == 4:
            return in_parts(self.restore, clip)
        return in_parts(self.restore, clip.flatten(0, 1)).unflatten(0, clip.shape[:2])

    def step(self, frame: Tensor, state: State | None) -> tuple[Tensor, State]:
        """See `OnlineNetwork`."""
        return self.restore(frame), ()


class FeatureNetwork(FramewiseNetwork):
    """A convolution to features, a chain of blocks, and sub-pixel convolution by four.

    A subclass calls `add_layers` in its `__init__`.
    """

    scale = 4

    def add_layers(self, channels: int, blocks: list[nn.Module], base: str) -> None:
        """Make the layers.

        Args:
            channels: of the features.
            blocks: each takes and gives (N, channels, h, w).
            base: "none" as the papers have it, or the enlarged frames that the output is added to: "bilinear" or "bicubic".

        Raises:
            ValueError: there is no such base.
        """
        self.enlarge = enlarger_if_any(self.name, base)
        self.to_feat = nn.Conv2d(3, channels, 3, padding=1)
        self.feats = nn.Sequential(*blocks)
        self.to_img = nn.Sequential(nn.Conv2d(channels, 3 * self.scale**2, 3, padding=1), nn.PixelShuffle(self.scale))

    @property
    def last(self) -> nn.Module:
        """The layer that makes the output."""
        return self.to_img[0]

    def features(self, shallow: Tensor) -> Tensor:
        """What frames are restored from, (N, channels, h, w), by what the first convolution gives."""
        return self.feats(shallow) + shallow

    def restore(self, frames: Tensor) -> Tensor:
        restored = self.to_img(self.features(self.to_feat(frames)))
        return on_enlarged(restored, frames, self.enlarge)


def feature_options(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The options `channels` and `blocks` of the `FeatureNetwork` that enlarges by four whose parameters have these names and shapes.

    Raises:
        KeyError: they are not of one.
    """
    made, channels = state["to_img.0.weight"].shape[:2]
    if made != 3 * FeatureNetwork.scale**2:
        raise KeyError("to_img.0.weight")
    return {"channels": channels, "blocks": len({key.split(".")[1] for key in state if key.startswith("feats.")})}

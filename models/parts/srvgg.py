"""The compact networks of Real-ESRGAN: a chain of convolutions at LR, and sub-pixel convolution.

Source: Real-ESRGAN's releases v0.2.5 and later, which have no text of their own; the names of their published parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from models.parts.base import enlarger_if_any, on_enlarged
from models.parts.framewise import FramewiseNetwork
from models.parts.registry import positive


class CompactNetwork(FramewiseNetwork):
    """Super-resolution of single frames of any size: the output is added to the enlarged frame.

    A subclass calls `add_layers` in its `__init__`, and `published_options` with its own number of layers in `options_of`.
    """

    def add_layers(self, channels: int, layers: int, scale: int, base: str) -> None:
        """Make the layers.

        Args:
            channels: of the features.
            layers: convolutions between the first and the last, each with a rectifier whose slopes are learnt.
            scale: of the output.
            base: the enlarged frames that the output is added to: "nearest" as published, "bilinear", "bicubic" or "none".

        Raises:
            ValueError: an option has no such value.
        """
        positive(self.name, channels=channels, layers=layers, scale=scale)
        self.scale = scale
        self.enlarge = enlarger_if_any(self.name, base)
        body: list[nn.Module] = []
        for inputs in (3, *[channels] * layers):
            body += [nn.Conv2d(inputs, channels, 3, padding=1), nn.PReLU(channels)]
        self.body = nn.Sequential(*body, nn.Conv2d(channels, 3 * scale**2, 3, padding=1))

    @property
    def last(self) -> nn.Module:
        """The layer that makes the output."""
        return self.body[-1]

    def restore(self, frames: Tensor) -> Tensor:
        restored = F.pixel_shuffle(self.body(frames), int(self.scale))
        return on_enlarged(restored, frames, self.enlarge)


def published_options(state: Mapping[str, Tensor], layers: int) -> dict[str, Any] | None:
    """The options of a published network of that many layers, or None if the parameters are of none."""
    last = 2 * (layers + 1)
    if not all(key in state for key in ("body.0.weight", "body.1.weight", f"body.{last}.weight")):
        return None
    first, slopes, end = (state[f"body.{index}.weight"] for index in (0, 1, last))
    scale = round((end.shape[0] / 3) ** 0.5)
    if slopes.shape != first.shape[:1] or end.shape[0] != 3 * scale**2 or len(state) != 3 * (layers + 1) + 2:
        return None
    return {"channels": first.shape[0], "scale": scale}

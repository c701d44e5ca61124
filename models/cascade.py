"""A cascade: frames in between by interpolation in closed form, then any network that restores all frames. What joint methods have to beat."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from models.bicubic import Bicubic
from models.parts.in_between import along_flow, in_between
from models.parts.priors import FLOW, given
from models.parts.registry import Network, create, misspelt, register
from models.parts.space_time import check_clip

WAYS = {"linear": 1, "cubic": 2, "flow": 1}
"""How many frames after a given one the one made after it is interpolated from."""


@register("cascade")
class Cascade(Network):
    """Twice the frames, then the scale of the network that restores them.

    Args:
        interpolate: how frames in between are made: "linear" or "cubic" in time, or along "flow", which is then a prior.
        network: restores the frames; one that sees no priors. By default bicubic interpolation, which has nothing to learn.
        options: of that network; None for its published defaults.

    Raises:
        ValueError: an option has no such value.
    """

    time_scale = 2
    min_frames = 2

    def __init__(self, interpolate: str = "linear", network: str = "bicubic", options: dict[str, Any] | None = None) -> None:
        super().__init__()
        if interpolate not in WAYS:
            raise ValueError(misspelt("way to interpolate of cascade", str(interpolate), WAYS))
        self.restorer = Bicubic() if network == "bicubic" and not options else create(network, **(options or {}))
        if self.restorer.priors or self.restorer.window or self.restorer.time_scale > 1 or not self.restorer.restores:
            raise ValueError(
                f"option 'network' of cascade is {network!r}: give one that restores all frames of a clip by themselves."
            )
        self.interpolate = interpolate
        self.priors = ("flow",) if interpolate == "flow" else ()
        self.scale = self.restorer.scale
        self.lookahead = WAYS[interpolate] if self.restorer.lookahead == 0 else None

    def forward(self, clip: Tensor, *, flow: Tensor | None = None) -> Tensor:
        """Clips (N, T, 3, h, w) RGB in [0, 1], T at least 2, and their flow where they are interpolated along it, to
        (N, 2T - 1, 3, sh, sw), unclipped.

        Raises:
            ValueError: the clip is shorter, or the flow is of another.
        """
        check_clip(self, clip)
        if self.interpolate == "flow":
            doubled = along_flow(clip, given("cascade", "flow", clip, flow, FLOW))
        else:
            doubled = in_between(clip, self.interpolate)
        restored: Tensor = self.restorer(doubled)
        return restored

"""Online networks: a frame restored as soon as it is there, from it and from what is kept of those before."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from models.parts.registry import Network

State = tuple[Tensor, ...]
"""What is kept from frame to frame; its size does not grow with the clip."""


class OnlineNetwork(Network):
    """A network that is defined by its step, so that no frame depends on one that follows.

    `step(frame, state, **priors)` takes a frame (N, 3, h, w) in [0, 1], None as the state at the beginning of a clip and else
    what the step before gave, and the priors of the frame (N, channels, h, w). It gives the restored frame
    (N, 3, sh, sw), unclipped, and the state.
    """

    lookahead = 0
    step: Callable[..., tuple[Tensor, State]]

    def forward(self, clip: Tensor) -> Tensor:
        """Restore a clip, (N, T, 3, h, w) RGB in [0, 1], to (N, T, 3, sh, sw), unclipped."""
        return self.in_steps(clip, None)[0]

    def in_steps(self, clip: Tensor, state: State | None, **priors: Tensor) -> tuple[Tensor, State | None]:
        """Step through a clip, (N, T, 3, h, w), whose priors are (N, T, channels, h, w), from a state on: its frames and the last state."""
        frames = []
        for t in range(clip.shape[1]):
            restored, state = self.step(clip[:, t], state, **{name: prior[:, t] for name, prior in priors.items()})
            frames.append(restored)
        return torch.stack(frames, dim=1), state

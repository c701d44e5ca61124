"""What one call of an exported network is: a frame with its state, or a clip of a fixed length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models import Network
from models.parts.online import OnlineNetwork
from pipelines.priors import kinds

Size = tuple[int, int]


@dataclass(frozen=True)
class Call:
    """A module whose positional arguments are `inputs` and whose results are `outputs`.

    `frames` is how many of the clip's frames a call takes, None for one frame, (1, 3, h, w). Where the network keeps a `state`, its
    arguments end with that and its results with the next; `first` is then the call that begins a clip, which is given none.
    """

    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    frames: int | None
    state: tuple[Tensor, ...] = ()
    first: Call | None = None

    def arguments(self, clip: Tensor, priors: Sequence[Tensor], t: int, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Of the call at frame t of a clip, (1, T, 3, h, w), with its priors, (1, T, C, h, w)."""
        if self.frames is not None:
            return clip, *priors
        return clip[:, t], *(prior[:, t] for prior in priors), *state


class Clip(nn.Module):
    """A network that takes a clip, or the window of one."""

    def __init__(self, network: Network, size: Size | None) -> None:
        super().__init__()
        self.network = network
        self.given: dict[str, Any] = {} if size is None else {"size": size}

    def forward(self, clip: Tensor, *priors: Tensor) -> Tensor:
        restored: Tensor = self.network(clip, **dict(zip(self.network.priors, priors, strict=True)), **self.given)
        return restored


class Step(nn.Module):
    """An online network's step, at the beginning of a clip without a state."""

    def __init__(self, network: OnlineNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, frame: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        count = len(self.network.priors)
        priors = dict(zip(self.network.priors, rest[:count], strict=True))
        restored, after = self.network.step(frame, rest[count:] or None, **priors)
        return restored, *after


@torch.no_grad()
def call(network: Network, frames: int, lr: Size, size: Size | None) -> Call:
    """How a network is called, once exported.

    Args:
        network: in evaluation mode.
        frames: of a clip, for networks that take one; one that sees a window takes that.
        lr: (h, w) of frames.
        size: (H, W) of the restored frames, for networks that restore at any scale.
    """
    if not isinstance(network, OnlineNetwork):
        taken = network.window or (1 if network.causal else frames)
        return Call(Clip(network, size), ("clip", *network.priors), ("restored",), taken)
    step, seen = Step(network), ("frame", *network.priors)
    clip, priors = drawn(network, 1, lr)
    _, *state = step(clip[:, 0], *(prior[:, 0] for prior in priors))
    names = [f"state_{index}" for index in range(len(state))]
    results = ("restored", *(f"next_{name}" for name in names))
    first = Call(step, seen, results, None)
    return Call(step, (*seen, *names), results, None, tuple(state), first) if state else first


def drawn(network: Network, frames: int, lr: Size, seed: int = 0) -> tuple[Tensor, list[Tensor]]:
    """A clip of random frames, (1, T, 3, h, w) in [0, 1], and random priors of its kinds, (1, T, C, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    clip = torch.rand(1, frames, 3, *lr, generator=generator)
    priors = [torch.rand(1, frames, kinds.get(name).channels, *lr, generator=generator) for name in network.priors]
    return clip, [prior.round() if name == "masks" else prior for name, prior in zip(network.priors, priors, strict=True)]


def rendered(network: Network, frames: int, lr: Size) -> tuple[Tensor, list[Tensor]]:
    """A clip of the embedded corpus drawn at this size, and its priors; as `drawn`. Masks are of its objects."""
    from itertools import islice

    import numpy as np

    from pipelines import params
    from pipelines.clips import parallax
    from pipelines.clips.levels import to_tensor

    height, width = lr
    spec = params.Parallax.model_construct(
        kind="parallax", source="", seed=0, height=height, width=width, frames=frames + 1, clips={"test": 1}, rendered=None
    )
    (name, _), *_ = parallax.clips(spec)
    seen = []
    for frame in islice(parallax.render(spec, name), 1, None):  # before the first nothing moves
        objects = [frame["ids"] == index for index in np.unique(frame["ids"])]
        seen.append({**frame, "masks": np.stack(objects[: kinds.get("masks").channels])})
    clip = to_tensor([frame["rgb"] for frame in seen])[None]
    return clip, [torch.from_numpy(np.stack(list(_planes(name, seen))))[None].float() for name in network.priors]


def _planes(name: str, seen: Sequence[dict[str, Any]]) -> Iterator[Any]:
    return (kinds.planes(kinds.get(name), frame) for frame in seen)

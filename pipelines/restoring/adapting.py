"""Internal learning: a network learns from an LR clip itself before it restores it.

The clip is reduced once more, in size as it was reduced and in time by leaving out frames, and a copy of the network learns for a few steps to
make the clip of that (Gupta et al., "Ada-VSR", ACM MM 2021, Sec. 3.2, Algorithm 2 and Eq. 10). The copy restores this clip and no other.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models import Network
from pipelines.clips.levels import to_tensor
from pipelines.degradations import recipes
from pipelines.errors import VSRError
from pipelines.params import Adaptation
from pipelines.restoring import kernel

OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def adapted(
    network: Network,
    frames: Sequence[np.ndarray],
    adaptation: Adaptation,
    device: torch.device | str = "cpu",
    drawn: Mapping[str, Any] | None = None,
) -> Network:
    """A copy of a network that has learnt from a clip; the network itself is left as it is.

    Args:
        network: one of whole scale that sees no priors.
        frames: the LR clip, or a part of it, (h, w, 3) uint8 RGB.
        adaptation: how it learns.
        device: where.
        drawn: what was drawn for the LR clip, for the kernel `oracle`.

    Returns:
        The copy, on the device.

    Raises:
        VSRError: the network cannot be adapted, the clip is too short or too small, how it was made is not known, or the loss is not finite.
    """
    learner = copy.deepcopy(network).to(device).eval().requires_grad_(True)
    seen, wanted = pair(learner, to_tensor(list(frames)), adaptation, drawn)
    seen, wanted = seen.to(device), wanted.to(device)
    optimiser = OPTIMISERS[adaptation.optimiser](learner.parameters(), lr=adaptation.rate)
    with torch.enable_grad():
        for step in range(adaptation.steps):
            optimiser.zero_grad()
            loss = F.l1_loss(learner(seen), wanted)
            if not torch.isfinite(loss):
                raise VSRError(
                    f"internal learning diverged at step {step}: lower the `rate` of the `adaptation`, {adaptation.rate:g} now."
                )
            loss.backward()
            optimiser.step()
    return learner.requires_grad_(False)


def middle(frames: int, most: int) -> range:
    """Which frames of a clip of so many are learnt from: at most so many from its middle, so that memory does not grow with the clip."""
    first = max(0, (frames - most) // 2)
    return range(first, min(frames, first + most))


def pair(network: Network, clip: Tensor, adaptation: Adaptation, drawn: Mapping[str, Any] | None) -> tuple[Tensor, Tensor]:
    """What a network learns from an LR clip: the clip reduced once more, (1, t, 3, h/s, w/s), and what is to be made of it, (1, T, 3, h, w).

    Args:
        clip: (T, 3, h, w) RGB in [0, 1].
        network, adaptation, drawn: see `adapted`.

    Raises:
        VSRError: as `adapted`.
    """
    scale, least = network.scale, network.made(network.min_frames)
    if scale != round(scale) or network.priors or network.window or network.any_scale:
        raise VSRError(
            f"{network.name} cannot learn from a clip: choose a network of one whole scale that sees nothing but clips."
        )
    if len(clip) < least:
        raise VSRError(
            f"the clip has {len(clip)} frames, and {network.name} learns from clips of at least {least}: give a longer clip, or restore it "
            "without internal learning."
        )
    height, width = clip.shape[-2:]
    if min(height, width) < 4 * scale:
        raise VSRError(
            f"the clip's frames are {width}x{height}, and internal learning makes them {scale:g} times smaller: give frames of at least "
            f"{4 * scale:g}x{4 * scale:g}, or restore them without it."
        )
    again = recipes.spatial(_reduction(adaptation, clip, round(scale), drawn), (height, width))
    small = (recipes.apply(again, 255 * clip.double()) / 255).float()[:: network.time_scale]
    height, width = again["crop"]
    return small[None], clip[None, : network.made(len(small)), :, :height, :width]


def _reduction(adaptation: Adaptation, clip: Tensor, scale: int, drawn: Mapping[str, Any] | None) -> dict[str, Any]:
    """The degradation by which a clip is reduced once more, as drawn."""
    if adaptation.kernel == "oracle":
        if drawn is None or "steps" not in drawn:
            raise VSRError(
                "nothing says by which kernel the clip was reduced: set `kernel` of the `adaptation` to estimated or bicubic."
            )
        if list(drawn["scale"]) != [scale, scale]:
            raise VSRError(
                f"the clip was reduced by {drawn['scale']} and the network enlarges by {scale}: choose a network of that scale."
            )
        return dict(drawn)
    if adaptation.kernel == "bicubic":
        return {"scale": [scale, scale], "steps": [{"op": "bicubic", "scale": [scale, scale]}]}
    return kernel.estimated(clip, scale)

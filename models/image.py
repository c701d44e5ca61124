"""Networks of single images that others have trained, by spandrel, the optional extra `image`.

spandrel (MIT) recognises some forty architectures by the names and shapes of their parameters, so a file of parameters is all that
such a network is made of, and it has no options here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.parts.framewise import FramewiseNetwork
from models.parts.registry import register

INSTALL = "networks of single images need spandrel, which is not installed: `pip install 'vsr[image]'`."

WITHIN = "network."
"""What the names of parameters begin with where this project saved them."""

PURPOSES = ("SR", "Restoration")


@register("image")
class Image(FramewiseNetwork):
    """Whatever restores single RGB images and is known to spandrel, frame by frame: Real-ESRGAN, SwinIR, HAT, DAT, SPAN, ….

    `build` makes its layers and sets its scale; before, it has none. Frames that the architecture does not take as they are
    get mirrored pixels at their right and lower edges, which are cut off again. Results are clipped to [0, 1].
    """

    needs_weights = True

    def __init__(self) -> None:
        super().__init__()
        self.described: Any = None

    def build(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        try:
            import spandrel
        except ImportError as error:
            raise ValueError(INSTALL) from error
        try:
            model = spandrel.MAIN_REGISTRY.load({key.removeprefix(WITHIN): value for key, value in state.items()})
        except spandrel.UnsupportedModelError as error:
            raise ValueError("spandrel knows no network of such parameters: give those of one that it does.") from error
        except Exception as error:  # every architecture has its own ways to fail on parameters that only look like its own
            reason = str(error).strip().split("\n")[-1].strip() or type(error).__name__
            raise ValueError(f"spandrel can make no network of these parameters ({reason}): use an undamaged file.") from error
        if model.purpose not in PURPOSES or (model.input_channels, model.output_channels) != (3, 3):
            raise ValueError(
                f"{model.architecture.name} takes {model.input_channels} channels to {model.output_channels}, for {model.purpose}: "
                "give a network that restores RGB images."
            )
        self.described, self.network, self.scale = model, model.model, model.scale
        return self.state_dict()

    def restore(self, frames: Tensor) -> Tensor:
        if self.described is None:
            raise ValueError("image is made of the file of its parameters: give that as its weights.")
        # Without its inference mode, in which operations of some architectures cannot be counted.
        call = inspect.unwrap(type(self.described).__call__)
        return torch.cat([call(self.described, frame[None]) for frame in frames])

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        try:
            from spandrel import MAIN_REGISTRY, canonicalize_state_dict
        except ImportError:
            return None
        canonical = canonicalize_state_dict(dict(state))
        return {} if any(known.detect(canonical) for known in MAIN_REGISTRY) else None

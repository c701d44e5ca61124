"""Networks by name. A file of `models/` is imported when its network is asked for."""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from models.parts.weights import Published


class Network(nn.Module):
    """What every registered network has beside its layers.

    `name` and `options` say how to make it again, `scale` is the size of the output over that of the
    input, `min_frames` the shortest clip it restores. `time_scale` is how many times as many frames it makes: of T frames
    `time_scale` (T - 1) + 1, the given ones, restored, and those in between. `window` is None for networks that restore all
    frames of a clip, (N, T, 3, H, W) to (N, T, 3, sH, sW), else the number of frames from which they
    restore the one in the middle, to (N, 3, sH, sW). `period` is the number of frames after which the
    work on a long clip repeats itself. `any_scale` is True for networks whose `forward` takes the keyword
    `size`, the (H, W) to restore to, without which they restore to `round(scale * side)`. `priors` names
    the keywords by which `forward` takes what else it sees of every frame, (N, T, channels, H, W) on the clip's grid.
    `lookahead` is the number of frames after a restored one that it depends on, None for all that follow. `chunk` is the number of
    frames that it works on together where clips are longer. `sees_truth` is True for networks whose `learn` takes the keyword `truth`,
    the HR clip (N, T, 3, sH, sW): they learn to take away noise that is added to it.
    `restores` is False for networks that are parts of others and take something else than clips. `discriminator` is what
    judges its frames in an adversarial training: what a method is trained with is imported by its file.
    """

    name: str
    options: dict[str, Any]
    scale: float = 1
    time_scale: int = 1
    min_frames: int = 1
    window: int | None = None
    period: int = 1
    any_scale: bool = False
    priors: tuple[str, ...] = ()
    lookahead: int | None = None
    chunk: int = 1
    sees_truth: bool = False
    restores: bool = True
    discriminator: type[Network] | None = None

    def made(self, frames: int) -> int:
        """How many frames a clip of so many becomes."""
        return self.time_scale * (frames - 1) + 1

    @property
    def causal(self) -> bool:
        """Whether a frame can be restored as soon as it is there."""
        return self.lookahead == 0

    @property
    def needs_weights(self) -> bool:
        """Whether it restores nothing before it has parameters that were trained."""
        return any(True for _ in self.parameters())

    def learn(self, clip: Tensor, **given: Any) -> dict[str, Tensor]:
        """What the network gives while it learns: `restored` is what `forward` gives for the same arguments. Networks whose losses
        look at more give that too, under names of its own: other frames, or a loss as a scalar."""
        return {"restored": self(clip, **given)}

    def build(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The parameters of a checkpoint under this network's names. One whose options do not say which layers it has makes
        them of these first.

        Raises:
            ValueError: no such network can be made of them.
        """
        return state

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """The options of the network whose published parameters have these names and shapes, or None if
        they are not of this kind of network."""
        return None


_IMPORTED: dict[str, type[Network]] = {}

Kind = TypeVar("Kind", bound=type[Network])


def register(name: str) -> Callable[[Kind], Kind]:
    """Class decorator: makes the network available to `create` under `name`, which is that of its file."""

    def add(network: Kind) -> Kind:
        network.name = name
        _IMPORTED[name] = network
        return network

    return add


@functools.cache
def _files() -> frozenset[str]:
    """The files of `models/` that register a network under their own name, found without importing them."""
    folder = Path(__file__).resolve().parent.parent
    return frozenset(path.stem for path in folder.glob("*.py") if f'\n@register("{path.stem}")\n' in path.read_text())


def names() -> list[str]:
    """The networks, sorted. Imports none."""
    return sorted(_files() | _IMPORTED.keys())


def kind(name: str) -> type[Network]:
    """The class of a network.

    Raises:
        ValueError: there is no network of that name.
    """
    if name not in _IMPORTED:
        if name not in _files():
            raise ValueError(misspelt("network", name, names()))
        importlib.import_module(f"models.{name}")
    return _IMPORTED[name]


def weights(name: str) -> Mapping[str, Published]:
    """The published parameters of a network, which stand as `WEIGHTS` in its file.

    Raises:
        ValueError: there is no network of that name.
    """
    return getattr(importlib.import_module(kind(name).__module__), "WEIGHTS", {})


def create(name: str, **options: Any) -> Network:
    """A network with its published defaults, except where `options` say otherwise.

    Raises:
        ValueError: there is no network of that name, or it has no such option or value.
    """
    chosen = kind(name)
    parameters = inspect.signature(chosen).parameters
    for option in options:
        if option not in parameters:
            raise ValueError(misspelt(f"option of {name}", option, parameters))
    network = chosen(**options)
    chosen_options = {key: options.get(key, parameter.default) for key, parameter in parameters.items()}
    # As they come back from a file.
    network.options = {key: list(value) if isinstance(value, tuple) else value for key, value in chosen_options.items()}
    return network


def positive(network: str, **options: Any) -> None:
    """Check that options are positive whole numbers.

    Raises:
        ValueError: one is not.
    """
    for option, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"option {option!r} of {network} is {value!r}: give a whole number of at least 1.")


def switches(network: str, **options: Any) -> None:
    """Check that options are true or false.

    Raises:
        ValueError: one is not.
    """
    for option, value in options.items():
        if not isinstance(value, bool):
            raise ValueError(f"option {option!r} of {network} is {value!r}: give true or false.")


def misspelt(kind: str, name: str, known: Iterable[str]) -> str:
    """The sentence for a name that is not known: says the nearest one and lists the others."""
    choices = sorted(known)
    near = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "there is none like it."
    return f"unknown {kind} {name!r}: {hint} Known: {', '.join(choices) or 'none'}."

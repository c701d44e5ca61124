"""Networks by name."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn


class Network(nn.Module):
    """What every registered network has beside its layers.

    `name` and `options` say how to make it again, `scale` is the size of the output over that of the
    input, `min_frames` the shortest clip it restores. `window` is None for networks that restore all
    frames of a clip, (N, T, 3, H, W) to (N, T, 3, sH, sW), else the number of frames from which they
    restore the one in the middle, to (N, 3, sH, sW). `period` is the number of frames after which the
    work on a long clip repeats itself. `any_scale` is True for networks whose `forward` takes the keyword
    `size`, the (H, W) to restore to, without which they restore to `round(scale * side)`. `priors` names
    the keywords by which `forward` takes what else it sees of every frame, (N, T, channels, H, W) on the clip's grid.
    `lookahead` is the number of frames after a restored one that it depends on, None for all that follow.
    `restores` is False for networks that are parts of others and take something else than clips.
    """

    name: str
    options: dict[str, Any]
    scale: float = 1
    min_frames: int = 1
    window: int | None = None
    period: int = 1
    any_scale: bool = False
    priors: tuple[str, ...] = ()
    lookahead: int | None = None
    restores: bool = True

    @property
    def causal(self) -> bool:
        """Whether a frame can be restored as soon as it is there."""
        return self.lookahead == 0

    @staticmethod
    def options_of(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """The options of the network whose published parameters have these names and shapes, or None if
        they are not of this kind of network."""
        return None


NETWORKS: dict[str, type[Network]] = {}

Kind = TypeVar("Kind", bound=type[Network])


def register(name: str) -> Callable[[Kind], Kind]:
    """Class decorator: makes the network available to `create` under `name`."""

    def add(kind: Kind) -> Kind:
        kind.name = name
        NETWORKS[name] = kind
        return kind

    return add


def create(name: str, **options: Any) -> Network:
    """A network with its published defaults, except where `options` say otherwise.

    Raises:
        ValueError: there is no network of that name, or it has no such option or value.
    """
    if name not in NETWORKS:
        raise ValueError(misspelt("network", name, NETWORKS))
    kind = NETWORKS[name]
    parameters = inspect.signature(kind).parameters
    for option in options:
        if option not in parameters:
            raise ValueError(misspelt(f"option of {name}", option, parameters))
    network = kind(**options)
    network.options = {key: options.get(key, parameter.default) for key, parameter in parameters.items()}
    return network


def names() -> list[str]:
    """The registered networks, sorted."""
    return sorted(NETWORKS)


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

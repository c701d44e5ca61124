"""Networks that begin with the parameters of others."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models import Network
from pipelines import networks
from pipelines.errors import VSRError
from pipelines.training import product

State = dict[str, Tensor]


class Beginning(NamedTuple):
    """What a network begins with."""

    note: str
    """In words: what it begins with, what it has no use for, what in it is new, and what is random; empty if there is nothing to say."""
    random: tuple[str, ...]
    """Parts that are networks of their own and begin at random, or began so in the network that they come from."""


def begin_with(network: Network, folder: Path) -> Beginning:
    """Give a network the parameters of the trained ones in a folder, one after the other.

    What the network has as a part, such as a flow network, goes there; else parameters are taken by their names.
    Outermost modules are taken whole or, where the two have no name in common, not at all.

    Raises:
        VSRError: there is no network in the folder, one differs within a module, or nothing of one fits.
    """
    notes: list[str] = []
    taken: set[str] = set()
    scopes: dict[str, nn.Module] = {}
    began: dict[str, str] = {}  # parts that began at random, and in which network
    for origin in product.origins(folder):
        source = networks.load(origin.weights)
        part = next((name for name, child in network.named_children() if isinstance(source, type(child))), None)
        prefix, scope = ("", network) if part is None else (f"{part}.", network.get_submodule(part))
        scopes[prefix] = scope
        wanted, given = _by_module(scope), _by_module(source)
        moved = [module for module in given if given[module].keys() & wanted.get(module, {}).keys()]
        if not moved:
            raise VSRError(f"{network.name} has no use for anything of {origin.name} ({source.name}): choose another start.")
        for module in moved:
            _copy(given[module], wanted[module], f"{network.name} cannot begin with {origin.name} ({source.name})", prefix)
        taken |= {prefix + module for module in moved}
        for name in [part] if part else moved:
            began.pop(name, None)
        began |= {name: origin.name for name in origin.random if not part and name in moved}
        notes.append(f"{f'its {part} ' if part else ''}begins with {origin.name} ({origin.note})")
        unused = [module for module in given if module not in moved]
        if unused:
            notes.append(f"not used of it: {', '.join(unused)}")
    untouched = [part for part in networks.subnetworks(network) if not _begun(part, taken)]
    # Where only parts are given, all else is new anyway.
    new = [
        prefix + module
        for prefix, scope in scopes.items()
        for module in _by_module(scope)
        if prefix + module not in untouched and not _begun(prefix + module, taken)
    ]
    if new:
        notes.append(f"new: {', '.join(new)}")
    notes += [f"the {part} of {origin} began at random" for part, origin in began.items()]
    notes += [f"its {part} begins at random" for part in untouched]
    return Beginning("; ".join(notes), (*began, *untouched))


def _begun(module: str, taken: Iterable[str]) -> bool:
    """Whether a module, or anything in it, is among those taken."""
    return any(name == module or name.startswith(f"{module}.") for name in taken)


def _by_module(network: nn.Module) -> dict[str, State]:
    """The parameters and buffers of a network by name, for each of its outermost modules."""
    modules: dict[str, State] = {}
    for name, value in network.state_dict().items():
        modules.setdefault(name.partition(".")[0], {})[name] = value
    return modules


def _copy(given: State, wanted: State, failure: str, prefix: str) -> None:
    for name in {**wanted, **given}:
        if name not in given or name not in wanted:
            where = "the former alone has" if name in wanted else "the latter alone has"
            raise VSRError(f"{failure}: {where} {prefix}{name}, choose a start of the same options.")
        if given[name].shape != wanted[name].shape:
            shapes = " and ".join(str(tuple(state[name].shape)) for state in (wanted, given))
            raise VSRError(f"{failure}: {prefix}{name} is {shapes}, choose a start of the same options.")
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(given[name])

"""The networks of `models`, with their faults told as every other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import models
from models import Network
from models.parts import registry
from pipelines import files
from pipelines.errors import VSRError


def create(name: str, **options: Any) -> Network:
    """`models.create`.

    Raises:
        VSRError: there is no network of that name, or it has no such option or value.
    """
    try:
        return models.create(name, **options)
    except ValueError as error:
        raise VSRError(str(error)) from error


def restorer(network: Network) -> Network:
    """The network, if it restores clips.

    Raises:
        VSRError: it is a part of others, such as a flow network.
    """
    if not network.restores:
        methods = [name for name in models.names() if registry.kind(name).restores]
        raise VSRError(f"{network.name} is a part of other networks and restores nothing alone: choose {' or '.join(methods)}.")
    return network


def load(path: Path, expect: str | None = None) -> Network:
    """`models.load`.

    Raises:
        VSRError: the file is not there, damaged, or a checkpoint of another network than `expect`, or of
            none of ours.
    """
    here = files.local(path)
    try:
        return models.load(here, expect)
    except ValueError as error:
        raise VSRError(str(error).replace(str(here), str(path))) from error


def load_as(path: Path, name: str, options: Mapping[str, Any]) -> Network:
    """The network that `create` makes with these options, with the parameters of a checkpoint.

    Raises:
        VSRError: as `create` and `load`, or the checkpoint is of other options.
    """
    wanted = create(name, **options).options
    network = load(path, expect=name)
    found = network.options
    other = [option for option in wanted if found[option] != wanted[option]]
    if other:
        has, asked = (" and ".join(f"{option} {values[option]!r}" for option in other) for values in (found, wanted))
        raise VSRError(
            f"{path} is a checkpoint of {name} with {has}, not {asked}: choose other weights or other options in params.yaml."
        )
    return network


def subnetworks(network: Network) -> list[str]:
    """The names of its outermost modules that have parameters and are networks of their own, such as a flow network, or
    what one begins with, as EDVR does with IconVSR's extractor."""
    return [
        name
        for name, child in network.named_children()
        if getattr(child, "trained_alone", isinstance(child, Network)) and any(True for _ in child.parameters())
    ]

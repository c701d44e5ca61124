"""The networks of `models`, with their faults told as every other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
from models import Network
from models.parts import registry
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
        methods = [name for name in models.names() if registry.NETWORKS[name].restores]
        raise VSRError(f"{network.name} is a part of other networks and restores nothing alone: choose {' or '.join(methods)}.")
    return network


def load(path: Path, expect: str | None = None) -> Network:
    """`models.load`.

    Raises:
        VSRError: the file is not there, damaged, or a checkpoint of another network than `expect`, or of
            none of ours.
    """
    try:
        return models.load(path, expect)
    except ValueError as error:
        raise VSRError(str(error)) from error

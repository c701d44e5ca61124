"""The networks of `models`, with their faults told as every other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
from models import Network
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


def load(path: Path) -> Network:
    """`models.load`.

    Raises:
        VSRError: the file is not there, damaged, or a checkpoint of none of the networks.
    """
    try:
        return models.load(path)
    except FileNotFoundError as error:
        raise VSRError(f"there is no checkpoint {path}: give the path of one.") from error
    except (ValueError, OSError) as error:
        raise VSRError(str(error)) from error

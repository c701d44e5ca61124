"""What a stage that makes a network leaves: its weights, and a record of what they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import files, params
from pipelines.atomic import atomic_folder
from pipelines.errors import VSRError

if TYPE_CHECKING:  # importing torch takes seconds, and a record is read without it
    from models import Network

WEIGHTS = "model.safetensors"
RECORD = "model.json"

Record = dict[str, Any]
"""`name`, `method`, `network`, `run_key`, `sha256` of the weights, `trained_on` (pair or null), `precision` (of the training), `frozen`
(the sha256 of networks that it was trained through, by name), `random` (parts that are networks of their own and began at random),
`notes` and `params` (flat); of a join or `scratch` instead the records of its `parts`, each with its `file`. Of the network itself
`scale`, `time_scale`, `any_scale` and `priors`, see `models.Network`, which say what it can be tested on. `adaptation` says how it learns
from a clip before it restores it, where it does (`params.Adaptation`)."""


@dataclass(frozen=True)
class Origin:
    """A trained network that others start from: its name, what it is in a few words, its weights, and which of its parts began
    at random."""

    name: str
    note: str
    weights: Path
    random: tuple[str, ...]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as `a.b.c: value`, as records keep them."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return leaves


def write(folder: Path, network: Network, record: Record) -> Record:
    """Save a network with its record into a folder that appears whole; returns the record with its sha256."""
    import models

    of_network = {"network": network.name, "priors": list(network.priors)}
    of_network |= {name: getattr(network, name) for name in ("scale", "time_scale", "any_scale")}
    with atomic_folder(folder) as building:
        models.save(network, building / WEIGHTS)
        record = {**record, **of_network, "sha256": hashlib.sha256((building / WEIGHTS).read_bytes()).hexdigest()}
        (building / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    return record


def read(folder: Path) -> Record:
    """The record of a network that a stage left.

    Raises:
        VSRError: there is none.
    """
    try:
        return json.loads(files.local(folder / RECORD).read_text())
    except (OSError, ValueError) as error:
        raise VSRError(f"{folder} holds no trained network ({error}): run its stage, or `dvc pull {folder}`.") from error


def adaptation(record: Record) -> params.Adaptation | None:
    """How the network of a record learns from a clip before it restores it; None if it does not."""
    found = record.get("adaptation")
    return None if found is None else params.Adaptation.model_validate(found)


def origins(folder: Path) -> list[Origin]:
    """The networks in a folder: the one that `write` left, both of a join, or none of `scratch`.

    Raises:
        VSRError: as `read`.
    """
    record = read(folder)
    found = record.get("parts", [{**record, "file": WEIGHTS}])
    return [Origin(part["name"], part["notes"][0], folder / part["file"], tuple(part.get("random", ()))) for part in found]

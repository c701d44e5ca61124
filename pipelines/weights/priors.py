"""What made a prior, and whether the weights named for it hold the network that it needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipelines import params
from pipelines.errors import VSRError
from pipelines.params.base import is_path
from pipelines.weights.files import digest, resolve

_TYPES = {"sam": ("sam",), "sam2": ("sam2", "sam2_video")}
"""The model types of transformers that hold a backend's network; SAM 2 is published as its video model."""


def provenance(model: params.Sam | params.Felzenszwalb | params.Raft | params.Dis) -> dict[str, Any]:
    """What made a clip's prior: the model's parameters, and the sha256 of its weights if it has any.

    A local folder is known by what it holds, so its path is left out: `weights` is `local` and
    `model_type` what its `config.json` says.

    Finds the weights, downloading them where they must be: call it before the work starts.

    Raises:
        VSRError: they are not found, or hold another network than the model's backend.
    """
    if not isinstance(model, params.Sam | params.Raft):
        return model.model_dump()
    path = resolve(model.weights)
    made = {**model.model_dump(), "sha256": digest(path)}
    if isinstance(model, params.Sam):
        model_type = _model_type(path)
        if model_type not in _TYPES[model.backend]:
            raise VSRError(
                f"weights {model.weights!r}: {path / 'config.json'} says model_type {model_type!r}, which the backend "
                f"{model.backend!r} does not run: give weights of type {' or '.join(map(repr, _TYPES[model.backend]))}, or "
                f"another backend of {', '.join(_TYPES)}."
            )
        if is_path(model.weights):
            made |= {"weights": "local", "model_type": model_type}
    return made


def _model_type(folder: Path) -> str:
    """What transformers calls the network of a folder."""
    try:
        return str(json.loads((folder / "config.json").read_text())["model_type"])
    except (ValueError, KeyError, TypeError) as error:
        raise VSRError(
            f"{folder / 'config.json'} does not name its model_type: it is not a configuration of transformers, "
            "put the published one in its place."
        ) from error

"""What the schemas of params.yaml share."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise ValueError("a name is lower-case letters, digits and '_' only")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
Split = Literal["train", "validation", "test"]


def is_path(weights: str) -> bool:
    """Whether weights are named by a path and not by what is published: one with a `/`, or that begins with `.` or `~`. It is
    relative to the repository."""
    return "/" in weights or weights.startswith((".", "~"))


class Strict(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

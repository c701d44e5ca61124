"""What the schemas of params.yaml share."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

T = TypeVar("T")


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
        raise ValueError("a name is lower-case letters, digits and '_' only")
    return name


Name = Annotated[str, AfterValidator(_check_name)]
Split = Literal["train", "validation", "test"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""What every generator of random numbers takes."""


def _once(names: list[T]) -> list[T]:
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is in it twice: leave one out")
    return names


Names = Annotated[list[Name], AfterValidator(_once)]
Choices = Annotated[list[str], Field(min_length=1), AfterValidator(_once)]
"""At least one of what this project knows by name."""


def is_path(weights: str) -> bool:
    """Whether weights are named by a path and not by what is published: one with a `/`, or that begins with `.` or `~`. It is
    relative to the repository."""
    return "/" in weights or weights.startswith((".", "~"))


class Strict(BaseModel):
    """A mapping whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

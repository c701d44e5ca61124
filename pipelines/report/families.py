"""Degradations that differ in one setting only: the axis of a robustness curve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

NAMES = {"crf": "CRF", "sigma": "blur, standard deviation in pixels", "scale": "scale", "quality": "JPEG quality"}
"""How a setting is written on an axis, where its own name does not say enough."""


@dataclass(frozen=True)
class Family:
    """Degradations alike but for one setting: `of` maps each of its values, ascending, to the degradation that has it."""

    setting: str
    of: tuple[tuple[float, str], ...]

    @property
    def label(self) -> str:
        name = self.setting.rpartition(".")[2]
        return NAMES.get(name, name.replace("_", " "))


def families(recipes: Mapping[str, Sequence[BaseModel]], names: Sequence[str]) -> list[Family]:
    """The families among the degradations `names`, in the order of their first members.

    Two recipes are of one family when they have the same steps and settings but for one number.

    Args:
        recipes: steps by the name of the degradation.
        names: those that may be members; what has no recipe, as it comes with its corpus, is none.
    """
    groups: dict[tuple[str, frozenset[tuple[str, Any]]], dict[float, str]] = defaultdict(dict)
    for name in filter(recipes.__contains__, names):
        settings = dict(_settings([step.model_dump() for step in recipes[name]]))
        for key, value in settings.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                rest = frozenset(item for item in settings.items() if item[0] != key)
                groups[key, rest].setdefault(float(value), name)
    return [Family(key, tuple(sorted(found.items()))) for (key, _), found in groups.items() if len(found) > 1]


def _settings(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar inside, by its path."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else None
    if inside is None:
        yield place, value
        return
    for key, each in inside:
        yield from _settings(each, f"{place}.{key}")

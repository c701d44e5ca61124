"""What is estimated: a value between two others, or why it cannot be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number and the interval that holds it in nine of ten clips; of what is read and not estimated both ends are the value."""

    value: float
    low: float
    high: float

    @classmethod
    def exact(cls, value: float) -> Estimate:
        return cls(value, value, value)

    def as_json(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.value:g}"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Unknown:
    """Why something cannot be told."""

    reason: str


def plain(value: Any) -> Any:
    """An estimate, or a mapping of such, as JSON has it."""
    if isinstance(value, Estimate):
        return value.as_json()
    if isinstance(value, Unknown):
        return None
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value

"""The results that the evaluation wrote: `results/<method>/<corpus>/<degradation>/`, read and checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from pipelines.errors import VSRError


class Record(BaseModel):
    """Values read from JSON; keys that the report does not show are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ClipScores(Record):
    """The values of one clip by metric. `lossless` of the `frames` equal their truth: their PSNR is not
    finite, and the evaluation's cap stands for it."""

    metrics: dict[str, FiniteFloat]
    frames: int
    lossless: int = 0


class Scores(ClipScores):
    """Means over the clips of a test pair; the counts are sums over them. `skipped` says of the metrics
    that could not be computed why."""

    skipped: dict[str, str] = {}
    clips: dict[str, ClipScores]


class Cost(Record):
    """Parameters, and GMAC per frame at an LR size `(height, width)`, with and without deformable convolution itself."""

    parameters: int
    gmacs: float
    gmacs_without_deform: float
    lr: tuple[int, int]


class Timing(Record):
    """Measured seconds per frame at an LR size `(height, width)`, and where: on which processor or GPU, with how many
    threads and of which precision, in passes of how many frames. `peak_memory` is in bytes."""

    seconds_per_frame: float
    device: str
    threads: int
    lr: tuple[int, int]
    hardware: str = ""
    precision: str = ""
    window: int | None = None
    peak_memory: int | None = None

    @property
    def place(self) -> str:
        """Where it was measured, in words."""
        parts = [self.hardware or self.device, f"{self.threads} thread{'' if self.threads == 1 else 's'}"]
        return ", ".join(
            [*parts, *([self.precision] if self.precision else []), *([f"passes of {self.window}"] if self.window else [])]
        )


class Cell(Record):
    """One method on one test pair. `folder` holds its frames.parquet and samples; `profile` is which network and recipe of
    the method it is, `weights` the name of the published parameters that it has, if it has any, `prior` what guided it
    (`kind`, `name`, `model`), likewise, and `random` names parts that are networks of their own and began at random."""

    method: str
    network: str
    profile: str | None = None
    weights: str | None = None
    prior: dict[str, Any] | None = None
    corpus: str
    degradation: str
    split: str
    applicable: bool
    reason: str | None = None
    lead_protocol: str | None = None
    protocols: dict[str, Scores] = {}
    cost: Cost | None = None
    timing: Timing | None = None
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    trained_on: str | None = None
    random: tuple[str, ...] = ()
    folder: Path

    @model_validator(mode="after")
    def _complete(self) -> Cell:
        if self.applicable and self.lead_protocol not in self.protocols:
            raise ValueError(f"the lead protocol {self.lead_protocol!r} has no scores")
        if not self.applicable and not self.reason:
            raise ValueError("'reason' must say why the method is not applicable")
        return self

    def frames(self) -> pd.DataFrame:
        """Per-frame scores: columns clip, frame, protocol, metric, value; empty where none were kept."""
        path = self.folder / "frames.parquet"
        if not path.is_file():
            return pd.DataFrame(columns=["clip", "frame", "protocol", "metric", "value"])
        return pd.read_parquet(path)


def load(results: Path) -> list[Cell]:
    """Every result under `results`, ordered by method, corpus and degradation.

    Raises:
        VSRError: a metrics.json or timing.json is damaged, or lies in another result's folder.
    """
    return [_cell(path) for path in sorted(results.glob("*/*/*/metrics.json"))]


def _cell(path: Path) -> Cell:
    timing = path.with_name("timing.json")
    found = {**_read(path), "timing": _read(timing) if timing.is_file() else None, "folder": path.parent}
    try:
        cell = Cell.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        raise _damaged(path.parent, f"{'.'.join(map(str, fault['loc'])) or 'metrics.json'}: {fault['msg']}") from error
    place = path.parts[-4:-1]
    if place != (cell.method, cell.corpus, cell.degradation):
        raise VSRError(
            f"{path} is the result of {cell.method} on {cell.corpus} under {cell.degradation}: "
            f"delete the folder {'/'.join(place)} and evaluate again."
        )
    return cell


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path.parent, f"{path.name}: {error}") from error
    if not isinstance(found, dict):
        raise _damaged(path.parent, f"{path.name} is not a mapping")
    return found


def _damaged(folder: Path, fault: str) -> VSRError:
    return VSRError(f"the result in {folder} is damaged ({fault}): delete the folder and evaluate again.")

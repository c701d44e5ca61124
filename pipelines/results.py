"""What restoring, scoring and measuring leave, as types: written and read by these, and by nothing else.

| folder | file | type |
|---|---|---|
| `data/restored/<method>/<corpus>/<degradation>` | the store's `about` | `Restored` |
| `results/<method>/<corpus>/<degradation>` | `metrics.json` | `Result` |
| | `frames.parquet` | `FRAMES`, a row per `FrameValue` |
| | `samples/<clip>/` | the pictures of `looks.SAMPLES` and perhaps `looks.INVENTED`, and `clip.mp4` |
| `results/<method>/<corpus>/_measured` | `cost.json` | `Cost` |
| | `timing.json` | `Timing`: what differs from run to run |
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError, model_validator

from pipelines.atomic import atomic_folder, file_name
from pipelines.errors import VSRError

if TYPE_CHECKING:
    import pandas as pd

METRICS = "metrics.json"
VALUES = "frames.parquet"
SAMPLES = "samples"
FILM = "clip.mp4"
MEASURED = "_measured"
"""The folder of a measurement, beside those of the degradations, none of which has such a name."""
COST = "cost.json"
TIMING = "timing.json"

OWN = -1
"""The frame number of a value that is a clip's own."""

FRAMES = pa.schema(
    [
        ("clip", pa.string()),
        ("frame", pa.int32()),
        ("protocol", pa.string()),
        ("metric", pa.string()),
        ("value", pa.float64()),
    ]
)


class FrameValue(TypedDict):
    """One value: of a metric, for one frame of a clip or for the clip (frame `OWN`), by a protocol."""

    clip: str
    frame: int
    protocol: str
    metric: str
    value: float


class Record(BaseModel):
    """Values that are kept as JSON; keys that are not known are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ClipScores(Record):
    """The values of one clip by metric. `lossless` of the `frames` equal their truth: their PSNR is not
    finite, and the metric's cap stands for it."""

    metrics: dict[str, FiniteFloat]
    frames: int
    lossless: int = 0


class Scores(ClipScores):
    """Means over the clips of a test pair; the counts are sums over them. `skipped` says of the metrics
    that could not be computed why."""

    skipped: dict[str, str] = {}
    clips: dict[str, ClipScores]


class Restored(Record):
    """A method on a test pair, before it is scored. `profile` is which network and recipe of the method it is, `weights` the
    name of the published parameters that it has, if it has any, `prior` what guided it (`kind`, `name`, `model`), likewise, and
    `random` names parts that are networks of their own and began at random, and `training_precision` is what it was trained in,
    here; `run_key` and `seed` are of its training. `inputs` are the DVC digests of the data by path.
    Where the method cannot be applied to the pair, `reason` says why, as a part of a sentence."""

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
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = {}
    trained_on: str | None = None
    random: tuple[str, ...] = ()
    training_precision: str | None = None
    run_key: str | None = None
    seed: int | None = None

    @model_validator(mode="after")
    def _explained(self) -> Restored:
        if not self.applicable and not self.reason:
            raise ValueError("'reason' must say why the method is not applicable")
        return self


class Result(Restored):
    """A method on a test pair, scored by protocols, of which one leads the report. `measured_with` are what metrics say of the
    tools that they were measured with, e.g. their versions."""

    lead_protocol: str | None = None
    protocols: dict[str, Scores] = {}
    measured_with: dict[str, dict[str, str]] = {}

    @model_validator(mode="after")
    def _complete(self) -> Result:
        if self.applicable and self.lead_protocol not in self.protocols:
            raise ValueError(f"the lead protocol {self.lead_protocol!r} has no scores")
        return self

    @property
    def lead(self) -> Scores:
        """The scores by the leading protocol, of a method that is applicable."""
        assert self.lead_protocol is not None
        return self.protocols[self.lead_protocol]


class Cost(Record):
    """Parameters, and GMAC per frame at an LR size `(height, width)`, with and without deformable convolution itself."""

    parameters: int
    gmacs: float
    gmacs_without_deform: float
    lr: tuple[int, int]


class Timing(Record):
    """How long a network takes, measured with the machine to itself.

    Three numbers are apart: `seconds_per_frame` of the network alone, the median, and the 95th and 99th percentile; `throughput`,
    frames per second from frames on disk to restored frames on disk; and `delay`, seconds at most from a frame's arrival
    at `fps` to its restored one, for which `delay_frames` more frames have to arrive.

    `lr` is (height, width), `frames` how many were timed, `window` how many a pass has; `peak_memory` is in bytes, above what was
    in use before the network was loaded, None where this machine does not tell. `device`, `hardware`, `threads` and
    `precision` say where it ran.
    """

    seconds_per_frame: FiniteFloat
    seconds_p95: FiniteFloat
    seconds_p99: FiniteFloat
    frames: int
    throughput: FiniteFloat
    delay: FiniteFloat
    delay_frames: int
    fps: FiniteFloat
    peak_memory: int | None
    device: str
    hardware: str
    threads: int
    precision: str
    window: int
    lr: tuple[int, int]

    @property
    def place(self) -> str:
        """Where it was measured, in words."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        return f"{self.hardware or self.device}, {threads}, {self.precision}, passes of {self.window}"


class Cell(Result):
    """One method on one test pair with what it costs. `folder` holds its frames' values and samples."""

    cost: Cost | None = None
    timing: Timing | None = None
    folder: Path

    def frames(self) -> pd.DataFrame:
        """Per-frame scores: columns as of `FRAMES`; empty where none were kept."""
        import pandas as pd

        path = self.folder / VALUES
        return pd.read_parquet(path) if path.is_file() else pd.DataFrame(columns=FRAMES.names)

    def samples(self) -> dict[str, Path]:
        """The folders with pictures of clips, by the clip's name."""
        return samples(self.folder)


T = TypeVar("T", bound=Record)


def samples(folder: Path) -> dict[str, Path]:
    """The folders with pictures of clips in a result's folder, by the clip's name, sorted."""
    return {urllib.parse.unquote(path.name): path for path in sorted((folder / SAMPLES).glob("*"))}


def sample(folder: Path, clip: str) -> Path:
    """Where in a result's folder the pictures of a clip are."""
    return folder / SAMPLES / file_name(clip)


def write(folder: Path, result: Result, values: Iterable[FrameValue], pictures: Mapping[str, Mapping[str, bytes]]) -> None:
    """Write a result; the folder appears whole, an older one is replaced. The same bytes for the same result.

    Args:
        folder: `results/<method>/<corpus>/<degradation>`.
        result: what `metrics.json` says.
        values: all that was measured; none of a method that is not applicable.
        pictures: files by clip, by their name.
    """
    with atomic_folder(folder) as building:
        write_json(building / METRICS, result)
        rows = [dict(value) for value in values]
        if result.applicable:
            pq.write_table(pa.Table.from_pylist(rows, schema=FRAMES), building / VALUES)
        for clip, files in pictures.items():
            place = sample(building, clip)
            place.mkdir(parents=True)
            for name, data in files.items():
                (place / name).write_bytes(data)


def write_measured(folder: Path, cost: Cost, timing: Timing) -> None:
    """Write what a method costs; the folder appears whole, an older one is replaced."""
    with atomic_folder(folder) as building:
        write_json(building / COST, cost)
        write_json(building / TIMING, timing)


def write_json(path: Path, record: Record) -> None:
    """A record as JSON, its keys sorted."""
    path.write_text(json.dumps(record.model_dump(mode="json"), indent=2, sort_keys=True, allow_nan=False) + "\n")


def load(results: Path) -> list[Cell]:
    """Every result under `results`, ordered by method, corpus and degradation, each with what its method costs on that corpus
    where that was measured.

    Raises:
        VSRError: a file is damaged, or a result lies in another's folder.
    """
    return [_cell(path) for path in sorted(results.glob(f"*/*/*/{METRICS}"))]


def read_measured(folder: Path) -> tuple[Cost | None, Timing | None]:
    """What a method costs on a corpus, from the folder of its measurement; None where it was not measured.

    Raises:
        VSRError: a file is damaged.
    """
    if not folder.is_dir():
        return None, None
    return _parse(Cost, folder, COST), _parse(Timing, folder, TIMING)


def read(folder: Path) -> Result:
    """The result in a folder.

    Raises:
        VSRError: it is damaged.
    """
    return _parse(Result, folder, METRICS)


def _cell(path: Path) -> Cell:
    folder = path.parent
    result = read(folder)
    place = folder.parts[-3:]
    if place != (result.method, result.corpus, result.degradation):
        raise VSRError(
            f"{path} is the result of {result.method} on {result.corpus} under {result.degradation}: "
            f"delete the folder {'/'.join(place)} and evaluate again."
        )
    cost, timing = read_measured(folder.with_name(MEASURED)) if result.applicable else (None, None)
    return Cell(**result.model_dump(), cost=cost, timing=timing, folder=folder)


def _parse(kind: type[T], folder: Path, name: str) -> T:
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{name}: {error}") from error
    if not isinstance(found, dict):
        raise _damaged(folder, f"{name} is not a mapping")
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        fault = error.errors()[0]
        raise _damaged(folder, f"{'.'.join(map(str, fault['loc'])) or name}: {fault['msg']}") from error


def _damaged(folder: Path, fault: str) -> VSRError:
    return VSRError(f"the result in {folder} is damaged ({fault}): delete the folder and evaluate again.")

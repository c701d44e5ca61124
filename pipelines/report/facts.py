"""What stands behind the numbers: cost, priors, flow networks, recipes and inputs, in words and rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines import weights
from pipelines.params import (
    Choice,
    Dis,
    Experiment,
    Felzenszwalb,
    OfFrames,
    Params,
    Raft,
    Sam,
    Schedule,
    Step,
    Training,
)
from pipelines.params.references import IN_STEP, NO_PRIOR
from pipelines.report.comparable import comparable
from pipelines.report.published import Published, headline
from pipelines.results import Cell, Cost, Timing


@dataclass(frozen=True)
class CostRow:
    """What a method costs on the frames of a corpus."""

    method: str
    corpus: str
    cost: Cost
    timing: Timing


@dataclass(frozen=True)
class Prior:
    """Side information computed on a pair, and the experiments that are guided by it; `stand_in_for` names the model that a
    classical method replaces."""

    kind: str
    pair: str
    model: str
    stand_in_for: str | None
    experiments: tuple[str, ...] = ()


@dataclass(frozen=True)
class FlowStart:
    """Where a flow network's parameters come from, and the experiments that begin with it."""

    name: str
    network: str
    origin: str
    experiments: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """An experiment: which method and profile was trained, on what, from which start, for how long."""

    name: str
    method: str
    pair: str
    start: str
    recipe: str


@dataclass(frozen=True)
class Elsewhere:
    """What a paper reports of a network, on footage that was not tested here; `why` not comparable."""

    method: str
    network: str
    figures: tuple[Published, ...]
    why: str


def costs(methods: Sequence[str], cells: Iterable[Cell]) -> list[CostRow]:
    """One row per method and corpus on whose frames it was measured."""
    found = {
        (cell.method, cell.corpus): CostRow(cell.method, cell.corpus, cell.cost, cell.timing)
        for cell in cells
        if cell.cost and cell.timing
    }
    return sorted(found.values(), key=lambda row: (methods.index(row.method), row.cost.lr))


RATES = (60, 30, 24)
"""Frames a second that screens and films have."""


def real_time(rows: Sequence[CostRow]) -> list[str]:
    """Which methods hold which frame rate: a sentence for each machine and size of LR frames. A method holds a rate when 99 of 100
    frames are restored before the next one comes."""
    measured: dict[tuple[str, tuple[int, int]], list[CostRow]] = {}
    for row in rows:
        measured.setdefault((row.timing.place, row.cost.lr), []).append(row)
    said = []
    for (place, (height, width)), found in measured.items():
        parts = []
        for rate in RATES:
            holding = [row.method for row in found if row.timing.seconds_p99 * rate <= 1]
            parts.append(f"{rate} by {', '.join(holding) or 'none'}")
        said.append(f"Frames a second that are held for {width} × {height} on {place}: {'; '.join(parts)}.")
    return said


def elsewhere(params: Params, methods: Sequence[str], cells: Sequence[Cell]) -> list[Elsewhere]:
    """The figures that the methods' networks are known by, of those with no result that is comparable to a published one."""
    rows = []
    for method in methods:
        own = [cell for cell in cells if cell.method == method and cell.applicable]
        if not own or any(comparable(cell, params.methods)[0] for cell in own):
            continue
        chosen = params.tested[method]
        scale = params.methods[chosen.method][chosen.profile].options.get("scale", 4)
        figures = headline(own[0].network, scale)
        if figures:
            rows.append(Elsewhere(method, own[0].network, tuple(figures), comparable(own[0], params.methods)[1]))
    return rows


def significant(value: float, digits: int = 3) -> str:
    """A positive number to so many significant digits, without an exponent: 376.7, 0.0123, 1,234."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of what it is rounded to
    return f"{value:,.{max(0, digits - 1 - exponent)}f}"


def human(value: float) -> str:
    """A number as a person writes it: two digits, or all before the point: 0.23, 4.3, 377, 1,234."""
    return f"{value:,.0f}" if abs(value) >= 99.5 else significant(value, 2)


def duration(seconds: float) -> str:
    """A time as a person writes it: 0.23 s, 12 ms."""
    return f"{human(seconds)} s" if seconds >= 0.0995 or seconds == 0 else f"{human(1000 * seconds)} ms"


def priors(params: Params) -> list[Prior]:
    """The masks and flows of params.yaml."""
    return [
        Prior(
            kind,
            entry.frames,
            *_model(params.priors[entry.prior]),
            tuple(name for name, experiment in params.experiments.items() if _learns_with(experiment, entry)),
        )
        for kind, entries in (("masks", params.masks), ("flows", params.flows))
        for entry in entries.values()
    ]


def _learns_with(experiment: Experiment, entry: OfFrames) -> bool:
    frames = f"lr/{experiment.corpus}/{experiment.degradation}"
    return (experiment.prior, frames) == (entry.prior, entry.frames)


def _model(model: Sam | Felzenszwalb | Raft | Dis) -> tuple[str, str | None]:
    match model:
        case Sam():
            kind = "Segment Anything" if model.backend == "sam" else "Segment Anything 2"
            return f"{kind} ({'a local folder' if weights.is_path(model.weights) else model.weights})", None
        case Felzenszwalb():
            return "Felzenszwalb's graph-based segmentation (scikit-image)", "Segment Anything"
        case Raft():
            return f"RAFT ({model.weights}, {model.updates} updates, frames enlarged {model.enlarge} times)", None
        case Dis():
            return f"dense inverse search (OpenCV, preset {model.preset}, frames enlarged {model.enlarge} times)", "RAFT"


def starts(params: Params) -> list[FlowStart]:
    """The flow networks of params.yaml."""
    return [
        FlowStart(
            name,
            start.network,
            f"trained here on the exact flow of {start.corpus} ({_schedule(start.training)})"
            if start.training
            else weights.described(start.weights or ""),
            tuple(key for key, experiment in params.experiments.items() if name in _begins_with(params, experiment.start)),
        )
        for name, start in params.starts.items()
    ]


def _begins_with(params: Params, start: str) -> tuple[str, ...]:
    """The networks that a start is, two where it joins them."""
    join = params.joins.get(start)
    return (join.first, join.second) if join else (start,)


def _schedule(schedule: Schedule) -> str:
    size = f"{schedule.clip_length} × {schedule.crop} × {schedule.crop}"
    return f"{schedule.iterations:,} steps of {schedule.batch} crops of {size}, seed {schedule.seed}"


def trained(params: Params) -> list[Trained]:
    """The experiments of params.yaml."""
    rows = []
    for name, experiment in params.experiments.items():
        profile = params.methods[experiment.method][experiment.profile]
        method = f"{experiment.method}, {experiment.profile}" + (f" ({_settings(profile.options)})" if profile.options else "")
        training = experiment.training(profile)
        recipe = _schedule(training) if training else "not trained"
        start = " and ".join(_begins_with(params, experiment.start))
        rows.append(Trained(name, method, _of(experiment, training), start, recipe))
    return rows


def _of(experiment: Experiment, training: Training | None) -> str:
    """What an experiment is trained on."""
    if experiment.degradation == IN_STEP:
        if training and not training.scales:
            return f"{experiment.corpus} · degraded in every step"
        scales = f" of {training.scales.low:g} to {training.scales.high:g}" if training and training.scales else ""
        return f"{experiment.corpus} · one network for all scales{scales}"
    pair = f"{experiment.corpus} · {experiment.degradation}"
    return pair if experiment.prior == NO_PRIOR else f"{pair} · guided by {experiment.prior}"


def recipes(params: Params) -> dict[str, str]:
    """The tested degradations, step after step; what has no recipe comes with its corpus."""
    tested = params.tests.degradations
    return {name: ", then ".join(map(_step, params.recipes.get(name, []))) or "comes with the corpus" for name in tested}


def _step(step: Step) -> str:
    if isinstance(step, Choice):
        ways = (f"in {option.share:.0%} {', then '.join(map(_step, option.steps)) or 'nothing'}" for option in step.of)
        return f"[{'; '.join(ways)}]"
    settings = step.model_dump(exclude={"op"}, exclude_none=True)
    return f"{step.op} ({_settings(settings)})" if settings else step.op


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in settings.items())


def _value(value: Any) -> str:
    match value:
        case float():
            return f"{value:g}"
        case {"low": low, "high": high, "walk": walk}:
            return f"{low:g} to {high:g}" + (f" in steps of {walk:g}" if walk else "")
        case dict():
            return " ".join(f"{key} {_value(each)}" for key, each in value.items())
        case list() | tuple():
            return " ".join(map(_value, value))
    return str(value)


def inputs(cells: Iterable[Cell]) -> list[tuple[str, str]]:
    """The (path, DVC digest) of everything that the results were computed from; a path that changed between them is there twice."""
    return sorted({item for cell in cells for item in cell.inputs.items()})

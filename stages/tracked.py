"""What the stages tell MLflow: a run for each training, evaluation, measurement and report, named and tagged to be compared.

| experiment | a run is | its metrics |
|---|---|---|
| `vsr/methods` | a network in training | curves by step |
| `vsr/evaluations` | a method on a test pair | the same few names for every method, so that runs make a table |
| `vsr/measurements` | a method with the machine to itself | what it costs |
| `vsr/reports` | a state of all results | none; the report is its artifact |
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pipelines import metrics, results
from pipelines.clips.images import read_picture
from pipelines.params import Params, Suite
from pipelines.results import Cell, Cost, Result, Timing
from pipelines.runtime import tracking
from pipelines.runtime.lineage import Stage
from pipelines.training.product import Record

METHODS = "vsr/methods"
EVALUATIONS = "vsr/evaluations"
MEASUREMENTS = "vsr/measurements"
REPORTS = "vsr/reports"
MODEL = "vsr"
"""The registered model whose versions are the trained networks; the alias `best-<suite>` is on a suite's best."""

NAMES = 40
"""A run has fewer metrics than this: MLflow's tables and charts are slow and unreadable with more."""

_COSTS = 8
"""Names that the cost takes of them, see `_costs`."""

_CLIPS = 3
_SAMPLES = ("lr", "restored", "truth")


def training(record: Record, inputs: Mapping[str, str], params: Params) -> tracking.Run:
    """The run of a network in training: found by its run key, or made from its record.

    Args:
        record: of the network, see `product`; its `params` become the run's.
        inputs: the DVC hashes of its data by path.
        params: params.yaml, which says the suites.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    return tracking.Run.find_or_create(
        name=record["name"],
        run_key=record["run_key"],
        params=record["params"],
        tags=_tags(record, corpus=record.get("corpus"), degradation=record.get("degradation"))
        | {"vsr.suite": _suites(params, record["name"])},
        inputs=[(path, digest, "training") for path, digest in inputs.items()],
        experiment=METHODS,
    )


def scores(stage: Stage, result: Result, folder: Path, params: Params) -> None:
    """Log an evaluation: means, some clips and the table of all clips; nothing twice, however often it is repeated.

    Args:
        stage: which scored it.
        result: of a method that is applicable.
        folder: where it is, with its samples.
        params: params.yaml, which says the suites.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    corpus, degradation = result.corpus, result.degradation
    tags = {"name": result.method, "method": result.network, "profile": result.profile, "corpus": corpus}
    tags |= {"degradation": degradation, "trained_on": result.trained_on}
    known = {name: str(value) for name, value in {**tags, "seed": result.seed}.items() if value is not None}
    run = tracking.Run.find_or_create(
        name=f"{result.method} on {corpus}/{degradation}",
        run_key=stage.run_key,
        params=known,
        tags={
            **{f"vsr.{name}": value for name, value in known.items()},
            "vsr.suite": _suites(params, result.method, corpus, degradation),
            "vsr.skipped": "; ".join(f"{name}: {reason}" for name, reason in result.lead.skipped.items()) or "nothing",
            "vsr.network": str(result.run_key),
            "mlflow.note.content": "\n".join(f"- {note}" for note in result.notes),
        },
        inputs=[(path, digest, "evaluation") for path, digest in stage.inputs.items()],
        experiment=EVALUATIONS,
    )
    run.metrics(0, _values(result))
    shown = list(results.samples(folder).values())[:_CLIPS]
    run.images(0, {f"{corpus}/{clip.name}/{name}": read_picture(clip / f"{name}.png") for clip in shown for name in _SAMPLES})
    table = stage.work / "clips.csv"
    _clips(result).to_csv(table, index=False)
    run.artifact(table)
    run.finish("FINISHED")


def measurement(stage: Stage, record: Record, corpus: str, cost: Cost, timing: Timing) -> None:
    """Log what a method costs; nothing twice, however often it is repeated.

    Args:
        stage: which measured it.
        record: of the network.
        corpus: whose frames' size it was measured at.
        cost, timing: what was found.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    tags = _tags(record, corpus=corpus, degradation=None)
    where = timing.model_dump(include={"device", "hardware", "threads", "precision", "window", "frames", "fps"})
    run = tracking.Run.find_or_create(
        name=f"{record['name']} on {corpus}",
        run_key=stage.run_key,
        params={name.removeprefix("vsr."): value for name, value in tags.items()} | {"lr": f"{cost.lr[1]}x{cost.lr[0]}", **where},
        tags=tags,
        inputs=[(path, digest, "measurement") for path, digest in stage.inputs.items()],
        experiment=MEASUREMENTS,
    )
    run.metrics(0, _costs(cost, timing))
    run.finish("FINISHED")


def report(folder: Path, cells: list[Cell], params: Params) -> None:
    """Log the report, and bring the suites of its methods' runs, their views and best networks up to date with params.yaml.

    Results that differ in nothing but how long they took have one run.

    Args:
        folder: what was published.
        cells: the results that it shows.
        params: params.yaml.

    Raises:
        VSRError: MLflow does not answer or refuses.
    """
    measured = [cell.model_dump(mode="json", exclude={"timing", "folder"}) for cell in cells]
    identity = json.dumps([{key: suite.model_dump() for key, suite in params.suites.items()}, measured], sort_keys=True)
    run = tracking.Run.find_or_create(
        name="report",
        run_key=hashlib.sha256(identity.encode()).hexdigest()[:16],
        params={},
        tags={},
        inputs=[],
        experiment=REPORTS,
    )
    for path in sorted(folder.iterdir()):
        run.artifact(path)
    costs = {(cell.method, cell.corpus): _costs(cell.cost, cell.timing) for cell in cells if cell.cost and cell.timing}
    for experiment in (METHODS, EVALUATIONS):
        for other, tags in tracking.runs(experiment).items():
            name = tags.get("vsr.name", "")
            if name not in params.tested:
                continue  # on a server others keep runs too
            pair = (tags.get("vsr.corpus"), tags.get("vsr.degradation")) if experiment == EVALUATIONS else (None, None)
            suites = _suites(params, name, *pair)
            if suites != tags.get("vsr.suite"):
                other.tag({"vsr.suite": suites})
            cost = costs.get((name, str(pair[0])))
            if cost and "vsr.measured" not in tags:  # so that quality can be drawn against cost
                other.metrics(0, cost)
                other.tag({"vsr.measured": "yes"})
    for key, suite in params.suites.items():
        _view(key, suite, cells, params)
        leader = best(suite, cells, params)
        if leader is not None and not tracking.alias(MODEL, f"best-{key}", leader):
            print(f"MLflow has no model of {leader}, the best of {key}: it was trained where other runs are kept.")
    run.finish("FINISHED")


def of_suite(key: str) -> str:
    """The search for the runs of a suite, see `tracking.runs`."""
    return f"tags.`vsr.suite` LIKE '%|{key}|%'"


def best(suite: Suite, cells: list[Cell], params: Params) -> str | None:
    """The suite's experiment with the best mean over its pairs, by the suite's first metric under each corpus's lead protocol.

    Only experiments that are trained and have that metric on every pair are compared, the first of them wins a tie; None if there
    are none.
    """
    pairs = {(corpus, degradation) for corpus in suite.corpora for degradation in suite.degradations}
    metric = metrics.get(suite.metrics[0])
    means: dict[str, float] = {}
    for method in suite.methods:
        values = {
            (cell.corpus, cell.degradation): cell.protocols[cell.lead_protocol].metrics.get(metric.name)
            for cell in cells
            if cell.method == method and cell.applicable and cell.lead_protocol
        }
        of_pairs = [value for pair in sorted(pairs) if (value := values.get(pair)) is not None]
        if _is_trained(method, params) and pairs and len(of_pairs) == len(pairs):
            means[method] = sum(of_pairs) / len(of_pairs)
    if not means:
        return None
    return max(means, key=lambda method: means[method] if metric.higher_is_better else -means[method])


def _is_trained(method: str, params: Params) -> bool:
    """Whether it has a network of its own: not one in closed form, published or taken over."""
    chosen = params.experiments.get(method)
    return chosen is not None and params.methods[chosen.method][chosen.profile].training is not None


def _view(key: str, suite: Suite, cells: list[Cell], params: Params) -> None:
    """The suite as a saved view of the evaluations: its runs, with its metrics as columns and a clip of each corpus."""
    leads = dict.fromkeys(params.tests.corpora[corpus].protocols[0] for corpus in suite.corpora)
    shown = dict.fromkeys(_metric(lead, name) for name in suite.metrics for lead in leads)
    found = {cell.corpus: list(cell.samples().values()) for cell in cells if cell.applicable}
    tracking.view(
        EVALUATIONS,
        key,
        title=suite.title,
        where=of_suite(key),
        params=["name", "corpus", "degradation"],
        metrics=list(shown),
        against="cost/parameters",
        images=[f"{corpus}/{clips[0].name}/restored" for corpus in suite.corpora if (clips := found.get(corpus))],
    )


def _metric(protocol: str, name: str) -> str:
    """What a run calls a metric: one that depends on the protocol has its name in front."""
    return f"{protocol}/{name}" if metrics.get(name).channel == "protocol" else name


def _tags(record: Record, *, corpus: str | None, degradation: str | None) -> dict[str, str]:
    """What runs are found and grouped by; a tag that does not apply is left out."""
    tags = {
        "name": record["name"],
        "method": record["method"],
        "profile": record["params"].get("profile"),
        "corpus": corpus,
        "degradation": degradation,
        "trained_on": record.get("trained_on"),
        "seed": record["params"].get("training.seed"),
    }
    return {f"vsr.{key}": str(value) for key, value in tags.items() if value is not None}


def _suites(params: Params, name: str, corpus: str | None = None, degradation: str | None = None) -> str:
    """The suites with that experiment or baseline, on that pair if one is given: between bars, so that a search finds whole names."""
    names = [
        key
        for key, suite in params.suites.items()
        if name in suite.methods
        and (corpus is None or corpus in suite.corpora)
        and (degradation is None or degradation in suite.degradations)
    ]
    return f"|{'|'.join(names)}|" if names else "none"


def _values(result: Result) -> dict[str, float]:
    """Few enough values that the cost has room below `NAMES`: those of the lead protocol, and of each other protocol all or
    none."""
    lead = result.lead_protocol
    # Pages begin with what is logged first.
    values: dict[str, float] = {}
    for protocol, found in sorted(result.protocols.items(), key=lambda item: item[0] != lead):
        more = {_metric(protocol, name): float(value) for name, value in found.metrics.items()}
        more[f"{protocol}/lossless_frames"] = float(found.lossless)
        if protocol == lead or len(values | more) + _COSTS < NAMES:
            values |= more
    return values


def _costs(cost: Cost, timing: Timing) -> dict[str, float]:
    """What a method costs; what depends on the machine has its kind of device in front."""
    timed = timing.model_dump(include={"seconds_per_frame", "seconds_p95", "seconds_p99", "throughput", "delay", "peak_memory"})
    return {
        "cost/parameters": float(cost.parameters),
        "cost/gmacs": cost.gmacs,
        **{f"cost/{timing.device}_{name}": float(value) for name, value in timed.items() if value is not None},
    }


def _clips(result: Result) -> pd.DataFrame:
    """A line for each clip and protocol."""
    return pd.DataFrame(
        {"clip": clip, "protocol": protocol, **one.metrics, "frames": one.frames, "lossless": one.lossless}
        for protocol, means in result.protocols.items()
        for clip, one in means.clips.items()
    )

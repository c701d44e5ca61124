"""What the stages that train a network share: the Ray Train run, its MLflow run, and what they leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models import Network
from pipelines import params
from pipelines.params import Schedule
from pipelines.runtime import tracking, trainer
from pipelines.runtime.cluster import connect
from pipelines.runtime.lineage import Stage
from pipelines.runtime.outbox import Outbox
from pipelines.training import product
from pipelines.training.loop import Task
from pipelines.training.state import final_weights, load
from stages import tracked
from stages.common import ROOT


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as `a.b.c: value`."""
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        leaves |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return leaves


def train(
    stage: Stage, build: Callable[[], Task], schedule: Schedule, network: Network, record: product.Record, out: Path
) -> None:
    """Train to the end, or go on to it, and leave the network in `out`.

    Raises:
        VSRError: MLflow does not answer before or after the training, or the training fails.
    """
    tracking.preflight()
    record = {**record, "run_key": stage.run_key}
    with connect():
        run = tracked.training(record, stage.inputs, params.load())
        with run.working():
            state = load(trainer.run(build, schedule, name=stage.run_key, storage=stage.work.parent, tracker=run))
            network.load_state_dict(final_weights(state))
            record = product.write(out, network, record)
            Outbox(run, stage.work / trainer.UNSENT).empty()
            # What restores clips is registered; a flow network is only a part of it.
            registered = tracked.MODEL if network.restores else None
            run.model(record["name"], str((out / product.WEIGHTS).relative_to(ROOT)), record["sha256"], registered=registered)

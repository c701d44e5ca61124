"""What the stages that train a network share: the Ray Train run, its MLflow run, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models import Network
from pipelines.params import Params, Schedule
from pipelines.runtime import tracking, trainer
from pipelines.runtime.cluster import connect
from pipelines.runtime.lineage import Stage, verify
from pipelines.runtime.outbox import Outbox
from pipelines.training import product
from pipelines.training.loop import Task
from pipelines.training.state import final_weights, load
from stages import tracked
from stages.common import ROOT


def train(
    stage: Stage,
    loaded: Params,
    build: Callable[[], Task],
    schedule: Schedule,
    network: Network,
    record: product.Record,
    out: Path,
) -> None:
    """Train to the end, or go on to it, and leave the network in `out`.

    Raises:
        VSRError: the recipe and the clips do not fit, MLflow does not answer before or after the training, the training fails, or what it depends on was edited.
    """
    build()  # what does not fit together is told now, and not by a worker later
    tracking.preflight()
    record = {**record, "run_key": stage.run_key}
    with connect():
        run = tracked.training(record, stage.inputs, loaded)
        with run.working():
            state = load(trainer.run(build, schedule, name=stage.run_key, storage=stage.work.parent, tracker=run))
            verify(stage)
            network.load_state_dict(final_weights(state))
            record = product.write(out, network, record)
            Outbox(run, stage.work / trainer.UNSENT).empty()
            # What restores clips is registered; a flow network is only a part of it.
            registered = tracked.MODEL if network.restores else None
            run.model(record["name"], str((out / product.WEIGHTS).relative_to(ROOT)), record["sha256"], registered=registered)

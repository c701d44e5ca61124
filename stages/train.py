"""Train: one experiment, a method on a pair."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import networks, params
from pipelines.errors import VSRError
from pipelines.training import product
from pipelines.training.restoration import restoration_task
from stages.common import begin, data, end, main
from stages.training import flat, train


def run(arguments: Namespace) -> None:
    """Make `data/trained/<experiment>`."""
    name = arguments.experiment
    loaded = params.load()
    experiment = params.entry("experiment", loaded.experiments, name)
    profile = loaded.methods[experiment.method][experiment.profile]
    training = experiment.training(profile)
    if training is None:
        raise VSRError(f"params.yaml: methods.{experiment.method}.{experiment.profile} has no `training`: add it.")
    network = networks.create(experiment.method, **profile.options)
    stage = begin(f"train@{name}")
    start = data("starts", experiment.start)
    hr, lr = data("hr", experiment.corpus), data("lr", experiment.corpus, experiment.degradation)
    build = partial(restoration_task, experiment.method, profile.options, training, hr, lr, start / product.WEIGHTS)
    pair = f"{experiment.corpus}/{experiment.degradation}"
    notes = [f"trained for {training.iterations} steps on {pair}", *product.read(start)["notes"]]
    if experiment.profile != "published":
        notes.append(f"profile `{experiment.profile}`, not the published network and recipe: not comparable to published figures")
    record = {
        "name": name,
        "method": experiment.method,
        "corpus": experiment.corpus,
        "degradation": experiment.degradation,
        "trained_on": pair,
        "notes": notes,
        "params": flat(
            {"start": experiment.start, "profile": experiment.profile, **profile.model_dump(), "training": training.model_dump()}
        ),
    }
    train(stage, build, training, network, record, data("trained", name))
    end(stage)


if __name__ == "__main__":
    main(run, "experiment", about="Train an experiment.")

"""Train: one experiment, a method on a pair, with masks of it, or at any scale."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipelines import networks, params
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.params import AnyScale, Experiment, Guided, Profile, Training
from pipelines.params.methods import published_profile
from pipelines.training import product
from pipelines.training.any_scale import any_scale_task
from pipelines.training.loop import Task
from pipelines.training.restoration import restoration_task
from pipelines.training.starting import begin_with
from stages.common import begin, data, end, main
from stages.training import train


def run(arguments: Namespace) -> None:
    """Make `data/trained/<experiment>`."""
    name = arguments.experiment
    kind = _stage(params.entry("experiment", params.load().trained, name))
    stage, loaded = begin(f"{kind}@{name}")
    experiment = params.entry("experiment", loaded.trained, name)
    profile = loaded.methods[experiment.method][experiment.profile]
    training = experiment.training(profile)
    if training is None:
        raise VSRError(f"params.yaml: methods.{experiment.method}.{experiment.profile} has no `training`: add it.")
    network = networks.create(experiment.method, **profile.options)
    start = data("trained", experiment.start)
    build, facts = task_of(experiment, profile, training, start)
    notes = [f"trained for {training.iterations} steps on {facts['trained_on']}"]
    beginning = begin_with(network, start)
    notes += [beginning.note] if beginning.note else []
    published = published_profile(loaded.methods[experiment.method], experiment.corpus)
    if experiment.profile != published:
        notes.append(
            f"profile `{experiment.profile}` and not `{published}`, the published network and recipe: not comparable to published figures"
        )
    chosen = {"start": experiment.start, "profile": experiment.profile}
    record = {
        "name": name,
        "method": experiment.method,
        "corpus": experiment.corpus,
        **facts,
        "random": beginning.random,
        "notes": notes,
        "params": product.flat({**chosen, **profile.model_dump(), "training": training.model_dump()}),
    }
    train(stage, loaded, build, training, network, record, data("trained", name))
    end(stage)


def _stage(experiment: Experiment | AnyScale) -> str:
    """The stage of dvc.yaml that trains it."""
    if isinstance(experiment, Guided):
        return "train_guided"
    return "train_any_scale" if isinstance(experiment, AnyScale) else "train"


def task_of(
    experiment: Experiment | AnyScale, profile: Profile, training: Training, start: Path
) -> tuple[Callable[[], Task], dict[str, Any]]:
    """What makes the task inside a worker, and what the network's record says of its data.

    Args:
        experiment, profile, training: of params.yaml.
        start: the folder of the network that it begins with.
    """
    method, options, hr = experiment.method, profile.options, data("hr", experiment.corpus)
    if isinstance(experiment, AnyScale):
        assert training.scales is not None  # params.yaml has been checked
        scales = f"any scale ({training.scales.low:g} to {training.scales.high:g})"
        return partial(any_scale_task, method, options, training, hr, start), {"trained_on": f"{experiment.corpus}/{scales}"}
    lr = data("lr", experiment.corpus, experiment.degradation)
    facts: dict[str, Any] = {"degradation": experiment.degradation, "trained_on": f"{experiment.corpus}/{experiment.degradation}"}
    priors = {}
    if isinstance(experiment, Guided):
        priors["masks"] = data("masks", "lr", experiment.corpus, experiment.degradation, experiment.masks)
        # Masks by another model are another prior: the network is tested with those by this one.
        model = next(iter(Store(priors["masks"]).clips.values())).attributes.parameters
        facts |= {"masks": experiment.masks, "masks_model": model}
    return partial(restoration_task, method, options, training, hr, lr, start, priors), facts


if __name__ == "__main__":
    main(run, "experiment", about="Train an experiment.")

"""Train: one experiment, a method on a pair or on HR clips that are degraded in the step."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from models import Network
from pipelines import networks, params
from pipelines.errors import VSRError
from pipelines.params import Experiment, Profile, Training
from pipelines.params.methods import published_profile
from pipelines.params.references import IN_STEP, NO_PRIOR
from pipelines.runtime.lineage import Stage, verify
from pipelines.training import objective, product
from pipelines.training.loop import Task
from pipelines.training.restoration import restoration_task
from pipelines.training.starting import begin_with
from stages.common import begin, data, end, main, prior_store
from stages.priors import learnt_with
from stages.training import train


def run(arguments: Namespace) -> None:
    """Make `data/trained/<experiment>`."""
    name = arguments.experiment
    stage, loaded = begin(f"train@{name}")
    experiment = params.entry("experiment", loaded.experiments, name)
    profile = loaded.methods[experiment.method][experiment.profile]
    training = experiment.training(profile)
    network = networks.create(experiment.method, **profile.options)
    if training is None:
        return _take_over(stage, name, experiment, profile, network)
    _check_discriminator(network, training)
    frozen = objective.backbones(training.losses)  # they are there, or it ends here
    start = data("trained", experiment.start)
    build, facts = task_of(loaded, experiment, profile, training, start)
    notes = [f"trained for {training.iterations} steps on {facts['trained_on']}"]
    beginning = begin_with(network, start)
    notes += [beginning.note] if beginning.note else []
    notes += learning(profile)
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
        **adapts(profile),
        "random": beginning.random,
        "precision": training.precision,
        "frozen": frozen,
        "notes": notes,
        "params": product.flat({**chosen, **described(profile), "training": training.model_dump()}),
    }
    train(stage, loaded, build, training, network, record, data("trained", name))
    end(stage)


def _check_discriminator(network: Network, training: Training) -> None:
    """The network that judges is one that the method's file imports, so that the stage depends on it."""
    if training.adversarial is None:
        return
    chosen, known = training.adversarial.discriminator.network, network.discriminator
    if known is None or known.name != chosen:
        found = "none" if known is None else repr(known.name)
        raise VSRError(
            f"the losses of {network.name} name the discriminator {chosen!r}, and its file sets {found}: "
            f"import {chosen} in models/{network.name}.py, and set it as the network's `discriminator`."
        )


def _take_over(stage: Stage, name: str, experiment: Experiment, profile: Profile, network: Network) -> None:
    """Leave the network of the experiment's start as it is, under the experiment's name: restored otherwise, or as a part of another."""
    start = data("trained", experiment.start)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(float("nan"))
    begin_with(network, start)
    lacking = [key for key, parameter in network.named_parameters() if parameter.isnan().any()]
    if lacking:
        raise VSRError(
            f"params.yaml: experiments.{name} is not trained, and {experiment.start} has no {lacking[0]} for it: name another start, or a "
            "profile with a `training`."
        )
    of = product.read(start)
    inherited = {key: value for key, value in of.get("params", {}).items() if key.startswith("training.")}
    record: product.Record = {
        "name": name,
        "method": experiment.method,
        "run_key": stage.run_key,
        "random": [],
        "notes": [f"{experiment.start} as it is", *learning(profile), *of.get("notes", [])],
        **adapts(profile),
        **{key: of[key] for key in ("corpus", "degradation", "trained_on", "precision", "frozen") if key in of},
        "params": {**inherited, **product.flat({"start": experiment.start, "profile": experiment.profile, **described(profile)})},
    }
    verify(stage)
    product.write(data("trained", name), network, record)
    end(stage)


def described(profile: Profile) -> dict[str, Any]:
    """What a record says of a profile: all that it has."""
    return {key: value for key, value in profile.model_dump().items() if value is not None}


def adapts(profile: Profile) -> dict[str, Any]:
    """The key `adaptation` of a record, where a network learns from clips."""
    return {"adaptation": profile.adaptation.model_dump()} if profile.adaptation else {}


def learning(profile: Profile) -> list[str]:
    """The same as a note."""
    how = profile.adaptation
    if how is None:
        return []
    steps = f"{how.steps} step{'' if how.steps == 1 else 's'}"
    return [f"learns from every clip before it restores it: {steps} of {how.optimiser} at {how.rate:g}, kernel {how.kernel}"]


def task_of(
    loaded: params.Params, experiment: Experiment, profile: Profile, training: Training, start: Path
) -> tuple[Callable[[], Task], dict[str, Any]]:
    """What makes the task inside a worker, and what the network's record says of its data.

    Args:
        loaded: params.yaml, and of it
        experiment, profile, training: what is trained.
        start: the folder of the network that it begins with.
    """
    method, options, hr = experiment.method, profile.options, data("hr", experiment.corpus)
    if experiment.degradation == IN_STEP:
        scales = training.scales
        degraded = f"any scale ({scales.low:g} to {scales.high:g})" if scales else IN_STEP
        build = partial(restoration_task, method, options, training, hr, None, start)
        return build, {"trained_on": f"{experiment.corpus}/{degraded}"}
    lr = data("lr", experiment.corpus, experiment.degradation)
    facts: dict[str, Any] = {"degradation": experiment.degradation, "trained_on": f"{experiment.corpus}/{experiment.degradation}"}
    priors = {}
    if experiment.prior != NO_PRIOR:
        store = prior_store(experiment.prior, f"lr/{experiment.corpus}/{experiment.degradation}")
        priors = {name: store for name in networks.create(method, **options).priors}
        facts["prior"] = learnt_with(experiment.prior, store, loaded)
    return partial(restoration_task, method, options, training, hr, lr, start, priors), facts


if __name__ == "__main__":
    main(run, "experiment", about="Train an experiment.")

"""Adopt: a baseline as it is, in closed form or with published parameters."""

from __future__ import annotations

from argparse import Namespace

from pipelines import networks, params, weights
from pipelines.errors import VSRError
from pipelines.runtime.lineage import verify
from pipelines.training import product
from stages.common import begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/trained/<baseline>`."""
    name = arguments.baseline
    stage, loaded = begin(f"adopt@{name}")
    baseline = params.entry("baseline", loaded.baselines, name)
    profile = loaded.methods[baseline.method][baseline.profile]
    made: dict[str, str | None] = {"weights": None}
    if baseline.weights:
        path = weights.checkpoint(baseline.weights, baseline.sha256)
        network = networks.load_as(path, baseline.method, profile.options)
        note, made = weights.described(baseline.weights), {**weights.recorded(baseline.weights, path)}
    else:
        network = networks.create(baseline.method, **profile.options)
        if network.needs_weights:
            raise VSRError(f"params.yaml: baselines.{name} needs parameters: name its `weights` or make it an experiment.")
        note = "closed form, nothing trained"
    record = {
        "name": name,
        "method": baseline.method,
        "run_key": stage.run_key,
        "trained_on": None,
        "notes": [note],
        "params": product.flat({"profile": baseline.profile, **made, **profile.model_dump()}),
    }
    verify(stage)
    product.write(data("trained", name), network, record)
    end(stage)


if __name__ == "__main__":
    main(run, "baseline", about="Take a baseline as it is.")

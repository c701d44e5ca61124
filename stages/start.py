"""Start: the flow network that flow-based methods begin with, trained on exact flow or published."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import networks, params, weights
from pipelines.errors import VSRError
from pipelines.runtime.lineage import verify
from pipelines.training import product
from pipelines.training.flow import flow_task
from stages.common import begin, data, end, main
from stages.training import train


def run(arguments: Namespace) -> None:
    """Make `data/trained/<start>`."""
    name = arguments.start
    stage, loaded = begin(f"start@{name}")
    start = params.entry("start", loaded.starts, name)
    if (start.training is None) == (start.weights is None):
        raise VSRError(f"params.yaml: starts.{name} has to have either `training` or `weights`: give one of them.")
    chosen = start.model_dump(exclude={"sha256"})
    record = {"name": name, "method": start.network, "trained_on": None, "params": product.flat(chosen)}
    out = data("trained", name)
    if start.training:
        network = networks.create(start.network, **start.options)
        note = f"flow network trained here for {start.training.iterations} steps on the exact flow of {start.corpus}"
        record |= {"corpus": start.corpus, "trained_on": start.corpus, "notes": [note]}
        hr, truth = data("hr", start.corpus), data("truth", start.corpus)
        build = partial(flow_task, start.network, start.options, start.training, hr, truth)
        train(stage, loaded, build, start.training, network, record, out)
    else:
        assert start.weights
        path = weights.checkpoint(start.weights, start.sha256)
        network = networks.load_as(path, start.network, start.options)
        record |= {"run_key": stage.run_key, "notes": [f"flow network with {weights.described(start.weights)}"]}
        record |= {"params": product.flat({**chosen, **weights.recorded(start.weights, path)})}
        verify(stage)
        product.write(out, network, record)
    end(stage)


if __name__ == "__main__":
    main(run, "start", about="Make the flow network that experiments start from.")

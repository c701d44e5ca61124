"""Start: what methods begin with: a flow network, trained on exact flow or published, or an autoencoder trained on HR clips."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from functools import partial

from pipelines import networks, params, weights
from pipelines.errors import VSRError
from pipelines.runtime.lineage import verify
from pipelines.training import product
from pipelines.training.autoencoding import AUTOENCODER, autoencoding_task
from pipelines.training.flow import flow_task
from pipelines.training.loop import Task
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
        hr, truth, length = (
            data("hr", start.corpus),
            data("truth", start.corpus),
            f"trained here for {start.training.iterations} steps",
        )
        build: Callable[[], Task]
        if network.name == AUTOENCODER:
            note = f"autoencoder {length} on the frames of {start.corpus}"
            build = partial(autoencoding_task, start.options, start.training, hr)
        else:
            note = f"flow network {length} on the exact flow of {start.corpus}"
            build = partial(flow_task, start.network, start.options, start.training, hr, truth)
        record |= {"corpus": start.corpus, "trained_on": start.corpus, "notes": [note]}
        train(stage, loaded, build, start.training, network, record, out)
    else:
        assert start.weights
        path = weights.checkpoint(start.weights, start.sha256)
        network = networks.load_as(path, start.network, start.options)
        record |= {"run_key": stage.run_key, "notes": [f"{start.network} with {weights.described(start.weights)}"]}
        record |= {"params": product.flat({**chosen, **weights.recorded(start.weights, path)})}
        verify(stage)
        product.write(out, network, record)
    end(stage)


if __name__ == "__main__":
    main(run, "start", about="Make a network that experiments start from.")

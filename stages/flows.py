"""Flows: optical flow between the LR frames of a pair, both ways, with occlusion."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params
from pipelines.clips.store import Store
from pipelines.priors import flows, weights
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect, gpu_share
from stages.common import begin, data, end, main


def estimate(arguments: Namespace) -> None:
    """Make `data/flows/<flows>`."""
    name = arguments.flows
    entry = params.entry("flows", params.load().flows, name)
    weights.provenance(entry.model)  # the weights are there, or it ends here
    stage = begin(f"flows@{name}")
    lr = Store(data("lr", entry.corpus, entry.degradation))
    label = f"flows {name} ({entry.model.backend})"
    with connect():
        share = gpu_share()
        jobs = {clip: (lr.path, clip) for clip in lr.clips}
        factory = partial(flows.Flows, entry.model, "cuda" if share else "cpu")
        outputs: dict[str, storing.Output] = {"flows": (data("flows", name), None)}
        storing.build(jobs, factory, outputs, stage.work, label=label, scales=flows.SCALES, gpus=share)
    made = flows.summary(Store(data("flows", name)))
    print(f"{label}: " + ", ".join(f"{key} {value:.3g}" for key, value in made.items()))
    end(stage)


if __name__ == "__main__":
    main(estimate, "flows", about="Estimate the optical flow of a pair's LR frames.")

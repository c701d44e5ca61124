"""Masks: segments of the LR frames of a pair."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params
from pipelines.clips.store import Store
from pipelines.priors import masks, weights
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect, gpu_share
from stages.common import begin, data, end, main


def segment(arguments: Namespace) -> None:
    """Make `data/masks/<masks>`."""
    name = arguments.masks
    entry = params.entry("masks", params.load().masks, name)
    weights.provenance(entry.model)  # the weights are there, or it ends here
    stage = begin(f"masks@{name}")
    lr = Store(data("lr", entry.corpus, entry.degradation))
    with connect():
        share = gpu_share()
        jobs = {clip: (lr.path, clip) for clip in lr.clips}
        factory = partial(masks.Masks, entry.model, "cuda" if share else "cpu")
        label = f"masks {name} ({entry.model.backend})"
        storing.build(jobs, factory, {"masks": (data("masks", name), None)}, stage.work, label=label, gpus=share)
    made = masks.summary(Store(data("masks", name)))
    print(f"{label}: {made['masks']:.1f} masks a frame cover {made['coverage']:.0%} of it")
    end(stage)


if __name__ == "__main__":
    main(segment, "masks", about="Segment the LR frames of a pair.")

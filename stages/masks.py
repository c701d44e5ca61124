"""Masks: segments of the frames of a corpus, HR or under a degradation."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params, weights
from pipelines.clips.store import Store
from pipelines.priors import masks, picture
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect, gpu_share
from pipelines.runtime.lineage import verify
from stages.common import begin, data, end, main, prior_store
from stages.priors import tracked


def segment(arguments: Namespace) -> None:
    """Make `data/priors/<prior>/<frames>`."""
    name = arguments.masks
    stage, loaded = begin(f"masks@{name}")
    entry = params.entry("masks", loaded.masks, name)
    model = loaded.priors[entry.prior]
    assert isinstance(model, params.MaskModel)  # params.yaml has been checked
    provenance = weights.provenance(model)  # the weights are there, or it ends here
    frames, out = Store(data(entry.frames)), prior_store(entry.prior, entry.frames)
    label = f"masks {name} ({model.backend})"
    with tracked(stage, "masks", entry, provenance) as run:
        with connect():
            share = gpu_share()
            jobs = {clip: (frames.path, clip) for clip in frames.clips}
            factory = partial(masks.Masks, model, "cuda" if share else "cpu")
            storing.build(
                jobs, factory, {"masks": (out, None)}, stage.work, label=label, gpus=share, verify=partial(verify, stage)
            )
        made = Store(out)
        found = masks.summary(made)
        run.metrics(0, found)
        run.images(0, picture.of_masks(frames, made))
    print(f"{label}: {found['masks_mean']:.1f} masks a frame cover {found['coverage']:.0%} of it")
    end(stage)


if __name__ == "__main__":
    main(segment, "masks", about="Segment the frames of a corpus, HR or under a degradation.")

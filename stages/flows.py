"""Flows: optical flow between the frames of a corpus, HR or under a degradation, both ways, with occlusion."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params, weights
from pipelines.clips.store import MANIFEST, Store
from pipelines.priors import flows, picture
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect, gpu_share
from pipelines.runtime.lineage import verify
from stages.common import begin, data, end, main, prior_store
from stages.priors import tracked

COLUMNS = {"flow_forward", "flow_backward", "occlusion_forward", "occlusion_backward"}


def estimate(arguments: Namespace) -> None:
    """Make `data/priors/<prior>/<frames>`."""
    name = arguments.flows
    stage, loaded = begin(f"flows@{name}")
    entry = params.entry("flows", loaded.flows, name)
    model = loaded.priors[entry.prior]
    assert isinstance(model, params.FlowModel)  # params.yaml has been checked
    provenance = weights.provenance(model)  # the weights are there, or it ends here
    frames, out = Store(data(entry.frames)), prior_store(entry.prior, entry.frames)
    label = f"flows {name} ({model.backend})"
    with tracked(stage, "flow", entry, provenance) as run:
        with connect():
            share = gpu_share()
            jobs = {clip: (frames.path, clip) for clip in frames.clips}
            factory = partial(flows.Flows, model, "cuda" if share else "cpu")
            outputs: dict[str, storing.Output] = {"flows": (out, None)}
            storing.build(
                jobs, factory, outputs, stage.work, label=label, scales=flows.SCALES, gpus=share, verify=partial(verify, stage)
            )
        made = Store(out)
        found = {**flows.summary(made), **errors(made, entry.corpus)}
        run.metrics(0, found)
        run.images(0, picture.of_flows(frames, made))
    print(f"{label}: " + ", ".join(f"{key} {value:.3g}" for key, value in found.items()))
    end(stage)


def errors(made: Store, corpus: str) -> dict[str, float]:
    """The end-point errors in pixels against the corpus's exact flow, over all pixels and those that are visible in
    both frames; nothing where it has none, or none that can be compared with these frames."""
    path = data("truth", corpus)
    if not (path / MANIFEST).exists():
        return {}
    truth = Store(path)
    both = [clip for name, clip in truth.clips.items() if name in made.clips]
    if not both or not all(set(truth.columns(clip.name)) >= COLUMNS for clip in both):
        return {}
    scale = both[0].attributes.height // made.clips[both[0].name].attributes.height
    if flows.incomparable(made, truth, scale) is not None:
        return {}
    every = flows.endpoint_error(made, truth, scale)
    return {"endpoint_error": every, "endpoint_error_visible": flows.endpoint_error(made, truth, scale, visible=True)}


if __name__ == "__main__":
    main(estimate, "flows", about="Estimate the optical flow between the frames of a corpus, HR or under a degradation.")

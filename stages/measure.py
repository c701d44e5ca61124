"""Measure: what a method costs on frames of a corpus's size, with the machine to itself."""

from __future__ import annotations

from argparse import Namespace
from itertools import islice

from pipelines import params, results
from pipelines.clips.store import Store
from pipelines.results import MEASURED, Cost
from pipelines.runtime.lineage import verify
from pipelines.threads import all_threads, wait_passively
from pipelines.training import product
from stages.common import ROOT, begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `results/<method>/<corpus>/_measured`."""
    wait_passively()
    import torch

    torch.set_num_threads(all_threads())  # it may have been imported to have one, see `fork_server.py`

    from pipelines import networks
    from pipelines.restoring.cost import cost
    from pipelines.restoring.measure import FRAMES, footage, measure

    name, corpus = arguments.method, arguments.corpus
    stage, loaded = begin(params.load().stage("measure", name, corpus))
    test = params.entry("tested corpus", loaded.tests.corpora, corpus)
    record = product.read(data("trained", name))
    weights = data("trained", name) / product.WEIGHTS
    hr = Store(data("hr", corpus))
    first = hr.split(test.split)[0]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    frames = list(islice(hr.frames(first.name), FRAMES[device]))
    clip = footage(frames, record["scale"], first.attributes.fps, FRAMES[device])
    timing = measure(weights, clip, test.passes, device, product.adaptation(record))
    network = networks.load(weights)
    counted = Cost.model_validate({**cost(network, *clip.lr, size=clip.size if network.any_scale else None), "lr": clip.lr})
    verify(stage)
    results.write_measured(ROOT / "results" / name / corpus / MEASURED, counted, timing)
    print(
        f"measure {name} {corpus}: {timing.seconds_per_frame:.3g} s per frame, {timing.throughput:.3g} frames per second from disk "
        f"to disk, {timing.delay:.3g} s delay ({timing.place})"
    )
    from stages import tracked  # MLflow takes seconds to import

    tracked.measurement(stage, record, corpus, counted, timing)
    end(stage)


if __name__ == "__main__":
    main(run, "method", "corpus", about="Measure what a method costs.")

"""Ingest: a corpus becomes HR clips, with their exact G-buffers where it has them, and the LR clips and buffers that it brings."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params
from pipelines.clips import parallax, readers
from pipelines.clips.ingest import Ingest
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect
from pipelines.runtime.lineage import verify
from stages.common import ROOT, begin, data, end, main, prior_store


def ingest(arguments: Namespace) -> None:
    """Make `data/hr/<corpus>` and `data/truth/<corpus>`, and `data/lr/<corpus>/rendered` with its prior `rendered`, which are empty
    where a corpus brings no LR clips."""
    name = arguments.corpus
    stage, loaded = begin(f"ingest@{name}")
    corpus = params.entry("corpus", loaded.corpora, name)
    clips, small = readers.list_clips(corpus, ROOT), readers.list_rendered(corpus, ROOT)
    outputs: dict[str, storing.Output] = {"hr": (data("hr", name), ["rgb"]), "truth": (data("truth", name), None)}
    rendered: dict[str, storing.Output] = {
        "lr": (data("lr", name, params.RENDERED), ["rgb"]),
        "buffers": (prior_store(params.RENDERED, f"lr/{name}/{params.RENDERED}"), None),
    }
    with connect():
        for what, found, stores in (("", clips, outputs), (" rendered", small, rendered)):
            jobs = {clip.name: clip for clip in found}
            label = f"ingest {name}{what}"
            storing.build(jobs, Ingest, stores, stage.work, label=label, scales=parallax.SCALES, verify=partial(verify, stage))
    end(stage)


if __name__ == "__main__":
    main(ingest, "corpus", about="Make the HR clips of a corpus.")

"""Ingest: a corpus becomes HR clips in the store, and its exact G-buffers, where it has them, in a second."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from pipelines import params
from pipelines.clips import parallax, readers
from pipelines.clips.ingest import Ingest
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect
from pipelines.runtime.lineage import verify
from stages.common import ROOT, begin, data, end, main


def ingest(arguments: Namespace) -> None:
    """Make `data/hr/<corpus>` and `data/truth/<corpus>`."""
    name = arguments.corpus
    stage, loaded = begin(f"ingest@{name}")
    clips = readers.list_clips(params.entry("corpus", loaded.corpora, name), ROOT)
    outputs: dict[str, storing.Output] = {"hr": (data("hr", name), ["rgb"]), "truth": (data("truth", name), None)}
    with connect():
        jobs = {clip.name: clip for clip in clips}
        label = f"ingest {name}"
        storing.build(jobs, Ingest, outputs, stage.work, label=label, scales=parallax.SCALES, verify=partial(verify, stage))
    end(stage)


if __name__ == "__main__":
    main(ingest, "corpus", about="Make the HR clips of a corpus.")

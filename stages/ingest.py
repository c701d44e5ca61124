"""Ingest: a corpus becomes HR clips in the store, and its exact G-buffers, where it has them, in a second."""

from __future__ import annotations

from argparse import Namespace

from pipelines import params
from pipelines.clips import parallax, readers
from pipelines.clips.ingest import Ingest
from pipelines.runtime import storing
from pipelines.runtime.cluster import connect
from stages.common import ROOT, begin, data, end, main


def ingest(arguments: Namespace) -> None:
    """Make `data/hr/<corpus>` and `data/truth/<corpus>`."""
    name = arguments.corpus
    corpus = params.entry("corpus", params.load().corpora, name)
    clips = readers.list_clips(corpus, ROOT)
    stage = begin(f"ingest@{name}")
    outputs: dict[str, storing.Output] = {"hr": (data("hr", name), ["rgb"]), "truth": (data("truth", name), None)}
    with connect():
        jobs = {clip.name: clip for clip in clips}
        storing.build(jobs, Ingest, outputs, stage.work, label=f"ingest {name}", scales=parallax.SCALES)
    end(stage)


if __name__ == "__main__":
    main(ingest, "corpus", about="Make the HR clips of a corpus.")

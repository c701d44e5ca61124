"""Guide: which prior a method sees on every pair that it is trained or tested on."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from pathlib import Path

from pipelines import params
from pipelines.atomic import atomic_folder
from pipelines.params.references import NO_PRIOR
from stages.common import ROOT, begin, data, end, main, prior_store

MANIFEST = "manifest.parquet"


def run(arguments: Namespace) -> None:
    """Make `data/guides/<method>`: for every pair a JSON file with the folder of the prior and the sha256 of its manifest.

    DVC's dependencies cannot be conditional. A stage that restores a pair depends on the file of its method and pair, which
    changes with the prior of that pair and with nothing else; for a method without a prior it never changes.
    """
    method = arguments.method
    stage, loaded = begin(params.load().stage("guide", method))
    chosen = params.entry("method", loaded.tested, method)
    pairs = {(corpus, degradation) for corpus in loaded.tests.corpora for degradation in loaded.tests.degradations}
    if isinstance(chosen, params.Experiment):
        pairs.add((chosen.corpus, chosen.degradation))
    with atomic_folder(data("guides", method)) as building:
        for corpus, degradation in sorted(pairs):
            path = building / corpus / f"{degradation}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(guide(chosen.prior, corpus, degradation), indent=2) + "\n")
    end(stage)


def guide(prior: str, corpus: str, degradation: str) -> dict[str, str | None]:
    """`prior`, the folder relative to the repository, and `sha256`; both null where a method sees none, or none was computed."""
    folder = prior_store(prior, f"lr/{corpus}/{degradation}")
    manifest: Path = folder / MANIFEST
    if prior == NO_PRIOR or not manifest.is_file():
        return {"prior": None, "sha256": None}
    return {"prior": str(folder.relative_to(ROOT)), "sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()}


if __name__ == "__main__":
    main(run, "method", about="Find the prior that a method sees on every pair.")

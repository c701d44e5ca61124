"""Restore: a method that was trained here, or a baseline, on the test split of a pair."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from pipelines import params
from pipelines.clips import fit
from pipelines.clips.store import Store, assemble
from pipelines.results import Restored
from pipelines.runtime.lineage import Stage, verify
from pipelines.training import product
from stages.common import ROOT, begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/restored/<method>/<corpus>/<degradation>`: the restored frames, or none and why."""
    name, corpus, degradation = arguments.method, arguments.corpus, arguments.degradation
    stage, loaded = begin(params.load().stage("restore", name, corpus, degradation))
    test = params.entry("tested corpus", loaded.tests.corpora, corpus)
    record = product.read(data("trained", name))
    hr, lr = Store(data("hr", corpus)), Store(data("lr", corpus, degradation))
    clips = [clip.name for clip in lr.split(test.split)]
    prior = _prior(name, corpus, degradation)
    reason = _misfit(record, hr, lr, clips)
    if reason is None and record["priors"] and prior is None:
        reason = f"the network sees {' and '.join(record['priors'])}, and none were computed of lr/{corpus}/{degradation}"
    about = Restored(
        method=name,
        network=record["network"],
        profile=record["params"].get("profile"),
        weights=record["params"].get("weights"),
        prior=record.get("prior"),
        corpus=corpus,
        degradation=degradation,
        split=test.split,
        applicable=reason is None,
        reason=reason,
        notes=record["notes"],
        inputs=stage.inputs,
        trained_on=record["trained_on"],
        random=record.get("random", []),
        training_precision=record.get("precision"),
        run_key=record["run_key"],
        seed=record["params"].get("training.seed"),
    )
    out = data("restored", name, corpus, degradation)
    if reason:
        verify(stage)
        assemble(stage.work, [], out, about.model_dump(mode="json"))
        print(f"{name} on {corpus} {degradation}: not applicable, {reason}")
    else:
        _restore(about, test.passes, stage, out, lr, clips, prior, product.adaptation(record))
    end(stage)


def _restore(
    about: Restored,
    passes: params.Passes,
    stage: Stage,
    out: Path,
    lr: Store,
    clips: list[str],
    prior: Path | None,
    adaptation: params.Adaptation | None,
) -> None:
    """Restore the clips side by side."""
    # Imported where a network runs: Ray and torch take seconds.
    from functools import partial

    from pipelines.restoring.clips import Restore
    from pipelines.runtime import storing
    from pipelines.runtime.cluster import connect, gpu_share

    with connect():
        share = gpu_share()
        device = "cuda" if share else "cpu"
        factory = partial(Restore, data("trained", about.method) / product.WEIGHTS, lr.path, passes, device, prior, adaptation)
        storing.build(
            {clip: clip for clip in clips},
            factory,
            {"restored": (out, None)},
            stage.work,
            label=f"restore {about.method} {about.corpus} {about.degradation}",
            gpus=share,
            compress=True,
            about=about.model_dump(mode="json"),
            verify=partial(verify, stage),
        )


def _misfit(record: product.Record, hr: Store, lr: Store, clips: list[str]) -> str | None:
    """Why the frames of a method would not be those of the pair's HR clips, if so."""
    scale = None if record["any_scale"] else record["scale"]
    return next((why for clip in clips if (why := fit.misfit(hr.clip(clip), lr.clip(clip), scale, record["time_scale"]))), None)


def _prior(method: str, corpus: str, degradation: str) -> Path | None:
    """The store of the prior that a method sees on a pair; None if it sees none, or none was computed."""
    guide = json.loads(data("guides", method, corpus, f"{degradation}.json").read_text())
    return ROOT / guide["prior"] if guide["prior"] else None


if __name__ == "__main__":
    main(run, "method", "corpus", "degradation", about="Restore a test pair with a method.")

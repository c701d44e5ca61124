"""Restore: a method that was trained here, or a baseline, on the test split of a pair."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from pipelines import params
from pipelines.clips import fit
from pipelines.clips.store import MANIFEST, Store, assemble
from pipelines.results import Restored
from pipelines.runtime.lineage import Stage
from pipelines.training import product
from stages.common import begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `data/restored/<method>/<corpus>/<degradation>`: the restored frames, or none and why."""
    name, corpus, degradation = arguments.method, arguments.corpus, arguments.degradation
    loaded = params.load()
    test = params.entry("tested corpus", loaded.tests.corpora, corpus)
    stage = begin(loaded.stage("restore", name, corpus, degradation))
    record = product.read(data("trained", name))
    hr, lr = Store(data("hr", corpus)), Store(data("lr", corpus, degradation))
    clips = [clip.name for clip in lr.split(test.split)]
    masks = _masks(record, corpus, degradation) if record["priors"] else None
    reason = _misfit(record, hr, lr, clips) or (_no_masks(record) if record["priors"] and masks is None else None)
    about = Restored(
        method=name,
        network=record["network"],
        profile=record["params"].get("profile"),
        weights=record["params"].get("weights"),
        masks=record.get("masks_model"),
        corpus=corpus,
        degradation=degradation,
        split=test.split,
        applicable=reason is None,
        reason=reason,
        notes=record["notes"],
        inputs=stage.inputs,
        trained_on=record["trained_on"],
        random=record.get("random", []),
        run_key=record["run_key"],
        seed=record["params"].get("training.seed"),
    )
    out = data("restored", name, corpus, degradation)
    if reason:
        assemble(stage.work, [], out, about.model_dump(mode="json"))
        print(f"{name} on {corpus} {degradation}: not applicable, {reason}")
    else:
        _restore(about, test.passes, stage, out, lr, clips, masks)
    end(stage)


def _restore(
    about: Restored, passes: params.Passes, stage: Stage, out: Path, lr: Store, clips: list[str], masks: Path | None
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
        factory = partial(Restore, data("trained", about.method) / product.WEIGHTS, lr.path, passes, device, masks)
        storing.build(
            {clip: clip for clip in clips},
            factory,
            {"restored": (out, None)},
            stage.work,
            label=f"restore {about.method} {about.corpus} {about.degradation}",
            gpus=share,
            compress=True,
            about=about.model_dump(mode="json"),
        )


def _misfit(record: product.Record, hr: Store, lr: Store, clips: list[str]) -> str | None:
    """Why the frames of a method would not be those of the pair's HR clips, if so."""
    scale = None if record["any_scale"] else record["scale"]
    return next((why for clip in clips if (why := fit.misfit(hr.clip(clip), lr.clip(clip), scale))), None)


def _masks(record: product.Record, corpus: str, degradation: str) -> Path | None:
    """The store of masks of the pair's LR frames by the model that the network was trained with; None if there is none."""
    folder = data("masks", "lr", corpus, degradation)
    for path in sorted(manifest.parent for manifest in folder.glob(f"*/{MANIFEST}")):
        if all(clip.attributes.parameters == record.get("masks_model") for clip in Store(path).clips.values()):
            return path
    return None


def _no_masks(record: product.Record) -> str:
    model = record.get("masks_model") or {}
    known = ", ".join(f"{key} {value}" for key, value in model.items()) or "of which its record says nothing"
    return (
        f"params.yaml's masks name none of these LR frames by the model that the network was trained with ({known}), "
        "and it is guided by them"
    )


if __name__ == "__main__":
    main(run, "method", "corpus", "degradation", about="Restore a test pair with a method.")

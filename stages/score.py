"""Score: the frames that a method restored of a test pair, against the true ones."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from collections.abc import Sequence

from pipelines import metrics, params, results
from pipelines.clips import fit, video
from pipelines.clips.store import Store
from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.evaluation.clips import ClipResult, Score, apart, result
from pipelines.evaluation.score import assigned, available, summarise
from pipelines.metrics import consistency
from pipelines.results import Restored, Result, Scores
from pipelines.runtime.lineage import Stage, verify
from stages.common import ROOT, begin, data, end, main


def run(arguments: Namespace) -> None:
    """Make `results/<method>/<corpus>/<degradation>`."""
    name, corpus, degradation = arguments.method, arguments.corpus, arguments.degradation
    stage, loaded = begin(params.load().stage("score", name, corpus, degradation))
    test = params.entry("tested corpus", loaded.tests.corpora, corpus)
    chosen = [protocols.get(protocol) for protocol in test.protocols]
    protocols.check_mirrored(chosen, test.passes.mirrored, f"tests.corpora.{corpus}")
    restored = Store(data("restored", name, corpus, degradation))
    about = Restored.model_validate(restored.about)
    out = ROOT / "results" / name / corpus / degradation
    label = f"score {name} {corpus} {degradation}"
    if not about.applicable:
        verify(stage)
        results.write(out, Result(**about.model_dump()), [], {})
        print(f"{label}: not applicable, {about.reason}")
        return end(stage)
    hr, lr = Store(data("hr", corpus)), Store(data("lr", corpus, degradation))
    clips = _chosen(hr, list(restored.clips), chosen, corpus)
    chosen = apart(chosen, fit.time_factor(lr.clip(clips[0])))
    unlike = (consistency.unlike(lr.clip(clip).attributes.parameters) for clip in restored.clips)
    measured, skipped = available(test.metrics, next(filter(None, unlike), None))
    reasons = {
        protocol: {metric: skipped[metric] for metric in names if metric in skipped}
        for protocol, names in assigned(chosen, test.metrics).items()
    }
    scored = _score(stage, clips, restored, hr, lr, test.protocols, measured, label)
    found = result(about, scored, reasons, stage.inputs)
    values = [value for one in scored for score in one.scores for value in score.measured]
    verify(stage)
    results.write(out, found, values, {one.clip: one.pictures for one in scored})
    for metric, reason in skipped.items():
        print(f"{label}: skipped {metric}, {reason}")
    print(f"{label}: {_shown(found.lead)} ({found.lead_protocol}, {len(clips)} clips)")
    from stages import tracked  # MLflow takes seconds to import

    tracked.scores(stage, found, out, loaded)
    end(stage)


def _score(
    stage: Stage,
    clips: Sequence[str],
    restored: Store,
    hr: Store,
    lr: Store,
    chosen: Sequence[str],
    measured: Sequence[str],
    label: str,
) -> list[ClipResult]:
    """Score the clips side by side; those that the work folder already has are not scored again."""
    from functools import partial

    from pipelines.runtime import pool
    from pipelines.runtime.cluster import connect, gpu_share
    from pipelines.runtime.keeping import Kept

    video.check_encoder("libx264")  # of the films
    # Which metrics can be computed here is not in the run key: weights may come while the stage is interrupted.
    metrics_key = hashlib.sha256(" ".join(measured).encode()).hexdigest()[:8]
    kept: Kept[ClipResult] = Kept(stage.work / f"scored-{metrics_key}", lambda one: one.frames)
    todo = {clip: clip for clip in clips if not kept.has(clip)}
    if todo:
        with connect():
            share = gpu_share()
            factory = partial(Score, restored.path, hr.path, lr.path, chosen, measured, "cuda" if share else "cpu")
            try:
                pool.run(todo, factory, kept, label=label, gpus=share)
            except VSRError:
                _show_scored(kept.results(clips))
                raise
    return kept.results(clips)


def _chosen(hr: Store, clips: list[str], chosen: list[protocols.Protocol], corpus: str) -> list[str]:
    """The clips that any of the protocols scores.

    Raises:
        VSRError: a protocol scores none.
    """
    takes = {
        protocol.name: {clip for clip in clips if protocol.takes(hr.clip(clip).attributes.parameters)} for protocol in chosen
    }
    for name, taken in takes.items():
        if not taken:
            raise VSRError(
                f"'tests.corpora.{corpus}' names the protocol {name!r}, which scores none of its {len(clips)} clips: "
                f"for those of {protocols.get(name).motion} motion, put Vimeo-90K's lists of motion beside its clips."
            )
    return [clip for clip in clips if any(clip in taken for taken in takes.values())]


def _show_scored(scored: list[ClipResult]) -> None:
    """Say what was found of the clips that did not fail."""
    for one in sorted(scored, key=lambda one: one.clip):
        for score in one.scores:
            print(f"{one.clip}: {_shown(summarise([score], {}))} ({score.protocol})")


def _shown(scores: Scores) -> str:
    """Values as their metrics write them."""
    written = []
    for name, value in scores.metrics.items():
        metric = metrics.get(name)
        written.append(f"{metric.label} {value:.{metric.decimals}f}{f' {metric.unit}' if metric.unit else ''}")
    return ", ".join(written)


if __name__ == "__main__":
    main(run, "method", "corpus", "degradation", about="Score the restored frames of a test pair.")

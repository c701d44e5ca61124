"""Evaluate: a method that was trained here, or a baseline, on the test split of a pair."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any

from models import Network
from pipelines import networks, params
from pipelines.clips import video
from pipelines.clips.store import MANIFEST, Store
from pipelines.errors import VSRError
from pipelines.evaluation import evaluate, metrics, protocols
from pipelines.evaluation.cost import cost
from pipelines.evaluation.score import assigned, available, summarise
from pipelines.runtime import pool, tracking
from pipelines.runtime.cluster import connect, gpu_share
from pipelines.runtime.lineage import verify
from pipelines.training import product
from stages import tracked
from stages.common import ROOT, begin, data, end, main


class Collected:
    """Keeps the results of the clips, which are small."""

    def __init__(self) -> None:
        self.results: list[evaluate.ClipResult] = []

    def receive(self, clip: str, value: evaluate.ClipResult) -> int:
        self.results.append(value)
        return value.frames

    def done(self, clip: str) -> None:
        """Nothing is left to do for a clip."""

    def drop(self, clip: str) -> None:
        self.results = [result for result in self.results if result.clip != clip]


def run(arguments: Namespace) -> None:
    """Make `results/<method>/<corpus>/<degradation>`."""
    name, corpus, degradation = arguments.method, arguments.corpus, arguments.degradation
    stage, loaded = begin(f"{params.load().evaluated_by(name)}@{name}-{corpus}-{degradation}")
    test = params.entry("tested corpus", loaded.tests.corpora, corpus)
    chosen = [protocols.get(protocol) for protocol in test.protocols]
    protocols.mirrored(chosen)  # they agree, or it ends here
    measured, skipped = available(test.metrics)
    reasons = {
        protocol: {metric: skipped[metric] for metric in names if metric in skipped}
        for protocol, names in assigned(chosen, test.metrics).items()
    }
    tracking.preflight()
    video.check_encoder("libx264")  # of the films
    trained = data("trained", name)
    record = product.read(trained)
    network = networks.load(trained / product.WEIGHTS)
    hr, lr = Store(data("hr", corpus)), Store(data("lr", corpus, degradation))
    masks = _masks(record, corpus, degradation) if "masks" in network.priors else None
    clips = _chosen(hr, [clip.name for clip in lr.split(test.split)], chosen, corpus)
    header = {
        "method": name,
        "network": record["network"],
        "profile": record["params"].get("profile"),
        "weights": record["params"].get("weights"),
        "masks": record.get("masks_model"),
        "corpus": corpus,
        "degradation": degradation,
        "split": test.split,
        "trained_on": record["trained_on"],
        "random": record.get("random", []),
        "notes": record["notes"],
        "inputs": stage.inputs,
    }
    out = ROOT / "results" / name / corpus / degradation
    reason = _mismatch(hr, lr, clips, network)
    if reason:
        verify(stage)
        evaluate.write_inapplicable(out, header, reason)
        print(f"{name} on {corpus} {degradation}: not applicable, {reason}")
        return end(stage)
    with connect():
        share = gpu_share()
        collected = Collected()
        device = "cuda" if share else "cpu"
        factory = partial(
            evaluate.Evaluate,
            trained / product.WEIGHTS,
            hr.path,
            lr.path,
            test.protocols,
            measured,
            test.window,
            test.overlap,
            device,
            masks=masks,
        )
        label = f"evaluate {name} {corpus} {degradation}"
        try:
            pool.run({clip: clip for clip in clips}, factory, collected, label=label, gpus=share)
        except VSRError:
            _show_scored(collected.results)
            raise
    of = lr.clips[clips[0]].attributes
    size = of.parameters["crop"] if network.any_scale else None
    costs = {**cost(network, of.height, of.width, size=size), "lr": [of.height, of.width]}
    timing = evaluate.timing(collected.results, test.window)
    verify(stage)
    means = evaluate.write_results(out, header, collected.results, costs, timing, reasons)
    lead = test.protocols[0]
    print(f"{label}: {_shown(means[lead])} ({lead}, {len(clips)} clips)")
    for metric, reason in skipped.items():
        print(f"{label}: skipped {metric}, {reason}")
    tracked.evaluation(stage, record, out, loaded)
    end(stage)


def _chosen(hr: Store, clips: list[str], chosen: list[protocols.Protocol], corpus: str) -> list[str]:
    """The clips that any of the protocols scores.

    Raises:
        VSRError: a protocol scores none.
    """
    takes = {
        protocol.name: {clip for clip in clips if protocol.takes(hr.clips[clip].attributes.parameters)} for protocol in chosen
    }
    for name, taken in takes.items():
        if not taken:
            raise VSRError(
                f"'tests.corpora.{corpus}' names the protocol {name!r}, which scores none of its {len(clips)} clips: "
                f"for those of {protocols.get(name).motion} motion, put Vimeo-90K's lists of motion beside its clips."
            )
    return [clip for clip in clips if any(clip in taken for taken in takes.values())]


def _show_scored(results: list[evaluate.ClipResult]) -> None:
    """Say what was found of the clips that did not fail: it is not kept."""
    for result in sorted(results, key=lambda result: result.clip):
        for score in result.scores:
            print(f"{result.clip}: {_shown(summarise([score], {}))} ({score.protocol})")


def _shown(means: dict[str, Any]) -> str:
    """Values as their metrics write them."""
    written = []
    for name, value in means["metrics"].items():
        metric = metrics.get(name)
        written.append(f"{metric.label} {value:.{metric.decimals}f}{f' {metric.unit}' if metric.unit else ''}")
    return ", ".join(written)


def _masks(record: product.Record, corpus: str, degradation: str) -> Path:
    """The store of masks of the pair's LR frames by the model that the network was trained with.

    Raises:
        VSRError: there is none.
    """
    model, folder = record.get("masks_model"), data("masks", "lr", corpus, degradation)
    for path in sorted(manifest.parent for manifest in folder.glob(f"*/{MANIFEST}")):
        if all(clip.attributes.parameters == model for clip in Store(path).clips.values()):
            return path
    known = ", ".join(f"{key} {value}" for key, value in (model or {}).items()) or "of which its record says nothing"
    raise VSRError(
        f"{folder} has no masks by the model that {record['name']} was trained with ({known}): "
        f"name it for lr/{corpus}/{degradation} in params.yaml's masks, and run `dvc repro masks`."
    )


def _mismatch(hr: Store, lr: Store, clips: list[str], network: Network) -> str | None:
    """Why a network cannot be tested on the pair, if it cannot."""
    scale = network.scale
    for clip in clips:
        if hr.clips[clip].frames != lr.clips[clip].frames:
            return f"HR has {hr.clips[clip].frames} frames, the LR clips have {lr.clips[clip].frames}, and the network makes none in between"
        if network.any_scale:
            continue
        large, small = hr.clips[clip].attributes, lr.clips[clip].attributes
        slack = large.height - scale * small.height, large.width - scale * small.width
        if not all(0 <= pixels < max(scale, 1) for pixels in slack):
            found = f"{small.width}x{small.height} for {large.width}x{large.height}"
            return f"the network enlarges {scale:g} times and the LR clips are {found}"
    return None


if __name__ == "__main__":
    main(run, "method", "corpus", "degradation", about="Evaluate a method on a test pair.")

"""Evaluate: an experiment or a baseline on the test split of a pair."""

from __future__ import annotations

from argparse import Namespace
from functools import partial
from typing import Any

from pipelines import networks, params
from pipelines.clips.store import Store
from pipelines.evaluation import evaluate, protocols
from pipelines.evaluation.cost import cost
from pipelines.runtime import pool, tracking
from pipelines.runtime.cluster import connect, gpu_share
from pipelines.training import product
from stages.common import ROOT, begin, data, end, main
from stages.training import start_run


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
    loaded = params.load()
    test = params.entry("tested corpus", loaded.tests.corpora, corpus)
    for protocol in test.protocols:
        protocols.get(protocol)
    tracking.preflight()
    kind = "evaluate" if name in loaded.experiments else "evaluate_baseline"
    stage = begin(f"{kind}@{name}-{corpus}-{degradation}")
    trained = data("trained", name)
    record = product.read(trained)
    network = networks.load(trained / product.WEIGHTS)
    hr, lr = Store(data("hr", corpus)), Store(data("lr", corpus, degradation))
    clips = [clip.name for clip in lr.split(test.split)]
    header = {
        "method": name,
        "network": record["network"],
        "corpus": corpus,
        "degradation": degradation,
        "split": test.split,
        "trained_on": record["trained_on"],
        "notes": record["notes"],
        "inputs": stage.inputs,
    }
    out = ROOT / "results" / name / corpus / degradation
    reason = _mismatch(hr, lr, clips, network.scale)
    if reason:
        evaluate.write_inapplicable(out, header, reason)
        print(f"{name} on {corpus} {degradation}: not applicable, {reason}")
        return end(stage)
    with connect():
        share = gpu_share()
        collected = Collected()
        device = "cuda" if share else "cpu"
        factory = partial(
            evaluate.Evaluate, trained / product.WEIGHTS, hr.path, lr.path, test.protocols, test.window, test.overlap, device
        )
        label = f"evaluate {name} {corpus} {degradation}"
        pool.run({clip: clip for clip in clips}, factory, collected, label=label, gpus=share)
    size = lr.clips[clips[0]].attributes
    costs = {**cost(network, size.height, size.width), "lr": [size.height, size.width]}
    timing = evaluate.timing(collected.results)
    means = evaluate.write_results(out, header, collected.results, costs, timing)
    lead = means[test.protocols[0]]
    print(f"{label}: {lead['psnr']:.2f} dB, SSIM {lead['ssim']:.4f} ({test.protocols[0]}, {len(clips)} clips)")
    _log(record, stage.inputs, f"{corpus}/{degradation}", means, costs, timing, collected.results)
    end(stage)


def _mismatch(hr: Store, lr: Store, clips: list[str], scale: float) -> str | None:
    """Why a network of this scale cannot be tested on the pair, if it cannot."""
    for clip in clips:
        if hr.clips[clip].frames != lr.clips[clip].frames:
            return f"HR has {hr.clips[clip].frames} frames, the LR clips have {lr.clips[clip].frames}, and the network makes none in between"
        large, small = hr.clips[clip].attributes, lr.clips[clip].attributes
        slack = large.height - scale * small.height, large.width - scale * small.width
        if not all(0 <= pixels < max(scale, 1) for pixels in slack):
            found = f"{small.width}x{small.height} for {large.width}x{large.height}"
            return f"the network enlarges {scale:g} times and the LR clips are {found}"
    return None


def _log(
    record: product.Record,
    inputs: dict[str, str],
    pair: str,
    means: dict[str, dict[str, Any]],
    costs: dict[str, Any],
    timing: dict[str, Any],
    results: list[evaluate.ClipResult],
) -> None:
    """The evaluation, in the MLflow run of the network that was evaluated."""
    datasets = [(path, digest, "evaluation") for path, digest in inputs.items() if not path.startswith("data/trained")]
    run = start_run(record, datasets)
    values = {f"{pair}/{protocol}/{metric}": mean[metric] for protocol, mean in means.items() for metric in ("psnr", "ssim")}
    values |= {"cost/parameters": costs["parameters"], "cost/gmacs": costs["gmacs"]}
    values[f"cost/{timing['device']}_seconds_per_frame"] = timing["seconds_per_frame"]
    step = int(record["params"].get("training.iterations") or 0)
    run.metrics(step, values)
    for result in sorted(results, key=lambda result: result.clip)[:3]:
        run.images(step, {f"{pair}/{result.clip}/{name}": image for name, image in result.sample.items()})
    run.finish("FINISHED")


if __name__ == "__main__":
    main(run, "method", "corpus", "degradation", about="Evaluate an experiment or baseline on a test pair.")

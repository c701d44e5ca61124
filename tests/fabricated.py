"""Results as the evaluation writes them, of methods that were never run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import choices
import numpy as np
import pandas as pd
from PIL import Image

from pipelines.params import Params

HOSTILE = "<img src=x onerror=alert(1)>&\"'|/*_$x$"
CLIPS = ("city", HOSTILE, "walk")
VID4 = ("calendar", "city", "foliage", "walk")
NOTE = "reduced network, trained for 900 steps on parallax; not comparable to published figures"
METHODS = {"bicubic": "bicubic", "basicvsr_bi": "basicvsr", "basicvsr_crf25": "basicvsr"}
DEGRADATIONS = ("bi_x4", "crf25_x4")
VERSIONS = {"python": "3.11.7", "torch": "2.12.1"}
SKIPPED = {"vmaf": "ffmpeg has no libvmaf: install one that has, & say so"}
TIMING = {
    "seconds_per_frame": 0.0123,
    "seconds_p95": 1.5,
    "seconds_p99": 1.75,
    "frames": 30,
    "throughput": 12.5,
    "delay": 2.25,
    "delay_frames": 29,
    "fps": 25.0,
    "peak_memory": 2**29,
    "device": "cpu",
    "hardware": "",
    "threads": 2,
    "precision": "float32",
    "window": 30,
}
FRAMES = 7
SIZE = (72, 96)


def params(
    degradations: Sequence[str] = DEGRADATIONS, *, vid4: bool = False, metrics: Sequence[str] = ("psnr", "ssim")
) -> Params:
    """Those of the repository with the methods and pairs that there are results of."""
    tree = choices.shipped() | {"degradations": list(degradations)}
    tree["experiments"] = {name: tree["experiments"][name] for name in METHODS if name in tree["experiments"]}
    tree["baselines"] = {"bicubic": tree["baselines"]["bicubic"]}
    tree["tests"]["degradations"] = list(degradations)
    first_look = {"title": "BasicVSR against bicubic", "methods": list(METHODS), "metrics": list(metrics)}
    tree["suites"] = {"first_look": {**first_look, "corpora": ["parallax"], "degradations": list(degradations)}}
    if vid4:
        tree["corpora"]["vid4"] = {"kind": "vid4", "source": "Vid4"}
        tree["tests"]["corpora"]["vid4"] = {**tree["tests"]["corpora"]["parallax"], "protocols": ["vid4", "rgb"]}
        tree["suites"]["vid4"] = {**tree["suites"]["first_look"], "title": "Vid4", "corpora": ["vid4"], "degradations": ["bi_x4"]}
    return Params.model_validate(tree)


def results(
    folder: Path,
    methods: dict[str, str] = METHODS,
    degradations: Sequence[str] = DEGRADATIONS,
    corpora: Sequence[str] = ("parallax",),
    extra: Sequence[str] = (),
) -> Path:
    """Every method on every pair; `extra` are metrics beside PSNR and SSIM."""
    for place, (method, network) in enumerate(methods.items()):
        for other, degradation in enumerate(degradations):
            for corpus in corpora:
                result(folder / method / corpus / degradation, method, network, 10 * place + other, extra)
    return folder


def result(folder: Path, method: str, network: str, seed: int, extra: Sequence[str] = ()) -> None:
    """One result, its numbers drawn from `seed`."""
    corpus, degradation = folder.parts[-2:]
    clips = VID4 if corpus == "vid4" else CLIPS
    draw = np.random.default_rng(seed)
    rows: list[tuple[str, int, str, str, float]] = []
    protocols: dict[str, Any] = {}
    for protocol in ("vid4" if corpus == "vid4" else "y", "rgb"):
        measured = {}
        for clip in clips:
            values = {
                "psnr": draw.uniform(22, 32) + draw.uniform(-1, 1, FRAMES).cumsum() / 3,
                "ssim": draw.uniform(0.5, 0.95, FRAMES),
                **{name: draw.uniform(0.1, 0.6, FRAMES) for name in (extra if protocol != "rgb" else ())},
            }
            rows += [(clip, frame, protocol, name, value) for name, found in values.items() for frame, value in enumerate(found)]
            means = {name: float(found.mean()) for name, found in values.items()}
            measured[clip] = {"metrics": means, "frames": FRAMES, "lossless": 0}
        names = list(next(iter(measured.values()))["metrics"])
        protocols[protocol] = {
            "metrics": {name: float(np.mean([clip["metrics"][name] for clip in measured.values()])) for name in names},
            "frames": FRAMES * len(clips),
            "lossless": 0,
            "skipped": SKIPPED if extra and protocol != "rgb" else {},
            "clips": measured,
        }
    for clip in clips:
        _samples(folder / "samples" / quote(clip, safe=" ()"), clips.index(clip), network)
    plain = network == "bicubic"
    metrics = {
        "method": method,
        "network": network,
        "profile": "published" if plain else "small",
        "weights": None,
        "corpus": corpus,
        "degradation": degradation,
        "split": "test",
        "applicable": True,
        "reason": None,
        "lead_protocol": next(iter(protocols)),
        "protocols": protocols,
        "notes": [] if plain else [NOTE],
        "inputs": {f"data/lr/{corpus}/{degradation}": "0123456789abcdef0123456789abcdef.dir"},
        "trained_on": None if plain else "parallax/bi_x4",
        "run_key": f"key of {method}",
        "seed": None if plain else 3,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    pd.DataFrame(rows, columns=["clip", "frame", "protocol", "metric", "value"]).to_parquet(folder / "frames.parquet")
    lr = [side // 4 for side in SIZE]
    cost = {"parameters": 0 if plain else 1234567 + len(method), "gmacs": 376.7, "gmacs_without_deform": 370.25, "lr": lr}
    measure(folder.with_name("_measured"), cost, {**TIMING, "seconds_per_frame": float(draw.uniform(0.01, 1)), "lr": lr})


def measure(folder: Path, cost: dict[str, Any], timing: dict[str, Any]) -> None:
    """A measurement, as the stage leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cost.json").write_text(json.dumps(cost))
    (folder / "timing.json").write_text(json.dumps(timing))


def _samples(folder: Path, seed: int, network: str) -> None:
    folder.mkdir(parents=True)
    height, width = SIZE
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    lr = truth[::4, ::4]
    plain = np.asarray(Image.fromarray(lr).resize((width, height), Image.Resampling.BICUBIC))
    mixed = plain if network == "bicubic" else ((plain.astype(int) + truth) // 2).astype(np.uint8)
    pictures = {"lr": lr, "bicubic": plain, "restored": mixed, "truth": truth}
    pictures |= {"profile": mixed[:FRAMES], "profile_truth": truth[:FRAMES]}
    pictures |= {"invented": (lr // 4)} if network != "bicubic" else {}
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")


def change(results: Path, method: str, degradation: str, **values: Any) -> None:
    """Replace entries of a result's metrics.json."""
    path = results / method / "parallax" / degradation / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

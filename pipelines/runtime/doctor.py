"""What the pipeline needs of a machine, looked at one by one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from pipelines import checkout, params
from pipelines.errors import VSRError


@dataclass(frozen=True)
class Check:
    """One finding; `needed` is False for what only some stages want."""

    name: str
    ok: bool
    found: str
    needed: bool = True


def examine() -> Iterator[Check]:
    """All checks, each as soon as it is done."""
    python = ".".join(map(str, sys.version_info[:3]))
    yield Check(
        "python", sys.version_info[:2] == (3, 11), f"{python}" + ("" if sys.version_info[:2] == (3, 11) else ", 3.11 is needed")
    )
    yield _asked("checkout", _checkout)
    yield _pair()
    yield _gpu()
    yield _asked("ffmpeg with x264 and MPEG-4", _encoders)
    yield _asked("params.yaml", _params)
    yield _asked("MLflow", _mlflow)
    yield _asked("Ray", _ray)
    yield _weights()
    free, memory = shutil.disk_usage(params.find().parent).free / 2**30, psutil.virtual_memory().total / 2**30
    yield Check("disk", free > 5, f"{free:.0f} GiB free" + ("" if free > 5 else ", the demo needs 5"))
    yield Check("memory", memory > 7, f"{memory:.0f} GiB" + ("" if memory > 7 else ", the demo needs 8"))


def following(root: Path) -> str:
    """What to do next in a project that lacks nothing."""
    if not (root / "results").is_dir():
        return "`make demo` compares a few small methods within minutes, docs/first-hour.md goes on to footage of your own."
    return "`vsr repro --dry` says what is stale, `vsr repro` runs it, `vsr report` shows what there is."


def _asked(name: str, ask: Callable[[], str]) -> Check:
    try:
        return Check(name, True, ask())
    except VSRError as error:
        return Check(name, False, str(error))


def _pair() -> Check:
    try:
        found = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision"))
        import torchvision.ops  # noqa: F401 - fails where the two were built apart
    except metadata.PackageNotFoundError as error:
        return Check("torch", False, f"{error.name} is not installed: run `make setup`")
    except (ImportError, RuntimeError) as error:
        return Check("torch", False, f"{found} do not fit together ({error}): install with `make setup`")
    return Check("torch", True, found)


def _gpu() -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("GPU", False, f"torch cannot be loaded ({error})", needed=False)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Check("GPU", bool(names), ", ".join(names) or "none, everything runs on the CPU", needed=False)


def _checkout() -> str:
    checkout.check()
    return str(checkout.CODE)


def _params() -> str:
    from pipelines.evaluation import protocols

    loaded = params.load()
    protocols.check(loaded)
    return f"valid, {len(loaded.experiments)} experiments"


def _encoders() -> str:
    from pipelines.clips import video

    video.check_encoder("libx264")
    video.check_encoder("mpeg4")
    return "found"


def _mlflow() -> str:
    from pipelines.runtime import tracking

    tracking.preflight()
    return "a server answers" if os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http") else "mlflow.db beside params.yaml"


def _ray() -> str:
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return "an own cluster per stage"
    from pipelines.runtime import cluster

    cluster.preflight()
    return f"the cluster of RAY_ADDRESS={address}"


def _weights() -> Check:
    folder = os.environ.get("VSR_WEIGHTS")
    if not folder:
        return Check("weights", False, "VSR_WEIGHTS is not set, they would be fetched from their publishers", needed=False)
    there = os.path.isdir(folder)
    return Check("weights", there, f"VSR_WEIGHTS={folder}" + ("" if there else " is not a folder: set it to one, or unset it"))

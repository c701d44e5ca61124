"""The pool where memory is short: Ray's own killer is set off, and no clip is lost by it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray
from ray._common.utils import get_system_memory
from ray._private.utils import get_used_memory  # as Ray's monitor counts, of the host or of its cgroup

from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.errors import VSRError
from pipelines.runtime import pool, storing

ROOM = 5 * 2**29
"""Bytes above what is used now at which Ray begins to kill: more than other programs are likely to take meanwhile."""

NEEDED = 2 * ROOM

STEP = 2**27


@pytest.fixture(scope="module", autouse=True)
def limit() -> Iterator[int]:
    """A cluster of two cores whose workers are killed when `ROOM` is used up; the bytes used then."""
    used, total = get_used_memory(), get_system_memory()
    if used + NEEDED > total:
        pytest.skip(f"needs {NEEDED / 2**30:g} GiB of free memory")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_memory_usage_threshold", f"{(used + ROOM) / total:.5f}")
        patch.setenv("RAY_memory_monitor_refresh_ms", "50")
        ray.init("local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False)
        yield used + ROOM
        ray.shutdown()


class Greedy:
    """Makes a clip of noise, and takes memory while another of its kind runs beside it, or always if the job says so.

    The job's folder holds a file `run-<pid>` of each that runs, and `full` if Ray did not kill.
    """

    def __call__(self, job: dict[str, Any]) -> Iterator[list[Frame] | ClipAttributes]:
        random = np.random.default_rng(job["seed"])
        folder: Path = job["folder"]
        mine = folder / f"run-{os.getpid()}-{job['seed']}"
        mine.touch()
        yield [{"rgb": random.integers(0, 256, (16, 16, 3), np.uint8)}]
        self._wait_for_another(folder)
        taken: list[np.ndarray] = []
        while job.get("always") or self._others(folder):
            taken.append(np.ones(STEP, np.uint8))
            if len(taken) * STEP > NEEDED:
                (folder / "full").touch()
                break
        mine.unlink()
        yield [{"rgb": random.integers(0, 256, (16, 16, 3), np.uint8)}]
        yield ClipAttributes(split="test", fps=25, height=16, width=16)

    def _wait_for_another(self, folder: Path) -> None:
        """Until two run side by side, once; not for ever, as one may be killed before."""
        for _ in range(600):
            if (folder / "met").exists():
                return
            if self._others(folder):
                (folder / "met").touch()
                return
            time.sleep(0.1)

    def _others(self, folder: Path) -> bool:
        running = (int(path.name.split("-")[1]) for path in folder.glob("run-*"))
        return any(pid != os.getpid() and psutil.pid_exists(pid) for pid in running)


@contextmanager
def _fair(folder: Path, limit: int) -> Iterator[None]:
    """Skip where the killer does not work, or other programs keep it working."""
    try:
        yield
    finally:
        if (folder / "full").exists():
            pytest.skip("Ray's memory monitor does not see the memory of its workers on this machine")
        if get_used_memory() > limit - ROOM // 4:
            pytest.skip("other programs have taken the memory meanwhile")


def test_killed_for_memory_beside_others_all_clips_finish(tmp_path: Path, limit: int, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = {f"clip{seed}": {"seed": seed, "folder": tmp_path} for seed in range(4)}
    with _fair(tmp_path, limit):
        storing.build(jobs, Greedy, {"out": (tmp_path / "store", None)}, tmp_path / "work", label="paint")
    assert list(tmp_path.glob("run-*")), "no worker was killed"
    assert capsys.readouterr().err.count("paint: memory is short: 1 instead of 2 workers go on side by side") == 1
    store = Store(tmp_path / "store")
    assert list(store.clips) == list(jobs)
    for seed, clip in enumerate(jobs):
        random = np.random.default_rng(seed)
        frames = [random.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(2)]
        np.testing.assert_array_equal(store.read(clip), np.stack(frames))


def test_a_clip_that_never_fits_says_so(tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_PAUSE", 0.1)
    monkeypatch.setattr(pool, "_TRIES", 2)
    jobs = {"large": {"seed": 0, "folder": tmp_path, "always": True}}
    (tmp_path / "met").touch()
    told = (
        r"clip 'large' failed \(0 others are done\): its worker was killed for want of memory 2 times with no other beside it "
        r"\([\d.]+ of [\d.]+ GB were used\): end other programs, run fewer stages"
    )
    with _fair(tmp_path, limit), pytest.raises(VSRError, match=told):
        storing.build(jobs, Greedy, {"out": (tmp_path / "store", None)}, tmp_path / "work", label="paint")
    assert len(list(tmp_path.glob("run-*"))) == 2

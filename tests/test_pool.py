"""The pool: every clip accounted for, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.clips.store import ClipAttributes, Frame, Store
from pipelines.errors import VSRError
from pipelines.runtime import pool, storing

pytestmark = pytest.mark.usefixtures("cluster")


class Paint:
    """Makes a clip of noise; the job says what goes wrong: `die` names a file that says that it was killed, `exit_at` the
    result at which it ends its process unless the file `exited` is there."""

    def __call__(self, job: dict[str, Any]) -> Iterator[list[Frame] | ClipAttributes]:
        random = np.random.default_rng(job["seed"])
        for index in range(job.get("frames", 4)):
            self.exit(job, index)
            if index == 2 and job.get("raise"):
                raise VSRError(job["raise"])
            if index == 2 and "die" in job and not Path(job["die"]).exists():
                Path(job["die"]).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if "log" in job:
                with Path(job["log"]).open("a") as log:
                    log.write(f"{job['seed']}\n")
            yield [{"rgb": random.integers(0, 256, (16, 16, 3), np.uint8)}]
        self.exit(job, 4)
        yield ClipAttributes(split="test", fps=25, height=16, width=16)

    def exit(self, job: dict[str, Any], index: int) -> None:
        if job.get("exit_at") == index and not Path(job["exited"]).exists():
            if Path(job["exited"]).parent.is_dir():
                Path(job["exited"]).touch()
            os._exit(1)


def _build(jobs: dict[str, Any], folder: Path) -> Store:
    storing.build(jobs, Paint, {"out": (folder / "store", None)}, folder / "work", label="paint")
    return Store(folder / "store")


def _bytes(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def test_all_clips_in_the_order_of_the_jobs(tmp_path: Path) -> None:
    jobs = {f"clip{seed}": {"seed": seed, "frames": 9 - seed} for seed in range(6)}
    assert list(_build(jobs, tmp_path).clips) == list(jobs)
    alone = _build(dict(list(jobs.items())[3:4]), tmp_path / "alone")
    np.testing.assert_array_equal(alone.read("clip3"), Store(tmp_path / "store").read("clip3"))


def test_a_killed_worker_costs_only_its_clip(tmp_path: Path) -> None:
    jobs: dict[str, Any] = {f"clip{seed}": {"seed": seed} for seed in range(4)}
    _build(jobs, tmp_path / "undisturbed")
    jobs["clip1"]["die"] = str(tmp_path / "died")
    _build(jobs, tmp_path / "disturbed")
    assert (tmp_path / "died").exists()
    assert _bytes(tmp_path / "undisturbed" / "store") == _bytes(tmp_path / "disturbed" / "store")


def test_a_failed_clip_is_named_and_the_others_are_not_made_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    jobs: dict[str, Any] = {f"clip{seed}": {"seed": seed, "log": str(log)} for seed in range(4)}
    jobs["clip2"]["raise"] = "frame 2 is truncated."
    with pytest.raises(VSRError, match="clip 'clip2' failed \\(3 others are done\\): frame 2 is truncated"):
        _build(jobs, tmp_path)
    assert not (tmp_path / "store").exists()
    log.write_text("")
    del jobs["clip2"]["raise"]
    assert list(_build(jobs, tmp_path).clips) == list(jobs)
    assert set(log.read_text().split()) == {"2"}


def test_several_failures_are_all_told(tmp_path: Path) -> None:
    jobs = {name: {"seed": 0, "raise": f"{name} is bad."} for name in ("a", "b", "c")}
    with pytest.raises(VSRError, match=r"3 of 3 clips failed(?s:.*)a: a is bad\.(?s:.*)c: c is bad\."):
        _build(jobs, tmp_path)


class Mortal:
    """A factory of `Paint` that ends its process while it is unpickled, once: as the actor starts."""

    def __init__(self, died: Path) -> None:
        self.died = died

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__dict__ = state
        if not self.died.exists():
            self.died.touch()
            os._exit(1)

    def __call__(self) -> Paint:
        return Paint()


def test_actors_that_end_in_any_phase_are_replaced(tmp_path: Path) -> None:
    jobs: dict[str, Any] = {f"clip{seed}": {"seed": seed} for seed in range(4)}
    _build(jobs, tmp_path / "undisturbed")
    phases = {"clip0": 0, "clip1": 2, "clip2": 4, "clip3": None}  # before the first result, in the middle, after the last frame
    for clip, phase in phases.items():
        jobs[clip] |= {"exit_at": phase, "exited": str(tmp_path / clip)}
    outputs: dict[str, storing.Output] = {"out": (tmp_path / "disturbed" / "store", None)}
    storing.build(jobs, Mortal(tmp_path / "start"), outputs, tmp_path / "work", label="paint")
    assert all((tmp_path / name).exists() for name in ("start", "clip0", "clip1", "clip2"))
    assert _bytes(tmp_path / "undisturbed" / "store") == _bytes(tmp_path / "disturbed" / "store")


class Unpicklable:
    """A factory that no actor can have."""

    def __setstate__(self, state: object) -> None:
        raise ModuleNotFoundError("No module named 'of_the_driver'")

    def __init__(self) -> None:
        self.state = 1

    def __call__(self) -> Paint:
        return Paint()


def test_a_clip_that_kills_its_workers_fails_and_the_others_do_not(tmp_path: Path) -> None:
    jobs: dict[str, Any] = {"bad": {"seed": 0, "exit_at": 1, "exited": "/dev/null/never"}, "good": {"seed": 1}}
    with pytest.raises(
        VSRError, match=r"clip 'bad' failed \(1 others are done\): its worker died 3 times, at last by ActorDiedError"
    ):
        _build(jobs, tmp_path)


def test_where_no_actor_starts_all_clips_fail(tmp_path: Path) -> None:
    with pytest.raises(
        VSRError, match=r"2 of 2 clips failed \(0 others are done\): no worker starts.*No module named 'of_the_driver'"
    ):
        pool.run({"a": {}, "b": {}}, Unpicklable(), Refuses(), label="paint")


class Refuses:
    def receive(self, clip: str, value: Any) -> int:
        if clip == "bad":
            raise VSRError("no room for it.")
        return 1

    def done(self, clip: str) -> None: ...

    def drop(self, clip: str) -> None: ...


def test_a_result_that_cannot_be_stored_stops_its_worker(tmp_path: Path) -> None:
    jobs = {name: {"seed": 0, "frames": 40} for name in ("bad", "b", "c", "d")}
    with pytest.raises(VSRError, match="clip 'bad' failed \\(3 others are done\\): no room"):
        pool.run(jobs, Paint, Refuses(), label="paint")


class Unloadable:
    def __init__(self) -> None:
        raise VSRError("the weights of raft_small are not there.")


def test_a_worker_that_cannot_be_built_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        VSRError, match=r"^paint: 2 of 2 clips failed \(0 others are done\): the weights of raft_small are not there.$"
    ):
        pool.run({"a": {}, "b": {}}, Unloadable, Refuses(), label="paint")

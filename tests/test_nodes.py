"""A cluster of two nodes without a common disk: the second sees neither the workspace nor the code."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import moving
import pytest
import ray
import torch
import two_nodes
from project import Project, clone
from test_repro import tiny

from pipelines import files, params
from pipelines.clips.store import MANIFEST, Store
from pipelines.degradations import recipes
from pipelines.errors import VSRError
from pipelines.runtime import copies, driver, storing, trainer
from pipelines.runtime.cluster import connect
from pipelines.training.loop import fit
from pipelines.training.restoration import restoration_task
from pipelines.training.state import final_weights, load

ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes do not have the tests on their path
RECIPE = moving.training(batch=2)
blind = pytest.mark.skipif(not two_nodes.blinds(), reason="needs the right to hide folders from a process")


def task(folder: Path) -> partial[trainer.Task]:
    options = {"channels": 4, "blocks": 1, "upsample_channels": 4}
    return partial(restoration_task, "basicvsr", options, RECIPE, folder / "hr", folder / "lr")


class Busy:
    """Has a core."""

    def is_there(self) -> None: ...


def drive(folder: Path) -> None:
    """Degrade on the second node, then train on both; the driver of a stage."""
    hr = Store(folder / "hr")
    with connect():
        while len(ray.nodes()) < 2:
            time.sleep(0.1)
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(driver.Driver.this().node, soft=False)
        busy = ray.remote(Busy).options(num_cpus=1, scheduling_strategy=here).remote()
        ray.get(busy.is_there.remote())  # type: ignore[attr-defined]
        recipe = partial(recipes.Degrade, params.load().recipes["bi_x4"], "bi_x4")
        jobs = {clip: recipes.ClipJob(hr.path, clip) for clip in hr.clips}
        storing.build(jobs, recipe, {"lr": (folder / "lr", None)}, folder / "work", label="degrade")
        ray.kill(busy)
        trainer.run(task(folder), RECIPE, name="training", storage=folder, workers=trainer.Workers(2, 1, False))


@blind
@pytest.mark.timeout(300)
def test_workers_that_see_no_disk_of_the_driver(tmp_path: Path) -> None:
    """Short form: what a store is made of, and what a training learns, is as on one node."""
    hr = moving.hr_store(tmp_path / "hr")
    with two_nodes.nodes(tmp_path) as environment:
        there = {**os.environ, **environment}
        command = [sys.executable, "-c", f"import test_nodes; test_nodes.drive(test_nodes.Path({str(tmp_path)!r}))"]
        done = subprocess.run(command, env=there, cwd=tmp_path, capture_output=True, text=True, timeout=250)
        kept = {path.name for path in Path(environment["NODES"], "second", "tmp").rglob("*.arrow")}
    assert done.returncode == 0, done.stderr
    assert kept == {"clips-00000.arrow"} and MANIFEST in {path.name for path in (tmp_path / "lr").iterdir()}
    made, worker = Store(tmp_path / "lr"), recipes.Degrade(params.load().recipes["bi_x4"], "bi_x4")
    for clip in hr.clips:
        *frames, attributes = worker(recipes.ClipJob(hr.path, clip))
        assert made.clips[clip].attributes == attributes
        wanted = [frame["rgb"] for batch in frames for frame in batch]  # type: ignore[union-attr]
        assert [frame.tobytes() for frame in made.frames(clip)] == [frame.tobytes() for frame in wanted]
    learnt, alone = load(tmp_path / "training" / "final.pt"), fit(task(tmp_path)(), RECIPE)
    assert learnt["step"] == RECIPE.iterations
    for key, value in final_weights(alone).items():
        torch.testing.assert_close(final_weights(learnt)[key], value, rtol=1e-3, atol=1e-5)


def guided(params: dict[str, Any]) -> None:
    """One network, guided by masks."""
    tiny(params)
    params["experiments"] = {"seem": {**params["experiments"]["seem"], "start": "scratch"}}
    for empty in ("starts", "joins", "suites"):
        params[empty] = {}


DATA = ("flows@motion_parallax_bi_x4", "masks@segments_parallax_bi_x4")
TRAIN = ("train@seem",)
SCORE = ("score@seem-parallax-bi_x4", "score_baseline@bicubic-parallax-bi_x4")


@blind
@pytest.mark.long
@pytest.mark.timeout(2400)
def test_stages_leave_the_bytes_of_one_node(tmp_path: Path) -> None:
    """Data, priors, restored clips and scores come from the second node alone, the training has one rank on each."""
    one, two = clone(tmp_path / "one" / "clone", guided), clone(tmp_path / "two" / "clone", guided)
    ranks = {"VSR_TRAIN_WORKERS": "2", "VSR_TRAIN_CPUS": "1"}
    one.run("vsr", "repro", *SCORE, *DATA, **ranks, VSR_WORKERS="2")
    _repro(two, (0, 2), DATA, ranks)
    _repro(two, (1, 1), TRAIN, ranks)
    _repro(two, (0, 2), SCORE, ranks)
    assert two.locked() == one.locked() and two.runs() == one.runs()


def _repro(project: Project, cpus: tuple[int, int], stages: tuple[str, ...], environment: dict[str, str]) -> None:
    with two_nodes.nodes(project.root, cpus) as there:
        _wait(there)
        said = project.run("vsr", "repro", *stages, **environment, **there)
    assert "failed" not in said


def _wait(there: dict[str, str]) -> None:
    """Until both nodes are there."""
    script = "import ray, time; ray.init(log_to_driver=False)\nwhile len(ray.nodes()) < 2: time.sleep(0.1)"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, **there}, check=True, capture_output=True, timeout=300)


def fetched(path: Path, size: int) -> Iterator[bytes]:
    yield path.read_bytes()


def asked(cache: copies.Cache, path: Path) -> Path:
    found = driver.look(path)
    assert found
    return cache.get(found, fetched)


def test_copies_make_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "_FRESH", 0.0)
    (tmp_path / "node").mkdir()
    cache = copies.Cache(tmp_path / "node", 250)
    paths = [tmp_path / name for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode() * 100)
    a, b = asked(cache, paths[0]), asked(cache, paths[1])
    os.utime(a.parent, (1, 1))
    assert asked(cache, paths[0]) == a and a.read_bytes() == b"a" * 100  # used again, and so the last to go
    os.utime(b.parent, (1, 1))
    c = asked(cache, paths[2])
    assert a.is_file() and c.is_file() and not b.exists()
    paths[0].write_bytes(b"A" * 100)
    assert asked(cache, paths[0]).read_bytes() == b"A" * 100  # another file under the old name
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert [each.name for each in asked(cache, tmp_path / "model").iterdir()] == ["config.json"]
    (tmp_path / "large").write_bytes(bytes(251))
    with pytest.raises(
        VSRError, match=r"large has 2\.51e-07 GB, and copies may take 2\.5e-07 GB on this node: set VSR_NODE_CACHE"
    ):
        asked(cache, tmp_path / "large")
    assert driver.look(tmp_path / "nothing") is None


def test_a_copy_of_a_file_that_changes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    (tmp_path / "file").write_bytes(b"before")
    found = driver.look(tmp_path / "file")
    assert found
    with pytest.raises(VSRError, match="changed while it was copied"):
        copies.Cache(tmp_path / "node", 100).get(found, lambda path, size: [b"and after"])
    assert [path.name for path in (tmp_path / "node").iterdir() if path.suffix != ".lock"] == []


class Copied:
    """Files of another node that is this one, each under another name here."""

    def __init__(self, cache: copies.Cache) -> None:
        self.cache, self.taken = cache, list[str]()

    def local(self, path: Path) -> Path:
        found = driver.look(path)
        self.taken.append(path.name)
        return path if found is None else self.cache.get(found, fetched)

    def head(self, path: Path, count: int) -> bytes:
        return path.read_bytes()[:count]


def test_a_store_elsewhere_keeps_few_shards_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.clips.store.SHARD_BYTES", 1)
    monkeypatch.setattr("pipelines.clips.store._OPEN", 2)
    hr = moving.hr_store(tmp_path / "hr")
    wanted = {clip: hr.frame(clip, 1).tobytes() for clip in hr.clips}
    (tmp_path / "node").mkdir()
    copied = Copied(copies.Cache(tmp_path / "node", 2**30))
    monkeypatch.setattr(files, "_copies", copied)
    far = Store(tmp_path / "hr")
    for clip in ("a", "b", "v", "a"):
        assert far.frame(clip, 1).tobytes() == wanted[clip]
    shards = [f"clips-{index:05}.arrow" for index in (0, 1, 2, 0)]
    assert copied.taken == [MANIFEST, *shards] and list(far._readers) == [shards[2], shards[0]]
    with pytest.raises(VSRError, match=f"{tmp_path}/none is not a clip store"):
        Store(tmp_path / "none")

"""MLflow runs are found again, nothing in them is doubled; metrics, images and models arrive; a dead server is told quickly."""

from __future__ import annotations

import math
import multiprocessing
import os
import pickle
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from servers import free_port, mlflow_server, stop

from pipelines.errors import VSRError
from pipelines.runtime import tracking
from pipelines.runtime.tracking import Run

DIGEST = "d41d8cd98f00b204e9800998ecf8427e.dir"


@pytest.fixture
def store(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    shutil.copyfile(empty, tmp_path / "mlflow.db")
    where = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    return where


def start(run_key: str = "abc123", **changes: object) -> Run:
    arguments = {"name": "basicvsr_bi", "run_key": run_key, "params": {"rate": 2e-3, "crop": 32}, "tags": {"method": "basicvsr"}}
    return Run.find_or_create(**{**arguments, "inputs": [("data/lr/a/bi_x4", DIGEST, "training")], **changes})  # type: ignore[arg-type]


def runs(store: str) -> list:
    client = MlflowClient(store)
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


def test_a_run_carries_where_it_comes_from(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "clone"
    repository.mkdir()
    for name in ("params.yaml", "dvc.yaml"):
        (repository / name).write_text("{}\n")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.chdir(repository)
    monkeypatch.setenv("DVC_STAGE", "train@basicvsr_bi")
    run = MlflowClient(store).get_run(start().id)
    assert run.info.run_name == "basicvsr_bi"
    assert run.data.params == {"rate": "0.002", "crop": "32"}
    assert run.data.tags["mlflow.source.git.commit"] == head
    assert run.data.tags["git.dirty"] == "false"
    assert run.data.tags["dvc.stage"] == "train@basicvsr_bi"
    assert run.data.tags["version.mlflow"].startswith("3.")
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("data/lr/a/bi_x4", DIGEST)
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}
    (repository / "params.yaml").write_text("a: 1\n")
    assert MlflowClient(store).get_run(start().id).data.tags["git.dirty"] == "true"


def test_the_default_store_is_beside_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("params.yaml", "dvc.yaml"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.uri() == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    assert tracking.uri() == f"sqlite:///{tmp_path}/deep/here.db"


def test_the_same_key_is_the_same_run(store: str) -> None:
    first = start()
    first.metrics(100, {"psnr": 30.0})
    first.finish("FAILED")
    # Going on: other params must not raise, nor replace those it began with.
    again = start(params={"rate": 1.0, "crop": 32, "late": 1})
    assert again.id == first.id
    assert len(runs(store)) == 1
    run = MlflowClient(store).get_run(first.id)
    assert run.info.status == "RUNNING"
    assert run.data.params == {"rate": "0.002", "crop": "32", "late": "1"}
    assert len(run.inputs.dataset_inputs) == 1
    again.finish("FINISHED")
    run = MlflowClient(store).get_run(first.id)
    assert run.info.status == "FINISHED"
    assert start("other").id != first.id
    assert len(runs(store)) == 2


def test_a_process_killed_at_creation_leaves_a_run_that_is_completed(store: str) -> None:
    client = MlflowClient(store)
    experiment = client.create_experiment("vsr/methods")
    bare = client.create_run(experiment, tags={tracking.RUN_KEY: "abc123"})
    assert start().id == bare.info.run_id
    assert client.get_run(bare.info.run_id).data.params == {"rate": "0.002", "crop": "32"}


def test_metrics_keep_nan_and_cap_infinite_psnr(store: str) -> None:
    run = pickle.loads(pickle.dumps(start()))
    run.metrics(7, {"psnr_y": math.inf, "ssim": math.nan, "loss": math.inf, "a@b×c": 1.5})
    run.metrics(8, {f"m{index}": float(index) for index in range(1200)})
    client = MlflowClient(store)
    values = client.get_run(run.id).data.metrics
    assert values["psnr_y"] == 100.0
    assert math.isnan(values["ssim"]) and math.isnan(values["loss"])
    assert values["a_b_c"] == 1.5
    assert values["m1199"] == 1199.0
    assert [point.step for point in client.get_metric_history(run.id, "psnr_y")] == [7]


def test_work_done_twice_is_logged_once(store: str) -> None:
    def work(first: int, last: int) -> None:
        run = start()
        for step in range(first, last):
            run.metrics(step, {"loss": 1.0 / (step + 1)})
        run.metrics(last - 1, {"psnr": 30.0})
        run.images(last - 1, {"clip": np.full((8, 8, 3), last, np.uint8)})

    work(0, 5)
    work(3, 8)  # a training that goes on from a checkpoint passes some steps again
    work(0, 8)
    client = MlflowClient(store)
    (run,) = runs(store)
    assert [point.step for point in client.get_metric_history(run.info.run_id, "loss")] == list(range(8))
    assert [point.step for point in client.get_metric_history(run.info.run_id, "psnr")] == [4, 7]
    files = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    assert sorted(file.split("+")[2] for file in files) == ["4", "7"]


def test_an_alias_is_on_the_newest_version_of_a_name(store: str) -> None:
    for version, (name, sha256) in enumerate([("a", "1" * 64), ("b", "2" * 64), ("a", "3" * 64)], 1):
        run = start(f"key{version}", name=name)
        for _ in range(2):
            run.model(name, f"data/trained/{name}/model.safetensors", sha256, registered="vsr")
    client = MlflowClient(store)
    assert len(client.search_model_versions("name = 'vsr'")) == 3
    for of, version in (("a", "3"), ("b", "2"), ("a", "3")):
        assert tracking.alias("vsr", "best-suite", of)
        best = client.get_model_version_by_alias("vsr", "best-suite")
        assert (str(best.version), best.tags["vsr.model.name"]) == (version, of)
    assert not tracking.alias("vsr", "best-suite", "c")
    assert str(client.get_model_version_by_alias("vsr", "best-suite").version) == "3"
    # By reference: what DVC keeps is not kept a second time.
    assert best.source.startswith("models:/") and best.tags["vsr.model.path"] == "data/trained/a/model.safetensors"


def test_runs_are_listed_by_what_they_are_tagged_with(store: str) -> None:
    assert tracking.runs("vsr/methods") == {}
    made = [start(f"key{index}", tags={"vsr.method": "ab"[index % 2]}) for index in range(3)]
    assert set(tracking.runs("vsr/methods")) == set(made)
    made[1].tag({"vsr.method": "a"})
    found = tracking.runs("vsr/methods", "tags.`vsr.method` = 'a'")
    assert set(found) == set(made)
    assert found[made[0]]["vsr.run_key"] == "key0"


def test_a_view_is_saved_once(store: str) -> None:
    def save(title: str) -> str:
        shown = {"params": ["name"], "metrics": ["y/psnr"], "against": "cost/parameters", "images": ["a:b"]}
        tracking.view("vsr/methods", "suite", title=title, where="", **shown)  # type: ignore[arg-type]
        (view,) = (value for key, value in tags().items() if key == "mlflow.sharedViewState.suite")
        return view

    def tags() -> dict[str, str]:
        return MlflowClient(store).get_experiment_by_name("vsr/methods").tags

    assert tracking.views() == {}
    first = save("one")
    experiment = MlflowClient(store).get_experiment_by_name("vsr/methods").experiment_id
    assert tracking.views() == {"suite": f"#/experiments/{experiment}/runs?viewStateShareKey=suite"}
    assert save("one") == first
    assert save("other") != first
    assert len([key for key in tags() if key.startswith("mlflow.sharedViewState.")]) == 1


def test_images_artifacts_and_the_model_by_reference(store: str, tmp_path: Path) -> None:
    run = start()
    image = np.zeros((8, 12, 3), np.uint8)
    image[..., 0] = 200
    run.images(5, {"parallax/clip (1):lr": image})
    (tmp_path / "table").mkdir()
    (tmp_path / "table" / "clips.json").write_text("{}")
    run.artifact(tmp_path / "table")
    run.artifact(tmp_path / "table" / "clips.json")
    client = MlflowClient(store)
    paths = [file.path for file in client.list_artifacts(run.id)]
    assert set(paths) == {"images", "table", "clips.json"}
    (png,) = [file.path for file in client.list_artifacts(run.id, "images") if file.path.endswith(".png")]
    assert "parallax~clip _1__lr+step+5" in png
    import PIL.Image

    with PIL.Image.open(client.download_artifacts(run.id, png, str(tmp_path))) as kept:
        assert np.array_equal(np.asarray(kept), image)
    for _ in range(2):  # a run that goes on registers it once
        run.model("basicvsr_bi", "data/trained/basicvsr_bi/model.safetensors", "ab" * 32)
    (model,) = client.search_logged_models([client.get_run(run.id).info.experiment_id])
    assert model.source_run_id == run.id
    assert model.tags["vsr.model.path"] == "data/trained/basicvsr_bi/model.safetensors"
    assert client.get_run(run.id).data.tags["vsr.model.sha256"] == "ab" * 32
    assert (tmp_path / "mlruns").is_dir()


def test_one_dataset_for_two_uses_keeps_both(store: str) -> None:
    run = start(inputs=[("a", DIGEST, "training"), ("a", DIGEST, "validation")])
    (given,) = MlflowClient(store).get_run(run.id).inputs.dataset_inputs
    assert given.tags[0].value == "training, validation"
    with pytest.raises(ValueError, match="36"):
        start(inputs=[("a", "0" * 37, "training")])


def test_secrets_are_not_logged(store: str) -> None:
    signed = "s3://key:secret@bucket/a?X-Amz-Signature=secret&part=1"
    run = start(params={"source": signed}, tags={"remote": signed})
    run.model("m", "https://user:secret@host/model.safetensors", "0" * 64)
    kept = MlflowClient(store).get_run(run.id).data
    assert kept.params["source"] == "s3://bucket/a?X-Amz-Signature=…&part=1"
    assert "secret" not in str(kept.tags) + repr(run)


def test_a_deleted_experiment_is_told(store: str) -> None:
    start()
    client = MlflowClient(store)
    client.delete_experiment(client.get_experiment_by_name("vsr/methods").experiment_id)
    with pytest.raises(VSRError, match="mlflow experiments restore"):
        start()


def test_a_database_elsewhere_is_not_made_anew(store: str, tmp_path: Path) -> None:
    run = start()
    away = pickle.loads(pickle.dumps(run))
    (tmp_path / "mlflow.db").rename(tmp_path / "moved.db")
    with pytest.raises(VSRError, match="MLFLOW_TRACKING_URI"):
        away.metrics(0, {"psnr": 1.0})
    assert not (tmp_path / "mlflow.db").exists()


def test_a_database_that_was_half_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    partial = tmp_path / ".mlflow.db.partial"
    with closing(sqlite3.connect(partial)) as database:  # as a kill leaves it
        database.execute("CREATE TABLE _alembic_tmp_experiments (id INTEGER)")
    (tmp_path / ".mlflow.db.partial-journal").write_text("x")
    seen: list[bool] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: seen.append((tmp_path / "mlflow.db").exists()) or replace(old, new))
    tracking.preflight()
    assert seen == [False] and {path.name for path in tmp_path.iterdir()} == {"mlflow.db", "mlflow.db.lock"}
    assert MlflowClient(tracking.uri()).get_run(start().id).data.tags[tracking.RUN_KEY] == "abc123"


def _first(folder: Path) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder / 'mlflow.db'}"
    start().artifact(folder / "first.txt")


def test_artifacts_move_with_the_workspace(empty: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old place", tmp_path / "new place"
    old.mkdir()
    shutil.copyfile(empty, old / "mlflow.db")
    (old / "first.txt").write_text("1")
    # In a process of its own, for MLflow remembers where a run's artifacts are.
    first = multiprocessing.get_context("spawn").Process(target=_first, args=(old,))
    first.start()
    first.join()
    assert first.exitcode == 0
    old.rename(new)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new / 'mlflow.db'}")
    tracking.preflight()
    run, other = start(), start("another")
    (new / "second.txt").write_text("2")
    for each in (run, other):
        each.artifact(new / "second.txt")
    listed = [[file.path for file in MlflowClient(tracking.uri()).list_artifacts(each.id)] for each in (run, other)]
    assert listed == [["first.txt", "second.txt"], ["second.txt"]] and not old.exists()


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_path_that_no_address_holds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / name).mkdir()
    for file in ("params.yaml", "dvc.yaml"):
        (tmp_path / name / file).touch()
    monkeypatch.chdir(tmp_path / name)
    with pytest.raises(VSRError, match="rename that folder, or set MLFLOW_TRACKING_URI"):
        tracking.preflight()
    assert {path.name for path in tmp_path.rglob("*")} == {name, "params.yaml", "dvc.yaml"}


def test_a_temporary_copy_has_the_runs_of_its_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc" / "sub"  # as `dvc exp run --temp` has them
    copy.mkdir(parents=True)
    for file in ("params.yaml", "dvc.yaml"):
        (copy / file).touch()
    monkeypatch.chdir(copy)
    assert tracking.uri() == f"sqlite:///{tmp_path / 'mlflow.db'}"


def _create(where: str, results: multiprocessing.Queue) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = where
    try:
        tracking.preflight()
        results.put(start().id)
    except BaseException as error:
        results.put(f"failed: {error}")


def test_processes_may_create_the_database_at_once(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_create, args=(where, results)) for _ in range(3)]
    for process in processes:
        process.start()
    ids = {results.get(timeout=120) for _ in processes}
    for process in processes:
        process.join()
    assert len(ids) == 1, ids
    assert len(runs(where)) == 1


def test_a_server_that_is_not_there_is_told_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    with pytest.raises(VSRError, match="no MLflow server answers at MLFLOW_TRACKING_URI=http://127.0.0.1") as told:
        tracking.preflight()
    assert "secret" not in str(told.value)


@pytest.mark.timeout(60)
def test_a_server_that_accepts_and_is_silent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(VSRError, match="no MLflow server answers"):
            tracking.preflight()


def test_a_store_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, it only has its name")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(VSRError, match="MLflow"):
        tracking.preflight()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen]]:
    with mlflow_server(tmp_path, free_port()) as running:
        yield running


@pytest.mark.timeout(180)
def test_a_real_server_and_its_end_midway(
    server: tuple[str, subprocess.Popen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    tracking.preflight()
    run = start()
    run.metrics(1, {"psnr": 31.0})
    run.images(1, {"clip": np.zeros((8, 8, 3), np.uint8)})
    run.model("m", "data/trained/m/model.safetensors", "0" * 64)
    assert start().id == run.id
    client = MlflowClient(where)
    assert client.get_run(run.id).data.metrics == {"psnr": 31.0}
    assert client.get_run(run.id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert any((tmp_path / "artifacts").rglob("*.png"))
    stop(process)
    with pytest.raises(VSRError, match="no MLflow server answers"):
        run.metrics(2, {"psnr": 32.0})

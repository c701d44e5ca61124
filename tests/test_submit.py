"""Work on a cluster elsewhere: what travels, and the whole way on a Ray head of this machine."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import IDENTITY, Project, clone
from servers import free_port
from test_edits import smallest

from pipelines.errors import VSRError
from pipelines.runtime import job, submit
from pipelines.runtime.submit import Submission, bring_home, not_carried, submission

DEGRADE = "degrade@parallax-bi_x4"
SECRETS = {"AWS_ACCESS_KEY_ID": "idNotToBeShown", "AWS_SECRET_ACCESS_KEY": "keyNotToBeShown"}


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", *IDENTITY, *words], cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A DVC repository with a commit and a remote."""
    root = tmp_path / "home"
    root.mkdir()
    git(root, "init", "--quiet")
    for words in (("init", "--quiet"), ("remote", "add", "--quiet", "--default", "store", "s3://bucket/vsr")):
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, check=True)
    (root / ".gitignore").write_text("ignored\n")
    (root / "code.py").write_text("one = 1\n")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "first")
    return root


def of(root: Path, *targets: str, **environment: str) -> Submission:
    return submission(root, targets, 2, environment)


def test_the_same_work_has_the_same_key(root: Path) -> None:
    clean = of(root)
    assert not clean.diff and clean.edited == "" and clean.key == of(root, VSR_TRAIN_WORKERS="2").key
    assert clean.key.startswith(git(root, "rev-parse", "HEAD")[:8]) and of(root, "bicubic").key != clean.key
    (root / "ignored").write_text("x")
    assert of(root).key == clean.key
    (root / "code.py").write_text("one = 2\n")
    edited = of(root)
    assert edited.key != clean.key and edited.edited in edited.described()
    (root / "new.bin").write_bytes(bytes(range(256)))
    assert of(root).edited not in ("", edited.edited)
    made = of(root)
    (root / "dvc.lock").write_text("stages: {}\n")
    assert of(root).key == made.key and b"dvc.lock" in of(root).diff  # it goes along, and is what was made and no other work
    (root / "dvc.lock").unlink()
    assert git(root, "status", "--porcelain").splitlines() == [" M code.py", "?? new.bin"]  # git's index is left alone


def test_what_travels_is_checked_out_as_it_is_here(root: Path, tmp_path: Path) -> None:
    (root / "code.py").write_text("one = 2  \n")
    (root / "new.bin").write_bytes(bytes(range(256)))
    wanted = of(root, "bicubic")
    there = tmp_path / "there"
    with submit._packed(wanted) as package:
        spec = json.loads((package / "job.json").read_text())
        assert spec["key"] == wanted.key and spec["targets"] == ["bicubic"] and spec["jobs"] == 2
        assert spec["remote"] == {"core.remote": "store", "remote.store.url": "s3://bucket/vsr"}
        assert {path.name for path in package.iterdir()} == {"commit.bundle", "changes.diff", "job.json", "job.py"}
        job._check_out(package, there, spec["commit"])
    assert not package.exists() and git(there, "rev-parse", "HEAD") == git(root, "rev-parse", "HEAD")
    for name in ("code.py", "new.bin", ".dvc/config"):
        assert (there / name).read_bytes() == (root / name).read_bytes()
    # Runs there are of the commit, and say that it was edited.
    assert git(there, "status", "--porcelain", "--untracked-files=no") == " M code.py\n"


def test_secrets_stay_here(root: Path) -> None:
    config = "['remote \"store\"']\n    access_key_id = idNotToBeShown\n    endpointurl = https://s3.example.org\n"
    (root / ".dvc" / "config.local").write_text(config)
    wanted = of(root, VSR_GPU_SHARE="0.5", MLFLOW_TRACKING_URI="https://tracker.example.org", **SECRETS)
    assert wanted.remote["remote.store.endpointurl"] == "https://s3.example.org" and set(not_carried(SECRETS)) == set(SECRETS)
    assert wanted.variables == {"VSR_GPU_SHARE": "0.5", "MLFLOW_TRACKING_URI": "https://tracker.example.org"}
    with submit._packed(wanted) as package:
        assert not any(b"NotToBeShown" in path.read_bytes() for path in package.iterdir())
    with pytest.raises(VSRError, match="MLFLOW_TRACKING_URI has a password in it, .*: set it in the cluster's environment"):
        of(root, MLFLOW_TRACKING_URI="https://me:word@tracker.example.org")
    subprocess.run(
        [sys.executable, "-m", "dvc", "remote", "modify", "store", "url", "s3://me:word@bucket/vsr"], cwd=root, check=True
    )
    with pytest.raises(VSRError, match="the address of the DVC remote 'store' has a password in it"):
        of(root)


def test_what_cannot_be_submitted_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run([sys.executable, "-m", "dvc", "remote", "remove", "store"], cwd=root, check=True)
    with pytest.raises(VSRError, match="there is no DVC remote by default, .*`dvc remote add --default store"):
        of(root)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(VSRError, match="which cluster\\? Give --address"):
        submit.connect(None)
    with pytest.raises(VSRError, match="the cluster at http://127.0.0.1:1 does not answer"):
        submit.connect("http://127.0.0.1:1")


def test_a_lock_that_was_changed_meanwhile_is_left_alone(root: Path) -> None:
    lock = root / "dvc.lock"
    assert job.unpack(job.pack(b"x" * 10**5)) == b"x" * 10**5 and len(job.pack(b"x" * 10**5)) < 1000
    assert bring_home(root, "vsr-1", None, b"made") == lock and lock.read_bytes() == b"made"
    assert bring_home(root, "vsr-2", b"made", b"more") == lock and lock.read_bytes() == b"more"
    lock.write_bytes(b"changed here")
    beside = bring_home(root, "vsr-3", b"more", b"most")
    assert beside.read_bytes() == b"most" and lock.read_bytes() == b"changed here"
    assert bring_home(root, "vsr-4", b"old", b"changed here") == lock


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A Ray head with a dashboard and a token; gives the environment of a client."""
    folder = tmp_path_factory.mktemp("head")
    (folder / "token").write_text(secrets.token_hex(32))
    client = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    port, dashboard, agent, rpc, metrics, remote = (str(free_port()) for _ in range(6))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VSR_", "RAY_", "MLFLOW_", "AWS_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as temporary, (folder / "log").open("w") as log:
        command = ["ray", "start", "--head", "--block", "--num-cpus=2", "--disable-usage-stats", f"--temp-dir={temporary}"]
        ports = [f"--port={port}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}"]
        ports += [f"--dashboard-agent-grpc-port={rpc}", f"--metrics-export-port={metrics}", f"--ray-client-server-port={remote}"]
        process = subprocess.Popen(
            [*command, *ports, "--node-ip-address=127.0.0.1", "--include-dashboard=true"],
            cwd=folder,
            env={**environment, **client, "VSR_JOBS": str(folder / "jobs"), "HOME": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield {**client, "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}", "LOG": str(folder / "log")}
        finally:
            process.send_signal(signal.SIGTERM)  # it ends its processes
            process.wait(timeout=60)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_from_here_to_a_cluster_and_home(head: dict[str, str], tmp_path: Path) -> None:
    """Submitted, left, found again, brought home: nothing is left to run here."""
    project: Project = clone(tmp_path / "home", smallest)
    project.run("dvc", "remote", "add", "--default", "store", str(tmp_path / "remote"))
    environment = {**head, **SECRETS}
    deadline = time.monotonic() + 120
    while True:
        listing = project.start("vsr", "jobs", **head)
        said, _ = listing.communicate(timeout=120)
        if listing.returncode == 0:
            break
        assert time.monotonic() < deadline and "does not answer" in said, said + Path(head["LOG"]).read_text()
    assert said == "There are no jobs.\n"
    no_token = {name: value for name, value in head.items() if name != "RAY_AUTH_TOKEN_PATH"} | {"RAY_AUTH_TOKEN": "f" * 64}
    assert "does not take the token" in project.run("vsr", "jobs", status=1, **no_token)

    (project.root / "notes.txt").write_text("not committed")
    process = project.start("vsr", "submit", "--jobs", "2", "degrade", **environment)
    assert process.stdout
    lines = [process.stdout.readline(), process.stdout.readline()]
    name = lines[0].split(":")[0]
    assert name.startswith("vsr-"), "".join([*lines, process.communicate()[0]])
    assert "degrade of commit" in lines[0] and "with the edits" in lines[0]
    assert lines[1] == "not sent, the cluster has its own: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY\n"
    lines.append(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and f"{name} goes on: the same command shows it again" in rest and "Traceback" not in rest

    said = project.run("vsr", "submit", "--jobs", "2", "degrade", **environment)
    assert f"{name}: degrade of commit" in said and "(there already)" in said.splitlines()[0]
    assert f"[{DEGRADE}] done" in said and "pushing what is finished" in said and f"{name}: dvc.lock is that of the job" in said
    made = project.locked()
    assert set(made) == {"ingest@parallax", DEGRADE} and not (project.root / "data").exists()
    (listed,) = project.run("vsr", "jobs", **head).splitlines()
    assert listed.split()[:2] == [name, "SUCCEEDED"]

    lock = (project.root / "dvc.lock").read_bytes()
    said = project.run("dvc", "repro", "--pull", DEGRADE)
    assert "Running stage" not in said and (project.root / "dvc.lock").read_bytes() == lock
    assert (project.root / "data/lr/parallax/bi_x4").is_dir()
    project.run("dvc", "repro", "--force", "--no-run-cache", "--single-item", DEGRADE)
    assert project.locked() == made

    shown = project.run(
        sys.executable,
        "-c",
        "import os; from ray.job_submission import JobSubmissionClient\n"
        "client = JobSubmissionClient(os.environ['RAY_API_SERVER_ADDRESS'])\n"
        "for one in client.list_jobs(): print(one, client.get_job_logs(one.submission_id) if one.submission_id else '')",
        **head,
    )
    assert name in shown and "NotToBeShown" not in shown

"""A small project of its own to run stages in: a clone of this checkout, and the commands that a user gives in it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import choices
import psutil
import yaml

from pipelines.runtime.fork_server import ADDRESS

ROOT = Path(__file__).resolve().parent.parent
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


class Project:
    """A clone with params of its own, and the commands that a user would give in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("VSR_", "RAY_", "MLFLOW_"))}
        self.environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment["PYTHONPATH"] = str(root)

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Change params.yaml and the files beside it, see `choices`."""
        tree = choices.shipped(self.root)
        edit(tree)
        choices.put(self.root, tree)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, status: int = 0, **environment: str) -> str:
        process = self.start(*command, **environment)
        output, _ = process.communicate(timeout=1100)
        assert process.returncode == status, output
        return output

    def locked(self) -> dict[str, dict[str, str]]:
        """The outputs' hashes by stage."""
        stages = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}

    def runs(self) -> list[tuple[str, str]]:
        """MLflow's runs: name and run key."""
        with sqlite3.connect(self.root / "mlflow.db") as database:
            query = "SELECT runs.name, tags.value FROM runs JOIN tags USING (run_uuid) WHERE tags.key = 'vsr.run_key'"
            return sorted(database.execute(query).fetchall())


def clone(root: Path, edit: Callable[[dict[str, Any]], None]) -> Project:
    """The files of this checkout, committed in a repository of their own, with edited params."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file() and name != "dvc.lock":
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name, follow_symlinks=False)
    project = Project(root)
    project.change(edit)
    project.run("git", "init", "--quiet")
    project.run("git", "add", "--all")
    project.run("git", *IDENTITY, "commit", "--quiet", "--message", "clone")
    return project


@contextmanager
def one_cluster(project: Project) -> Iterator[None]:
    """One Ray cluster for all commands in the block; else every stage starts and ends its own, for seconds."""
    script = (
        "import os, ray, sys; from pipelines.runtime.cluster import connect; from pipelines.runtime.fork_server import ADDRESS\n"
        "with connect(): print(ray.get_runtime_context().gcs_address, os.environ.get(ADDRESS, ''), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=project.root,
        env=project.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    address, _, forked = process.stdout.readline().strip().partition(" ")
    assert address, "the cluster did not start"
    joined = {"RAY_ADDRESS": address, "RAY_AUTH_MODE": "token", ADDRESS: forked}
    project.environment |= joined
    yield
    for name in joined:
        del project.environment[name]
    process.communicate(timeout=120)


def stage_process(process: subprocess.Popen[str], module: str) -> psutil.Process:
    """The process of a stage that a command started in its folder, or the one that waits for its fork, once it is there."""
    folder, deadline = psutil.Process(process.pid).cwd(), time.monotonic() + 120
    while time.monotonic() < deadline:
        for other in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                words = other.cmdline()
                if ["-m", module] in (words[1:3], words[3:5]) and other.cwd() == folder:
                    return other
        time.sleep(0.05)
    raise AssertionError(f"{module} did not start")


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something while a command runs."""
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.01)

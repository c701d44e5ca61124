"""Fixtures shared by the tests; real footage and weights are used where they are and never needed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import moving
import pytest

from pipelines.clips.store import Store
from pipelines.threads import wait_passively

if TYPE_CHECKING:  # importing torch takes seconds
    from front_door import Vsr

REPOSITORY = Path(__file__).resolve().parent.parent
# Ray's workers and the commands that tests start import this checkout and the tests' own helpers.
os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests"), os.environ.get("PYTHONPATH", "")])
os.environ["DVC_NO_ANALYTICS"] = "1"  # each command in a repository of a test would start a process that reports it

wait_passively()

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so do the commands of tests that a shell runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    "test_repro.py",
    "test_edits.py",
    "test_learners.py",
    "test_trainer.py",
    "test_networks.py",
    "test_outbox.py",
    "test_pool.py",
)
"""Modules that begin first where several processes share the tests, so that none of them is left for the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def _shared(variable: str, folder: str) -> Path:
    path = Path(os.environ.get(variable) or REPOSITORY.parent / "shared" / folder)
    if not path.is_dir():
        pytest.skip(f"needs {folder}: set {variable} to a folder that has it")
    return path


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from more threads, and lose much where cores are busy."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def vsr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Vsr]:
    """Runs the command in this process, as `main` is all that its script calls."""
    from front_door import Done

    from pipelines import cli

    handler = signal.getsignal(signal.SIGTERM)

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["vsr", *map(str, words)])
        code: object = 0
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code
        shown = capsys.readouterr()
        if isinstance(code, str):  # what the interpreter makes of a sentence
            return Done(1, shown.out, shown.err + code + "\n")
        return Done(int(code or 0), shown.out, shown.err)  # type: ignore[call-overload]

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real footage: `Vid4/GT/<clip>/<frame>.png`, `Vid4/published/…`, `video/*.mp4`."""
    return _shared("VSR_DATA", "data")


@pytest.fixture(scope="session")
def shared_weights() -> Path:
    """Published parameters, by file name."""
    return _shared("VSR_WEIGHTS", "weights")


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, which take seconds to create."""
    from pipelines.runtime import tracking

    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
        tracking.preflight()
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray on two cores of this machine."""
    import ray

    from pipelines.runtime.cluster import connect

    if ray.is_initialized():
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VSR_WORKERS", "2")
        with connect():
            yield


@pytest.fixture(scope="module")
def hr(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The HR clips of `moving`."""
    return moving.hr_store(tmp_path_factory.mktemp("hr") / "hr")


@pytest.fixture(scope="module")
def lr(hr: Store) -> Store:
    """Their LR clips."""
    return moving.lr_store(hr, hr.path.with_name("lr"))


@pytest.fixture(scope="module")
def truth(hr: Store) -> Store:
    """Their exact flow."""
    return moving.truth_store(hr, hr.path.with_name("truth"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, 2 MB large."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount")
    if not mounted or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("needs the right to mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)

"""`vsr submit`: the graph, reproduced by a job on a Ray cluster elsewhere, and its dvc.lock brought home.

What is submitted has a *key*, a hash of the commit, of what was edited since, of the targets and of where results go. A job is called
`vsr-<commit>-<key>-<attempt>`: whoever submits the same again finds the job that runs, or that has ended well, and is shown it.

What travels is a bundle of the commit, a diff, and a mapping without secrets. Keys of S3 and passwords are in the cluster's own
environment: Ray keeps what a job is given and shows it to whoever may list jobs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import VSRError
from pipelines.runtime import job

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

CARRIED = ("VSR_TRAIN_WORKERS", "VSR_TRAIN_CPUS", "VSR_GPU_SHARE", "MLFLOW_TRACKING_URI")
"""What a job gets of the environment that it is submitted from."""
SECRET = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""What it does not: the cluster has its own."""
REMOTE = ("url", "endpointurl", "region")
"""The options of a DVC remote that travel."""
STOP_SECONDS = "60"
"""How long a job that is stopped may take to leave nothing half-written, before Ray kills it."""
_PREFIX = "vsr-"
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Submission:
    """What is to be done elsewhere.

    Args:
        root: the repository here.
        commit: what is checked out there.
        diff: what was edited since, untracked files that git does not ignore among it.
        edited: a name for that, the first digits of a sha256; empty if nothing was. dvc.lock is carried and makes no other work.
        targets, jobs: as of `vsr repro`.
        remote: the options of the DVC remote as `dvc config` has them.
        variables: the environment that it gets.
    """

    root: Path
    commit: str
    diff: bytes
    edited: str
    targets: tuple[str, ...]
    jobs: int
    remote: Mapping[str, str]
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its identity; how many stages run side by side, and on how many workers, makes it no other."""
        identity = json.dumps([self.commit, self.edited, self.targets, dict(self.remote)], sort_keys=True)
        return f"{self.commit[:8]}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"

    def described(self) -> str:
        """What it is, in words."""
        what = ", ".join(self.targets) or "the whole graph"
        return f"{what} of commit {self.commit[:8]}" + (f" with the edits {self.edited}" if self.edited else "")


@dataclass(frozen=True)
class Listed:
    """A job as `vsr jobs` shows it."""

    id: str
    state: str
    began: str
    what: str
    message: str


def submission(root: Path, targets: Sequence[str], jobs: int, environment: Mapping[str, str] = os.environ) -> Submission:
    """What `vsr submit` would have done, of the repository as it is now.

    Raises:
        VSRError: it has no commit, or no DVC remote that a cluster could reach, or an address with a password would travel.
    """
    variables = {name: environment[name] for name in CARRIED if environment.get(name)}
    for name, value in variables.items():
        if "@" in value:
            raise VSRError(
                f"{name} has a password in it, which would be shown with the job: set it in the cluster's environment."
            )
    commit = _git(root, "rev-parse", "HEAD").decode().strip()
    diff, own = _edits(root)
    edited = hashlib.sha256(own).hexdigest()[:8] if own else ""
    return Submission(root, commit, diff, edited, tuple(targets), jobs, _remote(root), variables)


def not_carried(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The secrets that are set here and stay here."""
    return [name for name in SECRET if environment.get(name)]


def connect(address: str | None) -> JobSubmissionClient:
    """The job server of a cluster: at `address`, else `RAY_API_SERVER_ADDRESS`.

    Raises:
        VSRError: neither is given, nothing answers there, or it refuses the token.
    """
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS")
    if not address:
        raise VSRError(
            "which cluster? Give --address, the URL of its dashboard such as http://127.0.0.1:8265, or set RAY_API_SERVER_ADDRESS."
        )
    from ray.job_submission import JobSubmissionClient

    with _told(address):
        return JobSubmissionClient(address)


def attach_or_start(client: JobSubmissionClient, wanted: Submission) -> tuple[str, bool]:
    """The job of a submission: the one that there is, unless it has failed or was stopped, else a new one.

    Returns:
        Its id, and whether it is new.

    Raises:
        VSRError: the cluster does not take it.
    """
    with _told(str(client.get_address())):
        attempts = sorted(_attempts(client, wanted.key).items())
        if attempts and attempts[-1][1].status not in ("FAILED", "STOPPED"):
            return str(attempts[-1][1].submission_id), False
        number = attempts[-1][0] + 1 if attempts else 1
        name = f"{_PREFIX}{wanted.key}-{number}"
        with _packed(wanted) as package:
            try:
                client.submit_job(
                    entrypoint="python3 job.py",
                    submission_id=name,
                    runtime_env={
                        "working_dir": str(package),
                        "env_vars": {**wanted.variables, "RAY_JOB_STOP_WAIT_TIME_S": STOP_SECONDS},
                    },
                    metadata={"commit": wanted.commit, "edits": wanted.edited, "targets": " ".join(wanted.targets)},
                )
            except RuntimeError:  # another one was faster
                if number not in _attempts(client, wanted.key):
                    raise
                return name, False
        return name, True


def follow(client: JobSubmissionClient, name: str, say: Callable[[str], None] = print) -> tuple[str, bytes | None]:
    """Hand on the lines of a job's log until it has ended.

    Returns:
        Its state, and what dvc.lock became there, None if it never got so far.

    Raises:
        VSRError: the cluster does not answer any more.
    """
    found: list[bytes] = []

    def take(line: str) -> None:
        if line.startswith(job.RESULT):
            found.append(job.unpack(line.removeprefix(job.RESULT).strip()))
        else:
            say(line)

    async def tail() -> None:
        rest = ""
        async for part in client.tail_job_logs(name):
            *lines, rest = (rest + part).split("\n")
            for line in lines:
                take(line)
        if rest:
            take(rest)

    with _told(str(client.get_address())):
        asyncio.run(tail())
        info = client.get_job_info(name)
        if info.status not in _OVER:
            raise VSRError(f"the log of {name} ended and the job has not: submit again to go on following it.")
        if info.status == "FAILED" and not found and info.message:
            say(str(info.message).strip().splitlines()[-1])
    return str(info.status), found[-1] if found else None


def stop(client: JobSubmissionClient, name: str) -> None:
    """End a job; what it has finished is kept there.

    Raises:
        VSRError: the cluster does not answer.
    """
    with _told(str(client.get_address())):
        client.stop_job(name)


def bring_home(root: Path, name: str, before: bytes | None, lock: bytes) -> Path:
    """Put a job's dvc.lock in place, unless the one here was changed since the job was followed: then beside the work folders.

    Args:
        root: the repository here.
        name: of the job.
        before: dvc.lock when it was submitted; None if there was none.
        lock: what it became.

    Returns:
        Where it is now.
    """
    path = root / "dvc.lock"
    if (path.read_bytes() if path.is_file() else None) not in (before, lock):
        path = root / ".vsr" / "jobs" / f"{name}.dvc.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(lock)
    os.replace(partial, path)
    return path


def listed(client: JobSubmissionClient) -> list[Listed]:
    """The jobs that were submitted by this command, the newest first.

    Raises:
        VSRError: the cluster does not answer.
    """
    with _told(str(client.get_address())):
        found = [one for one in client.list_jobs() if str(one.submission_id).startswith(_PREFIX)]
    found.sort(key=lambda one: one.start_time or 0, reverse=True)
    return [
        Listed(
            id=str(one.submission_id),
            state=str(one.status),
            began=datetime.fromtimestamp((one.start_time or 0) / 1000).strftime("%Y-%m-%d %H:%M"),
            what=(one.metadata or {}).get("targets") or "the whole graph",
            message=" ".join(str(one.message or "").split()),
        )
        for one in found
    ]


def _attempts(client: JobSubmissionClient, key: str) -> dict[int, JobDetails]:
    """The jobs of a key by their number."""
    start = f"{_PREFIX}{key}-"
    return {
        int(str(one.submission_id).removeprefix(start)): one
        for one in client.list_jobs()
        if str(one.submission_id).startswith(start) and str(one.submission_id).removeprefix(start).isdigit()
    }


@contextmanager
def _packed(wanted: Submission) -> Iterator[Path]:
    """A folder with all that travels."""
    with tempfile.TemporaryDirectory(prefix="vsr-submit-") as folder:
        package = Path(folder)
        _git(wanted.root, "bundle", "create", "--quiet", str(package / "commit.bundle"), "HEAD")
        if wanted.diff:
            (package / "changes.diff").write_bytes(wanted.diff)
        spec: dict[str, Any] = {"key": wanted.key, "commit": wanted.commit, "targets": wanted.targets, "jobs": wanted.jobs}
        (package / "job.json").write_text(json.dumps({**spec, "remote": dict(wanted.remote)}, indent=1))
        shutil.copyfile(job.__file__, package / "job.py")
        yield package


def _edits(root: Path) -> tuple[bytes, bytes]:
    """All that differs from the commit, new files among it, and the same without dvc.lock; git's own index is left alone."""
    with tempfile.TemporaryDirectory(prefix="vsr-index-") as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        _git(root, "read-tree", "HEAD", **index)
        _git(root, "add", "--all", **index)
        diff = ("diff", "--cached", "--binary", "--no-color", "--no-ext-diff", "HEAD", "--", ".")
        return _git(root, *diff, **index), _git(root, *diff, ":(exclude)dvc.lock", **index)


def _remote(root: Path) -> dict[str, str]:
    """The DVC remote as options of `dvc config`, without its secrets.

    Raises:
        VSRError: there is none, or its address has a password.
    """
    options = dict(line.split("=", 1) for line in _dvc(root, "config", "--list").splitlines() if "=" in line)
    name = options.get("core.remote")
    url = options.get(f"remote.{name}.url")
    if name is None or url is None:
        raise VSRError(
            "there is no DVC remote by default, so a job's results could not come home: add one, e.g. by "
            "`dvc remote add --default store s3://bucket/vsr`."
        )
    if "@" in url:
        raise VSRError(f"the address of the DVC remote {name!r} has a password in it: set it by `dvc remote modify --local`.")
    found = {f"remote.{name}.{option}" for option in REMOTE}
    return {option: value for option, value in options.items() if option in {"core.remote", *found}}


def _git(root: Path, *words: str, **environment: str) -> bytes:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, env={**os.environ, **environment})
    except FileNotFoundError as error:
        raise VSRError("git is not installed: a job checks out a commit.") from error
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise VSRError(f"`git {words[0]}` failed in {root} ({reason}): submit from a clone that has a commit.")
    return done.stdout


def _dvc(root: Path, *words: str) -> str:
    done = subprocess.run([sys.executable, "-m", "dvc", *words], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise VSRError(f"`dvc {' '.join(words)}` failed in {root}: {done.stderr.replace('ERROR: ', '').strip()}")
    return done.stdout


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What a cluster does not answer or refuses, as one sentence."""
    import aiohttp
    import requests
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise VSRError(_token(address)) from error
    except (ConnectionError, requests.RequestException, aiohttp.ClientError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        if "401" in reason or "403" in reason or "nauthenticated" in reason:
            raise VSRError(_token(address)) from error
        raise VSRError(
            f"the cluster at {address} does not answer ({reason[:300]}): is its head up, and its port forwarded?"
        ) from error


def _token(address: str) -> str:
    return f"the cluster at {address} does not take the token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the head's."

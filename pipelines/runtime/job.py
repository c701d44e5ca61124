"""What a submitted job does on the cluster, beside the files that `submit` carries there; of the standard library alone, for the
project is not there before this has checked it out.

    python job.py        in a folder with job.json and commit.bundle, and changes.diff where the commit was edited

It checks out the commit, lets DVC take what was made before, reproduces what is left, pushes what is finished, and says
last what dvc.lock became. The secrets that this takes are in the environment of the cluster.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from types import FrameType

RESULT = "dvc.lock:"
"""What the last line of a job's log begins with: dvc.lock follows, compressed."""

_running: list[subprocess.Popen[bytes]] = []


def main(package: Path) -> int:
    """Do the job whose files are in a folder; returns the exit status."""
    job = json.loads((package / "job.json").read_text())
    home = Path(os.environ.get("VSR_JOBS") or "~/vsr-jobs").expanduser().resolve()
    root = home / job["key"]
    if not root.is_dir():
        _check_out(package, root, job["commit"])
    dvc = (sys.executable, "-m", "dvc")
    for option, value in {"cache.dir": str(home / "cache"), **job["remote"]}.items():
        _call(root, *dvc, "config", "--local", option, value)
    status = _run(root, sys.executable, "-m", "pipelines.cli", "repro", "--pull", "--jobs", str(job["jobs"]), *job["targets"])
    if (root / "dvc.lock").is_file():
        print("pushing what is finished to the DVC remote", flush=True)
        pushed = _run(root, *dvc, "push", "--run-cache", "--quiet")  # of a run that failed, too
        print(RESULT, pack((root / "dvc.lock").read_bytes()), flush=True)
        return status or pushed
    return status


def pack(data: bytes) -> str:
    """Bytes as a word of a line."""
    return base64.b64encode(zlib.compress(data, 9)).decode()


def unpack(word: str) -> bytes:
    """What `pack` was given."""
    return zlib.decompress(base64.b64decode(word))


def _check_out(package: Path, root: Path, commit: str) -> None:
    """The commit with its edits; the folder appears when it is whole, and a later attempt goes on in it."""
    partial = root.with_name(f".{root.name}.partial")
    _call(package, "rm", "-rf", str(partial))
    partial.parent.mkdir(parents=True, exist_ok=True)
    _call(package, "git", "clone", "--quiet", "--no-checkout", str(package / "commit.bundle"), str(partial))
    _call(partial, "git", "checkout", "--quiet", "--detach", commit)
    if (package / "changes.diff").is_file():
        _call(partial, "git", "apply", "--whitespace=nowarn", str((package / "changes.diff").resolve()))
    partial.rename(root)


def _call(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True)


def _run(root: Path, *command: str) -> int:
    """Run a command of the project; it is ended when the job is."""
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": path})
    _running.append(process)
    try:
        return process.wait()
    finally:
        _running.remove(process)


def _end(number: int, frame: FrameType | None) -> None:
    """Wait for what runs, which is told to end as well, by the cluster or here: it cleans up."""
    for process in _running:
        process.send_signal(number)
        process.wait()
    sys.exit(128 + number)


if __name__ == "__main__":
    import signal

    signal.signal(signal.SIGTERM, _end)
    sys.exit(main(Path(__file__).resolve().parent))

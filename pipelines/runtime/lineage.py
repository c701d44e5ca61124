"""What a stage is made from, as DVC knows it, and the identity that follows.

The run key is a hash of the stage's name, params and the hashes of its dependencies, data and code. It
names the work folder, the Ray Train run and the MLflow run, so that an interrupted stage goes on with
its own work and never with another's.

A stage takes its key once, at its start, and compares it twice: before its outputs appear (`verify`), and as the last thing that it
does, when they are in place (`verify_outputs` takes them away again). DVC itself does not compare: it hashes the dependencies
after the command has ended and writes these hashes to dvc.lock. What remains unseen is

- an edit between the last comparison and DVC's reading of the edited file: the time in which Python exits and DVC begins to hash, well
  under a second for code and params;
- an edit that is undone before the end, which workers may have read: hashes are compared and not times, since a file that
  was only touched should not cost hours of training.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.errors import VSRError
from pipelines.runtime import sources
from pipelines.runtime.imports import PACKAGES

_OF = "stage"
"""The file of a work folder that says which stage it is of."""
_PATIENCE = 20.0
"""Seconds that dvc.lock may take to be whole."""
_SHOWN = 3
"""Edits that a refusal names."""


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml about to run.

    Args:
        name: as DVC has it, e.g. `degrade@parallax-bi_x4`.
        root: the repository.
        run_key: see above.
        params: the values that it depends on, by file and key.
        hashes: DVC's hashes of its other dependencies, by path.
        outs: what it makes.
        work: a folder for what is not finished.
        began: when it was identified, in seconds since the epoch.
    """

    name: str
    root: Path
    run_key: str
    params: dict[str, dict[str, Any]]
    hashes: dict[str, str]
    outs: tuple[Path, ...]
    work: Path
    began: float = field(compare=False)

    @property
    def inputs(self) -> dict[str, str]:
        """DVC's hashes of its data by path."""
        return {path: value for path, value in self.hashes.items() if not _is_code(path)}


def stage(name: str, root: Path) -> Stage:
    """Identify a stage.

    Args:
        name: as DVC has it, e.g. `degrade@parallax-bi_x4`.
        root: the repository.

    Raises:
        VSRError: dvc.yaml has no such stage, one of its dependencies is not there, or the links to the files that it is made of
            are not up to date.
    """
    from dvc.exceptions import DvcException
    from dvc.stage.exceptions import StageNotFound

    began = time.time()
    try:
        found = _defined(name, root, b"".join((root / file).read_bytes() for file in ("dvc.yaml", "params.yaml")))
        paths = [Path(str(dependency.def_path)) for dependency in found.deps]
        sources.check(filter(sources.is_linked, paths), root)
        params, hashes, key = _identity(name, found)
        outs = tuple(Path(str(out.fs_path)) for out in found.outs)
    except FileNotFoundError as error:
        raise VSRError(
            f"{name}: {error.filename} is not there: run the stage that makes it, e.g. by `dvc repro {name}`."
        ) from error
    except StageNotFound as error:
        raise VSRError(f"{name}: dvc.yaml has no such stage: `dvc stage list --all` shows those that there are.") from error
    except DvcException as error:
        raise VSRError(f"{name}: DVC cannot identify the stage ({error}): run `dvc status {name}`.") from error
    return Stage(name, root, key, params, hashes, outs, root / ".vsr" / "work" / key, began)


def run_keys(root: Path) -> tuple[set[str], set[str]]:
    """The run keys that stages have now, and the names of the stages that have none because what they depend on is not there.

    Raises:
        VSRError: DVC cannot read the graph.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    keys, unknown = set(), set()
    try:
        for found in Repo(str(root)).index.stages:
            name = str(found.name)
            try:
                keys.add(_identity(name, found)[2])
            except (FileNotFoundError, DvcException):
                unknown.add(name)
    except DvcException as error:
        raise VSRError(f"DVC cannot read the graph of {root} ({error}): run `dvc dag`.") from error
    return keys, unknown


def _identity(name: str, found: Any) -> tuple[dict[str, dict[str, Any]], dict[str, str], str]:
    """The params and hashes of one of DVC's stages, and its run key."""
    params: dict[str, dict[str, Any]] = {}
    hashes: dict[str, str] = {}
    for dependency in found.deps:
        path = str(dependency.def_path)
        if hasattr(dependency, "read_params"):
            params[path] = dependency.read_params()
        else:
            hashes[path] = str(dependency.get_hash().value)
    identity = json.dumps({"stage": name, "params": params, "hashes": hashes}, sort_keys=True, default=str)
    return params, hashes, hashlib.sha256(identity.encode()).hexdigest()[:16]


def start_work(begun: Stage) -> None:
    """Make the work folder of a stage, which says whose it is."""
    begun.work.mkdir(parents=True, exist_ok=True)
    (begun.work / _OF).write_text(begun.name)


def worker_of(work: Path) -> str | None:
    """The name of the stage that a work folder is of; None where it does not say."""
    return (work / _OF).read_text() if (work / _OF).is_file() else None


@functools.lru_cache(maxsize=1)
def _defined(name: str, root: Path, files: bytes) -> Any:
    """DVC's stage of that name. DVC reads and resolves all stages for it, which takes a second: once, as long as the `files` that
    say what they are stay the same."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            return Repo(str(root)).stage.load_one(str(root / "dvc.yaml"), name)
        except DvcException as error:
            # Of a stage that ends beside this one DVC writes dvc.lock in place: until it has, a part of it is there.
            if "dvc.lock" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def verify(begun: Stage) -> None:
    """Check that a stage still is what it was when it began, before its outputs appear.

    Raises:
        VSRError: params, code, data or priors were edited since; says what, and how to go on.
    """
    edits = list(_edits(begun))
    if not edits:
        return
    shown = ", ".join(edits[:_SHOWN]) + (f" and {len(edits) - _SHOWN} more" if len(edits) > _SHOWN else "")
    kept = begun.work.is_dir() and any(path.name != _OF for path in begun.work.iterdir())
    old = f"goes on with what is done, kept in {begun.work.relative_to(begun.root)}" if kept else "runs with the old inputs"
    raise VSRError(
        f"{begun.name} was edited while it ran, so its outputs are not put in place ({shown}): undo the edit and "
        f"`dvc repro {begun.name}` {old}, or leave it and the same command starts with the new inputs."
    )


def verify_outputs(begun: Stage) -> None:
    """`verify` when the outputs are in place: they are taken away again if it fails.

    Raises:
        VSRError: as `verify`.
    """
    try:
        verify(begun)
    except VSRError:
        for out in begun.outs:
            if out.is_dir():
                shutil.rmtree(out)
            else:
                out.unlink(missing_ok=True)
        raise


def edited_since(begun: Stage, moment: float) -> list[str]:
    """The files of code that a stage depends on which changed after a moment, in seconds since the epoch."""
    paths = [begun.root / path for path in begun.hashes if _is_code(path)]
    return sorted(
        {str(file.resolve().relative_to(begun.root)) for path in paths for file in _files(path) if _changed_at(file) > moment}
    )


def _edits(begun: Stage) -> Iterator[str]:
    """What differs from the stage as it began: one phrase for each."""
    try:
        now = stage(begun.name, begun.root)
    except VSRError as error:
        yield str(error).rstrip(".")
        return
    old, new = _flat(begun.params), _flat(now.params)
    for key in [*old, *(key for key in new if key not in old)]:
        if old.get(key) != new.get(key):
            was, is_now = (repr(values[key]) if key in values else "nothing" for values in (old, new))
            yield f"{key} was {was} and now is {is_now}"
    for path in [*begun.hashes, *(path for path in now.hashes if path not in begun.hashes)]:
        if begun.hashes.get(path) != now.hashes.get(path):
            edited = [file for file in _files(begun.root / path) if _changed_at(file) > begun.began] if _is_code(path) else []
            names = [str(file.resolve().relative_to(begun.root)) for file in edited] or [path]
            yield f"{' and '.join(names)} changed"


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The leaves of params by `file: key.key`."""
    leaves: dict[str, Any] = {}
    for key, value in params.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            leaves |= _flat(value, f"{name}." if prefix else f"{name}: ")
        else:
            leaves[name] = value
    return leaves


def _is_code(path: str) -> bool:
    return path.partition("/")[0] in PACKAGES


def _files(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts] if path.is_dir() else [path]


def _changed_at(file: Path) -> float:
    return file.stat().st_ctime if file.exists() else float("inf")

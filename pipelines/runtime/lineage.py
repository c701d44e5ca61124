"""What a stage is made from, as DVC knows it, and the identity that follows.

The run key is a hash of the stage's name, params and the hashes of its dependencies, data and code. It
names the work folder, the Ray Train run and the MLflow run, so that an interrupted stage goes on with
its own work and never with another's.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import VSRError


@dataclass(frozen=True)
class Stage:
    """A stage of dvc.yaml about to run.

    `inputs` are DVC's hashes of its data dependencies by path, `work` a folder for what is not finished.
    """

    name: str
    run_key: str
    inputs: dict[str, str]
    params: dict[str, Any]
    work: Path


def stage(name: str, root: Path) -> Stage:
    """Identify a stage.

    Args:
        name: as DVC has it, e.g. `degrade@parallax-bi_x4`.
        root: the repository.

    Raises:
        VSRError: dvc.yaml has no such stage, or one of its dependencies is not there.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            found = repo.stage.load_one(str(root / "dvc.yaml"), name)
            params: dict[str, Any] = {}
            hashes: dict[str, str] = {}
            for dependency in found.deps:
                path = str(dependency.def_path)
                if hasattr(dependency, "read_params"):
                    params |= dependency.read_params()
                else:
                    hashes[path] = str(dependency.get_hash().value)
    except FileNotFoundError as error:
        raise VSRError(
            f"{name}: {error.filename} is not there: run the stage that makes it, e.g. by `dvc repro {name}`."
        ) from error
    except DvcException as error:
        raise VSRError(f"{name}: DVC cannot identify the stage ({error}): run `dvc status {name}`.") from error
    identity = json.dumps({"stage": name, "params": params, "hashes": hashes}, sort_keys=True, default=str)
    key = hashlib.sha256(identity.encode()).hexdigest()[:16]
    inputs = {path: value for path, value in hashes.items() if not _is_code(path)}
    return Stage(name, key, inputs, params, root / ".vsr" / "work" / key)


def _is_code(path: str) -> bool:
    return path.startswith(("stages", "pipelines", "models"))

"""The files of this project that a result is made of, as folders of links that DVC can depend on.

A stage depends on `stages/sources/<stage>`: links to every file that its work imports and that can change what it leaves. A stage that
makes a network depends also on `models/sources/<network>`, for the dependencies in dvc.yaml cannot be conditional. DVC hashes what links
lead to. They are in git; `vsr sources` writes them anew.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.errors import VSRError
from pipelines.runtime.imports import file_of, follow

NETWORKS, STAGES = Path("models/sources"), Path("stages/sources")

_OF_NETWORKS = "in models/sources of each network that has it; what pipelines do with it is for such networks alone"

WITHOUT_EFFECT: Mapping[str, str] = {
    "models.autoencoder": _OF_NETWORKS,
    "models.checkpoints": "in models/sources of all networks; nothing else reads or writes parameters",
    "models.parts.any_scale": _OF_NETWORKS,
    "models.parts.blocks": _OF_NETWORKS,
    "models.parts.cleaning": _OF_NETWORKS,
    "models.parts.dap": _OF_NETWORKS,
    "models.parts.deform": _OF_NETWORKS,
    "models.parts.edvr": _OF_NETWORKS,
    "models.parts.latent": _OF_NETWORKS,
    "models.parts.online": _OF_NETWORKS,
    "models.parts.rdg": _OF_NETWORKS,
    "models.parts.rrdb": _OF_NETWORKS,
    "models.parts.registry": "in models/sources of all networks; nothing else is registered",
    "models.spynet": _OF_NETWORKS,
    "pipelines.clips.parallax": "the `source` of its corpora, on which ingest depends as on any other",
    "pipelines.errors": "words for people",
    "pipelines.params": "checks what DVC tracks already; no field has a default that changes a result (tested)",
    "pipelines.priors.picture": "pictures for MLflow",
    "pipelines.runtime": "where and when the work runs",
    "pipelines.monitoring": "lines, curves and pictures of a training for people; nothing is chosen by them",
    "pipelines.atomic": "when outputs appear, not what is in them",
    "pipelines.faults": "words for people",
    "pipelines.threads": "how threads wait for each other",
    "stages.common": "how a stage begins and ends",
    "stages.priors": "what MLflow is told",
    "stages.tracked": "what MLflow is told",
}
"""Modules, or packages with all that is in them, that cannot change a byte of what a stage leaves, with the reason."""

OF_STAGES: Mapping[str, Mapping[str, str]] = {
    "train": {
        "pipelines.degradations": "in data/lr/<corpus>/in_step, on which trainings that degrade in the step depend",
        "pipelines.clips.video": "of degradations, likewise",
        "pipelines.weights": "finds the file of a perceptual loss by a name that stands for one sha256, which the record has",
    },
    "start": {"pipelines.degradations": "a flow network learns from HR clips"},
    **{
        stage: {
            "pipelines.degradations": "in data/lr/<corpus>/in_step, on which the entry of what learns from clips depends, and its run key with it",
            "pipelines.clips.video": "of degradations, likewise",
        }
        for stage in ("restore", "measure")
    },
}
"""The same for single stages."""

STANDS_FOR: Mapping[str, str] = {"in_step": "pipelines.degradations.recipes"}
"""Stages that stand for a module which they do not import."""


def of_network(name: str, root: Path) -> dict[str, Path]:
    """The files of a network by the name of the module below `models`, e.g. `parts.warp`; `__init__` for `models` itself."""
    return {
        module.removeprefix("models").lstrip(".") or "__init__": file for module, file in follow(f"models.{name}", root).items()
    }


def of_stage(name: str, root: Path) -> dict[str, Path]:
    """The files that what a stage leaves depends on, by the name of the module, and those beside modules that are no modules."""
    beyond = {**WITHOUT_EFFECT, **OF_STAGES.get(name, {})}
    found = follow(f"stages.{name}", root, beyond)
    if name in STANDS_FOR:
        found |= follow(STANDS_FOR[name], root, beyond)
    found.pop("stages", None)  # which Python a stage is run by
    modules = {module: file for module, file in found.items() if file.name != "__init__.py" or _has_code(file)}
    packages = {module: file.parent for module, file in found.items() if file.name == "__init__.py"}
    data = {
        f"{package}.{file.name}": file
        for package, folder in packages.items()
        for file in folder.iterdir()
        if file.is_file() and file.suffix not in (".py", ".pyc")
    }
    return dict(sorted({**modules, **data}.items()))


def _has_code(file: Path) -> bool:
    """Whether there is more than a docstring in it."""
    return any(not isinstance(statement, ast.Expr) for statement in ast.parse(file.read_text()).body)


def linked(root: Path) -> list[Path]:
    """The folders of links that there are, relative to the repository."""
    return sorted(
        path.relative_to(root) for kind in (NETWORKS, STAGES) if (root / kind).is_dir() for path in (root / kind).iterdir()
    )


def is_linked(path: Path) -> bool:
    """Whether a path, relative to the repository, is a folder of links."""
    return path.parent in (NETWORKS, STAGES)


def outdated(folder: Path, root: Path) -> bool:
    """Whether a folder of links does not lead to what is imported now."""
    there = {path.name: os.readlink(path) if path.is_symlink() else "" for path in (root / folder).glob("*")}
    return there != _links(folder, root)


def check(folders: Iterable[Path], root: Path) -> None:
    """Make sure that links are up to date.

    Raises:
        VSRError: some are not.
    """
    old = [str(folder) for folder in folders if outdated(folder, root)]
    if old:
        verb = "does not list" if len(old) == 1 else "do not list"
        raise VSRError(f"{' and '.join(old)} {verb} what is imported now: run `vsr sources`, which mends it.")


def stages(root: Path) -> list[str]:
    """The stages that dvc.yaml runs, by the names of their modules."""
    return sorted(set(re.findall(r"python -m stages\.(\w+)", (root / "dvc.yaml").read_text())))


def write(networks: Iterable[str], root: Path) -> list[Path]:
    """Bring the links of all networks and stages up to date, and take away those of what there is no more.

    Returns:
        The folders that were not up to date.
    """
    wanted = [*(NETWORKS / name for name in networks), *(STAGES / name for name in stages(root))]
    gone = [folder for folder in linked(root) if folder not in wanted]
    changed = [folder for folder in wanted if outdated(folder, root)]
    for folder in gone + changed:
        shutil.rmtree(root / folder, ignore_errors=True)
    for folder in changed:
        (root / folder).mkdir(parents=True)
        for name, target in _links(folder, root).items():
            (root / folder / name).symlink_to(target)
    return sorted(gone + changed)


def _links(folder: Path, root: Path) -> dict[str, str]:
    """Where the links of a folder have to lead, relative to it; none for what there is no more."""
    package, name = folder.parts[0], folder.name
    if file_of(f"{package}.{name}", root) is None:
        return {}
    files = of_network(name, root) if folder.parent == NETWORKS else of_stage(name, root)
    return {module: os.path.relpath(file, root / folder) for module, file in files.items()}

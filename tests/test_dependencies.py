"""Every stage depends on the code that makes its result, and on none that does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.runtime import sources
from pipelines.runtime.imports import follow

ROOT = Path(__file__).resolve().parent.parent

NETWORKS = "in models/sources of each network that has it; what pipelines do with it is for such networks alone"

WITHOUT_EFFECT = {
    "models.checkpoints": "in models/sources of all networks; nothing else reads or writes parameters",
    "models.parts.any_scale": NETWORKS,
    "models.parts.blocks": NETWORKS,
    "models.parts.deform": NETWORKS,
    "models.parts.edvr": NETWORKS,
    "models.parts.registry": "in models/sources of all networks; nothing else is registered",
    "models.spynet": NETWORKS,
    "pipelines.errors": "words for people",
    "pipelines.params": "checks what DVC tracks already; no field has a default that changes a result (tested below)",
    "pipelines.priors.picture": "pictures for MLflow",
    "pipelines.runtime": "where and when the work runs",
    "pipelines.training.progress": "lines and curves for people",
    "pipelines.training.validation": "curves and pictures of a network in training; nothing is chosen by them",
    "pipelines.whole": "when outputs appear, not what is in them",
    "stages.common": "how a stage begins and ends",
    "stages.priors": "what MLflow is told",
    "stages.tracked": "what MLflow is told",
}
"""Modules, or packages with all that is in them, that cannot change a byte of what a stage leaves, with the reason."""


def dependencies() -> dict[str, tuple[str, list[str]]]:
    """The stage module and the code among the dependencies of every stage of dvc.yaml, by the stage's name."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = {}
    for name, stage in stages.items():
        stage = stage.get("do", stage)
        module = stage["cmd"].split()[2]
        found[name] = module, [path for path in stage["deps"] if path.startswith(("stages/", "pipelines/", "models/"))]
    return found


def of_every_network() -> set[Path]:
    """The files that all networks are made of."""
    made_of = [
        {(ROOT / sources.FOLDER / network / to).resolve() for to in sources.links(network, ROOT).values()} for network in NAMES
    ]
    return set.intersection(*made_of)


NAMES = sources.linked(ROOT)
STAGES = dependencies()


def matter(module: str) -> dict[str, Path]:
    """The modules that a stage imports and that can change its result; a file with no more than a docstring cannot."""
    found = follow(module, ROOT, WITHOUT_EFFECT)
    return {name: file for name, file in found.items() if file.name != "__init__.py" or _has_code(file)}


def _has_code(file: Path) -> bool:
    import ast

    body = ast.parse(file.read_text()).body
    return any(not isinstance(statement, ast.Expr) for statement in body)


def covered(file: Path, paths: list[str]) -> bool:
    """Whether a file is among dependencies, or in a folder that is."""
    if any(path.startswith(sources.FOLDER) for path in paths) and file in of_every_network():
        return True
    return any(file.is_relative_to(ROOT / path) for path in paths)


@pytest.mark.parametrize("stage", STAGES)
def test_all_that_a_stage_imports_is_among_its_dependencies(stage: str) -> None:
    module, paths = STAGES[stage]
    missing = [
        str(file.relative_to(ROOT)) for name, file in matter(module).items() if name != "stages" and not covered(file, paths)
    ]
    assert not missing, f"add these to the deps of {stage} in dvc.yaml, or to WITHOUT_EFFECT with a reason"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_no_code_that_it_does_not_import(stage: str) -> None:
    module, paths = STAGES[stage]
    files = set(follow(module, ROOT).values())
    listed = [path for path in paths if not path.startswith(sources.FOLDER)]
    idle = [path for path in listed if not any(file.is_relative_to(ROOT / path) for file in files)]
    assert not idle, f"take these from the deps of {stage} in dvc.yaml"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_nothing_that_has_no_effect(stage: str) -> None:
    _, paths = STAGES[stage]
    words = [name for name in WITHOUT_EFFECT if not name.startswith("models")]
    files = [ROOT.joinpath(*name.split(".")) for name in words]
    idle = [
        str(file.relative_to(ROOT)) for file in files for path in paths if file.with_suffix(".py").is_relative_to(ROOT / path)
    ]
    assert not idle, f"list the files of the folder in the deps of {stage} one by one, or move these out of it"


def test_what_has_no_effect_is_there() -> None:
    gone = [
        name
        for name in WITHOUT_EFFECT
        if not (file := ROOT.joinpath(*name.split("."))).is_dir() and not file.with_suffix(".py").is_file()
    ]
    assert not gone

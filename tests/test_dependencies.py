"""Every stage depends on the code that makes its result, and on none that does not."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from project import clone
from pydantic import BaseModel

import models
from pipelines import params
from pipelines.errors import VSRError
from pipelines.params.base import Strict
from pipelines.runtime import sources
from pipelines.runtime.imports import follow
from stages import in_step

ROOT = Path(__file__).resolve().parent.parent

NETWORKS = "in models/sources of each network that has it; what pipelines do with it is for such networks alone"

WITHOUT_EFFECT = {
    "models.checkpoints": "in models/sources of all networks; nothing else reads or writes parameters",
    "models.parts.any_scale": NETWORKS,
    "models.parts.blocks": NETWORKS,
    "models.parts.dap": NETWORKS,
    "models.parts.deform": NETWORKS,
    "models.parts.edvr": NETWORKS,
    "models.parts.online": NETWORKS,
    "models.parts.rdg": NETWORKS,
    "models.parts.registry": "in models/sources of all networks; nothing else is registered",
    "models.spynet": NETWORKS,
    "pipelines.clips.parallax": "the `source` of its corpora, on which ingest depends as on any other",
    "pipelines.errors": "words for people",
    "pipelines.params": "checks what DVC tracks already; no field has a default that changes a result (tested below)",
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

OF_STAGES = {
    "train": {
        "pipelines.degradations": "in data/lr/<corpus>/in_step, on which trainings that degrade in the step depend",
        "pipelines.clips.video": "of degradations, likewise",
        "pipelines.weights": "finds the file of a perceptual loss by a name that stands for one sha256, which the record has",
    },
    "start": {"pipelines.degradations": "a flow network learns from HR clips"},
    "in_step": {"pipelines.runtime": "follows imports, as the tests below do"},
}
"""The same for single stages."""


def dependencies() -> dict[str, tuple[str, list[str]]]:
    """The stage module and the code among the dependencies of every stage of dvc.yaml, by the stage's name."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = {}
    for name, stage in stages.items():
        stage = stage.get("do", stage)
        module = stage["cmd"].split()[2]
        found[name] = module, [path for path in stage["deps"] if path.startswith(("stages/", "pipelines/", "models/"))]
    return found


@cache
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
    beyond = {**WITHOUT_EFFECT, **OF_STAGES.get(module.removeprefix("stages."), {})}
    found = follow(module, ROOT, beyond)
    if module == "stages.in_step":  # it reads these files, not the modules
        found |= follow(in_step.CODE, ROOT, WITHOUT_EFFECT)
    return {name: file for name, file in found.items() if file.name != "__init__.py" or _has_code(file)}


def _has_code(file: Path) -> bool:
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
    files = {*follow(module, ROOT).values(), *matter(module).values()}
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


def test_imports_are_followed_where_they_are_executed(tmp_path: Path) -> None:
    files = {
        "stages/__init__.py": "",
        "stages/work.py": "import os\nfrom pipelines import a\nfrom typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import pipelines.checked\nelse:\n    import pipelines.unchecked\n",
        "pipelines/__init__.py": "from pipelines.b import name\n",
        "pipelines/a.py": "def later():\n    from .sub.c import name\n    if True:\n        import models\n",
        "pipelines/b.py": "name = 'from pipelines import said'\n",
        "pipelines/sub/__init__.py": "from . import d\nfrom .. import unreached_name\n",
        "pipelines/sub/c.py": "from stages import work\n",
        "models/__init__.py": "",
        **{f"pipelines/{name}.py": "" for name in ("checked", "unchecked", "said", "sub/d", "idle")},
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = follow("stages.work", tmp_path)
    pipelines = ["a", "b", "sub", "sub.c", "sub.d", "unchecked"]
    assert list(found) == ["models", "pipelines", *(f"pipelines.{name}" for name in pipelines), "stages", "stages.work"]
    assert found["pipelines.sub"] == tmp_path / "pipelines/sub/__init__.py"
    beyond = follow("stages.work", tmp_path, beyond=["pipelines.sub"])
    assert {"pipelines.sub", "pipelines.sub.c"}.isdisjoint(beyond) and "models" in beyond
    with pytest.raises(FileNotFoundError, match="stages.play is no module"):
        follow("stages.play", tmp_path)


def test_what_python_really_imports_is_found() -> None:
    modules = sorted({module for module, _ in STAGES.values()})
    report = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(json.dumps(list(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", report, *modules], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = {name for name in json.loads(shown) if name.partition(".")[0] in ("stages", "pipelines", "models")}
    found = {name for module in modules for name in follow(module, ROOT)}
    of_networks = {name for network in NAMES for name in follow(f"models.{network}", ROOT)}
    assert loaded >= {"stages.train", "pipelines.training.loop", "models.parts.registry"}
    assert loaded <= found | of_networks


def test_the_links_of_networks_are_up_to_date() -> None:
    assert models.names() == NAMES, "run `vsr sources`"
    assert [name for name in NAMES if sources.outdated(name, ROOT)] == [], "run `vsr sources`"


def test_links_follow_what_a_network_imports(tmp_path: Path) -> None:
    (tmp_path / "models/parts").mkdir(parents=True)
    files = {
        "__init__": "",
        "parts/__init__": "",
        "parts/warp": "",
        "parts/resize": "",
        "one": "import models.parts.warp\n",
        "two": "",
    }
    for name, text in files.items():
        (tmp_path / f"models/{name}.py").write_text(text)
    folder = tmp_path / sources.FOLDER
    assert sources.write(["one", "two"], tmp_path) == ["one", "two"] and sources.write(["one", "two"], tmp_path) == []
    assert {path.name for path in (folder / "one").iterdir()} == {"__init__", "one", "parts", "parts.warp"}
    assert (folder / "one/parts.warp").resolve() == tmp_path / "models/parts/warp.py"
    (tmp_path / "models/one.py").write_text("import models.parts.resize\n")
    with pytest.raises(VSRError, match="models/sources/one does not list .*: run `vsr sources`"):
        sources.check(["one", "two"], tmp_path)
    assert sources.outdated("one", tmp_path) and not sources.outdated("two", tmp_path)
    (tmp_path / "models/two.py").unlink()
    assert sources.outdated("two", tmp_path) and sources.write(["one"], tmp_path) == ["one", "two"]
    assert sources.linked(tmp_path) == ["one"] and (folder / "one/parts.resize").is_symlink()


def test_an_edit_of_a_part_changes_what_networks_with_it_depend_on_and_nothing_else(tmp_path: Path) -> None:
    project = clone(tmp_path / "clone", lambda params: None)
    before = code_hashes(project.root)
    part = project.root / "models/parts/recurrent.py"
    part.write_text(part.read_text().replace('"""', '"""Edited: ', 1))
    recurrent = {
        name
        for name in models.names()
        if any(kind.__module__ == "models.parts.recurrent" for kind in type(models.create(name)).__mro__)
    }
    assert {"basicvsr", "iconvsr", "basicvsr_plusplus_lte", "seem_basicvsr"} <= recurrent
    assert recurrent.isdisjoint({"bicubic", "edvr_m", "edvr_l", "seem_edvr", "spynet"})
    loaded = params.load(ROOT / "params.yaml")
    made = loaded.tested
    expected = {
        stage for stage in before if stage.startswith(("train", "adopt@")) and made[stage.partition("@")[2]].method in recurrent
    }
    after = code_hashes(project.root)
    assert expected and {stage for stage in before if before[stage] != after[stage]} == expected
    for words in ("pipelines/runtime/progress.py", "pipelines/monitoring/progress.py", "pipelines/errors.py"):
        file = project.root / words
        file.write_text(file.read_text().replace('"""', '"""Edited: ', 1))
    assert code_hashes(project.root) == after


def code_hashes(root: Path) -> dict[str, dict[str, str]]:
    """DVC's hashes of the code that each stage depends on, by the stage's name and the path."""
    with Repo(str(root)) as repo:
        found: dict[str, dict[str, str]] = {}
        known: dict[str, str] = {}
        for stage in repo.index.stages:
            for dependency in stage.deps:
                path = str(dependency.def_path)
                if path.startswith(("stages/", "pipelines/", "models/")):
                    known[path] = known.get(path) or str(dependency.get_hash().value)
                    found.setdefault(stage.name, {})[path] = known[path]
    return found


ABSENT = (None, False, 0, [], {}, ())


def schemas(kind: type[BaseModel] = Strict) -> Iterator[type[BaseModel]]:
    for child in kind.__subclasses__():
        yield child
        yield from schemas(child)


@pytest.mark.parametrize("schema", sorted(set(schemas()), key=lambda schema: schema.__name__))
def test_defaults_of_params_mean_absent(schema: type[BaseModel]) -> None:
    optional = {name: field for name, field in schema.model_fields.items() if not field.is_required()}
    chosen = {
        name: default
        for name, field in optional.items()
        if (default := field.get_default(call_default_factory=True)) not in ABSENT
    }
    assert not chosen, "write these into params.yaml, where DVC sees them"

"""Every stage depends on the code that makes its result, and on none that does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from project import clone
from pydantic import BaseModel

import models
from models.parts.registry import kind
from pipelines import params
from pipelines.errors import VSRError
from pipelines.params.base import Strict
from pipelines.runtime import sources
from pipelines.runtime.imports import follow

ROOT = Path(__file__).resolve().parent.parent

NAMES = models.names()


def dependencies() -> dict[str, tuple[str, list[Path]]]:
    """The stage module and the code among the dependencies of every stage of dvc.yaml, by the stage's name."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    found = {}
    for name, stage in stages.items():
        stage = stage.get("do", stage)
        module = stage["cmd"].split()[2].removeprefix("stages.")
        found[name] = module, [Path(path) for path in stage["deps"] if path.startswith(("stages/", "pipelines/", "models/"))]
    return found


DEPENDENCIES = dependencies()


@pytest.mark.parametrize("stage", DEPENDENCIES)
def test_a_stage_depends_on_the_files_that_it_imports_and_on_no_other_code(stage: str) -> None:
    module, paths = DEPENDENCIES[stage]
    of_networks = {sources.NETWORKS / "${item.method}", sources.NETWORKS / "${item.network}"}
    assert {*paths} - of_networks == {sources.STAGES / module}
    makes_networks = {"start", "train", "adopt"}
    assert bool(of_networks & {*paths}) == (module in makes_networks)


def test_all_links_are_up_to_date() -> None:
    wanted = [*(sources.NETWORKS / name for name in NAMES), *(sources.STAGES / module for module, _ in DEPENDENCIES.values())]
    assert sources.linked(ROOT) == sorted({*wanted}), "run `vsr sources`"
    assert [folder for folder in sources.linked(ROOT) if sources.outdated(folder, ROOT)] == [], "run `vsr sources`"


def test_files_that_are_no_modules_are_linked() -> None:
    linked = {path.name: path.resolve() for path in (ROOT / sources.STAGES / "report").iterdir()}
    for name in ("page.html.j2", "style.css.j2", "published.csv"):
        assert linked[f"pipelines.report.{name}"] == ROOT / "pipelines/report" / name


def test_what_has_no_effect_is_there() -> None:
    names = [*sources.WITHOUT_EFFECT, *(name for names in sources.OF_STAGES.values() for name in names)]
    gone = [
        name for name in names if not (file := ROOT.joinpath(*name.split("."))).is_dir() and not file.with_suffix(".py").is_file()
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
    modules = [f"stages.{name}" for name in sources.stages(ROOT)]
    report = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(json.dumps(list(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", report, *modules], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    loaded = {name for name in json.loads(shown) if name.partition(".")[0] in ("stages", "pipelines", "models")}
    found = {name for module in modules for name in follow(module, ROOT)}
    of_networks = {name for network in NAMES for name in follow(f"models.{network}", ROOT)}
    assert loaded >= {"stages.train", "pipelines.training.loop", "models.parts.registry"}
    assert loaded <= found | of_networks


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
    (tmp_path / "dvc.yaml").write_text("stages:\n  work:\n    cmd: python -m stages.work --name x\n")
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_text("")
    (tmp_path / "stages/work.py").write_text("def later():\n    import models.parts.warp\n")
    folder, stage = tmp_path / sources.NETWORKS, sources.STAGES / "work"
    one, two = sources.NETWORKS / "one", sources.NETWORKS / "two"
    assert sources.write(["one", "two"], tmp_path) == [one, two, stage] and sources.write(["one", "two"], tmp_path) == []
    assert {path.name for path in (tmp_path / stage).iterdir()} == {"models.parts.warp", "stages.work"}
    assert {path.name for path in (folder / "one").iterdir()} == {"__init__", "one", "parts", "parts.warp"}
    assert (folder / "one/parts.warp").resolve() == tmp_path / "models/parts/warp.py"
    (tmp_path / "models/one.py").write_text("import models.parts.resize\n")
    with pytest.raises(VSRError, match="models/sources/one does not list .*: run `vsr sources`"):
        sources.check([one, two, stage], tmp_path)
    assert sources.outdated(one, tmp_path) and not sources.outdated(two, tmp_path)
    (tmp_path / "models/two.py").unlink()
    assert sources.outdated(two, tmp_path) and sources.write(["one"], tmp_path) == [one, two]
    assert sources.linked(tmp_path) == [one, stage] and (folder / "one/parts.resize").is_symlink()


def test_an_edit_of_a_part_changes_what_networks_with_it_depend_on_and_nothing_else(tmp_path: Path) -> None:
    project = clone(tmp_path / "clone", lambda params: None)
    before = code_hashes(project.root)
    part = project.root / "models/parts/recurrent.py"
    part.write_text(part.read_text().replace('"""', '"""Edited: ', 1))
    recurrent = {
        name for name in models.names() if any(parent.__module__ == "models.parts.recurrent" for parent in kind(name).__mro__)
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

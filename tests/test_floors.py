"""Imports go down: the house has no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from pipelines.runtime.imports import file_of, imported

ROOT = Path(__file__).resolve().parent.parent

FLOORS = (
    {"pipelines.errors", "models"},
    {"pipelines.atomic", "pipelines.checkout", "pipelines.faults", "pipelines.files", "pipelines.params", "pipelines.threads"},
    {"pipelines.clips", "pipelines.networks", "pipelines.results", "pipelines.weights"},
    {"pipelines.degradations", "pipelines.priors"},
    {"pipelines.exporting", "pipelines.metrics", "pipelines.restoring"},
    {"pipelines.diagnosis", "pipelines.evaluation", "pipelines.monitoring"},
    {"pipelines.report", "pipelines.training"},
    {"pipelines.runtime"},
    {"pipelines.cli", "stages"},
)
"""The rule: a package imports from lower floors, and none of its own floor but itself."""

RUNTIME = {"ray", "mlflow", "dvc"}
"""What only `runtime` imports."""


def modules() -> Iterator[tuple[str, Path]]:
    for top in ("models", "pipelines", "stages"):
        for file in sorted((ROOT / top).rglob("*.py")):
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), file


def package(module: str) -> str:
    """`pipelines.clips` for a module of it, `models` for one of that."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "pipelines" else parts[0]


def floor(name: str) -> int:
    return next(index for index, packages in enumerate(FLOORS) if name in packages)


def test_every_package_has_its_floor() -> None:
    there = {package(module) for module, _ in modules()} - {"pipelines"}
    assert there == set().union(*FLOORS)


def test_imports_go_down() -> None:
    up = [
        f"{module} imports {name}"
        for module, file in modules()
        for name in imported(module, file)
        if module != "pipelines" and file_of(name, ROOT) is not None and package(name) != "pipelines"
        if package(name) != package(module) and floor(package(name)) >= floor(package(module))
    ]
    assert not up


def test_only_the_runtime_knows_ray_mlflow_and_dvc() -> None:
    found = set()
    for module, file in modules():
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            found |= {package(module) for name in names if name.partition(".")[0] in RUNTIME}
    assert found == {"pipelines.runtime"}

"""Which of this project's files a module imports, read from the sources without running them.

Imports inside functions count, since workers run them; those for type checkers alone do not. A module that is imported by a
computed name, as `models.create` does with networks, is not seen: networks have links of their own (`runtime.sources`).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("stages", "pipelines", "models")


def follow(module: str, root: Path, beyond: Collection[str] = ()) -> dict[str, Path]:
    """A module of the project and all modules of the project that it imports, directly or not, with the packages they lie in.

    Args:
        module: its dotted name, e.g. `stages.train`.
        root: the repository.
        beyond: modules, or packages with all that is in them, which are neither listed nor followed.

    Returns:
        The files by the modules' names, sorted.

    Raises:
        FileNotFoundError: there is no such module.
    """
    if file_of(module, root) is None:
        raise FileNotFoundError(f"{module} is no module of {root}")
    found: dict[str, Path] = {}
    queue = [module]
    while queue:
        for name in with_packages(queue.pop()):
            file = file_of(name, root)
            if file is not None and name not in found and not within(name, beyond):
                found[name] = file
                queue.extend(imported(name, file))
    return dict(sorted(found.items()))


def file_of(module: str, root: Path) -> Path | None:
    """The file of a module of this project, None if it is of another or none."""
    if module.partition(".")[0] not in PACKAGES:
        return None
    path = root.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def with_packages(module: str) -> Iterator[str]:
    """`a`, `a.b`, `a.b.c` for `a.b.c`: importing the last imports the others."""
    parts = module.split(".")
    return (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def within(module: str, packages: Collection[str]) -> bool:
    """Whether a module is among some modules or lies in a package that is."""
    return any(parent in packages for parent in with_packages(module))


def imported(module: str, file: Path) -> frozenset[str]:
    """What a file imports, by dotted names; a name that is imported from a module is listed as if it were one too."""
    status = file.stat()
    return _imported(module, file, status.st_mtime_ns, status.st_size)


@cache
def _imported(module: str, file: Path, modified: int, size: int) -> frozenset[str]:
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in _statements(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            names.add(source)
            names.update(f"{source}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, but those that only type checkers see."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _for_type_checkers(child.test):
            for statement in child.orelse:
                yield statement
                yield from _statements(statement)
        else:
            yield child
            yield from _statements(child)


def _for_type_checkers(test: ast.expr) -> bool:
    return ast.unparse(test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")

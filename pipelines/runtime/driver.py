"""The driver of a stage as its workers see it: which node it is on, and how one that is on another node has its files.

No node but the driver's has to see its disk. Files come to the others as they are needed, in pieces through Ray's object store, and
are kept there for a while (`copies.py`); what a worker has to write it lets be written on the driver's node.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines import files, params
from pipelines.errors import VSRError
from pipelines.runtime.copies import Cache, Copy
from pipelines.weights.files import VARIABLE, folders

P = ParamSpec("P")
T = TypeVar("T")

_PIECE = 8 * 2**20
_IN_FLIGHT = 3
"""Pieces of a file that are on their way to a worker at once."""

_THREADS = 8
"""What is done for workers on other nodes at once."""


@dataclass(frozen=True)
class Driver:
    """Small: it travels to the workers.

    Args:
        node: Ray's name of the node.
        root: the repository, which what is named in params.yaml is relative to.
        weights: the folders of published weights.
    """

    node: str
    root: Path
    weights: tuple[Path, ...]

    @staticmethod
    def this() -> Driver:
        """This process, which is connected to Ray."""
        if sum(node["Alive"] for node in ray.nodes()) > 1:
            _desk(_job(), _node())  # it has started when a worker asks
        return Driver(_node(), params.ROOT, tuple(folders()))

    @property
    def here(self) -> bool:
        """Whether it is on the node that this process is on."""
        return self.node == _node()

    def join(self) -> None:
        """Let this process, a worker, find the driver's files under their paths."""
        if self.here:
            return
        files.elsewhere(_Files(self, Cache.of_this_node()))
        params.ROOT = self.root
        os.environ[VARIABLE] = os.pathsep.join(map(str, self.weights))

    def call(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call a function on the driver's node: here if this is it.

        Raises:
            VSRError: what the function raises, or the node is lost.
        """
        return function(*args, **named) if self.here else self._answer(self._asked(function, *args, **named))

    def pieces(self, path: Path, size: int) -> Iterator[bytes]:
        """A file of that many bytes, read on the driver's node.

        Raises:
            VSRError: the node is lost.
            OSError: the file cannot be read.
        """
        coming: deque[Any] = deque()
        for start in range(0, size, _PIECE):
            coming.append(self._asked(_piece, path, start))
            if len(coming) == _IN_FLIGHT:
                yield self._answer(coming.popleft())
        while coming:
            yield self._answer(coming.popleft())

    def _asked(self, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        return _desk(_job(), self.node).call.remote(function, args, named)

    def _answer(self, asked: Any) -> Any:
        try:
            return ray.get(asked)
        except RayTaskError as error:
            raise error.cause from error
        except RayError as error:
            if isinstance(error, RayActorError):  # the next one who asks gets another
                _desk.cache_clear()
            raise VSRError(
                f"the node of the stage's driver does not answer ({type(error).__name__}): run again to go on, what is finished is kept."
            ) from error


class _Files(NamedTuple):
    """The driver's files on another node, see `pipelines.files.Copies`."""

    driver: Driver
    cache: Cache

    def local(self, path: Path) -> Path:
        path = Path(os.path.abspath(path))
        found = self.driver.call(look, path)
        return path if found is None else self.cache.get(found, self.driver.pieces)

    def head(self, path: Path, count: int) -> bytes:
        return self.driver.call(files.head, path, count)


def look(path: Path) -> Copy | None:
    """What there is of that name: a file, or a folder with its files; None if nothing is."""
    if path.is_dir():
        inside = [each for each in sorted(path.rglob("*")) if each.is_file()]
        return Copy(path, {str(each.relative_to(path)): _state(each) for each in inside})
    return Copy(path, {"": _state(path)}) if path.is_file() else None


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file does: its size, time and number."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def _piece(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(_PIECE)


class _Desk:
    """Does on the driver's node what workers on others ask for."""

    def call(self, function: Callable[..., T], args: tuple[Any, ...], named: dict[str, Any]) -> T:
        return function(*args, **named)


@cache
def _desk(job: str, node: str) -> Any:
    """That of a job: whoever needs it first starts it."""
    desk: Any = ray.remote(_Desk).options(
        name=f"desk-{job}",
        get_if_exists=True,
        num_cpus=0,
        max_concurrency=_THREADS,
        max_restarts=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
    )
    return desk.remote()


def _job() -> str:
    return ray.get_runtime_context().get_job_id()


def _node() -> str:
    return ray.get_runtime_context().get_node_id()

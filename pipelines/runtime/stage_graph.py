"""The stages as DVC knows them: which depend on which, and which are not up to date."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.errors import VSRError


class StageGraph:
    """The stages of a repository, read once.

    Raises:
        VSRError: it is no repository of DVC, or its dvc.yaml, params.yaml or dvc.lock cannot be read.
    """

    def __init__(self, root: Path) -> None:
        from dvc.repo import Repo

        self._root = root
        with self._told():
            self._repo = Repo(str(root), _wait_for_lock=True)  # DVC's commands wait for it too
            index = self._repo.index
            self._stages = {_name(stage): stage for stage in index.stages}
            self.needs = {_name(stage): {*map(_name, index.graph.successors(stage))} for stage in index.graph}

    def changed(self, among: Collection[str]) -> set[str]:
        """Those of some stages that DVC would run where nothing before them was: what they depend on, or what they made, is not
        what it was when they last ran.

        Raises:
            VSRError: DVC cannot tell.
        """
        with self._told(), self._repo.lock:
            return {name for name in among if self._stages[name].status()}

    def close(self) -> None:
        """Let go of what DVC holds open."""
        self._repo.close()

    @property
    def has_remote(self) -> bool:
        """Whether there is a remote that keeps what was made."""
        return bool(self._repo.config["remote"])

    @contextmanager
    def _told(self) -> Iterator[None]:
        """DVC's errors as this project's."""
        from dvc.exceptions import DvcException, NotDvcRepoError

        try:
            yield
        except NotDvcRepoError as error:
            raise VSRError(
                f"{self._root} is not a DVC repository: run in a clone of the project, or run `dvc init` there."
            ) from error
        except (DvcException, OSError) as error:
            home = os.path.expanduser("~")
            mend = "" if os.path.isdir(home) else f"; set HOME, which is {home}, to a folder of yours"
            raise VSRError(f"DVC cannot read the stages of {self._root}: {' '.join(str(error).split())}{mend}.") from error


def _name(stage: Any) -> str:
    """As dvc.yaml has it, or as DVC calls what is in no dvc.yaml."""
    return str(getattr(stage, "name", None) or stage.addressing)

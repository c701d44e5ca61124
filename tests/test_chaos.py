"""Random kills: the short form of `chaos`."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from chaos import Chaos
from project import clone
from test_edits import smallest


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_what_random_kills_leave_is_what_none_leave(tmp_path: Path) -> None:
    chaos = Chaos(clone(tmp_path / "clone", smallest), random.Random(1))
    chaos.make(5, time.monotonic() + 300)
    assert chaos.made == 1

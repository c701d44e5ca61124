"""What the stage decides before it evaluates: whether a network can be tested on a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models
from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from stages import evaluate


def _store(folder: Path, height: int, width: int, frames: int = 2, **parameters: Any) -> Store:
    parts = folder.with_name(f"{folder.name} parts")
    with ClipWriter(parts, "clip") as writer:
        for _ in range(frames):
            writer.append({"rgb": np.zeros((height, width, 3), np.uint8)})
        writer.finish(ClipAttributes("test", 25.0, height, width, "", parameters))
    assemble(parts, ["clip"], folder)
    return Store(folder)


@pytest.mark.parametrize(
    ("name", "lr", "reason"),
    [
        ("basicvsr", (4, 6), None),
        ("basicvsr", (8, 12), "the network enlarges 4 times and the LR clips are 12x8 for 25x17"),
        ("basicvsr_liif", (4, 6), None),
        ("basicvsr_liif", (6, 10), None),
        ("basicvsr_liif", (1, 2), None),
    ],
)
def test_networks_for_any_scale_are_tested_at_each(tmp_path: Path, name: str, lr: tuple[int, int], reason: str | None) -> None:
    network = models.create(name, channels=4, blocks=1)
    hr, small = _store(tmp_path / "hr", 17, 25), _store(tmp_path / "lr", *lr)
    assert evaluate._mismatch(hr, small, ["clip"], network) == reason
    fewer = _store(tmp_path / "fewer", *lr, frames=1)
    assert "makes none in between" in (evaluate._mismatch(hr, fewer, ["clip"], network) or "")

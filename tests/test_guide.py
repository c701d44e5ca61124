"""Which prior a method sees on a pair."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.clips.store import MANIFEST, ClipAttributes, ClipWriter, Store, assemble
from stages import guide


def _store(folder: Path, height: int, width: int, frames: int = 2, **parameters: Any) -> Store:
    parts = folder.with_name(f"{folder.name} parts")
    with ClipWriter(parts, "clip") as writer:
        for _ in range(frames):
            writer.append({"rgb": np.zeros((height, width, 3), np.uint8)})
        writer.finish(ClipAttributes("test", 25.0, height, width, "", parameters))
    assemble(parts, ["clip"], folder)
    return Store(folder)


def test_a_guide_names_the_prior_of_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "ROOT", tmp_path)
    monkeypatch.setattr(guide, "prior_store", (tmp_path / "data/priors").joinpath)
    made = _store(tmp_path / "data/priors/segments/lr/city/bi_x4", 4, 4)
    found = guide.guide("segments", "city", "bi_x4")
    digest = hashlib.sha256((made.path / MANIFEST).read_bytes()).hexdigest()
    assert found == {"prior": "data/priors/segments/lr/city/bi_x4", "sha256": digest}
    nothing = {"prior": None, "sha256": None}
    assert guide.guide("segments", "town", "bi_x4") == guide.guide("none", "city", "bi_x4") == nothing

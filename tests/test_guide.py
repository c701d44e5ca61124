"""Which prior a method sees on a pair."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from moving import black_store

from pipelines.clips.store import MANIFEST
from stages import guide


def test_a_guide_names_the_prior_of_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "ROOT", tmp_path)
    monkeypatch.setattr(guide, "prior_store", (tmp_path / "data/priors").joinpath)
    made = black_store(tmp_path / "data/priors/segments/lr/city/bi_x4", 4, 4)
    found = guide.guide("segments", "city", "bi_x4")
    digest = hashlib.sha256((made.path / MANIFEST).read_bytes()).hexdigest()
    assert found == {"prior": "data/priors/segments/lr/city/bi_x4", "sha256": digest}
    nothing = {"prior": None, "sha256": None}
    assert guide.guide("segments", "town", "bi_x4") == guide.guide("none", "city", "bi_x4") == nothing

"""What all priors share: the kinds and how they turn, where they lie, and which one a network was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.clips.store import ClipAttributes, ClipWriter, Store, assemble
from pipelines.clips.streaming import BATCH_BYTES, batches
from pipelines.errors import VSRError
from stages import common, priors
from stages.common import prior_store


def test_lists_are_bounded_and_keep_the_order() -> None:
    frames = [{"a": np.full(BATCH_BYTES // 3, index, np.uint8)} for index in range(8)]
    lists = list(batches(frames))
    assert [int(frame["a"][0]) for frames in lists for frame in frames] == list(range(8))
    assert max(len(frames) for frames in lists) == 4
    assert list(batches([])) == []


# ---------------------------------------------------------------- the prior that a network was trained with


def _store(folder: Path, **parameters: Any) -> Store:
    parts = folder.with_name(f"{folder.name} parts")
    with ClipWriter(parts, "clip") as writer:
        writer.append({"masks": np.zeros((1, 4, 4), bool)})
        writer.finish(ClipAttributes("test", 25.0, 4, 4, "", parameters))
    assemble(parts, ["clip"], folder)
    return Store(folder)


def test_networks_are_tested_with_the_prior_that_they_were_trained_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "data", tmp_path.joinpath)
    model = {"backend": "felzenszwalb", "scale": 60.0}
    frames = "lr/city/bi_x4"
    for name, scale in (("coarse", 90.0), ("fine", 60.0)):
        _store(prior_store("masks", frames, name), **{**model, "scale": scale}, crop=[16, 16])
    learnt = priors.learnt_with("masks", "fine", prior_store("masks", frames, "fine"))
    assert learnt == {"kind": "masks", "name": "fine", "model": model}
    for called in ("fine", "otherwise"):  # what counts is the model
        record = {"name": "seem", "prior": {**learnt, "name": called}}
        assert priors.for_test(record, "city", "bi_x4") == prior_store("masks", frames, "fine")
    assert priors.for_test({"name": "basicvsr", "prior": None}, "city", "bi_x4") is None
    other = {"name": "seem", "prior": {**learnt, "model": {**model, "scale": 30.0}}}
    with pytest.raises(
        VSRError, match=r"has no masks by the model that seem was trained with \(backend felzenszwalb, scale 30.0\)"
    ):
        priors.for_test(other, "city", "bi_x4")
    with pytest.raises(VSRError, match="name it for lr/town/bi_x4"):
        priors.for_test(record, "town", "bi_x4")

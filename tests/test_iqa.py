"""How pyiqa is called, with a stand-in where it is not installed: the library is an optional extra. What it computes is its
own matter; where it is installed, its own word on names and directions is compared."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines import metrics
from pipelines.errors import VSRError
from pipelines.metrics import iqa

STAND_IN = """
created, seen = [], []


class Score:
    def __init__(self, name, device):
        self.name = name
        created.append((name, device))

    def __call__(self, frame):
        seen.append(frame)
        return frame.mean(dim=(1, 2, 3))[:, None]


def create_metric(name, device=None):
    if name == "ilniqe":
        raise ConnectionError("no route to host")
    return Score(name, device)
"""


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    iqa.score.cache_clear()
    yield
    iqa.score.cache_clear()


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "pyiqa.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pyiqa", raising=False)
    import pyiqa

    yield pyiqa
    sys.modules.pop("pyiqa", None)


def test_frames_as_pyiqa_wants_them(stand_in: Any) -> None:
    (metric,) = (metric for metric in iqa.METRICS if metric.name == "musiq")
    assert metrics.unavailable(metric) is None
    generator = np.random.default_rng(0)
    for _ in range(2):
        measure = metric.build("cpu")
        restored = generator.integers(0, 256, (33, 40, 3)).astype(np.float64)
        truth = np.full_like(restored, np.nan)  # must not be looked at
        assert measure.add(restored, truth) == pytest.approx(restored.mean() / 255, rel=1e-5)
        assert measure.finish() is None
    assert stand_in.created == [("musiq", torch.device("cpu"))]
    frame = stand_in.seen[-1]
    assert frame.shape == (1, 3, 33, 40) and frame.dtype == torch.float32
    assert frame[0, 2, 5, 7] == np.float32(restored[5, 7, 2]) / np.float32(255)


def test_weights_that_pyiqa_cannot_fetch(stand_in: Any) -> None:
    with pytest.raises(VSRError, match="cannot get the parameters of 'ilniqe' .no route to host.: .* copy"):
        iqa.score("ilniqe")


@pytest.mark.parametrize("metric", iqa.METRICS, ids=lambda metric: metric.name)
def test_without_pyiqa(metric: metrics.Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    assert "pip install 'vsr[iqa]'" in str(metrics.unavailable(metric))
    with pytest.raises(VSRError, match=r"pip install 'vsr\[iqa\]'.*non-commercial"):
        metric.build("cpu")


def test_the_licence_is_said_plainly() -> None:
    for metric in iqa.METRICS:
        assert metric.licence.startswith("non-commercial use only")
        assert metric.extra == "iqa" and not metric.reference


def test_names_and_directions_are_pyiqas() -> None:
    pyiqa = pytest.importorskip("pyiqa")
    from pyiqa.default_model_configs import DEFAULT_CONFIGS

    assert {metric.name for metric in iqa.METRICS} <= set(pyiqa.list_models("NR"))
    for metric in iqa.METRICS:
        assert DEFAULT_CONFIGS[metric.name].get("lower_better", False) is not metric.higher_is_better

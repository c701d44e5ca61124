"""The answer, in words and in the width that there is: what is best, by how much, how sure, at what cost."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import choices
import fabricated
import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_rel

from pipelines import results as reading
from pipelines.params import Params
from pipelines.report import answer, facts, formats, tables

LONG = {
    "bicubic": "bicubic",
    "basicvsr_plusplus_metasr": "basicvsr_plusplus_metasr",
    "seem_basicvsr_only_bi": "seem_basicvsr",
    "basicvsr_bi": "basicvsr",
}
SCALES = ("bi_x2", "bi_x2_5", "bi_x3", "bi_x3_5", "bi_x4", "bi_x8", "bi_x12", "realworld_x4")


@pytest.fixture
def params() -> Params:
    """Those of the repository with one suite of everything."""
    tree: dict[str, Any] = choices.shipped()
    tree["tests"]["degradations"] = list(SCALES)
    shown = {"title": "All", "methods": [*LONG, "edvr_m_bi"], "corpora": ["parallax"], "degradations": list(SCALES)}
    tree["suites"] = {"all": {**shown, "metrics": ["psnr", "ssim"]}}
    return Params.model_validate(tree)


@pytest.fixture
def cells(tmp_path: Path, params: Params) -> list[reading.Cell]:
    root = fabricated.results(tmp_path / "results", LONG, SCALES)
    psnr(root, "bicubic", "bi_x2", (20.0, 24.0, 22.0))
    psnr(root, "basicvsr_bi", "bi_x2", (21.0, 25.1, 23.0))
    psnr(root, "seem_basicvsr_only_bi", "bi_x2", (21.4, 24.8, 23.1))
    psnr(root, "basicvsr_plusplus_metasr", "bi_x2", (20.3, 24.4, 22.5))
    fabricated.change(root, "seem_basicvsr_only_bi", "bi_x8", applicable=False, reason="it enlarges 4 times", protocols={})
    return reading.load(root)


def psnr(root: Path, method: str, degradation: str, values: tuple[float, ...]) -> None:
    protocols = json.loads((root / method / "parallax" / degradation / "metrics.json").read_text())["protocols"]
    protocols["y"]["metrics"]["psnr"] = float(np.mean(values))
    for clip, value in zip(protocols["y"]["clips"].values(), values, strict=True):
        clip["metrics"]["psnr"] = value
    fabricated.change(root, method, degradation, protocols=protocols)


def test_the_best_and_the_next_are_held_against_bicubic_and_each_other(params: Params, cells: list[reading.Cell]) -> None:
    found = answer.answers(tables.tested_pairs(params), list(params.tested), cells)
    assert [one.pair.degradation for one in found] == list(SCALES)
    one = found[0]
    assert (one.reference, one.best.method, one.second.method, one.sure) == (
        "bicubic",
        "seem_basicvsr_only_bi",
        "basicvsr_bi",
        False,
    )
    expected = ttest_rel((21.4, 24.8, 23.1), (20.0, 24.0, 22.0)).confidence_interval(0.95)
    assert one.best.gain is not None
    assert (one.best.gain.low, one.best.gain.high) == pytest.approx((expected.low, expected.high))
    half = (expected.high - expected.low) / 2
    timing = one.best.cell.timing
    assert timing is not None
    assert answer.sentence([one]) == (
        f"seem_basicvsr_only_bi is best on parallax · bi_x2 with 23.10 dB, +1.10 ± {half:.2f} dB over bicubic, "
        f"at {facts.duration(timing.seconds_per_frame)} per frame; basicvsr_bi is next and cannot be told apart from it."
    )
    same = sum(each.best.method == one.best.method for each in found)
    assert answer.sentence(found).endswith(f" It is best on {same} of 8 pairs.")


def test_nothing_is_best_of_one(params: Params, cells: list[reading.Cell]) -> None:
    pairs = tables.tested_pairs(params)
    assert answer.answers(pairs, ["bicubic"], cells) == [] == answer.answers(pairs, list(LONG), cells, "vmaf")
    (other, *_) = answer.answers(pairs, list(LONG), cells, reference="basicvsr_bi")
    assert other.reference == "basicvsr_bi" and other.second.gain is None and other.best.gain is not None


@pytest.mark.parametrize("width", [80, 200])
def test_it_fits_with_whole_names_and_only_what_was_run(params: Params, cells: list[reading.Cell], width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    formats.show(params, cells, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    lines = text.splitlines()
    assert max(map(len, lines)) <= width and "…" not in text
    for method in LONG:
        assert any(line.startswith(method) for line in lines), method
    assert "edvr_m_bi" not in text and text.count("not run") == 0
    count = len(params.tested) - len(LONG) + sum(method not in params.tested for method in LONG)
    assert f"Not run: {count} methods of params.yaml" in text
    assert "– seem_basicvsr_only_bi (not applicable: it enlarges 4 times)" in text
    assert ("SSIM: in a wider terminal" in text) == (width == 80) and ("GMAC" in text) == (width == 200)
    first = next(line for line in lines if line.startswith("bi_x2 "))
    assert "seem_basicvsr_only_bi" in first and "23.10" in first
    shown = tables.suite(params, "all", cells)
    for row in shown.rows[:-1]:
        for place in row.places:
            if place.entries:
                assert sum(place.entries[0].text in line for line in lines) >= 1


def test_numbers_read_as_a_person_writes_them() -> None:
    assert [facts.human(value) for value in (0.2312, 4.316, 9.96, 99.7, 376.7, 1234.5)] == [
        "0.23",
        "4.3",
        "10",
        "100",
        "377",
        "1,234",
    ]
    assert [facts.duration(value) for value in (0.2312, 0.0123, 2.25, 31.4, 0.0996)] == [
        "0.23 s",
        "12 ms",
        "2.2 s",
        "31 s",
        "0.10 s",
    ]

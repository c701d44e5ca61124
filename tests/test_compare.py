"""`vsr compare`: differences, intervals and costs are those of the results, and what is missing is said."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import choices
import fabricated
import pytest
import scipy.stats
from front_door import Vsr, error
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines import results
from pipelines.errors import VSRError
from pipelines.params import ROOT, Params, load
from pipelines.report import compare, tables
from pipelines.report.compare import COLUMNS

CLIPS = ("calendar", "city", "foliage", "walk")
PSNR = {
    "bicubic": (20.0, 24.0, 22.0, 26.0),
    "basicvsr_bi": (21.0, 25.5, 23.2, 27.3),
    "basicvsr_bi_s1": (21.1, 25.3, 23.0, 27.4),
    "basicvsr_crf25": (20.4, 23.7, 22.1, 25.9),
}


PARAMS = load(ROOT / "params.yaml")


@pytest.fixture
def params() -> Params:
    """Those of the repository with one experiment repeated, tested on two pairs."""
    tree = choices.shipped()
    tree["experiments"]["basicvsr_bi_s1"] = {**tree["experiments"]["basicvsr_bi"], "seed": 1}
    tree["tests"]["degradations"] = ["bi_x4", "crf25_x4"]
    tree["suites"] = {}
    return Params.model_validate(tree)


def _result(root: Path, method: str, degradation: str = "bi_x4", **changes: Any) -> None:
    """A result as the evaluation writes it. `clips` maps clips to their values by metric, `protocols` names the protocols."""
    clips: Mapping[str, dict[str, float]] = changes.pop(
        "clips", {clip: {"psnr": psnr, "ssim": psnr / 40} for clip, psnr in zip(CLIPS, PSNR[method], strict=True)}
    )
    names = dict.fromkeys(name for values in clips.values() for name in values)
    scores = {
        "metrics": {name: sum(values[name] for values in clips.values()) / len(clips) for name in names},
        "frames": 7 * len(clips),
        "lossless": 0,
        "skipped": changes.pop("skipped", {}),
        "clips": {clip: {"metrics": values, "frames": 7, "lossless": 0} for clip, values in clips.items()},
    }
    scores["metrics"] |= changes.pop("of_the_set", {})
    protocols = changes.pop("protocols", ("y",))
    metrics = {
        **{"method": method, "network": method.partition("_")[0], "corpus": "parallax", "degradation": degradation},
        **{
            "split": "test",
            "applicable": True,
            "reason": None,
            "lead_protocol": next(iter(protocols), None),
            "notes": [],
            "inputs": {},
        },
        "protocols": dict.fromkeys(protocols, scores),
        **changes,
    }
    folder = root / "results" / method / "parallax" / degradation
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    cost = {"parameters": 1234567, "gmacs": 376.71, "gmacs_without_deform": 370.2, "lr": [54, 96]}
    fabricated.measure(folder.with_name("_measured"), cost, {**fabricated.TIMING, "lr": [54, 96]})


@pytest.fixture
def root(tmp_path: Path, params: Params) -> Path:
    """A project with four methods evaluated on one pair."""
    choices.put(tmp_path, json.loads(params.model_dump_json()))
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    for method in PSNR:
        _result(tmp_path, method)
    return tmp_path


def _compare(root: Path, params: Params, *methods: str, **options: Any) -> list[compare.Comparison]:
    return compare.compare(params, results.load(root / "results"), methods, **options)


def _printed(found: compare.Comparison, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(compare.terminal(found))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_differences_and_intervals_are_those_of_the_clips(root: Path, params: Params) -> None:
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi", "basicvsr_crf25")
    assert found.pair == tables.Pair("parallax", "bi_x4", "y")
    reference, better, same = found.rows
    assert [value.difference for value in reference.values] == [None, None]
    for row in (better, same):
        expected = scipy.stats.ttest_rel(PSNR[row.method], PSNR["bicubic"]).confidence_interval(0.95)
        difference = row.values[0].difference
        assert difference is not None
        assert (difference.low, difference.high) == pytest.approx(tuple(expected))
        mean = sum(PSNR[row.method]) / 4
        assert row.values[0].value == pytest.approx(mean)
        assert difference.mean == pytest.approx(mean - sum(PSNR["bicubic"]) / 4)
    assert [row.values[0].verdict for row in found.rows] == [None, "better", "not distinguishable"]
    (turned,) = _compare(root, params, "basicvsr_bi", "bicubic")
    assert turned.rows[1].values[0].verdict == "worse"


def test_a_metric_whose_low_values_are_good_is_judged_the_other_way(root: Path, params: Params) -> None:
    for method, gain in (("bicubic", 0.0), ("basicvsr_bi", -0.1)):
        clips = {clip: {"dists": 0.3 + 0.01 * place + gain} for place, clip in enumerate(CLIPS)}
        _result(root, method, "crf25_x4", clips=clips)
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi", metrics=["dists"], degradations=["crf25_x4"])
    assert found.rows[1].values[0].verdict == "better"


def test_a_difference_that_reads_as_zero_is_none(root: Path, params: Params) -> None:
    for method, gain in (("bicubic", 0.0), ("basicvsr_bi", 0.004)):
        _result(root, method, "crf25_x4", clips={clip: {"psnr": 20.0 + place + gain} for place, clip in enumerate(CLIPS)})
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi", metrics=["psnr"], degradations=["crf25_x4"])
    assert found.rows[1].values[0].verdict == "not distinguishable"


def test_what_is_missing_says_why(root: Path, params: Params) -> None:
    _result(root, "bicubic", "crf25_x4", skipped={"vmaf": "ffmpeg has no libvmaf"})
    _result(root, "basicvsr_crf25", "crf25_x4", applicable=False, reason="it enlarges 2 times", lead_protocol=None, protocols={})
    found = _compare(root, params, "bicubic", "basicvsr_bi", "basicvsr_crf25", metrics=["psnr", "vmaf"])
    first, second = found
    assert [row.missing for row in second.rows] == [None, "not run", "not applicable: it enlarges 2 times"]
    assert second.rows[0].values[1].why == "skipped, ffmpeg has no libvmaf"
    assert first.rows[0].values[1].why == "not among the metrics that were computed"
    text = _printed(second)
    assert "– [1]" in text and "VMAF: skipped, ffmpeg has no libvmaf" in text and "not run" in text
    assert [row.missing for row in _compare(root, params, "bicubic", "basicvsr_bi", protocol="rgb")[0].rows] == [
        "not scored by protocol rgb"
    ] * 2


def test_a_metric_of_the_whole_set_has_no_interval(root: Path, params: Params) -> None:
    for method, fid in (("bicubic", 50.0), ("basicvsr_bi", 40.0)):
        _result(root, method, "crf25_x4", clips={clip: {"psnr": 20.0} for clip in CLIPS}, of_the_set={"fid": fid})
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi", metrics=["fid"], degradations=["crf25_x4"])
    (value,) = found.rows[1].values
    assert (value.value, value.difference, value.verdict) == (40.0, None, None)
    assert "40" in _printed(found)


def test_few_clips_are_not_enough(root: Path, params: Params) -> None:
    for method in ("bicubic", "basicvsr_bi"):
        _result(root, method, "crf25_x4", clips={"city": {"psnr": PSNR[method][0]}})
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi", metrics=["psnr"], degradations=["crf25_x4"])
    assert found.rows[1].values[0].verdict == "not distinguishable"
    (_, record) = compare.records([found])
    assert (record["clips"], record["low"], record["high"]) == (1, None, None)
    text = " ".join(_printed(found).split())
    assert "+1.000 │" in text and "over 1 clip" in text and "inf" not in text


def test_seeds_of_a_repeated_experiment_are_summarised(root: Path, params: Params) -> None:
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi")
    assert set(found.seeds) == {"basicvsr_bi"}
    means = [sum(PSNR[name]) / 4 for name in ("basicvsr_bi", "basicvsr_bi_s1")]
    spread = found.seeds["basicvsr_bi"]["psnr"]
    assert (spread.n, spread.mean) == (2, pytest.approx(sum(means) / 2))
    assert spread.deviation == pytest.approx(abs(means[0] - means[1]) / 2**0.5)
    assert "basicvsr_bi over 2 seeds, mean ± deviation: PSNR 24.23 ± 0.035" in _printed(found)


def test_the_terminal_shows_values_differences_verdicts_and_cost(root: Path, params: Params) -> None:
    (found,) = _compare(root, params, "bicubic", "basicvsr_bi")
    text = _printed(found)
    for part in (
        *("parallax · bi_x4 (y), differences from bicubic", "PSNR ↑", "dB", "23.00", "24.25"),
        *("+1.250", "[+0.919, +1.581]", "better", "1,234,567", "376.7 GMAC", "0.0123 s cpu", "95% interval", "over 4 clips"),
    ):
        assert part in text, part
    narrow = _printed(found, 80)
    assert max(map(len, narrow.splitlines())) <= 80 and "…" not in narrow.replace("[…]", "") and "[+0.919, +1.581]" in narrow


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 100), st.floats(0, 100)).map(lambda pair: (round(pair[0], 3), round(pair[1], 3))),
        min_size=1,
        max_size=6,
    )
)
def test_records_hold_what_was_compared(values: list[tuple[float, float]]) -> None:
    cells = [
        results.Cell.model_validate(
            {
                **{"method": method, "network": "bicubic", "corpus": "parallax", "degradation": "bi_x4", "split": "test"},
                **{"applicable": True, "lead_protocol": "y", "folder": "."},
                "protocols": {
                    "y": {
                        "metrics": {"psnr": sum(pair[side] for pair in values) / len(values)},
                        "frames": len(values),
                        "clips": {
                            str(place): {"metrics": {"psnr": pair[side]}, "frames": 1} for place, pair in enumerate(values)
                        },
                    }
                },
            }
        )
        for side, method in enumerate(("bicubic", "basicvsr_bi"))
    ]
    found = compare.compare(PARAMS, cells, ["bicubic", "basicvsr_bi"], ["psnr"])
    one, other = compare.records(found)
    assert set(one) == set(COLUMNS) and one["difference"] is None
    assert other["difference"] == pytest.approx(other["value"] - one["value"], abs=1e-9)
    assert other["clips"] == len(values)
    if len(values) > 1:
        assert other["low"] <= other["difference"] <= other["high"]
    rows = list(csv.DictReader(io.StringIO(compare.as_csv(found))))
    assert [float(row["value"]) for row in rows] == [one["value"], other["value"]]
    assert json.loads(json.dumps([one, other], allow_nan=False)) == [one, other]


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("methods", "options", "says"),
    [
        (("bicubic", "basicvsr_by"), {}, "unknown experiment or baseline 'basicvsr_by': did you mean 'basicvsr_bi'?"),
        (("bicubic",), {}, "bicubic is all there is to compare"),
        (("bicubic", "bicubic"), {}, "bicubic is all there is to compare"),
        (("bicubic", "basicvsr_bi"), {"corpora": ["paralax"]}, "unknown tested corpus 'paralax': did you mean 'parallax'?"),
        (("bicubic", "basicvsr_bi"), {"degradations": ["bi_x5"]}, "unknown tested degradation 'bi_x5'"),
        (
            ("basicvsr_bi", "basicvsr_dcgu"),
            {"degradations": ["bi_x4"]},
            "basicvsr_dcgu has no result on parallax/bi_x4: run `vsr repro basicvsr_dcgu`.",
        ),
        (
            ("bicubic", "basicvsr_dcgu"),
            {},
            "basicvsr_dcgu has no result on parallax/bi_x4 and 1 more: run `vsr repro basicvsr_dcgu`.",
        ),
        (("bicubic", "basicvsr_bi"), {"protocol": "vid5"}, "unknown protocol 'vid5'"),
        (("bicubic", "basicvsr_bi"), {"metrics": ["psrn"]}, "unknown metric 'psrn'"),
        (
            ("bicubic", "basicvsr_bi"),
            {"degradations": ["crf25_x4"]},
            "bicubic has no result on parallax/crf25_x4: run `vsr repro bicubic`.",
        ),
    ],
)
def test_errors_are_one_sentence(
    root: Path, params: Params, methods: tuple[str, ...], options: dict[str, Any], says: str
) -> None:
    with pytest.raises(VSRError) as error:
        _compare(root, params, *methods, **options)
    assert says in str(error.value)


def test_no_clip_in_common_names_both_methods_and_the_pair(root: Path, params: Params) -> None:
    _result(root, "bicubic", "crf25_x4")
    _result(root, "basicvsr_bi", "crf25_x4", clips={"beach": {"psnr": 30.0, "ssim": 0.9}})
    with pytest.raises(VSRError, match="basicvsr_bi and bicubic on parallax · crf25_x4: there is no clip to compare"):
        _compare(root, params, "bicubic", "basicvsr_bi")


# ---------------------------------------------------------------- the command


@pytest.fixture
def compared(root: Path, vsr: Vsr, monkeypatch: pytest.MonkeyPatch) -> Vsr:
    """`vsr compare` in the project."""
    monkeypatch.chdir(root)
    return partial(vsr, "compare")


def test_the_command_prints_a_table_json_and_csv(compared: Vsr) -> None:
    shown = compared("bicubic", "basicvsr_bi").out
    assert "Which method is best on parallax" in shown and "differences from bicubic" in shown and "better" in shown
    found = json.loads(compared("bicubic", "basicvsr_bi", "--metrics", "psnr", "--json").out)
    assert [(row["method"], row["metric"]) for row in found] == [("bicubic", "psnr"), ("basicvsr_bi", "psnr")]
    rows = list(csv.DictReader(io.StringIO(compared("bicubic", "basicvsr_bi", "--metrics", "psnr", "--csv").out)))
    assert [float(row["value"]) for row in rows] == [row["value"] for row in found]
    assert tuple(rows[0]) == COLUMNS


def test_the_command_tells_errors_in_one_sentence(compared: Vsr) -> None:
    assert error(compared("bicubic", "basicvsr_by")).startswith("error: unknown experiment or baseline 'basicvsr_by'")
    assert "choose one" in error(compared("bicubic", "basicvsr_bi", "--json", "--csv"))
    assert "all there is to compare" in error(compared("bicubic"))

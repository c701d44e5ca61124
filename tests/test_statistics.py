"""Statistics: intervals are Student's, hold what they promise, and noise is not called a gain."""

from __future__ import annotations

import math
from argparse import Namespace
from pathlib import Path
from typing import Any

import choices
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import VSRError
from pipelines.params import Params
from pipelines.report.statistics import Paired, over_seeds, paired, replicates, seed_of, spread, verdict
from pipelines.results import Cell
from pipelines.training.starting import Beginning
from stages import train as stage

VALUES = st.lists(
    st.tuples(st.floats(-100, 100, allow_subnormal=False), st.floats(-100, 100, allow_subnormal=False)), min_size=2, max_size=30
)


def _clips(values: list[float]) -> dict[str, float]:
    return {f"{index:03d}": value for index, value in enumerate(values)}


@settings(deadline=None)
@given(VALUES)
def test_the_interval_is_that_of_the_paired_t_test(values: list[tuple[float, float]]) -> None:
    one, other = map(list, zip(*values, strict=True))
    differences = np.subtract(one, other)
    found = paired(_clips(one), _clips(other))
    assert found.clips == len(values)
    assert found.mean == pytest.approx(differences.mean(), abs=1e-9)
    if np.ptp(differences) > 1e-6:  # scipy has no interval of differences that are all the same
        interval = scipy.stats.ttest_rel(one, other).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx(tuple(interval), rel=1e-6, abs=1e-6)


def test_the_interval_in_closed_form() -> None:
    # Differences 1, 2, 3: mean 2, deviation 1, and t(0.975, 2 degrees of freedom) = 4.302653.
    found = paired({"a": 11, "b": 22, "c": 33}, {"a": 10, "b": 20, "c": 30})
    half = 4.302652729911275 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2 - half, 2 + half))


@settings(deadline=None)
@given(VALUES, st.floats(-50, 50))
def test_differences_turn_and_shift_with_the_sides(values: list[tuple[float, float]], gain: float) -> None:
    one, other = (_clips(list(side)) for side in zip(*values, strict=True))
    forth, back = paired(one, other), paired(other, one)
    assert (forth.mean, forth.low, forth.high) == pytest.approx((-back.mean, -back.high, -back.low), abs=1e-9)
    shifted = paired({clip: value + gain for clip, value in one.items()}, other)
    assert (shifted.mean, shifted.low, shifted.high) == pytest.approx(
        (forth.mean + gain, forth.low + gain, forth.high + gain), abs=1e-6
    )
    assert forth.low <= forth.mean <= forth.high


@settings(deadline=None)
@given(VALUES)
def test_a_method_is_not_distinguishable_from_itself(values: list[tuple[float, float]]) -> None:
    same = _clips([value for value, _ in values])
    assert paired(same, same) == Paired(0, 0, 0, len(values))
    assert verdict(paired(same, same), True) == "not distinguishable"


def test_only_clips_of_both_count() -> None:
    assert paired({"a": 2, "b": 5, "c": 9}, {"b": 4, "a": 1, "d": 7}) == Paired(1, 1, 1, 2)
    with pytest.raises(VSRError, match="there is no clip to compare, 'a' on one side and 'b' on the other"):
        paired({"a": 1}, {"b": 1})
    with pytest.raises(VSRError, match="none on one side"):
        paired({}, {"b": 1})


def test_a_single_clip_tells_nothing() -> None:
    found = paired({"a": 30}, {"a": 20})
    assert found == Paired(10, -math.inf, math.inf, 1)
    assert verdict(found, True) == "not distinguishable"


def test_values_without_a_difference_are_refused() -> None:
    with pytest.raises(VSRError, match="clip 'b'"):
        paired({"a": 1, "b": math.inf}, {"a": 1, "b": math.inf})


@pytest.mark.parametrize(
    ("difference", "higher", "expected"),
    [
        (Paired(0.5, 0.1, 0.9, 4), True, "better"),
        (Paired(0.5, 0.1, 0.9, 4), False, "worse"),
        (Paired(-0.5, -0.9, -0.1, 4), True, "worse"),
        (Paired(-0.5, -0.9, -0.1, 4), False, "better"),
        (Paired(0.03, -0.01, 0.07, 4), True, "not distinguishable"),
        (Paired(0.5, 0.0, 1.0, 4), True, "not distinguishable"),
        (Paired(0.5, 0.4, 0.6, 2), True, "not distinguishable"),
        (Paired(0.5, 0.4, 0.6, 3), True, "better"),
        (Paired(0.004, 0.003, 0.005, 10), True, "not distinguishable"),
    ],
)
def test_the_verdict_follows_the_interval(difference: Paired, higher: bool, expected: str) -> None:
    assert verdict(difference, higher, resolution=0.005) == expected


@pytest.mark.parametrize("clips", [3, 4, 10])
def test_intervals_cover_the_truth_as_often_as_they_say(clips: int) -> None:
    """Clips differ much more from each other than the methods do on each of them, as they do in practice."""
    draw = np.random.default_rng(clips)
    gain, rounds = 0.3, 2000
    held = wrong = 0
    for _ in range(rounds):
        base = draw.normal(28, 3, clips)
        one, other = base + draw.normal(gain, 0.2, clips), base
        found = paired(_clips(one.tolist()), _clips(other.tolist()))
        held += found.low <= gain <= found.high
        null = paired(_clips((base + draw.normal(0, 0.2, clips)).tolist()), _clips(base.tolist()))
        wrong += verdict(null, True) != "not distinguishable"
    # Four standard deviations of a share of 2000.
    slack = 4 * math.sqrt(0.95 * 0.05 / rounds)
    assert abs(held / rounds - 0.95) < slack
    assert abs(wrong / rounds - 0.05) < slack


# ---------------------------------------------------------------- seeds


@settings(deadline=None)
@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=20))
def test_the_spread_is_that_of_a_sample(values: list[float]) -> None:
    found = spread(values)
    assert found.n == len(values)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def test_one_value_has_no_deviation_and_none_no_mean() -> None:
    assert (spread([3.5]).mean, spread([3.5]).deviation, spread([3.5]).n) == (3.5, None, 1)
    with pytest.raises(VSRError, match="no values"):
        spread([])


def _params(**experiments: dict[str, object]) -> Params:
    tree = choices.shipped()
    first = tree["experiments"]["basicvsr_bi"]
    tree["experiments"] |= {name: {**first, **changes} for name, changes in experiments.items()}
    return Params.model_validate(tree)


def test_experiments_that_differ_by_their_seed_alone_are_replicates() -> None:
    params = _params(
        basicvsr_bi_s1={"seed": 1},
        basicvsr_bi_again={"seed": 0},  # the recipe's own: the same training, not another draw
        basicvsr_bi_s2={"seed": 2},
        basicvsr_bd={"degradation": "bd_x4", "seed": 1},
        basicvsr_whole={"profile": "published", "seed": 3},
    )
    assert replicates(params) == {"basicvsr_bi": ("basicvsr_bi", "basicvsr_bi_s1", "basicvsr_bi_s2")}
    assert [seed_of(params, name) for name in ("basicvsr_bi", "basicvsr_bi_s2", "basicvsr_whole")] == [0, 2, 3]
    assert replicates(_params()) == {}


def _cell(psnr: float, **changes: object) -> Cell:
    scores = {"metrics": {"psnr": psnr}, "frames": 1, "clips": {}}
    values = {
        **{"method": "m", "network": "basicvsr", "corpus": "parallax", "degradation": "bi_x4", "split": "test", "folder": "."},
        **{"applicable": True, "lead_protocol": "y", "protocols": {"y": scores}},
    }
    return Cell.model_validate({**values, **changes})


def test_a_pair_is_summarised_over_seeds() -> None:
    cells = [_cell(30), _cell(32), _cell(0, applicable=False, reason="another scale", protocols={}, lead_protocol=None)]
    (found,) = over_seeds(cells, "y").values()
    assert (found.mean, found.deviation, found.n) == (31, pytest.approx(math.sqrt(2)), 2)
    assert over_seeds(cells, "rgb") == {}


@pytest.mark.parametrize(("name", "seed"), [("basicvsr_bi", 0), ("basicvsr_bi_s1", 1)])
def test_an_experiment_is_trained_with_its_own_seed(
    name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = _params(basicvsr_bi_s1={"seed": 1})
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(stage.params, "load", lambda: params)
    monkeypatch.setattr(stage, "begin_with", lambda network, folder: Beginning("", ()))
    monkeypatch.setattr(stage, "begin", lambda name: (name, params))
    monkeypatch.setattr(stage, "end", lambda name: None)
    monkeypatch.setattr(stage, "train", lambda *arguments: calls.append(arguments))
    stage.run(Namespace(experiment=name))
    ((_, _, build, schedule, _, record, _),) = calls
    assert schedule.seed == build.args[2].seed == record["params"]["training.seed"] == seed
    assert schedule.iterations == record["params"]["training.iterations"]

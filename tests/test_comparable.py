"""A result is held only against published figures that have its setting, and what it has not in common is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.params.methods import published_profile
from pipelines.report import comparable as deciding
from pipelines.results import Cell, ClipScores, Scores

METHODS = {
    "bicubic": ("published",),
    "basicvsr": ("published", "vimeo", "tuned", "vimeo_tuned", "small"),
    "seem_basicvsr": ("published", "vimeo", "seem_only", "small"),
    "basicvsr_dcgu": ("published", "vimeo", "small"),
    "basicvsr_lte": ("published", "small"),
}
REDS4: dict[str, object] = {"corpus": "reds", "clips": ("000", "011", "015", "020"), "protocol": "reds4"}
UDM10: dict[str, object] = {"corpus": "udm10", "clips": tuple(f"{n:03d}" for n in range(10)), "protocol": "udm10"}
CLOSED: dict[str, object] = {"network": "bicubic", "weights": None}
HERE: dict[str, object] = {"weights": None, "profile": "vimeo", "trained_on": "vimeo90k/bi_x4"}
MASKS = {"backend": "sam", "weights": "sam_vit_h", "points_per_side": 8}


def comparable(cell: Cell, protocol: str | None = None) -> tuple[bool, str]:
    return deciding.comparable(cell, METHODS, protocol)


def _cell(**changes: object) -> Cell:
    """BasicVSR's published parameters on Vid4, with changes; `clips` and `protocol` make its scores."""
    clips = changes.pop("clips", ("calendar", "city", "foliage", "walk"))
    protocol = changes.pop("protocol", "vid4")
    assert isinstance(clips, tuple) and isinstance(protocol, str)
    one = ClipScores(metrics={"psnr": 27.0}, frames=1)
    scores = Scores(metrics={"psnr": 27.0}, frames=len(clips), clips=dict.fromkeys(clips, one))
    values: dict[str, object] = {
        **{"method": "published_basicvsr", "network": "basicvsr", "corpus": "vid4", "degradation": "bi_x4", "split": "test"},
        **{"applicable": True, "lead_protocol": protocol, "protocols": {protocol: scores}, "folder": Path()},
        **{"profile": "published", "weights": "basicvsr_vimeo90k_bi", "trained_on": None},
    }
    return Cell.model_validate({**values, **changes})


def test_published_parameters_on_the_published_set_are_comparable() -> None:
    assert comparable(_cell()) == (True, "published parameters basicvsr_vimeo90k_bi, trained on vimeo90k under bi_x4")
    assert comparable(_cell(**CLOSED)) == (True, "closed form")
    assert comparable(_cell(**HERE)) == (True, "the published network and recipe, trained on vimeo90k under bi_x4")
    any_scale = {**HERE, "network": "basicvsr_dcgu"}
    assert comparable(_cell(**any_scale)) == (
        True,
        "the published network, iterations, rates and scales chosen here, trained on vimeo90k under bi_x4",
    )
    assert comparable(_cell(**REDS4, weights="basicvsr_reds4"))[0]
    assert comparable(_cell(**UDM10, weights="basicvsr_vimeo90k_bd", degradation="bd_x4"))[0]
    for made in (CLOSED, {"weights": None, "trained_on": "reds/crf25_x4"}):
        fits, why = comparable(_cell(**made, degradation="crf25_x4", protocol="compressed"))
        assert fits and "preset" in why


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (REDS4, "trained on vimeo90k, not on reds"),
        ({"weights": "basicvsr_reds4"}, "trained on reds, not on vimeo90k"),
        (UDM10 | {"degradation": "bd_x4"}, "trained under bi_x4"),
        ({"weights": "basicvsr_vimeo90k_bd"}, "trained under bd_x4"),
        ({"degradation": "bi_x2"}, "trained under bi_x4"),
        ({"degradation": "crf25_x4", "protocol": "compressed"}, "trained on vimeo90k, not on reds; trained under bi_x4"),
        ({"weights": "basicvsr_retired"}, "what the parameters basicvsr_retired were trained on is not known"),
        ({"weights": "./basicvsr_reds4"}, "what the parameters ./basicvsr_reds4 were trained on is not known"),
        (
            {"weights": "edvr_m_reds4_without_tsa", "network": "edvr_m"},
            "trained on reds, not on vimeo90k; the network has no TSA",
        ),
        ({"weights": "raft_small"}, "what the parameters raft_small were trained on is not known"),
    ],
)
def test_published_parameters_are_held_against_what_they_were_trained_for(changes: dict[str, object], says: str) -> None:
    assert comparable(_cell(**changes)) == (False, says)


@pytest.mark.parametrize(
    ("network", "corpus", "profile"),
    [
        ("basicvsr", "reds", "published"),
        ("basicvsr", "vimeo90k", "vimeo"),
        ("basicvsr", "parallax", "published"),
        ("basicvsr_dcgu", "reds", "published"),
        ("basicvsr_dcgu", "vimeo90k", "vimeo"),
        ("basicvsr_lte", "vimeo90k", "published"),
        ("bicubic", None, "published"),
    ],
)
def test_each_training_set_has_its_published_profile(network: str, corpus: str | None, profile: str) -> None:
    assert published_profile(METHODS[network], corpus) == profile


def test_only_the_published_profile_of_a_training_set_is_comparable() -> None:
    for network, profiles in METHODS.items():
        for trained, setting in ("reds/bi_x4", REDS4), ("vimeo90k/bi_x4", {}):
            corpus = trained.partition("/")[0]
            expected = published_profile(profiles, corpus)
            for profile in profiles:
                cell = _cell(**{**HERE, **setting, "network": network, "profile": profile, "trained_on": trained})
                fits, why = comparable(cell)
                assert fits == (profile == expected), (network, profile, trained)
                assert fits or why == f"not the published network and recipe (profile {profile}, not {expected})"


def test_papers_train_in_single_precision() -> None:
    assert comparable(_cell(**HERE, training_precision="float32"))[0]
    assert comparable(_cell(**HERE, training_precision="bfloat16")) == (False, "trained in bfloat16, not in float32")


def test_what_began_at_random_is_no_published_recipe() -> None:
    assert comparable(_cell(**HERE, random=("spynet",))) == (False, "its spynet began at random, not with published parameters")


def test_every_scale_is_comparable_to_a_network_for_all_of_them() -> None:
    made = {"network": "basicvsr_dcgu", "weights": None, "trained_on": "reds/any scale (1 to 4)"}
    for degradation in ("bi_x4", "bi_x2_5", "bi_x12"):
        assert comparable(_cell(**REDS4, **made, degradation=degradation))[0]
    fits, why = comparable(_cell(**REDS4, **made, degradation="bd_x4"))
    assert not fits and why == "trained under any scale (1 to 4)"
    assert "trained on reds, not on vimeo90k" in comparable(_cell(**made))[1]


@pytest.mark.parametrize(
    ("masks", "says"),
    [
        (MASKS, ""),
        (MASKS | {"pred_iou_threshold": 0.88, "sha256": "0" * 64}, ""),
        ({"backend": "felzenszwalb"}, "masks by felzenszwalb, not by SAM"),
        (MASKS | {"backend": "sam2", "weights": "local"}, "masks by sam2, not by SAM"),
        (MASKS | {"weights": "sam_vit_b"}, "masks by SAM with the weights sam_vit_b, not sam_vit_h"),
        (MASKS | {"points_per_side": 32}, "masks of 32 × 32 points, not of 8 × 8"),
        (
            MASKS | {"weights": "local", "points_per_side": 16},
            "masks by SAM with the weights local, not sam_vit_h; masks of 16 × 16 points, not of 8 × 8",
        ),
    ],
)
def test_guided_networks_are_held_against_those_with_the_papers_masks(masks: dict[str, object], says: str) -> None:
    prior = {"kind": "masks", "name": "here", "model": masks}
    fits, why = comparable(_cell(**HERE, network="seem_basicvsr", prior=prior))
    assert fits == (not says)
    assert fits or why == says


def test_given_flow_is_not_the_published_network() -> None:
    prior = {"kind": "flow", "name": "here", "model": {"backend": "dis"}}
    assert comparable(_cell(**HERE, network="seem_basicvsr", prior=prior)) == (False, "flow by dis, not by the network's own")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"weights": None, "profile": "small"}, ["profile small, not published"]),
        ({"profile": None}, ["does not say which profile"]),
        (
            {"profile": "small", "weights": None, "trained_on": "parallax/bi_x4"},
            ["profile small", "trained on parallax, not on vimeo90k"],
        ),
        ({"weights": None, "trained_on": "reds/bi_x4"}, ["trained on reds, not on vimeo90k"]),
        ({"weights": None, "trained_on": "vimeo90k/crf25_x4"}, ["trained under crf25_x4"]),
        ({"corpus": "parallax"}, ["parallax is not a published test set"]),
        ({"corpus": "holidays"}, ["holidays is not a published test set"]),
        ({"clips": ("calendar", "city")}, ["2 clips that are not the 4 of Vid4"]),
        ({"clips": ("a", "b", "c", "d")}, ["not the 4 of Vid4"]),
        ({"corpus": "vimeo90k", "protocol": "vimeo90k_t", "clips": ("00001_0266",)}, ["not the 7824 of Vimeo-90K-T"]),
        ({"corpus": "vimeo90k", "protocol": "vimeo90k_fast", "clips": ("00001_0266",)}, ["not the 1225 of Vimeo-90K-T"]),
        ({"corpus": "vimeo90k", "protocol": "y", "clips": tuple(map(str, range(7824)))}, ["scores all frames"]),
        ({"protocol": "vid4_duf"}, ["leaves out 8 px", "2 frames"]),
        ({"degradation": "bd_duf_x4"}, ["no paper here degrades by bd_duf_x4"]),
        ({"degradation": "bitrate_x4"}, ["no paper here degrades by bitrate_x4"]),
        ({"degradation": "realworld_x4"}, ["drawn"]),
        ({"degradation": "aniso_x4_t2"}, ["drawn"]),
        ({"applicable": False, "reason": "the network enlarges 2 times"}, ["the network enlarges 2 times"]),
    ],
)
def test_another_setting_is_not_comparable_and_says_why(changes: dict[str, object], says: list[str]) -> None:
    fits, why = comparable(_cell(**changes))
    assert not fits
    assert all(part in why for part in says), why


def test_a_protocol_that_was_not_scored_is_not_comparable() -> None:
    assert comparable(_cell(), "rgb") == (False, "not scored by protocol rgb")
    whole = _cell(corpus="vimeo90k", protocol="vimeo90k_t", clips=tuple(map(str, range(7824))))
    assert comparable(whole)[0]


@settings(deadline=None)
@given(st.sampled_from(["2", "3", "4", "8", "2.5", "3.5", "12"]))
def test_every_scale_of_bi_is_one_convention(scale: str) -> None:
    assert comparable(_cell(**CLOSED, degradation=f"bi_x{scale.replace('.', '_')}"))[0]


@pytest.mark.parametrize("name", ["bi_x", "bi_x4_t2", "bi_xx", "blur_bi_x4", "crf25_x2", "bi_x2_5_1"])
def test_other_names_are_no_convention(name: str) -> None:
    assert not comparable(_cell(degradation=name))[0]

"""params.yaml: what ships is valid, and what is misspelt is met with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import params
from pipelines.errors import VSRError

SHIPPED = params.ROOT / "params.yaml"


def test_shipped_params_are_valid() -> None:
    loaded = params.load(SHIPPED)
    assert loaded.recipes["bi_x4"][0].op == "bicubic"
    published = loaded.methods["basicvsr"]["published"].training
    assert published and (published.iterations, published.batch, published.clip_length) == (300_000, 8, 15)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crf: 25", "crff: 25", "unknown key 'recipes.crf25_x4.1.crff': did you mean 'crf'?"),
        ("op: x264, crf: 25", "op: x265, crf: 25", "recipes.crf25_x4.1: unknown op 'x265': did you mean 'x264'?"),
        ("{op: x264, crf: 25", "{crf: 25", "the key 'recipes.crf25_x4.1.op' is missing"),
        ("crf: 25", "crf: 77", "'recipes.crf25_x4.1.crf' is 77"),
        ("scale: 4}]", "scale: 0}]", "'recipes.bi_x4.0.scale' is 0"),
        ("sigma_x: {low", "sigma_x: {lov", "unknown key 'recipes.aniso_x4.0.sigma_x.lov': did you mean 'low'?"),
        (
            "sigma_x: {low: 0.2",
            "sigma_x: {low: 20",
            "'recipes.aniso_x4.0.sigma_x' is {'low': 20, 'high': 5}: low is 20, above high",
        ),
        ("{share: 0.2, steps: []}", "{share: 0.3, steps: []}", "the shares add up to 1.1, not 1"),
        ("frames: lr/parallax/bi_x4", "frames: parallax/bi_x4", "frames are 'hr/<corpus>' or 'lr/<corpus>/<degradation>'"),
        ("frames: lr/parallax/bi_x4", "frames: lr/parallax/bi_x5", "masks.parallax_bi_x4: unknown degradation 'bi_x5'"),
        ("degradations: [bi_x4, ", "degradations: [bi_x5, ", "degradations: unknown recipe 'bi_x5'"),
        ("experiments:  ", "experimentz:  ", "unknown key 'experimentz': did you mean 'experiments'?"),
        ("seed: 0\n    height", "sed: 0\n    height", "unknown key 'corpora.parallax.sed': did you mean 'seed'?"),
        ("start: spynet_parallax}", "start: spynet}", "unknown start 'spynet': did you mean 'spynet_parallax'?"),
        (
            "method: basicvsr, profile: small",
            "method: basicvsr, profile: smal",
            "unknown profile of basicvsr 'smal': did you mean 'small'?",
        ),
        ("basicvsr_bi: {", "basicvsr.bi: {", "lower-case letters, digits and '_' only"),
        ("corpora:  ", "corpora: [  ", "not valid YAML"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(VSRError, match=re.escape(message)):
        params.load(path)


def _of_one(tree: dict[str, Any], **changes: object) -> dict[str, Any]:
    """An experiment like the shipped one."""
    return {**tree["experiments"]["basicvsr_bi"], **changes}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tree: tree["guided"].update(bicubic={**tree["guided"]["seem_basicvsr_bi"]}),
            "'bicubic' is in guided and in baselines: rename one.",
        ),
        (lambda tree: tree["joins"].update(scratch={"first": "spynet_parallax", "second": "basicvsr_bi"}), "joins.scratch: "),
        (
            lambda tree: tree["joins"].update(both={"first": "spynet_paralax", "second": "basicvsr_bi"}),
            "joins.both: unknown network 'spynet_paralax': did you mean 'spynet_parallax'?",
        ),
        (
            lambda tree: tree["experiments"].update(mine=_of_one(tree, start="mine")),
            "mine from mine starts where it ends",
        ),
        (
            lambda tree: (
                tree["experiments"].update(one=_of_one(tree, start="both"), two=_of_one(tree, start="one")),
                tree["joins"].update(both={"first": "basicvsr_bi", "second": "two"}),
            ),
            "both from two from one from both starts where it ends",
        ),
        (
            lambda tree: tree["guided"]["seem_basicvsr_bi"].update(degradation="bd_x4"),
            "guided.seem_basicvsr_bi is trained on lr/parallax/bd_x4 and masks.parallax_bi_x4 are of lr/parallax/bi_x4",
        ),
        (
            lambda tree: tree["guided"]["seem_basicvsr_bi"].update(masks="parallax"),
            "guided.seem_basicvsr_bi: unknown masks 'parallax': did you mean 'parallax_bi_x4'?",
        ),
        (
            lambda tree: tree["tests"].update(guided=["bd_x4"]),
            "tested on lr/parallax/bd_x4, of which there are no masks by the model of masks.parallax_bi_x4",
        ),
        (lambda tree: tree["tests"].update(any_scale=["bi_x5"]), "tests.any_scale: unknown degradation 'bi_x5'"),
        (
            lambda tree: tree["any_scale"].update(fixed={**tree["any_scale"]["basicvsr_dcgu"], "method": "basicvsr"}),
            "any_scale.fixed: methods.basicvsr.small.training has no `scales`",
        ),
        (
            lambda tree: tree["experiments"].update(free=_of_one(tree, method="basicvsr_dcgu")),
            "experiments.free: methods.basicvsr_dcgu.small.training has `scales`",
        ),
        (
            lambda tree: tree["methods"]["basicvsr"]["small"]["training"].update(periods=[{"iterations": 7, "weight": 1}]),
            "its periods have 7 of ",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    tree = yaml.safe_load(SHIPPED.read_text())
    edit(tree)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(VSRError, match=re.escape(message)):
        params.load(path)


def test_methods_are_tested_as_their_kind_is() -> None:
    loaded = params.load(SHIPPED)
    assert [loaded.evaluated_by(name) for name in ("basicvsr_bi", "seem_basicvsr_bi", "basicvsr_dcgu", "bicubic")] == [
        "evaluate",
        "evaluate_guided",
        "evaluate_any_scale",
        "evaluate_baseline",
    ]
    assert loaded.tested_under("basicvsr_dcgu") == loaded.tests.any_scale
    assert loaded.tested_under("bicubic") == loaded.tested == loaded.degradations


def test_the_demo_is_of_known_methods() -> None:
    loaded = params.load(SHIPPED)
    found = re.search(r"^DEMO := (.+)$", (params.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert found and set(found[1].split()) <= {*loaded.trained, *loaded.baselines}


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="does not exist"):
        params.load(tmp_path / "params.yaml")


def test_every_map_of_params_drives_the_graph() -> None:
    """Contract: one line adds one thing, so each of these is iterated by a stage and no entry is named in dvc.yaml."""
    text = (params.ROOT / "dvc.yaml").read_text()
    loaded = yaml.safe_load(SHIPPED.read_text())
    maps = ("corpora", "degradations", "masks", "flows", "starts", "joins", "experiments", "guided", "any_scale", "baselines")
    for name in maps:
        assert f"${{{name}}}" in text
        for entry in loaded[name]:
            assert not re.search(rf"\b{entry}\b", text.split("stages:", 1)[1].replace("bicubic.py", "")), entry
    for name in loaded["tests"]:
        assert f"${{tests.{name}}}" in text
    assert "cache: false" not in text

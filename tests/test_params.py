"""params.yaml: what ships is valid, and what is misspelt is met with the nearest valid name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import choices
import pytest
import torch
import yaml

import models
from pipelines import params
from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.training import groups

SHIPPED = params.ROOT / "params.yaml"


def _adversarial(**changes: object) -> dict[str, object]:
    adam = {"kind": "adam", "betas": [0.9, 0.99], "decay": 0}
    learning = {"optimiser": adam, "rate": 1e-4, "final_rate": 1e-4, "clip_gradients": None, "ema": None}
    discriminator = {"network": "unet", "options": {}, **learning, **changes}
    return {"kind": "adversarial", "weight": 0.05, "form": "vanilla", "discriminator": discriminator}


def test_lines_for_the_papers_tables_are_valid(tmp_path: Path) -> None:
    """Those of docs/tables.md, together with what ships; and every name that its commands have is one."""
    page = (params.ROOT / "docs/tables.md").read_text(encoding="utf-8")
    tree = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))

    def add(into: dict[str, Any], more: dict[str, Any]) -> None:
        for key, value in more.items():
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                add(into[key], value)
            else:
                into[key] = value if not isinstance(value, list) else list(dict.fromkeys(into.get(key, []) + value))

    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        if not block.startswith("# recipes"):
            add(tree, yaml.safe_load(block))
    (tmp_path / "recipes").mkdir()
    for file in (params.ROOT / "recipes").iterdir():
        (tmp_path / "recipes" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    loaded = params.load(tmp_path / "params.yaml")
    for command in re.findall(r"`vsr repro ([^`…]*)`", page):
        for name in command.split():
            assert name in (*loaded.experiments, *loaded.baselines) or re.fullmatch(r"basicvsr_dcgu_\d", name), name


def test_shipped_params_are_valid() -> None:
    loaded = params.load(SHIPPED)
    assert loaded.recipes["bi_x4"][0].op == "bicubic"
    published = loaded.methods["basicvsr"]["published"].training
    assert published and (published.iterations, published.batch, published.clip_length) == (300_000, 8, 15)


@pytest.mark.parametrize(
    ("method", "profile", "recipe"),
    [
        ("edvr_m", "vimeo_without_tsa", (600_000, 32, 7, False, 4e-4, "sum", 0.999)),
        ("edvr_m", "vimeo", (600_000, 32, 7, False, 4e-4, "sum", 0.999)),
        ("edvr_l", "vimeo_tuned", (100_000, 4, 7, False, 2e-5, "mean", None)),
        ("seem_edvr", "vimeo", (100_000, 4, 7, False, 1e-4, "mean", None)),
        ("basicvsr", "vimeo_tuned", (100_000, 6, 7, True, 2e-5, "mean", None)),
        ("seem_basicvsr", "vimeo", (100_000, 6, 7, True, 1e-4, "mean", None)),
        ("seem_basicvsr", "vimeo_forward_only", (100_000, 6, 7, True, 1e-4, "mean", None)),
        ("seem_basicvsr", "vimeo_backward_only", (100_000, 6, 7, True, 1e-4, "mean", None)),
    ],
)
def test_recipes_on_vimeo90k(method: str, profile: str, recipe: tuple[object, ...]) -> None:
    """SEEM's Tables 3 to 6 are of networks trained on Vimeo-90K, EDVR in its wide form on windows of 7 frames."""
    found = params.load(SHIPPED).methods[method][profile].training
    assert found is not None and found.crop == 64 and found.final_rate == 1e-7
    (loss,) = found.losses
    assert isinstance(loss, params.Charbonnier) and loss.weight == 1
    assert (found.iterations, found.batch, found.clip_length, found.mirror, found.rate, loss.reduction, found.ema) == recipe


def test_schedules_of_the_authors() -> None:
    """EDVR-L halves its rate with the second period (train_EDVR_L_x4_SR_REDS_woTSA); BasicVSR++ on Vimeo-90K freezes nothing
    (`fix_iter = -1`); networks for any scale see Vimeo-90K as their backbones do."""
    methods = params.load(SHIPPED).methods
    for profile in ("without_tsa", "vimeo_without_tsa"):
        wide = methods["edvr_l"][profile].training
        assert wide and wide.periods
        assert [(one.iterations, one.weight) for one in wide.periods] == [(150_000, 1), *3 * [(150_000, 0.5)]]
    for method in ("basicvsr_plusplus", "basicvsr_plusplus_dcgu"):
        vimeo = methods[method]["vimeo"].training
        assert vimeo and [(group.prefix, group.rate, group.frozen) for group in vimeo.groups] == [("spynet.", 0.25, 0)]
        assert (vimeo.iterations, vimeo.clip_length, vimeo.mirror) == (300_000, 7, True)
    for head in ("metasr", "liif", "lte", "dcgu"):
        recipe = methods[f"basicvsr_{head}"]["vimeo"].training
        assert recipe and (recipe.clip_length, recipe.mirror, recipe.crop) == (7, True, 64)


def test_published_recipes_are_in_single_precision() -> None:
    """As their papers', with Adam(0.9, 0.99)."""
    for method, profiles in params.load(SHIPPED).methods.items():
        for profile, entry in profiles.items():
            if entry.training is not None:
                adam = entry.training.optimiser
                assert (entry.training.precision, adam.kind, adam.betas, adam.decay) == ("float32", "adam", (0.9, 0.99), 0), (
                    method,
                    profile,
                )


def test_a_control_learns_at_the_rates_of_what_seem_is_added_to() -> None:
    """As long, on as much, from the same network; parameters that both have learn alike, and nothing stands still."""
    methods = params.load(SHIPPED).methods
    for control, profile, guided, of in (
        ("edvr_m", "tuned", "seem_edvr", "published"),
        ("edvr_l", "vimeo_tuned", "seem_edvr", "vimeo"),
        ("basicvsr", "tuned", "seem_basicvsr", "published"),
        ("basicvsr", "vimeo_tuned", "seem_basicvsr", "vimeo"),
    ):
        one, other = methods[control][profile], methods[guided][of]
        assert one.training and other.training
        apart = {"rate": 0, "groups": []}
        assert one.training.model_copy(update=apart) == other.training.model_copy(update=apart)
        with torch.device("meta"):
            alone, with_seem = (models.create(name, **chosen.options) for name, chosen in ((control, one), (guided, other)))
        rates = []
        for network, recipe in ((alone, one.training), (with_seem, other.training)):
            found = groups.groups(network, recipe)
            names = {id(parameter): name for name, parameter in network.named_parameters()}
            rates.append({names[id(p)]: recipe.rate * group.factor for group in found for p in group.parameters})
            assert not any(group.frozen for group in found)
        own, beside = rates
        assert {name for name in beside if not name.startswith("seem.")} == set(own)
        assert [beside[name] for name in own] == pytest.approx(list(own.values()))


@pytest.mark.parametrize(
    ("method", "profile", "parameters"),
    [
        ("edvr_m", "vimeo", 3_316_515),
        ("edvr_l", "vimeo_tuned", 20_699_363),
        ("basicvsr", "vimeo_tuned", 6_291_311),
        ("seem_edvr", "vimeo", 20_699_363 + 1_904_024),
        ("seem_basicvsr", "vimeo_forward_only", 6_291_311 + 149_440 + 2 * 115_460),
        ("seem_basicvsr", "vimeo_backward_only", 6_291_311 + 149_440 + 2 * 115_460),
    ],
)
def test_networks_of_vimeo90k_are_those_of_the_papers(method: str, profile: str, parameters: int) -> None:
    with torch.device("meta"):
        network = models.create(method, **params.load(SHIPPED).methods[method][profile].options)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    if profile.endswith("_only"):
        (branch,) = {name.split("_")[0] for name in network.seem if name != "fr"}  # type: ignore[union-attr]
        assert f"vimeo_{branch}_only" == profile


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crf: 25", "crff: 25", "recipes/degradations.yaml: unknown key 'crf25_x4.1.crff': did you mean 'crf'?"),
        ("op: x264, crf: 25", "op: x265, crf: 25", "crf25_x4.1: unknown op 'x265': did you mean 'x264'?"),
        ("{op: x264, crf: 25", "{crf: 25", "the key 'crf25_x4.1.op' is missing"),
        ("crf: 25", "crf: 77", "'crf25_x4.1.crf' is 77"),
        ("scale: 4}]", "scale: 0}]", "'bi_x4.0.scale' is 0"),
        ("sigma_x: {low", "sigma_x: {lov", "unknown key 'aniso_x4.0.sigma_x.lov': did you mean 'low'?"),
        (
            "sigma_x: {low: 0.2",
            "sigma_x: {low: 20",
            "'aniso_x4.0.sigma_x' is {'low': 20, 'high': 5}: low is 20, above high",
        ),
        ("{share: 0.2, steps: []}", "{share: 0.3, steps: []}", "the shares add up to 1.1, not 1"),
        ("frames: lr/parallax/bi_x4", "frames: parallax/bi_x4", "frames are 'hr/<corpus>' or 'lr/<corpus>/<degradation>'"),
        ("frames: lr/parallax/bi_x4", "frames: lr/parallax/bi_x5", "masks.segments_parallax_bi_x4: unknown degradation 'bi_x5'"),
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
        ("    seed: 0\n    height", "    seed: 0\n    seed: 1\n    height", "not valid YAML at line "),
        ("    seed: 0\n    height", "    seed: 0\n    seed: 1\n    height", "(the key 'seed' is there twice)"),
        ("seed: 0\n    height", "seed: 1" + 30 * "0" + "\n    height", "'corpora.parallax.seed' is 1" + 30 * "0"),
        ("seed: 0\n    height", "seed: -1\n    height", "'corpora.parallax.seed' is -1"),
        ("protocols: [y, rgb]", "protocols: [y, rgb, y]", "'y' is in it twice: leave one out"),
        ("metrics: [psnr, ssim]", "metrics: [ssim, ssim]", "'ssim' is in it twice: leave one out"),
        ("degradations: [bi_x4, ", "degradations: [bi_x4, bi_x4, ", "'bi_x4' is in it twice: leave one out"),
        ("overlap: 10", "overlap: 50", "an overlap of 50 at each cut leaves nothing of a window of 100: lower it below half"),
        ("clips: {train: 12, validation: 2, test: 4}", "clips: {}", "'corpora.parallax.clips' is {}"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = choices.put(tmp_path, choices.shipped())
    for name in ("params.yaml", *map(str, params.FILES.values())):
        text = (params.ROOT / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new, 1))
        if old in text:
            break
    else:
        raise AssertionError(f"nothing to replace: {old}")
    with pytest.raises(VSRError, match=re.escape(message)):
        params.load(path)


def _of_one(tree: dict[str, Any], **changes: object) -> dict[str, Any]:
    """An experiment like the shipped one."""
    return {**tree["experiments"]["basicvsr_bi"], **changes}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tree: tree["experiments"].update(bicubic=_of_one(tree)),
            "'bicubic' is in experiments and in baselines: rename one.",
        ),
        (lambda tree: tree.update(recipes=tree["recipes"] | {"bi_x4": []}), "'bi_x4' is []"),
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
            lambda tree: tree["experiments"]["seem_basicvsr_bi"].update(degradation="bd_x4"),
            "experiments.seem_basicvsr_bi sees the prior segments of lr/parallax/bd_x4, which nothing computes",
        ),
        (
            lambda tree: tree["experiments"]["seem_basicvsr_bi"].update(prior="segment"),
            "experiments.seem_basicvsr_bi: unknown prior 'segment': did you mean 'segments'?",
        ),
        (
            lambda tree: (
                tree["corpora"]["parallax"].update(rendered=None),
                tree["experiments"]["basicvsr_bi"].update(degradation="rendered"),
            ),
            "experiments.basicvsr_bi: the corpus parallax brings no LR clips that are rendered: name a degradation",
        ),
        (
            lambda tree: tree["recipes"].update(rendered=tree["recipes"]["bi_x4"]),
            "recipes.rendered: so are LR clips called that come with their corpus: rename it",
        ),
        (
            lambda tree: tree["masks"].update(flow={"prior": "motion", "frames": "lr/parallax/bi_x4"}),
            "masks.flow: unknown prior that computes masks 'motion'",
        ),
        (
            lambda tree: tree["masks"].update(again=dict(tree["masks"]["segments_parallax_bi_x4"])),
            "masks.again and masks.segments_parallax_bi_x4 are the same: leave one out.",
        ),
        (
            lambda tree: tree["priors"].update(none=tree["priors"]["segments"]),
            "'none' is the prior of methods that see none: rename it.",
        ),
        (lambda tree: tree["tests"].update(degradations=["bi_x5"]), "tests.degradations: unknown degradation 'bi_x5'"),
        (
            lambda tree: tree["experiments"].update(fixed=_of_one(tree, degradation="in_step")),
            "experiments.fixed: methods.basicvsr.small.training has no `degradation`",
        ),
        (
            lambda tree: tree["experiments"].update(free=_of_one(tree, method="basicvsr_dcgu")),
            "experiments.free: methods.basicvsr_dcgu.small.training has a `degradation`",
        ),
        (
            lambda tree: tree["methods"]["basicvsr"]["small"]["training"].update(periods=[{"iterations": 7, "weight": 1}]),
            "its periods have 7 of ",
        ),
        (
            lambda tree: tree["methods"]["basicvsr"]["small"]["training"].update(losses=[{"kind": "l2", "weight": 1}]),
            "unknown kind 'l2'",
        ),
        (
            lambda tree: tree["methods"]["basicvsr"]["small"]["training"].update(losses=[_adversarial(), _adversarial()]),
            "more than one adversarial loss",
        ),
        (
            lambda tree: tree["methods"]["basicvsr"]["small"]["training"].update(
                losses=[_adversarial(periods=[{"iterations": 7, "weight": 1}])]
            ),
            "its periods have 7 of ",
        ),
        (lambda tree: tree["methods"]["basicvsr"]["small"]["training"].update(precision="half"), "training.precision"),
        (
            lambda tree: tree["recipes"].update(bi_x4=[{"op": "bicubic", "scale": {"low": 0.5, "high": 4}}]),
            "begins at 1 or above",
        ),
        (
            lambda tree: tree["recipes"].update(bi_x4=[{"op": "bicubic", "scale": {"low": 1, "high": 4}}]),
            "recipes.bi_x4: a range of scales is for the `degradation` of a training",
        ),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    tree = choices.shipped()
    edit(tree)
    path = choices.put(tmp_path, tree)
    with pytest.raises(VSRError, match=re.escape(message)):
        params.load(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda tree: tree["tests"]["corpora"]["parallax"].update(metrics=["psnr", "sssim"]),
            "params.yaml: tests.corpora.parallax: unknown metric 'sssim': did you mean 'ssim'?",
        ),
        (
            lambda tree: tree["tests"]["corpora"]["parallax"].update(protocols=["vidd4"]),
            "params.yaml: tests.corpora.parallax: unknown protocol 'vidd4': did you mean 'vid4'?",
        ),
        (
            lambda tree: tree["tests"]["corpora"]["parallax"].update(protocols=["y", "vimeo90k_t"]),
            "params.yaml: tests.corpora.parallax: the protocols 'vimeo90k_t' and 'y' cannot score the same restored clips",
        ),
        (
            lambda tree: tree["suites"]["fidelity"].update(metrics=["psnrr"]),
            "params.yaml: suites.fidelity: unknown metric 'psnrr': did you mean 'psnr'?",
        ),
    ],
)
def test_how_is_scored_is_checked_before_any_work(tmp_path: Path, edit: Callable[[dict[str, Any]], object], message: str) -> None:
    tree = choices.shipped()
    protocols.check(params.load(choices.put(tmp_path, tree)))
    edit(tree)
    with pytest.raises(VSRError, match=re.escape(message)):
        protocols.check(params.load(choices.put(tmp_path, tree)))


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = choices.put(tmp_path, choices.shipped())
    path.write_bytes(path.read_bytes() + "# für später\n".encode("latin-1"))
    with pytest.raises(VSRError, match=r"params.yaml is not UTF-8 at line \d+: save it as UTF-8"):
        params.load(path)


def test_maps_with_files_of_their_own_are_not_in_params_yaml(tmp_path: Path) -> None:
    path = choices.put(tmp_path, choices.shipped())
    path.write_text(path.read_text() + "recipes: {}\n")
    with pytest.raises(VSRError, match="params.yaml: 'recipes' has a file of its own: move it to recipes/degradations.yaml"):
        params.load(path)


def test_params_yaml_is_read_in_two_minutes() -> None:
    assert len(SHIPPED.read_text().splitlines()) <= 170  # a line for each experiment


def test_the_demo_is_of_known_methods_and_suites() -> None:
    loaded = params.load(SHIPPED)
    chosen = dict(re.findall(r"^(DEMO|SUITES) := (.+)$", (params.ROOT / "Makefile").read_text(), re.MULTILINE))
    suites = [loaded.suites[name] for name in chosen["SUITES"].split()]
    demo = set(chosen["DEMO"].split())
    assert demo <= {method for suite in suites for method in suite.methods}
    assert all(demo & set(suite.methods) - set(loaded.baselines) for suite in suites)  # each has one that is made here


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="does not exist"):
        params.load(tmp_path / "params.yaml")


def test_every_map_of_params_drives_the_graph() -> None:
    """Contract: one line adds one thing, so each of these is iterated by a stage and no entry is named in dvc.yaml."""
    text = (params.ROOT / "dvc.yaml").read_text()
    loaded = yaml.safe_load(SHIPPED.read_text())
    maps = ("corpora", "degradations", "masks", "flows", "starts", "joins", "experiments", "baselines")
    for name in maps:
        assert f"${{{name}}}" in text
        for entry in loaded[name]:
            assert not re.search(rf"\b{entry}\b", text.split("stages:", 1)[1].replace("bicubic.py", "")), entry
    for name in loaded["tests"]:
        assert f"${{tests.{name}}}" in text
    assert "cache: false" not in text

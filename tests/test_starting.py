"""Networks that begin with others: what is taken, what is new, and what is refused."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import choices
import pytest
import torch
from moving import flow, hr_store, lr_store, training
from torch import Tensor

import models
from models import Network
from pipelines import params, weights
from pipelines.errors import VSRError
from pipelines.runtime.lineage import Stage
from pipelines.training import product
from pipelines.training.restoration import first_network, restoration_task
from pipelines.training.starting import begin_with
from stages import adopt
from stages import start as starting

BASICVSR = {"channels": 4, "blocks": 1, "upsample_channels": 4}
EDVR = {"channels": 4, "frames": 3, "extraction_blocks": 1, "reconstruction_blocks": 1, "groups": 2, "upsample_channels": 4}
ICONVSR = {"channels": 4, "blocks": 1, "temporal_padding": 1, "extraction_blocks": 1, "groups": 2, "upsample_channels": 4}
NEAR = training(initial="near_base")


def made(folder: Path, name: str, seed: int = 5, **options: Any) -> tuple[Path, dict[str, Tensor]]:
    """A network of random parameters as a stage leaves it, and these."""
    torch.manual_seed(seed)
    network = models.create(name, **options)
    for value in network.state_dict().values():
        value.add_(0.1 * torch.randn_like(value))
    out = folder / f"{name}_{seed}"
    product.write(out, network, {"name": out.name, "notes": ["trained somehow", "more"]})
    return out, network.state_dict()


def check(network: Network, taken: dict[str, Tensor], prefix: str = "") -> None:
    state = network.state_dict()
    assert taken and all(torch.equal(state[prefix + name], value) for name, value in taken.items())


def test_a_flow_network_goes_into_its_place(tmp_path: Path) -> None:
    start, state = made(tmp_path, "spynet")
    for name, options, more in (("basicvsr", BASICVSR, ""), ("iconvsr", ICONVSR, "; its edvr begins at random")):
        network = models.create(name, **options)
        assert begin_with(network, start).note == f"its spynet begins with spynet_5 (trained somehow){more}"
        check(network, state, "spynet.")
    task = restoration_task("basicvsr", BASICVSR, training(groups=flow(2, 0.5)), *stores(tmp_path), start)
    check(task.network, state, "spynet.")
    outer, inner = task.learners[0].groups
    assert sum(parameter.numel() for parameter in inner.parameters) == 1_440_300 and (inner.factor, inner.frozen) == (0.5, 2)
    assert len(outer.parameters) + len(inner.parameters) == len(list(task.network.parameters()))


def stores(folder: Path) -> tuple[Path, Path]:
    hr = hr_store(folder / "hr")
    return hr.path, lr_store(hr, folder / "lr").path


def test_what_is_added_to_a_network_is_new(tmp_path: Path) -> None:
    """Begun near the base, what is taken is as it was, and a network into which SEEM is put gives what it gave."""
    start, state = made(tmp_path, "basicvsr", **BASICVSR)
    guided = first_network("seem_basicvsr", BASICVSR, NEAR, start)
    check(guided, state)
    clip, masks = torch.rand(1, 3, 3, 8, 8), torch.rand(1, 3, 64, 8, 8).round()
    with torch.no_grad():
        assert torch.equal(guided(clip, masks=masks), models.load(start / product.WEIGHTS)(clip))
    note = begin_with(models.create("seem_basicvsr", **BASICVSR), start).note
    assert note == "begins with basicvsr_5 (trained somehow); new: seem"
    control = first_network("basicvsr", BASICVSR, NEAR, start)
    check(control, state)
    assert begin_with(control, start).note == "begins with basicvsr_5 (trained somehow)"


def test_a_head_takes_the_place_of_the_upsampler(tmp_path: Path) -> None:
    start, state = made(tmp_path, "basicvsr", **BASICVSR)
    options = {"channels": 4, "blocks": 1, "hidden": 8}
    network = first_network("basicvsr_liif", options, NEAR, start)
    check(network, {name: value for name, value in state.items() if not name.startswith(("up", "conv"))})
    note = begin_with(models.create("basicvsr_liif", **options), start).note
    assert note == ("begins with basicvsr_5 (trained somehow); not used of it: upconv1, upconv2, conv_hr, conv_last; new: head")
    # What is new begins near the base: its last layer adds nothing.
    assert not network.last.weight.any() and network.head.imnet.layers[0].weight.any()  # type: ignore[operator,union-attr,index]


def test_attention_in_place_of_a_plain_fusion(tmp_path: Path) -> None:
    start, state = made(tmp_path, "edvr_m", **EDVR, tsa=False)
    network = models.create("edvr_m", **EDVR)
    note = begin_with(network, start).note
    assert note == "begins with edvr_m_5 (trained somehow); not used of it: fusion; new: fusion"
    check(network, {name: value for name, value in state.items() if not name.startswith("fusion.")})


def join(folder: Path, *starts: Path) -> Path:
    """As `stages.join` leaves it."""
    out = folder / "join"
    out.mkdir()
    parts = []
    for number, start in enumerate(starts):
        (out / f"{number}.safetensors").write_bytes((start / product.WEIGHTS).read_bytes())
        parts.append({**product.read(start), "file": f"{number}.safetensors"})
    (out / product.RECORD).write_text(json.dumps({"name": "join", "notes": [], "parts": parts}))
    return out


def test_two_networks_join_in_a_third(tmp_path: Path) -> None:
    flow_network, of_flow = made(tmp_path, "spynet")
    edvr, of_edvr = made(tmp_path, "edvr_m", **EDVR)
    network = models.create("iconvsr", **ICONVSR)
    note = begin_with(network, join(tmp_path, flow_network, edvr)).note
    assert note == (
        "its spynet begins with spynet_5 (trained somehow); its edvr begins with edvr_m_5 (trained somehow); "
        "not used of it: reconstruction, upconv1, upconv2, conv_hr, conv_last"
    )
    check(network, of_flow, "spynet.")
    unused = ("reconstruction.", "up", "conv_hr.", "conv_last.")
    check(network, {name: value for name, value in of_edvr.items() if not name.startswith(unused)}, "edvr.")


def test_an_extractor_without_a_flow_network(tmp_path: Path) -> None:
    edvr, _ = made(tmp_path, "edvr_m", **EDVR)
    note = begin_with(models.create("iconvsr", **ICONVSR), edvr).note
    assert note.startswith("its edvr begins with edvr_m_5 (trained somehow); not used of it: ")
    assert note.endswith("conv_last; its spynet begins at random")


def test_iconvsr_begins_on_vimeo90k_with_networks_that_are_trained_there(tmp_path: Path) -> None:
    """As wide as published; what is without TSA is what EDVR-M is begun with."""
    methods = params.load(params.ROOT / "params.yaml").methods
    options = {name: profile.options for name, profile in methods["edvr_m"].items()}
    without, state = made(tmp_path, "edvr_m", seed=1, **options["vimeo_without_tsa"])
    edvr = models.create("edvr_m", **options["vimeo"])
    note = begin_with(edvr, without).note
    assert note == "begins with edvr_m_1 (trained somehow); not used of it: fusion; new: fusion"
    check(edvr, {name: value for name, value in state.items() if not name.startswith("fusion.")})

    trained, of_edvr = made(tmp_path, "edvr_m", **options["vimeo"])
    flow_network, of_flow = made(tmp_path, "spynet")
    network = models.create("iconvsr", **methods["iconvsr"]["vimeo"].options)
    assert begin_with(network, join(tmp_path, flow_network, trained)).random == ()
    check(network, of_flow, "spynet.")
    own = {name for name in network.state_dict() if name.startswith("edvr.")}
    check(network, {name: value for name, value in of_edvr.items() if f"edvr.{name}" in own}, "edvr.")
    assert own == {f"edvr.{name}" for name in of_edvr if f"edvr.{name}" in own}


def test_the_later_of_two_networks_wins(tmp_path: Path) -> None:
    base, state = made(tmp_path, "basicvsr", **BASICVSR)
    flow_network, of_flow = made(tmp_path, "spynet")
    network = models.create("seem_basicvsr", **BASICVSR)
    note = begin_with(network, join(tmp_path, base, flow_network)).note
    assert note.endswith("; its spynet begins with spynet_5 (trained somehow); new: seem")
    check(network, {name: value for name, value in state.items() if not name.startswith("spynet.")})
    check(network, of_flow, "spynet.")


def scratch(folder: Path) -> Path:
    """As `stages.scratch` leaves it."""
    (folder / product.RECORD).write_text(json.dumps({"name": "scratch", "notes": [], "parts": []}))
    return folder


def test_scratch_is_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.create("basicvsr", **BASICVSR)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert begin_with(network, scratch(tmp_path)) == ("its spynet begins at random", ("spynet",))
    check(network, before)


@pytest.mark.parametrize("name", [name for name in models.names() if name not in ("bicubic", "image", "spynet")])
def test_what_begins_at_random_is_said_of_every_network(tmp_path: Path, name: str) -> None:
    with torch.device("meta"):
        network = models.create(name)
    outermost = {key.partition(".")[0] for key in network.state_dict()}
    expected = [f"its {part} begins at random" for part in ("edvr", "spynet", "vae", "ssr") if part in outermost]
    found = begin_with(network, scratch(tmp_path))
    assert found.note == "; ".join(expected) and len(found.random) == len(expected)
    assert ("spynet" in outermost) or "basicvsr" not in name.removeprefix("realbasicvsr")


def test_what_began_at_random_is_known_of_what_comes_after(tmp_path: Path) -> None:
    """Until a trained network takes its place."""
    base, _ = made(tmp_path, "basicvsr", **BASICVSR)
    (base / product.RECORD).write_text(json.dumps({**product.read(base), "random": ["spynet"]}))
    network = models.create("seem_basicvsr", **BASICVSR)
    note, random = begin_with(network, base)
    assert note.endswith("; new: seem; the spynet of basicvsr_5 began at random") and random == ("spynet",)
    flow_network, _ = made(tmp_path, "spynet")
    note, random = begin_with(network, join(tmp_path, base, flow_network))
    assert "at random" not in note and random == ()


@pytest.mark.parametrize(
    "name, options, start, of, words",
    [
        ("edvr_m", EDVR, "spynet", {}, "edvr_m has no use for anything of spynet_5 (spynet): choose another start."),
        (
            "basicvsr",
            BASICVSR,
            "basicvsr",
            {**BASICVSR, "channels": 8},
            "basicvsr cannot begin with basicvsr_5 (basicvsr): backward_trunk.main.0.weight is (4, 7, 3, 3) and (8, 11, 3, 3)",
        ),
        (
            "basicvsr",
            {**BASICVSR, "blocks": 2},
            "basicvsr",
            BASICVSR,
            "basicvsr cannot begin with basicvsr_5 (basicvsr): the former alone has backward_trunk.main.2.1.conv1.weight",
        ),
        (
            "basicvsr",
            BASICVSR,
            "basicvsr",
            {**BASICVSR, "blocks": 2},
            "the latter alone has backward_trunk.main.2.1.conv1.weight",
        ),
        (
            "iconvsr",
            ICONVSR,
            "edvr_m",
            {**EDVR, "frames": 5},
            "iconvsr cannot begin with edvr_m_5 (edvr_m): edvr.fusion.feat_fusion.weight is (4, 12, 1, 1) and (4, 20, 1, 1)",
        ),
    ],
)
def test_networks_that_do_not_fit(
    tmp_path: Path, name: str, options: dict[str, Any], start: str, of: dict[str, Any], words: str
) -> None:
    folder, _ = made(tmp_path, start, **of)
    with pytest.raises(VSRError, match=re.escape(words)):
        begin_with(models.create(name, **options), folder)


def test_a_folder_without_a_network(tmp_path: Path) -> None:
    with pytest.raises(VSRError, match="holds no trained network"):
        begin_with(models.create("basicvsr", **BASICVSR), tmp_path)


# ---------------------------------------------------------------- published parameters


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where `stages.adopt` and `stages.start` work on small networks, and take `<name>.pth` for the weights `<name>`."""
    tree = choices.shipped()
    tree["methods"]["edvr_m"] |= {f"frames_{frames}": {"options": {**EDVR, "frames": frames}} for frames in (3, 5)}
    for profile in ("frames_3", "frames_5"):
        tree["baselines"][profile] = {"method": "edvr_m", "profile": profile, "prior": "none", "weights": "mine"}
        options = tree["methods"]["edvr_m"][profile]["options"]
        tree["starts"][f"start_{profile}"] = {"network": "edvr_m", "options": options, "corpus": "parallax", "weights": "mine"}
    tree["starts"]["flow"] = {"network": "spynet", "corpus": "parallax", "weights": "mine"}
    choices.put(tmp_path, tree)
    (tmp_path / "dvc.yaml").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VSR_WEIGHTS", str(tmp_path))
    monkeypatch.setitem(weights.REGISTRY, "mine", weights.Weights("https://nowhere.example/", {"mine.pth": None}, "Apache-2.0"))
    for stage in (adopt, starting):
        monkeypatch.setattr(stage, "begin", lambda name: (begun(name, tmp_path), params.load()))
        monkeypatch.setattr(stage, "verify", lambda stage: None)
        monkeypatch.setattr(stage, "end", lambda stage: None)
        monkeypatch.setattr(stage, "data", tmp_path.joinpath)
    return tmp_path


def begun(name: str, root: Path) -> Stage:
    """A stage that DVC does not know."""
    return Stage(name, root, f"key of {name}", {}, {}, (), root / "work", 0)


def publish(folder: Path, name: str, **options: Any) -> dict[str, Tensor]:
    """Random parameters of a network as BasicSR publishes them: their names and shapes are all that says what they are of."""
    torch.manual_seed(3)
    state = {key: torch.randn_like(value) for key, value in models.create(name, **options).state_dict().items()}
    torch.save({"params": state}, folder / "mine.pth")
    return state


STAGES = [(adopt, "baseline", "frames_3", "frames_5"), (starting, "start", "start_frames_3", "start_frames_5")]


@pytest.mark.parametrize(("stage", "argument", "fitting", "other"), STAGES)
def test_published_parameters_are_those_of_the_network_that_is_named(
    published: Path, stage: ModuleType, argument: str, fitting: str, other: str
) -> None:
    state = publish(published, "edvr_m", **EDVR)
    stage.run(Namespace(**{argument: fitting}))
    check(models.load(published / "trained" / fitting / product.WEIGHTS), state)
    record = product.read(published / "trained" / fitting)
    assert (record["method"], record["network"]) == ("edvr_m", "edvr_m") and record["params"]["options.frames"] == 3
    with pytest.raises(VSRError, match=r"mine\.pth is a checkpoint of edvr_m with frames 3, not frames 5: choose other weights"):
        stage.run(Namespace(**{argument: other}))
    publish(published, "basicvsr", **BASICVSR)
    with pytest.raises(VSRError, match=r"mine\.pth looks like a checkpoint of basicvsr, not of edvr_m"):
        stage.run(Namespace(**{argument: fitting}))
    assert not (published / "trained" / other).exists()


@pytest.mark.parametrize(("stage", "argument", "place"), [(adopt, "baseline", "baselines"), (starting, "start", "starts")])
def test_a_file_is_taken_for_what_its_sha256_says(published: Path, stage: ModuleType, argument: str, place: str) -> None:
    state = publish(published, "edvr_m", **EDVR)
    path, sha256 = published / "mine.pth", weights.digest(published / "mine.pth")
    tree = choices.shipped(published)
    entry = tree[place]["frames_3" if place == "baselines" else "start_frames_3"]
    tree[place]["own"] = {**entry, "weights": str(path), "sha256": sha256[:12]}
    choices.put(published, tree)
    stage.run(Namespace(**{argument: "own"}))
    check(models.load(published / "trained" / "own" / product.WEIGHTS), state)
    record = product.read(published / "trained" / "own")
    assert (record["params"]["weights"], record["params"]["weights_sha256"]) == ("./mine.pth", sha256)
    assert str(published) not in json.dumps(record) and "parameters of the file mine.pth" in record["notes"][0]
    publish(published, "edvr_m", **EDVR | {"reconstruction_blocks": 2})
    with pytest.raises(VSRError, match=rf"and params\.yaml says {sha256[:12]}: write the new one there"):
        stage.run(Namespace(**{argument: "own"}))


def test_a_flow_network_is_no_other(published: Path) -> None:
    state = publish(published, "spynet")
    starting.run(Namespace(start="flow"))
    check(models.load(published / "trained" / "flow" / product.WEIGHTS), state)
    publish(published, "basicvsr", **BASICVSR)
    with pytest.raises(VSRError, match=r"looks like a checkpoint of basicvsr, not of spynet"):
        starting.run(Namespace(start="flow"))

"""Several learners in one loop: an adversarial task and one with an inner loop, against loops written out, killed and resumed."""

from __future__ import annotations

import copy
import math
import multiprocessing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from moving import schedule
from torch import Tensor, nn
from toys import TOYS, Gan, Toy, make, recipe

from pipelines.errors import VSRError
from pipelines.runtime import trainer
from pipelines.training import loop
from pipelines.training.crops import CPU, Batch
from pipelines.training.learners import Learner
from pipelines.training.schedules import cosine
from pipelines.training.state import State, final_weights, load, save

pytestmark = pytest.mark.usefixtures("one_thread")


def equal(one: Any, other: Any) -> bool:
    """Whether two states are the same, to the bit."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


def train(name: str, rank: int = 0, world: int = 1) -> State:
    """The state that an undisturbed run ends with, and what was `seen` in validation."""
    seen: dict[int, dict[str, float]] = {}
    task = make(name, Path())
    state = loop.fit(task, recipe(), rank=rank, world=world, on_validate=lambda step, metrics, _: seen.update({step: metrics}))
    return {**state, "seen": seen}


def _rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for name in TOYS:
        save(train(name, rank, 2), folder / f"{name}{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def of_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[State]]:
    """What each of two ranks ends with, by toy."""
    folder = tmp_path_factory.mktemp("ranks")
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=_rank, args=(rank, folder)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
        assert process.exitcode == 0
    return {name: [load(folder / f"{name}{rank}.pt") for rank in range(2)] for name in TOYS}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gan", 2),
        ("inner", 1),
        *(pytest.param(name, count, marks=pytest.mark.long) for name, count in (("gan", 1), ("inner", 2))),
    ],
)
def test_a_killed_run_ends_with_the_same_bits(
    cluster: None, of_ranks: dict[str, list[State]], tmp_path: Path, name: str, count: int
) -> None:
    """A worker is killed between two checkpoints; all learners go on, with their optimisers, averages and buffers."""
    said: list[str] = []
    workers = trainer.Workers(count, 1, False)
    final = trainer.run(
        partial(make, name, tmp_path, 6), recipe(), name="run", storage=tmp_path, workers=workers, say=said.append
    )
    assert (tmp_path / "killed").exists() and "going on from step 4/8" in said
    whole = train(name) if count == 1 else of_ranks[name][0]
    assert whole["step"] == 8 and equal(load(final), {key: value for key, value in whole.items() if key != "seen"})
    first = next(iter(whole["learners"].values()))
    assert equal(final_weights(whole), first["average"]) and not equal(first["average"], first["network"])


def test_two_ranks_learn_and_validate_what_one_does(of_ranks: dict[str, list[State]]) -> None:
    """Gradients of both learners are exchanged; three views are shared by two ranks and told by one."""
    first, second = of_ranks["gan"]
    assert equal(first["learners"], second["learners"]) and second["seen"] == {}
    alone = train("gan")
    seen = alone["seen"]
    for name, learner in alone["learners"].items():
        for key, value in learner["network"].items():
            torch.testing.assert_close(first["learners"][name]["network"][key], value, rtol=1e-4, atol=1e-5)
    assert list(first["seen"]) == list(seen) == [0, 2, 4, 6, 8]
    assert first["seen"][0] == seen[0]  # before any step to the bit
    assert first["seen"][8]["sum"] == pytest.approx(seen[8]["sum"], rel=1e-3)


def test_an_adversarial_step_is_a_generators_then_a_discriminators(tmp_path: Path) -> None:
    """Against the two steps written out: the discriminator sees what was made before the generator's step, detached."""
    task, other = Gan(tmp_path), Gan(tmp_path)
    generator, discriminator = other.generator, other.discriminator
    first, *rest = list(discriminator.parameters())
    g = torch.optim.Adam(generator.parameters(), betas=(0.9, 0.99))
    groups = [{"params": rest}, {"params": [first]}]
    d = torch.optim.AdamW(groups, betas=(0.5, 0.9), weight_decay=0.01)
    average = copy.deepcopy(generator)
    seen: list[dict[str, float]] = []
    chosen = recipe(iterations=5)
    loop.fit(task, chosen, on_log=lambda step, metrics: seen.append(metrics))
    for step in range(5):
        x = other.batch(step, range(4), CPU)["x"]
        discriminator.requires_grad_(False)
        generator.train(), discriminator.train()
        made = generator(x)
        near, adversarial = 0.1 * (made - x.square()).abs().mean(), -discriminator(made).mean()
        for options in g.param_groups:
            options["lr"] = cosine(step, 5, 0.02, 0.01)
        g.zero_grad()
        (near + adversarial).backward()
        g.step()
        for parameter in rest:
            parameter.requires_grad_(True)
        first.requires_grad_(step >= 3)
        real, fake = discriminator(x.square()), discriminator(made.detach())
        for options, factor in zip(d.param_groups, (1, 0.5), strict=True):
            options["lr"] = cosine(step, 5, 0.05 * factor, 0.01)
        d.zero_grad()
        ((1 - real).relu().mean() + (1 + fake).relu().mean()).backward()
        d.step()
        for mine, its in zip(average.parameters(), generator.parameters(), strict=True):
            mine.data.mul_(0.7).add_(0.3 * its.data)
        told = seen[step]
        assert told["loss/near"] == pytest.approx(near.item()) and told["loss/adversarial"] == pytest.approx(adversarial.item())
        assert told["loss"] == pytest.approx((near + adversarial).item(), rel=1e-5)
        assert told["discriminator/loss/real"] == pytest.approx((1 - real).relu().mean().item())
        assert told["discriminator/rate"] == pytest.approx(cosine(step, 5, 0.05, 0.01))
    for ours, theirs in ((task.generator, generator), (task.discriminator, discriminator), (task.learners[0].final, average)):
        for key, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value)


class Latent(nn.Module):
    """A head that learns on a body that was loaded from a file."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(8, 8)
        self.head = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


class Frozen(Toy):
    """Learns a head on a body that does not."""

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.network = Latent()
        self.learners = [Learner("head", self.network, recipe(), backbones=["body"])]

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        assert not self.network.body.training and self.network.head.training
        return {"square": (self.network(batch["x"]) - 1).square().mean()}


def test_backbones_are_named_and_not_written(tmp_path: Path) -> None:
    task = Frozen(tmp_path, frozen={"vae": "a" * 64})
    body = copy.deepcopy(task.network.body)
    states: list[State] = []
    whole = loop.fit(task, recipe(iterations=4), on_checkpoint=lambda step, state: states.append(copy.deepcopy(state)))
    learner = whole["learners"]["head"]
    assert set(learner["network"]) == set(learner["average"]) == {"head.weight", "head.bias"}
    assert len(learner["optimiser"]["state"]) == 2 and whole["frozen"] == {"vae": "a" * 64}
    assert equal(dict(task.network.body.state_dict()), dict(body.state_dict()))
    assert task.learners[0].final.body is task.network.body  # one in memory
    resumed = loop.fit(Frozen(tmp_path, frozen={"vae": "a" * 64}), recipe(iterations=4), resume=states[0])
    assert states[0]["step"] == 2 and equal(resumed, whole)
    with pytest.raises(VSRError, match="began with a file of vae whose sha256 begins with aaaaaaaaaaaa, not bbbbbbbbbbbb"):
        loop.fit(Frozen(tmp_path, frozen={"vae": "b" * 64}), recipe(iterations=4), resume=states[0])
    with pytest.raises(VSRError, match="of another network"):
        loop.fit(make("gan", tmp_path), recipe(iterations=4), resume=states[0])


class Line(Toy):
    """Fits a line, and remembers in what it did."""

    slope = 1.0

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(8, 8)
        self.learners = [Learner("line", self.network, recipe(ema=None))]
        self.seen: list[torch.dtype] = []

    def loss(self, learner: str, batch: Batch) -> dict[str, Tensor]:
        made = self.network(batch["x"])
        self.seen.append(made.dtype)
        return {"square": self.slope * (made.float() - batch["x"]).square().mean()}


def test_the_precision_is_the_recipes(tmp_path: Path) -> None:
    """Passes run in it, weights stay in single precision and learn nearly the same."""
    found = {}
    for precision in ("float32", "bfloat16", "float16"):
        task = Line(tmp_path)
        state = loop.fit(task, recipe(precision=precision, ema=None))
        assert set(task.seen) == {getattr(torch, precision)}
        found[precision] = state["learners"]["line"]["network"]["weight"]
        assert found[precision].dtype == torch.float32
        assert (state["learners"]["line"]["scaler"] is not None) == (precision == "float16")
    for precision in ("bfloat16", "float16"):
        assert not torch.equal(found[precision], found["float32"])
        torch.testing.assert_close(found[precision], found["float32"], atol=0.02, rtol=0.1)


def test_an_overflow_of_half_precision_leaves_a_step_out(tmp_path: Path) -> None:
    """The scale of the loss is halved until gradients are finite, which is kept in the state; a run that resumes goes on with it."""
    chosen = recipe(precision="float16", ema=None, iterations=12, validate_every=6)
    task = Line(tmp_path)
    task.slope = 50.0
    states: dict[int, State] = {}
    norms: list[float] = []
    whole = loop.fit(
        task,
        chosen,
        on_checkpoint=lambda step, state: states.update({step: copy.deepcopy(state)}),
        on_log=lambda step, metrics: norms.append(metrics["gradient"]),
    )
    scale = whole["learners"]["line"]["scaler"]["scale"]
    assert not math.isfinite(norms[0]) and math.isfinite(norms[-1]) and scale < 2**16
    other = Line(tmp_path)
    other.slope = 50.0
    assert equal(loop.fit(other, chosen, resume=states[6]), whole)
    hopeless = Line(tmp_path)
    hopeless.slope = float("nan")
    with pytest.raises(VSRError, match="the loss is nan"):
        loop.fit(hopeless, recipe(precision="float16", ema=None, iterations=30))
    with pytest.raises(VSRError, match="disagree on `precision`"):
        loop.fit(Line(tmp_path), recipe(ema=None, iterations=12), resume=states[6])


def test_optimisers_are_the_recipes(tmp_path: Path) -> None:
    """AdamW's decay takes from a weight without a gradient; Adam's goes through its own scaling."""
    task = Line(tmp_path)
    how = {"kind": "adamw", "betas": [0.9, 0.999], "decay": 0.1}
    task.learners = [Learner("line", task.network, schedule(optimiser=how, rate=0.5, final_rate=0.5, iterations=1))]
    task.slope = 1e-30
    before = task.network.weight.detach().clone()
    loop.fit(task, schedule(optimiser=how, rate=0.5, final_rate=0.5, iterations=1))
    torch.testing.assert_close(task.network.weight.detach(), before * (1 - 0.5 * 0.1), atol=1e-6, rtol=0)

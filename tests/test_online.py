"""Networks that restore a frame as soon as it is there: by steps, by clips, and whatever follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_networks import RESTORING, example, run, small

from models.parts.framewise import FramewiseNetwork
from models.parts.online import OnlineNetwork, State
from models.parts.rdg import CHANNELS
from models.parts.registry import kind
from pipelines.clips.levels import to_frame, to_tensor
from pipelines.restoring.restore import restore

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

ONLINE = [name for name in RESTORING if issubclass(kind(name), OnlineNetwork)]


@pytest.mark.parametrize("name", ONLINE)
def test_a_clip_is_its_steps(name: str) -> None:
    """Of one state that does not grow; nothing of an earlier clip is left in the network."""
    network = small(name).float()
    assert isinstance(network, OnlineNetwork) and network.causal
    clip, *priors = (x.float() for x in example(network, 7, 9, frames=5, count=2))
    expected = run(network, [clip, *priors])
    state: State | None = None
    sizes = []
    for t in range(5):
        now = {prior: planes[:, t] for prior, planes in zip(network.priors, priors, strict=True)}
        with torch.no_grad():
            restored, state = network.step(clip[:, t], state, **now)
        assert state is not None and torch.allclose(restored, expected[:, t], atol=1e-6)
        sizes.append(sum(part.numel() for part in state))
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("name", ONLINE)
def test_what_follows_changes_nothing_and_what_was_changes_what_is_recurrent(name: str) -> None:
    network = small(name)
    inputs = example(network, frames=4)
    expected = run(network, inputs)
    other = example(network, frames=4, seed=2)
    later = [torch.cat([one[:, :2], two[:, 2:]], dim=1) for one, two in zip(inputs, other, strict=True)]
    assert torch.equal(run(network, later)[:, :2], expected[:, :2])
    earlier = [torch.cat([two[:, :1], one[:, 1:]], dim=1) for one, two in zip(inputs, other, strict=True)]
    kept = torch.allclose(run(network, earlier)[:, 2], expected[:, 2], atol=1e-5)
    assert kept == isinstance(network, FramewiseNetwork)


@pytest.mark.parametrize("name", ["dap_64", "rdg"])
def test_a_clip_that_is_longer_than_a_pass_is_restored_as_one(name: str) -> None:
    network = small(name).float()
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (5, 8, 12, 3), dtype=np.uint8)
    priors = {name: generator.random((5, channels, 8, 12), dtype=np.float32) for name, channels in CHANNELS.items()}
    given = {name: priors[name] for name in network.priors}
    restored = list(restore(network, list(frames), window=3, overlap=1, priors=given))
    with torch.no_grad():
        whole = network(to_tensor(list(frames))[None], **{name: torch.tensor(prior)[None] for name, prior in given.items()})
    for one, other in zip(restored, whole[0], strict=True):
        assert abs(one.astype(int) - to_frame(other)).max() <= 1

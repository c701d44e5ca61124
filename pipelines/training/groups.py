"""What of a network learns, from when on and how fast."""

from __future__ import annotations

from torch import nn

from pipelines.errors import VSRError, unknown
from pipelines.params import Training
from pipelines.training.learners import Group


def groups(network: nn.Module, training: Training) -> list[Group]:
    """All parameters of a network, by the groups of its recipe (`pipelines.params.Training.groups`).

    Raises:
        VSRError: a prefix fits no parameter or stands there twice, or no parameter learns at first.
    """
    members: dict[str | None, list[nn.Parameter]] = {None: [], **{group.prefix: [] for group in training.groups}}
    if len(members) <= len(training.groups):
        prefixes = [group.prefix for group in training.groups]
        twice = next(prefix for prefix in prefixes if prefixes.count(prefix) > 1)
        raise VSRError(f"the prefix {twice!r} stands twice in `groups`: leave one of them out.")
    names = [name for name, _ in network.named_parameters()]
    for group in training.groups:
        if not any(name.startswith(group.prefix) for name in names):
            raise unknown("prefix of parameters", group.prefix, {_first(name) for name in names})
    for name, parameter in network.named_parameters():
        fitting = [group.prefix for group in training.groups if name.startswith(group.prefix)]
        members[max(fitting, key=len, default=None)].append(parameter)
    found = [Group(members[None])]
    for group in training.groups:
        # What never learns does so without gradients, which cost time and memory.
        found.append(Group(members[group.prefix], group.rate, group.frozen if group.rate else training.iterations))
    found = [group for group in found if group.parameters]
    frozen = min(group.frozen for group in found)
    if frozen:
        raise VSRError(f"no parameter learns in the first {frozen} steps: let some of `groups` learn from the first one.")
    return found


def _first(name: str) -> str:
    """The prefix of the parameters of the outermost module that has this one."""
    module, dot, _ = name.partition(".")
    return module + dot

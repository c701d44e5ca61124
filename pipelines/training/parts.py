"""What of a network learns, from when on and how fast."""

from __future__ import annotations

from torch import nn

from pipelines.errors import VSRError, unknown
from pipelines.params import Training
from pipelines.training.learners import Group


def groups(network: nn.Module, training: Training) -> list[Group]:
    """All parameters of a network, by the parts of its recipe (`pipelines.params.Training.parts`).

    Raises:
        VSRError: a prefix fits no parameter or stands there twice, or no parameter learns at first.
    """
    members: dict[str | None, list[nn.Parameter]] = {None: [], **{part.prefix: [] for part in training.parts}}
    if len(members) <= len(training.parts):
        prefixes = [part.prefix for part in training.parts]
        twice = next(prefix for prefix in prefixes if prefixes.count(prefix) > 1)
        raise VSRError(f"the prefix {twice!r} stands twice in `parts`: leave one of them out.")
    names = [name for name, _ in network.named_parameters()]
    for part in training.parts:
        if not any(name.startswith(part.prefix) for name in names):
            raise unknown("prefix of parameters", part.prefix, {_first(name) for name in names})
    for name, parameter in network.named_parameters():
        fitting = [part.prefix for part in training.parts if name.startswith(part.prefix)]
        members[max(fitting, key=len, default=None)].append(parameter)
    found = [Group(members[None])]
    for part in training.parts:
        # What never learns does so without gradients, which cost time and memory.
        found.append(Group(members[part.prefix], part.rate, part.frozen if part.rate else training.iterations))
    found = [group for group in found if group.parameters]
    frozen = min(group.frozen for group in found)
    if frozen:
        raise VSRError(f"no parameter learns in the first {frozen} steps: let some of `parts` learn from the first one.")
    return found


def _first(name: str) -> str:
    """The prefix of the parameters of the outermost module that has this one."""
    module, dot, _ = name.partition(".")
    return module + dot

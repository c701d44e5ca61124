"""How many threads compute, and how those that share the processor wait for each other."""

from __future__ import annotations

import os

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}
"""The environment in which torch is imported so that its threads sleep while they wait for each other.

By default they burn their turn on the processor. Where something else runs too, the one waited for then gets
none, and work takes ten times as long and more. They look up for some microseconds first, in which most small
steps end.
"""


def wait_passively() -> None:
    """Before torch is imported: see `PASSIVE`."""
    for name, value in PASSIVE.items():
        os.environ.setdefault(name, value)


def all_threads() -> int:
    """What torch takes when it is imported: `OMP_NUM_THREADS`, else one for each physical core that this process may use."""
    import psutil  # not where the command `vsr` starts

    chosen = os.environ.get("OMP_NUM_THREADS", "")
    usable = len(os.sched_getaffinity(0))
    return int(chosen) if chosen.isdigit() else min(psutil.cpu_count(logical=False) or usable, usable)

"""How threads that share the processor wait for each other."""

from __future__ import annotations

import os


def wait_passively() -> None:
    """Before torch is imported: let its threads sleep while they wait for each other.

    By default they burn their turn on the processor. Where something else runs too, the one waited for then gets
    none, and work takes ten times as long and more. They look up for some microseconds first, in which most small
    steps end.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")

"""The one exception that users are meant to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VSRError(Exception):
    """Something a user can mend: one sentence saying what is wrong, where, and what to do.

    The command line and the stages print it without a traceback and exit with status 1.
    """


LISTED = 60
"""Valid names that are listed; of more, the nearest alone are."""


def unknown(kind: str, name: str, known: Iterable[str]) -> VSRError:
    """The error for a misspelt name: says the nearest valid one and lists the others."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "there is none like it."
    listed = names if len(names) <= LISTED else [*(near or names[:5]), f"and {len(names) - len(near or names[:5])} others"]
    return VSRError(f"unknown {kind} {name!r}: {hint} Known: {', '.join(listed) or 'none'}.")

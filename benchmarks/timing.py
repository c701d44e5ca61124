"""How the benchmarks measure: alternate the candidates, keep each one's best."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def best(candidates: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Seconds of the fastest of `rounds` calls of each candidate, called in turn so that noise hits all alike."""
    seconds = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def table(seconds: Mapping[str, float], base: str, unit: float = 1.0, of: str = "call") -> None:
    """Print milliseconds per `of` and the ratio to `base`; `unit` is how many of them one call did."""
    for name, value in seconds.items():
        print(f"  {name:<42} {1000 * value / unit:10.3f} ms/{of} {value / seconds[base]:9.2f} x {base}")

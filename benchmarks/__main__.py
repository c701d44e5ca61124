"""Runs every benchmark and prints its table: `python -m benchmarks [name …]`."""

from __future__ import annotations

import importlib
import sys

NAMES = ("crops", "degradations", "workers", "starting", "flows", "deform", "upsamplers", "noop", "report")

for name in sys.argv[1:] or NAMES:
    module = importlib.import_module(f"benchmarks.{name}")
    print(f"\n{(module.__doc__ or name).strip().splitlines()[0]}")
    module.main()

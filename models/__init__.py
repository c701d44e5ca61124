"""Networks for video super-resolution: pure PyTorch.

Every module of this package that holds a network registers it on import, so that a new network is one
file here and nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil

import torch

from models.checkpoints import load, save
from models.parts.registry import Network, create, names

# Single precision is single precision: convolutions on GPUs would keep 10 bits of it by default.
torch.backends.cudnn.allow_tf32 = False

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Network", "create", "load", "names", "save"]

"""Networks for video super-resolution: pure PyTorch.

A file of this package that registers a network under its own name is all that a new network needs. It is imported when that
network is asked for.
"""

from __future__ import annotations

import torch

from models.checkpoints import load, save
from models.parts.registry import Network, create, names

# Single precision is single precision: convolutions on GPUs would keep 10 bits of it by default.
torch.backends.cudnn.allow_tf32 = False

__all__ = ["Network", "create", "load", "names", "save"]

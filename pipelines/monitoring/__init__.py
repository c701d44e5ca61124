"""What a training says of itself. Nothing here changes what is learnt, so that no training depends on it."""

import numpy as np

Metrics = dict[str, float]
Images = dict[str, np.ndarray]
"""Frames to look at by name, (H, W, 3) uint8 RGB."""

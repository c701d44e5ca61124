"""The global patch search of DCGU: for every patch of LR features the one most like it, wherever that lies.

Source: Huang et al., "Arbitrary-Scale Video Super-Resolution Guided by Dynamic Context", AAAI 2024, Eq. 4 and 5; hashing is
that of Andoni et al., "Practical and Optimal LSH for Angular Distance", NIPS 2015, Sec. 3.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

EMBEDDING = 16
"""Channels in which patches, and pixels, are compared."""

CHUNK = 64
"""Patches next to each other by their hashes, among which they are compared."""

HASHES = 32
"""At most so many directions to hash by, which make twice as many hashes."""

SEED = 0
"""Of the directions, which are the same in every pass, so that a clip is always restored the same."""


class PatchSearch(nn.Module):
    """Finds for every patch the other patch with the highest attention.

    The paper leaves sizes open. Here one other patch is found (its k = 1); pixels are embedded by one layer for both sides of
    the comparison, of which patches are linear functions; one round of hashing sorts by the nearest of up to `2 * HASHES`
    directions. The last chunk reaches back into the one before it when patches are too few to fill it.

    Args:
        channels: of the features.
        patch: side of a patch in pixels.
    """

    def __init__(self, channels: int, patch: int) -> None:
        super().__init__()
        self.embed = nn.Linear(channels, EMBEDDING)
        self.phi = nn.Linear(patch * patch * EMBEDDING, EMBEDDING)
        # A constant added to what all are compared with would change nothing.
        self.theta = nn.Linear(patch * patch * EMBEDDING, EMBEDDING, bias=False)

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Search all patches of a frame.

        Args:
            patches: (N, M, pixels, C).

        Returns:
            (N, M) int64, which patch of the frame each found, never itself unless it is the only one; and (N, M), its
            attention among those compared, in (0, 1].
        """
        embedded = self.embed(patches).flatten(2)
        queries, keys = self.phi(embedded), self.theta(embedded)
        count = patches.shape[1]
        size = min(count, CHUNK)
        order = hashes(patches.detach().flatten(2)).argsort(dim=1, stable=True)
        chunks = -(-count // size)
        start = torch.arange(chunks, device=patches.device).mul(size).clamp(max=count - size)
        members = order[:, start[:, None] + torch.arange(size, device=patches.device)]
        of_clip = torch.arange(patches.shape[0], device=patches.device)[:, None, None]
        scores = queries[of_clip, members] @ keys[of_clip, members].mT / math.sqrt(EMBEDDING)
        itself = torch.eye(size, dtype=torch.bool, device=patches.device)
        attention, best = scores.masked_fill(itself, torch.finfo(scores.dtype).min).softmax(dim=-1).max(dim=-1)
        found = members.gather(-1, best)
        rest = count - (chunks - 1) * size
        attention, found = (torch.cat([x[:, :-1].flatten(1), x[:, -1, size - rest :]], dim=1) for x in (attention, found))
        return torch.zeros_like(found).scatter(1, order, found), torch.zeros_like(attention).scatter(1, order, attention)


def hashes(vectors: Tensor) -> Tensor:
    """Which of a few random directions and their opposites every vector is nearest to in angle (Eq. 4).

    A vector's length changes nothing of this.

    Args:
        vectors: (N, M, D).

    Returns:
        (N, M) int64.
    """
    directions = _directions(vectors.shape[2], min(-(-vectors.shape[1] // CHUNK), HASHES))
    along = vectors @ directions.to(vectors)
    return torch.cat([along, -along], dim=-1).argmax(dim=-1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)
def _directions(size: int, count: int) -> Tensor:
    """(size, count) independent normal numbers, drawn on the CPU: the same on every device."""
    generator = torch.Generator("cpu").manual_seed(SEED)
    return torch.randn(size, count, generator=generator, dtype=torch.float64, device="cpu")

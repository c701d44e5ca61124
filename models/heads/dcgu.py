"""Dynamic context-guided upsampling: filters at any scale whose points are searched for, and weighted, by what is seen.

Source: Huang et al., "Arbitrary-Scale Video Super-Resolution Guided by Dynamic Context", AAAI 2024, Eq. 2 to 7. What the
paper leaves open is chosen here as the docstrings say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.heads.mlp import MLP
from models.heads.patches import Span, by_patch, in_order, mirrored, pairs, slots, span
from models.heads.ranking import ranked
from models.heads.search import EMBEDDING, PatchSearch
from models.parts.any_scale import Head, Size
from models.parts.blocks import full_precision, leaky_relu
from models.parts.registry import misspelt, positive, switches
from models.parts.resize import imresize_to
from models.parts.warp import flow_warp

CONTEXTS = ("confidence", "bicubic")

SHARPNESS = 16.0
"""What the cosine of two embedded features is multiplied by."""

TINY = 1e-24
"""Squared length below which what has no direction is not made longer."""

ALIKE = 1 - 1e-5
"""Of a similarity, what is as similar."""

SOFTNESS = 0.01
"""How far a similarity is from the threshold, in training, where it counts 73 %."""

CHUNK = 2**13
"""HR points that are filtered at once on a processor: as many as keep their features in its cache."""

LARGE_CHUNK = 2**20
"""The same elsewhere: enough to keep a device busy."""

LEARNING_CHUNK = 2**17
"""The same there where gradients are needed, for which all terms of the sums are kept at a time, some kB per point."""

TABLE = 2**27
"""Numbers of spatial filters that are kept: those of up to 80 000 distinct offsets at the published sizes."""


class Plan(NamedTuple):
    """What all frames of a clip share; numbers of HR points are those of one patch, (1, 1, points), where all are alike."""

    size: Size
    rows: Span
    columns: Span
    phase: Tensor
    """(rows of patches, patches of a row, points of a patch) int64: which of the pairs of offsets."""
    place: Tensor
    """As `phase`: which pixel of its patch the point lies in."""
    scale: float
    filters: Tensor | None = None
    """(neighbours + 1, phases, C), see `DCGU._spatial`; None where they are too many to be kept."""


class DCGU(Head):
    """Every HR point as a sum of the LR points most like it, out of the patch it lies in and of another one found anywhere.

    Of the choices that the paper leaves open:

    - What is carried to the next frame is the HR features before the layer that makes colours of them, from the first frame
      to the last; the first has no context but its own enlarged features.
    - The confidence is one channel, of a 1x1 convolution to 16 channels, a leaky ReLU and a 3x3 convolution that starts
      at 0 with a bias of 2: in favour of the present.
    - Patches are of 4 pixels, one is found for each; features are mirrored to whole patches. Points are compared in 16
      channels, by 16 times their cosine; both embeddings begin as the same. (By the scaled dot product, of embeddings that
      have nothing to do with each other at first, the points that are most alike lie anywhere, and short trainings from a
      network for one scale learn nothing.)
    - The threshold is a share of the largest similarity, by a perceptron 32-16-1 of the sorted similarities, and begins at 2 %.
      In training points are weighted with a sigmoid about it, else they count or do not. The point most alike always counts.
    - The spatial filter has 25 weights per channel, for the LR points of the square about the one that the HR point lies in:
      from a perceptron of the point's offset in its LR pixel (down, along) and of 1 / r, r the root of the scales' product.
      Beyond that square, and so in the other patch, it is 0, and points count by their similarity alone. (Weights by rank of
      similarity instead of by place would not know which point lies on which side, and could not sharpen.)
    - The patch found is a discrete choice: the attention it was found with reaches the sum as a factor whose value is 1
      and whose gradient is that of the attention's logarithm.

    Args:
        channels: of the features.
        hidden: size of the perceptron's hidden layer that gives spatial filters.
        neighbours: weights of a spatial filter, an odd number squared; no more points are summed, but for those as similar as
            the last.
        patch: side of a patch in LR pixels.
        context: "confidence" as published, or "bicubic": the enlarged features alone.
        lps: whether points are searched for; if not, they are the square about the LR pixel, and those beyond the frame are 0.
        gate: whether points below the threshold are left out.
        gps: whether there are those of another patch.
        tbfm: whether the similarity is added to the filter.

    Raises:
        ValueError: an option has no such value, or not with the others.
    """

    slots: Tensor

    def __init__(
        self,
        channels: int,
        hidden: int,
        neighbours: int,
        patch: int,
        context: str,
        lps: bool,
        gate: bool,
        gps: bool,
        tbfm: bool,
    ) -> None:
        super().__init__()
        positive("dcgu", channels=channels, hidden=hidden, neighbours=neighbours, patch=patch)
        switches("dcgu", lps=lps, gate=gate, gps=gps, tbfm=tbfm)
        if context not in CONTEXTS:
            raise ValueError(misspelt("context of dcgu", str(context), CONTEXTS))
        if not lps and (gate or gps):
            raise ValueError("without 'lps', dcgu has no points to choose from: set 'gate' and 'gps' to false too.")
        side = math.isqrt(neighbours)
        if side * side != neighbours or side % 2 == 0:
            raise ValueError(f"{neighbours} neighbours of dcgu are no square about a pixel: give 9, 25 or 49.")
        candidates = patch * patch * (1 + gps)
        self.patch = patch
        self.neighbours = neighbours
        self.lps = lps
        self.reach = 0 if lps else side // 2
        self.register_buffer("slots", slots(patch, side, self.reach), persistent=False)
        self.filters = MLP(3, [hidden], neighbours * channels)
        self.colours = nn.Conv2d(channels, 3, 3, padding=1)
        self.guided = lps or tbfm
        self.confidence: nn.ModuleList | None = None
        if self.guided:
            self.query = nn.Linear(channels, EMBEDDING, bias=False)
            self.key = nn.Linear(channels, EMBEDDING, bias=False)
            with torch.no_grad():
                self.key.weight.copy_(self.query.weight)
            if context == "confidence":
                self.confidence = nn.ModuleList([nn.Conv2d(2 * channels, EMBEDDING, 1), nn.Conv2d(EMBEDDING, 1, 3, padding=1)])
                nn.init.zeros_(self.confidence[1].weight)  # type: ignore[arg-type]
                nn.init.constant_(self.confidence[1].bias, 2.0)  # type: ignore[arg-type]
        self.threshold: MLP | None = None
        if gate:
            self.threshold = MLP(candidates, [16], 1)
            nn.init.constant_(self.threshold.last.bias, math.log(0.02 / 0.98))
        self.search = PatchSearch(channels, patch) if gps else None
        self.delta = nn.Parameter(torch.zeros(())) if tbfm else None

    @property
    def last(self) -> nn.Module:
        return self.colours

    def frames(self, features: Iterator[Tensor], to_previous: Tensor, size: Size) -> Iterator[Tensor]:
        height, width = to_previous.shape[-2:]
        with full_precision(to_previous.device):
            plan = self._plan(height, width, size)
        past: Tensor | None = None
        for t, x in enumerate(features):
            with full_precision(x.device):
                x = x.to(self.colours.weight.dtype)
                query = None
                if self.guided:
                    query = self._query(x, past, to_previous[:, t - 1] if t > 0 else None, size)
                residual, past = self._filtered(x, query, plan)
            yield residual

    def _plan(self, height: int, width: int, size: Size) -> Plan:
        weight = self.colours.weight
        rows, columns = span(height, size[0], self.patch, weight), span(width, size[1], self.patch, weight)
        phase = pairs(rows.phase, columns.phase, len(columns.offsets))
        place = pairs(rows.lower, columns.lower, self.patch)
        if rows.alike and columns.alike:
            phase, place = phase[:1, :1], place[:1, :1]
        plan = Plan(size, rows, columns, phase, place, math.sqrt(size[0] * size[1] / (height * width)))
        phases = len(rows.offsets) * len(columns.offsets)
        if phases * self.filters.last.out_features > TABLE:
            return plan
        return plan._replace(filters=self._spatial(torch.arange(phases, device=weight.device), plan))

    def _spatial(self, phases: Tensor, plan: Plan) -> Tensor:
        """The spatial filters of P phases, (P,) to (neighbours + 1, P, C), the last for what lies beyond them."""
        down = plan.rows.offsets[phases // len(plan.columns.offsets)]
        along = plan.columns.offsets[phases % len(plan.columns.offsets)]
        given = torch.stack([down, along, torch.full_like(down, 1 / plan.scale)], dim=1)
        return F.pad(self.filters(given).unflatten(1, (self.neighbours, -1)).transpose(0, 1), (0, 0, 0, 0, 0, 1))

    def _embedding(self) -> tuple[Tensor, Tensor]:
        """What is needed of enlarged features, and of HR features in the frame after: both are enlarged or warped, but linear
        layers may come first, as they change nothing of pixels' places. (channels of both, C)."""
        if not self.guided:
            none = self.colours.weight.new_zeros(0, self.colours.in_channels)
            return none, none
        weight = self.query.weight
        if self.confidence is None:
            return weight, weight[:0]
        now, then = self.confidence[0].weight.flatten(1).chunk(2, dim=1)  # type: ignore[operator]
        return torch.cat([weight, now]), torch.cat([weight, then])

    def _query(self, features: Tensor, past: Tensor | None, flow: Tensor | None, size: Size) -> Tensor:
        """What HR points are compared by: the context of Eq. 3, embedded.

        Enlarging, warping, mixing and embedding are linear: embedding first gives the same with fewer channels.

        Args:
            features: (N, C, h, w).
            past: (N, 2 * EMBEDDING, H, W), HR features of the frame before, embedded; None in the first.
            flow: (N, 2, h, w), to that frame in LR pixels.
            size: of the output.

        Returns:
            (N, EMBEDDING, H, W).
        """
        weight = self._embedding()[0][..., None, None]
        if self.confidence is None or past is None or flow is None:
            return imresize_to(F.conv2d(features, weight[:EMBEDDING]), size)
        first, second = self.confidence
        bias = torch.cat([torch.zeros_like(first.bias), first.bias])  # type: ignore[arg-type, list-item]
        query, judged = imresize_to(F.conv2d(features, weight, bias), size).split(EMBEDDING, dim=1)
        factors = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])[:, None, None]
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factors
        past_query, past_judged = flow_warp(past, flow).split(EMBEDDING, dim=1)
        confidence = second(leaky_relu(judged + past_judged)).sigmoid()
        return torch.lerp(past_query, query, confidence)

    def _filtered(self, features: Tensor, query: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
        """What is added to the frame, (N, 3, H, W), and of the HR features what the frame after needs.

        HR features are not put in order: what needs them are linear layers, which are cheaper while they are in the cache.
        The 3x3 convolution is one of points with each of its pixels, added where these would see them.
        """
        areas = self._areas(features)
        keys = F.normalize(self.key(areas), dim=-1) * SHARPNESS if self.guided else None
        if keys is not None and self.search is not None:
            areas, keys = self._joined(areas, keys, self.search)
        taps = self.colours.weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)
        weights = torch.cat([taps, self._embedding()[1]])
        if query is not None:
            query = by_patch(query, plan.rows, plan.columns)
        (down, tall), (along, wide) = plan.rows.pixels.shape, plan.columns.pixels.shape
        made = areas.new_empty(len(areas), len(weights), down, tall, along, wide)

        def chunk(clips: slice, rows: slice, columns: slice) -> Tensor:
            seen = areas[clips, rows, columns]
            shape = seen.shape[:3]
            compared = None
            if keys is not None and query is not None:
                wanted = query[clips, :, rows, :, columns].permute(0, 2, 4, 1, 3, 5).flatten(4).flatten(0, 2)
                compared = wanted, keys[clips, rows, columns].flatten(0, 2)
            phase, place = plan.phase, plan.place
            if phase.shape[:2] != (1, 1):
                phase, place = (x[rows, columns].expand(*shape, -1).flatten(0, 2) for x in (phase, place))
            else:
                phase, place = phase[0], place[0]
            sums = self._sums(seen.flatten(0, 2), compared, phase, place, plan)
            found = weights @ sums.flatten(0, 1).T
            return found.view(-1, *shape, tall, wide).permute(1, 0, 2, 4, 3, 5)

        for clips, rows, columns in _parts(areas.shape[:3], tall * wide, areas.device):
            if torch.is_grad_enabled():
                # Of all that leads to HR features only what it is made of is kept for the gradients.
                part = checkpoint(chunk, clips, rows, columns, use_reentrant=False, preserve_rng_state=False)
            else:
                part = chunk(clips, rows, columns)
            made[clips, :, rows, :, columns] = part
        made = in_order(made, plan.rows, plan.columns)
        spread = F.fold(made[:, : len(taps)].flatten(2), plan.size, kernel_size=3, padding=1)
        return spread + self.colours.bias[:, None, None], made[:, len(taps) :]  # type: ignore[index]

    @staticmethod
    def _joined(areas: Tensor, keys: Tensor, search: PatchSearch) -> tuple[Tensor, Tensor]:
        """The points and keys of every patch, and those of the one found for it."""
        patches, compared = areas.flatten(1, 2), keys.flatten(1, 2)
        found, attention = search(patches)
        clip = torch.arange(len(areas), device=areas.device)[:, None]
        other = patches[clip, found]
        if attention.requires_grad:
            other = other * (attention / attention.detach())[..., None, None]
        shape = areas.shape[1:3]
        return (
            torch.cat([patches, other], dim=2).unflatten(1, shape),
            torch.cat([compared, compared[clip, found]], dim=2).unflatten(1, shape),
        )

    def _areas(self, features: Tensor) -> Tensor:
        """Features patch by patch, with what surrounds these where points are not searched for: (N, C, h, w) to
        (N, rows of patches, patches of a row, pixels, C)."""
        height, width = features.shape[2:]
        below, right = -height % self.patch, -width % self.patch
        if self.lps:
            features = mirrored(mirrored(features, 2, height + below), 3, width + right)
        else:
            features = F.pad(features, (self.reach, self.reach + right, self.reach, self.reach + below))
        side = self.patch + 2 * self.reach
        areas = features.unfold(2, side, self.patch).unfold(3, side, self.patch)
        return areas.permute(0, 2, 3, 4, 5, 1).flatten(3, 4)

    def _sums(self, areas: Tensor, compared: tuple[Tensor, Tensor] | None, phase: Tensor, place: Tensor, plan: Plan) -> Tensor:
        """HR features of the P points of B patches (Eq. 2 and 7).

        Args:
            areas: (B, K, C), the LR points they may be made of, those of their own patch first.
            compared: (B, EMBEDDING, P), what HR points are compared by, see `_query`, and (B, K, EMBEDDING), what LR points
                are, of length `SHARPNESS`.
            phase: (B or 1, P), see `Plan`.
            place: likewise.
            plan: of the clip.

        Returns:
            (B, P, C).
        """
        count, _, channels = areas.shape
        points = phase.shape[1]
        slot = self.slots[:, place]
        similarity = kept = None
        if compared is not None:
            query, keys = compared
            unit = query * query.square().sum(dim=1, keepdim=True).clamp_min(TINY).rsqrt()
            similarity = (keys @ unit).softmax(dim=1)  # Eq. 6
            if self.lps:
                kept = self._kept(similarity)
            else:
                similarity = similarity * (slot < self.neighbours).transpose(0, 1)
                similarity = similarity / similarity.sum(dim=1, keepdim=True)
        filters = plan.filters
        if filters is None:
            filters = self._spatial(phase.expand(count, -1).flatten(), plan)
            phase = torch.arange(count * points, device=phase.device).view(count, points)
        table = filters.flatten(0, 1)
        rows = slot * filters.shape[1] + phase
        out = areas.new_zeros(count, points, channels)
        # Sliced at once, the slices' gradients are put together at once.
        seen, counts = areas[:, :, None].unbind(1), None if kept is None else kept[..., None].unbind(1)
        for k, row in enumerate(rows.unbind()):
            point = seen[k] if counts is None else seen[k] * counts[k]
            out.addcmul_(point, table.index_select(0, row.flatten()).view(-1, points, channels))
        if similarity is not None and self.delta is not None:
            shares = self.delta * (similarity if kept is None else similarity * kept)
            out.baddbmm_(shares.mT, areas)
        return out

    def _kept(self, similarity: Tensor) -> Tensor | None:
        """How much LR points count, (B, K, P) in [0, 1] of the same; None where all of them do."""
        if self.threshold is None and similarity.shape[1] <= self.neighbours:
            return None
        ordered = similarity.gather(1, ranked(similarity))
        best = ordered[:, :1]
        # Those that differ by rounding alone are ranked by their place.
        last = ordered[:, self.neighbours - 1, None] * ALIKE if ordered.shape[1] > self.neighbours else torch.zeros_like(best)
        if self.threshold is None:
            return (similarity >= last).to(similarity)
        threshold = self.threshold(ordered.mT).mT.sigmoid() * best
        if not self.training:
            return (similarity >= torch.maximum(threshold, last)).to(similarity)
        soft = ((similarity - threshold) / SOFTNESS).sigmoid()
        return torch.where(similarity < best * ALIKE, soft, 1.0) * (similarity >= last)


def _parts(shape: Sequence[int], points: int, device: torch.device) -> Iterator[tuple[slice, slice, slice]]:
    """Clips, rows of patches and patches of a row that are filtered at once: whole ones as long as they are few.

    Args:
        shape: how many there are of the three.
        points: of a patch.
        device: where they are filtered.
    """
    most = CHUNK if device.type == "cpu" else LEARNING_CHUNK if torch.is_grad_enabled() else LARGE_CHUNK
    most = max(1, most // points)
    steps = [1, 1, 1]
    for dim in (2, 1, 0):
        # As equal as can be, so that none is left that is small.
        steps[dim] = -(-shape[dim] // -(-shape[dim] // most))
        most = max(1, most // shape[dim])
    ranges = (range(0, length, step) for length, step in zip(shape, steps, strict=True))
    for starts in product(*ranges):
        clips, rows, columns = (slice(start, start + step) for start, step in zip(starts, steps, strict=True))
        yield clips, rows, columns

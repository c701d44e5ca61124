"""Dynamic context-guided upsampling: filters at any scale whose points are searched for, and weighted, by what is seen.

Source: Huang et al., "Arbitrary-Scale Video Super-Resolution Guided by Dynamic Context", AAAI 2024, Eq. 2 to 7. What the
paper leaves open is chosen here as the docstrings say.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from models.heads.deformable import Offsets
from models.heads.metasr import MetaSR
from models.heads.mlp import MLP
from models.heads.patches import Group, Lines, counterparts, grouped, in_patches, in_place, lines, mirrored, patch_of
from models.heads.search import EMBEDDING, PatchSearch
from models.heads.weighing import Weighed
from models.parts.any_scale import Head, Size
from models.parts.blocks import full_precision, leaky_relu
from models.parts.coordinates import Axis, axis
from models.parts.registry import misspelt, positive, switches
from models.parts.resize import imresize_to
from models.parts.warp import flow_warp

CONTEXTS = ("confidence", "bicubic", "metasr")
POINTS = ("searched", "square", "deformable")
RANGES = ("similarity", "distance", "none")

SHARPNESS = 16.0
"""What the cosine of two embedded features is multiplied by."""

TINY = 1e-24
"""Squared length below which what has no direction is not made longer."""

ALIKE = 1 - 1e-5
"""Of a similarity, what is as similar."""

CHUNK = 2**13
"""HR points that are filtered at once on a processor: as many as keep their features in its cache."""

LARGE_CHUNK = 2**20
"""The same elsewhere: enough to keep a device busy."""

LEARNING_CHUNK = 2**17
"""The same there where gradients are needed, for which all terms of the sums are kept at a time, some kB per point."""

FOUND = 3
"""Side of the square of points about the counterpart of an LR pixel in the patch found."""

TABLE = 2**27
"""Numbers of spatial filters that are kept: those of up to 80 000 distinct offsets at the published sizes."""


class Plan(NamedTuple):
    """What all frames of a clip share."""

    size: Size
    rows: Axis
    columns: Axis
    down: list[Lines]
    along: list[Lines]
    groups: list[list[Group]]
    """For every one of `down`, one for every one of `along`."""
    order: tuple[Tensor, Tensor]
    """Where among the outputs of `down` and `along` all rows and columns are, see `lines`."""
    scale: float
    filters: Tensor | None = None
    """(neighbours + 1, phases, C), see `DCGU._spatial`; None where they are too many to be kept."""


class DCGU(Head):
    """Every HR point as a sum of the LR points most like it: of those about the one it lies in, and about another found anywhere.

    Of the choices that the paper leaves open:

    - What is carried to the next frame is the HR features before the layer that makes colours of them, from the first frame
      to the last; the first has no context but its own enlarged features.
    - The confidence is one channel, of a 1x1 convolution to 16 channels, a leaky ReLU and a 3x3 convolution that starts
      at 0 with a bias of 2: in favour of the present.
    - The local patch about a point is the square about the LR pixel that it lies in, as large as the spatial filter. Of the patch
      found it sees the square about the pixel with the same place, so that a point found has the offset, and the spatial weight,
      of the one that it stands beside. Features are mirrored beyond the frame.
    - The patches that are searched for are of 4 pixels; one is found for each. Points are compared in 16
      channels, by 16 times their cosine; both embeddings begin as the same. (By the scaled dot product, of embeddings that
      have nothing to do with each other at first, the points that are most alike lie anywhere, and short trainings from a
      network for one scale learn nothing.)
    - The threshold is a share of the largest similarity, by a perceptron with 16 hidden units of all similarities, and begins at
      2 %. Points count or do not, in training too; there the gradient is that of s / (s + T), which is as wide as the threshold T.
    - The spatial filter has 25 weights per channel, from a perceptron of the point's offset in its LR pixel (down, along) and of
      1 / r, r the root of the scales' product. It is a filter over the points that are there: two of one offset share its weight,
      and the weight of an offset without any goes to all that count; in both by their similarity, or evenly where that is not
      to modulate. Features that are the same everywhere are so in HR, whatever is found and left out.
    - The patch found is a discrete choice: the attention it was found with reaches the sum as a factor whose value is 1
      and whose gradient is that of the attention's logarithm.

    Args:
        channels: of the features.
        hidden: size of the perceptron's hidden layer that gives spatial filters.
        neighbours: weights of a spatial filter, an odd number squared; no more points are summed, but for those as similar as
            the last.
        patch: side in LR pixels of the patches that are searched for.
        context: what HR points are compared by: "confidence" as published; "bicubic", the enlarged features alone; "metasr",
            features enlarged by `MetaSR` (Table 4).
        points: "searched" for as published; "square", those about the LR pixel, which are compared with nothing; "deformable",
            moved from there by offsets that are predicted from the context (Table 5).
        gate: whether points below the threshold are left out.
        gps: whether there are those about another pixel.
        range_filter: what is added to the spatial filter: "similarity" as published, normalised among the points that count;
            "distance", the negative one of features and context; or "none" (Table 6).

    Raises:
        ValueError: an option has no such value, or not with the others.
    """

    inner: Tensor

    def __init__(
        self,
        channels: int,
        hidden: int,
        neighbours: int,
        patch: int,
        context: str,
        points: str,
        gate: bool,
        gps: bool,
        range_filter: str,
    ) -> None:
        super().__init__()
        positive("dcgu", channels=channels, hidden=hidden, neighbours=neighbours, patch=patch)
        switches("dcgu", gate=gate, gps=gps)
        for name, value, known in (
            ("context", context, CONTEXTS),
            ("points", points, POINTS),
            ("range_filter", range_filter, RANGES),
        ):
            if value not in known:
                raise ValueError(misspelt(f"{name} of dcgu", str(value), known))
        if points != "searched" and (gate or gps or range_filter == "distance"):
            raise ValueError(
                "dcgu chooses from points and measures distances where they are searched for: "
                "without, set 'gate' and 'gps' to false and 'range_filter' to none."
            )
        if points == "square" and range_filter != "none":
            raise ValueError("points of a square are compared with nothing: set 'range_filter' of dcgu to none.")
        if range_filter == "distance" and context == "metasr":
            raise ValueError("dcgu's context of metasr has no features to measure distances from: give another 'context'.")
        side = math.isqrt(neighbours)
        if side * side != neighbours or side % 2 == 0:
            raise ValueError(f"{neighbours} neighbours of dcgu are no square about a pixel: give 9, 25 or 49.")
        self.side = side
        self.found = min(FOUND, side)
        margin = (side - self.found) // 2
        inner = [y * side + x for y, x in product(range(margin, side - margin), repeat=2)]
        self.register_buffer("inner", torch.tensor(inner), persistent=False)
        self.places = [[k] for k in range(neighbours)]
        if gps:
            for j, k in enumerate(inner):
                self.places[k].append(neighbours + j)
        self.patch = patch
        self.neighbours = neighbours
        self.range_filter = range_filter
        self.filters = MLP(3, [hidden], neighbours * channels)
        self.colours = nn.Conv2d(channels, 3, 3, padding=1)
        self.guided = points != "square"
        self.confidence: nn.ModuleList | None = None
        self.enlarged: MetaSR | None = None
        if self.guided:
            self.key = nn.Linear(channels, EMBEDDING, bias=False)
            if context == "metasr":
                self.enlarged = MetaSR(channels, hidden, EMBEDDING)
            else:
                self.query = nn.Linear(channels, EMBEDDING, bias=False)
                with torch.no_grad():
                    self.query.weight.copy_(self.key.weight)
            if context == "confidence":
                self.confidence = nn.ModuleList([nn.Conv2d(2 * channels, EMBEDDING, 1), nn.Conv2d(EMBEDDING, 1, 3, padding=1)])
                nn.init.zeros_(self.confidence[1].weight)  # type: ignore[arg-type]
                nn.init.constant_(self.confidence[1].bias, 2.0)  # type: ignore[arg-type]
        self.threshold: MLP | None = None
        if gate:
            self.threshold = MLP(neighbours + gps * len(self.inner), [16], 1)
            nn.init.constant_(self.threshold.last.bias, math.log(0.02 / 0.98))
        self.search = PatchSearch(channels, patch) if gps else None
        self.offsets = Offsets(side) if points == "deformable" else None
        self.delta = nn.Parameter(torch.zeros(())) if range_filter != "none" else None

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
                if self.offsets is not None and query is not None:
                    residual, past = self._moved(x, query, self.offsets, plan)
                else:
                    residual, past = self._filtered(x, query, plan)
            yield residual

    def _plan(self, height: int, width: int, size: Size) -> Plan:
        weight = self.colours.weight
        rows, columns = axis(height, size[0]), axis(width, size[1])
        # Few points are best weighted all at once.
        apart = size[0] * size[1] > CHUNK
        (down, to_row), (along, to_column) = lines(rows, apart), lines(columns, apart)
        device = weight.device
        groups = [[grouped(x, y, width, size[1], len(columns.offsets)) for y in along] for x in down]
        groups = [[Group(*(part.to(device) for part in group)) for group in row] for row in groups]
        rows, columns = rows.like(weight), columns.like(weight)
        scale = math.sqrt(size[0] * size[1] / (height * width))
        plan = Plan(size, rows, columns, down, along, groups, (to_row.to(device), to_column.to(device)), scale)
        phases = len(rows.offsets) * len(columns.offsets)
        if phases * self.filters.last.out_features > TABLE:
            return plan
        return plan._replace(filters=self._spatial(torch.arange(phases, device=weight.device), plan))

    def _spatial(self, phases: Tensor, plan: Plan) -> Tensor:
        """The spatial filters of P phases and their sums, (P,) to (neighbours + 1, P, C)."""
        down = plan.rows.offsets[phases // len(plan.columns.offsets)]
        along = plan.columns.offsets[phases % len(plan.columns.offsets)]
        given = torch.stack([down, along, torch.full_like(down, 1 / plan.scale)], dim=1)
        filters = self.filters(given).unflatten(1, (self.neighbours, -1)).transpose(0, 1)
        return torch.cat([filters, filters.sum(dim=0, keepdim=True)])

    def _embedding(self) -> tuple[Tensor, Tensor]:
        """What is needed of enlarged features, and of HR features in the frame after: both are enlarged or warped, but linear
        layers may come first, as they change nothing of pixels' places. (channels of both, C)."""
        none = self.colours.weight.new_zeros(0, self.colours.in_channels)
        if not self.guided or self.enlarged is not None:
            return none, none
        weight = self.query.weight
        if self.range_filter == "distance":
            weight = torch.cat([weight, torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)])
        if self.confidence is None:
            return weight, none
        now, then = self.confidence[0].weight.flatten(1).chunk(2, dim=1)  # type: ignore[operator]
        return torch.cat([weight, now]), torch.cat([weight, then])

    def _query(self, features: Tensor, past: Tensor | None, flow: Tensor | None, size: Size) -> Tensor:
        """What HR points are compared by: the context of Eq. 3, embedded.

        Enlarging, warping, mixing and embedding are linear: embedding first gives the same with fewer channels.

        Args:
            features: (N, C, h, w).
            past: (N, Q + EMBEDDING, H, W), HR features of the frame before, embedded; None in the first.
            flow: (N, 2, h, w), to that frame in LR pixels.
            size: of the output.

        Returns:
            (N, Q, H, W): EMBEDDING channels and, where distances are measured, the context itself.
        """
        if self.enlarged is not None:
            return self.enlarged(features, size)
        weight = self._embedding()[0][..., None, None]
        if self.confidence is None:
            return imresize_to(F.conv2d(features, weight), size)
        first, second = self.confidence
        channels = len(weight) - EMBEDDING
        if past is None or flow is None:
            return imresize_to(F.conv2d(features, weight[:channels]), size)
        bias = F.pad(first.bias, (channels, 0))  # type: ignore[arg-type]
        query, judged = imresize_to(F.conv2d(features, weight, bias), size).split([channels, EMBEDDING], dim=1)
        factors = flow.new_tensor([size[1] / flow.shape[3], size[0] / flow.shape[2]])[:, None, None]
        flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * factors
        past_query, past_judged = flow_warp(past, flow).split([channels, EMBEDDING], dim=1)
        confidence = second(leaky_relu(judged + past_judged)).sigmoid()
        return torch.lerp(past_query, query, confidence)

    def _filtered(self, features: Tensor, query: Tensor | None, plan: Plan) -> tuple[Tensor, Tensor]:
        """What is added to the frame, (N, 3, H, W), and of the HR features what the frame after needs.

        HR features are not put in order: what needs them are linear layers, which are cheaper while they are in the cache.
        The 3x3 convolution is one of points with each of its pixels, added where these would see them.
        """
        count, _, height, width = features.shape
        reach = self.side // 2
        framed = mirrored(features.permute(0, 2, 3, 1), reach, self.patch)
        stride = framed.shape[2]
        # Every pixel by its place in a flattened frame, and from there the squares about it.
        pixel = torch.arange(height * width, device=framed.device)
        near = ((pixel // width + reach) * stride + pixel % width + reach).expand(count, -1)
        far: Tensor | None = None
        worth: Tensor | None = None
        if self.search is not None:
            found, attention = self.search(in_patches(framed, reach, self.patch))
            of = patch_of(height, width, self.patch, framed)
            rows, columns = counterparts(found[:, of], height, width, self.patch)
            far = (rows + reach) * stride + columns + reach
            if attention.requires_grad:
                worth = (attention / attention.detach())[:, of]
        keys = F.normalize(self.key(framed), dim=-1).flatten(1, 2) * SHARPNESS if self.guided else None
        framed = framed.flatten(1, 2)
        wanted = None if query is None else query.flatten(2).mT.contiguous()
        taps = self.colours.weight.flip(2, 3).permute(0, 2, 3, 1).flatten(0, 2)
        weights = torch.cat([taps, self._embedding()[1]])

        def chunk(clip: int, group: Group) -> Tensor:
            centre = near[clip, group.pixels]
            at = centre[:, None] + _square(self.side, stride, centre)
            if far is not None:
                at = torch.cat([at, far[clip, group.pixels, None] + _square(self.found, stride, centre)], dim=1)
            compared = None
            if keys is not None and wanted is not None:
                compared = F.embedding(group.points, wanted[clip]).mT, F.embedding(at, keys[clip])
            liked = None if worth is None else worth[clip, group.pixels]
            return weights @ self._sums(F.embedding(at, framed[clip]), compared, liked, group.phases, plan).flatten(0, 1).T

        def whole(clip: int, group: Group) -> Tensor:
            parts = []
            for part in self._parts(group, framed.device):
                if torch.is_grad_enabled():
                    # Of all that leads to HR features only what it is made of is kept for the gradients.
                    parts.append(checkpoint(chunk, clip, part, use_reentrant=False, preserve_rng_state=False))
                else:
                    parts.append(chunk(clip, part))
            return torch.cat(parts, dim=1)

        made = [[[whole(clip, group) for group in row] for row in plan.groups] for clip in range(count)]
        maps = torch.stack([in_place(parts, plan.down, plan.along, *plan.order) for parts in made])
        spread = F.fold(maps[:, : len(taps)].flatten(2), plan.size, kernel_size=3, padding=1)
        return spread + self.colours.bias[:, None, None], maps[:, len(taps) :]  # type: ignore[index]

    def _parts(self, group: Group, device: torch.device) -> Iterator[Group]:
        """What is filtered at once of a group: all of it as long as that is little."""
        most = CHUNK if device.type == "cpu" else LEARNING_CHUNK if torch.is_grad_enabled() else LARGE_CHUNK
        pixels, points, phases = group
        # As equal as can be, so that none is left that is small.
        count = -(-points.numel() // most)
        step = -(-len(pixels) // min(count, len(pixels)))
        for top in range(0, len(pixels), step):
            part = slice(top, top + step)
            yield Group(pixels[part], points[part], phases if len(phases) == 1 else phases[part])

    def _moved(self, features: Tensor, query: Tensor, offsets: Offsets, plan: Plan) -> tuple[Tensor, Tensor]:
        """As `_filtered`, of points that are not searched for but sampled where offsets say."""
        keys = F.normalize(F.conv2d(features, self.key.weight[..., None, None]), dim=1) * SHARPNESS
        both = torch.cat([features, keys], dim=1)
        rows, columns, channels = plan.rows, plan.columns, features.shape[1]

        def band(part: slice) -> Tensor:
            wanted = query[:, :, part]
            points = torch.stack(list(offsets(both, wanted, rows.lower[part], columns.lower)))
            phases = (rows.phase[part, None] * len(columns.offsets) + columns.phase).flatten()
            filters = self._spatial(phases, plan) if plan.filters is None else plan.filters[:, phases]
            weights = filters[: self.neighbours].unflatten(1, (-1, len(columns.phase))).permute(0, 3, 1, 2)[:, None]
            if self.delta is not None:
                similarity = (points[:, :, channels:] * F.normalize(wanted, dim=1)).sum(dim=2, keepdim=True)
                weights = weights + self.delta * similarity.softmax(dim=0)
            return (points[:, :, :channels] * weights).sum(dim=0)

        step = max(1, CHUNK // (len(features) * plan.size[1]))
        parts = [slice(top, top + step) for top in range(0, plan.size[0], step)]
        if torch.is_grad_enabled():
            bands = [checkpoint(band, part, use_reentrant=False, preserve_rng_state=False) for part in parts]
        else:
            bands = [band(part) for part in parts]
        made = torch.cat(bands, dim=2)
        return self.colours(made), F.conv2d(made, self._embedding()[1][..., None, None])

    def _sums(
        self, points: Tensor, compared: tuple[Tensor, Tensor] | None, worth: Tensor | None, phases: Tensor, plan: Plan
    ) -> Tensor:
        """HR features of the P points of L pixels (Eq. 2 and 7).

        The sum of points is that of the pixel that the HR point lies in and of their differences to it: so the weight of
        a place that has none is the pixel's.

        Args:
            points: (L, J, C), the LR points they may be made of: those about the pixel, and those about the one found.
            compared: (L, Q, P), what HR points are compared by, see `_query`, and (L, J, EMBEDDING), what LR points are, of
                length `SHARPNESS`.
            worth: (L,) of 1, whose gradient is that of the attention by which the others were found.
            phases: (L or 1, P), see `Group`.
            plan: of the clip.

        Returns:
            (L, P, C).
        """
        filters = plan.filters
        if filters is None:
            filters = self._spatial(phases.flatten(), plan)
            phases = torch.arange(phases.numel(), device=phases.device).view_as(phases)
        total = filters[self.neighbours].index_select(0, phases.flatten()).view(*phases.shape, -1)
        centre = points[:, self.neighbours // 2]
        if compared is None:
            shares = points.new_ones(()).expand(len(points), points.shape[1], phases.shape[1])
            return Weighed.apply(points, centre, shares, filters, phases, self.places).addcmul_(total, centre[:, None])
        query, keys = compared
        similarity, shares = self._compared(query, keys, worth)
        out = Weighed.apply(points, centre, shares, filters, phases, self.places).addcmul_(total, centre[:, None])
        if self.delta is None:
            return out
        if self.range_filter == "similarity":
            weights = similarity * shares
            weights = self.delta * weights / weights.sum(dim=1, keepdim=True)
        else:
            distance = torch.cdist(points, query[:, EMBEDDING:].mT, compute_mode="donot_use_mm_for_euclid_dist")
            weights = -self.delta * distance * shares
        return out.baddbmm_(weights.mT, points)

    def _compared(self, query: Tensor, keys: Tensor, worth: Tensor | None) -> tuple[Tensor, Tensor]:
        """How alike HR points and LR points are, and which of these count.

        Args:
            query: see `_sums`.
            keys: likewise.
            worth: likewise.

        Returns:
            (L, J, P) twice: the similarities of Eq. 6; and 1 for those that count, 0 for the others.
        """
        unit = query[:, :EMBEDDING]
        unit = unit * unit.square().sum(dim=1, keepdim=True).clamp_min(TINY).rsqrt()
        similarity = (keys @ unit).softmax(dim=1)
        if self.threshold is None:
            kept = torch.ones_like(similarity)
        else:
            threshold = self.threshold(similarity.mT).mT.sigmoid() * similarity.amax(dim=1, keepdim=True)
            kept = passed(similarity, threshold)
        if self.search is None:
            return similarity, kept
        own, found = similarity.detach().split([self.neighbours, len(self.inner)], dim=1)
        # Those that differ by rounding alone are not told apart.
        better = found * ALIKE > own[:, self.inner]
        rivals = torch.ones_like(own).index_copy(1, self.inner, (~better).to(own))
        chosen = better.to(own) if worth is None else better * worth[:, None, None]
        return similarity, kept * torch.cat([rivals, chosen], dim=1)


def passed(similarity: Tensor, threshold: Tensor) -> Tensor:
    """1 where a similarity is no less than the threshold and 0 elsewhere, with the gradient of s / (s + T)."""
    hard = (similarity >= threshold).to(similarity)
    if not threshold.requires_grad:
        return hard
    soft = similarity / (similarity + threshold)
    return hard + (soft - soft.detach())


def _square(side: int, stride: int, like: Tensor) -> Tensor:
    """From a pixel to those of the square about it, in a flattened frame with rows of `stride` pixels: (side * side,)."""
    step = torch.arange(side, device=like.device) - side // 2
    return (step[:, None] * stride + step).flatten()

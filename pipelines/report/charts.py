"""Charts of the report: inline SVG that takes its colours from the page, with the same bytes every time.

A method has its own colour, marker and line in every chart, and its name beside its marks, so that no chart is read by
colour alone.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from pipelines.report.families import Family
from pipelines.report.tables import Heading, Pair, heading
from pipelines.results import Cell

COLOURS = 7
"""The page gives the colours `--c0` (references, grey) to `--c6`, told apart by colour-blind readers, for light and dark."""
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼"}
LINES = ("-", "--", "-.", ":")
SMALL = 9  # points, of the names beside the marks
MOST = 12  # names beside the lines of a chart; more do not fit, and stand in the legend alone


@dataclass(frozen=True)
class Series:
    """How a method is drawn in every chart: the index of its colour, its marker and the character that looks like it."""

    method: str
    colour: int
    marker: str
    glyph: str
    line: str


INK = "#0a0bff"


def _mark_colour(index: int) -> str:
    """The colour that stands for `--c<index>` until the SVG is written."""
    return f"#0a0b{index:02x}"


THEME = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vsr",
    "text.parse_math": False,
    "figure.figsize": (4.0, 2.7),
    "figure.subplot.left": 0.15,
    "figure.subplot.right": 0.97,
    "figure.subplot.bottom": 0.18,
    "figure.subplot.top": 0.97,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.15,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.linewidth": 1.6,
    "lines.markersize": 6,
}


def series(methods: Sequence[str], references: set[str]) -> list[Series]:
    """A style for every method: grey for the `references`, the other colours in turn for the rest."""
    marks, drawn, colour = list(MARKERS.items()), [], 0
    for index, method in enumerate(methods):
        colour += method not in references
        marker, glyph = marks[index % len(marks)]
        chosen = 0 if method in references else (colour - 1) % (COLOURS - 1) + 1
        drawn.append(Series(method, chosen, marker, glyph, LINES[index % len(LINES)]))
    return drawn


PERCEIVED = ("lpips_alex", "lpips_vgg", "lpips_squeeze", "dists", "niqe")
"""Metrics of how frames look, lower is better, in the order in which the first that was measured is drawn."""

COSTS: dict[str, tuple[str, Callable[[Cell], float | None]]] = {
    "seconds": ("seconds per frame", lambda cell: cell.timing.seconds_per_frame if cell.timing else None),
    "delay": ("seconds of delay", lambda cell: cell.timing.delay if cell.timing else None),
    "parameters": ("parameters", lambda cell: cell.cost.parameters if cell.cost else None),
}


def quality_against_cost(pair: Pair, cells: Sequence[Cell], styles: Sequence[Series], cost: str, name: str) -> Markup | None:
    """PSNR of each method by the lead protocol against one of `COSTS` on a logarithmic axis, or None where fewer than two have both.

    A method that costs nothing has no place on that axis: it is a line across.
    """
    look, metric = {one.method: one for one in styles}, heading("psnr")
    title, read = COSTS[cost]
    found = [(read(cell), _mean(cell, pair.protocol, metric), look[cell.method]) for cell in cells]
    points = [(x, y, one) for x, y, one in found if x is not None and y is not None]
    costly = [x for x, _, _ in points if x > 0]
    if len(points) < 2 or not costly:
        return None
    with style.context(["default", THEME]):
        figure = Figure()
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(min(costly) / 2.5, max(costly) * 2.5)
        for x, y, one in points:
            if x > 0:
                (mark,) = axes.plot([x], [y], one.marker, markersize=9, clip_on=False)
            else:
                mark = axes.axhline(y, linestyle=one.line, linewidth=1.2)
            mark.set(color=_mark_colour(one.colour), gid=_of_method(one.method))
        # Labels at 1, 2 and 5 touch each other on an axis of more than two decades.
        subs = (1, 2, 5) if max(costly) < 16 * min(costly) else (1,)
        axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.15)
        _label(axes, title, metric)
        _name_points(figure, axes, points)
        return _svg(figure, name, f"{metric.label} against {title} on {pair.label}")


def perception_against_distortion(pair: Pair, cells: Sequence[Cell], styles: Sequence[Series], name: str) -> Markup | None:
    """PSNR of each method by the lead protocol against the first of `PERCEIVED` that two or more methods have with it, or None where there is
    none such. Better is to the right in perception and up in distortion.

    Source: Blau and Michaeli, "The Perception-Distortion Tradeoff", CVPR 2018.
    """
    look, distortion = {one.method: one for one in styles}, heading("psnr")
    for perceived in map(heading, PERCEIVED):
        found = [
            (_mean(cell, pair.protocol, perceived), _mean(cell, pair.protocol, distortion), look[cell.method]) for cell in cells
        ]
        points = [(x, y, one) for x, y, one in found if x is not None and y is not None]
        if len(points) > 1:
            break
    else:
        return None
    with style.context(["default", THEME]):
        figure = Figure()
        axes = figure.add_subplot()
        for x, y, one in points:
            (mark,) = axes.plot([x], [y], one.marker, markersize=9, clip_on=False)
            mark.set(color=_mark_colour(one.colour), gid=_of_method(one.method))
        axes.margins(x=0.15, y=0.15)
        axes.invert_xaxis()
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        _label(axes, perceived.label, distortion)
        _name_points(figure, axes, points)
        return _svg(figure, name, f"{distortion.label} against {perceived.label} on {pair.label}")


def quality_over_frames(
    pair: Pair, clip: str, frames: Mapping[str, pd.DataFrame], styles: Sequence[Series], name: str
) -> Markup | None:
    """PSNR of every frame of a clip by the lead protocol, one line per method, or None where no frames were kept.

    Args:
        pair: what was tested.
        clip: its name.
        frames: per-frame scores by method, see `Cell.frames`.
        styles: of the methods.
        name: keeps the ids of this chart apart from others'.
    """
    metric, lines = heading("psnr"), []
    for one in styles:
        if one.method in frames:
            found = frames[one.method]
            chosen = (found["clip"] == clip) & (found["protocol"] == pair.protocol) & (found["metric"] == metric.name)
            found = found[chosen & (found["frame"] >= 0)].sort_values("frame")
            if len(found):
                lines.append((found["frame"].tolist(), found["value"].tolist(), one))
    if not lines:
        return None
    with style.context(["default", THEME]):
        figure, axes = _lines(lines)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        _label(axes, "frame", metric)
        return _svg(figure, name, f"{metric.label} of every frame of the clip {clip} on {pair.label}")


def robustness(
    corpus: str, protocol: str, family: Family, metric: Heading, cells: Sequence[Cell], styles: Sequence[Series], name: str
) -> Markup | None:
    """A metric against the setting that a family of degradations varies, one line per method that was tested on two or more
    of them; None where none was.

    Args:
        corpus: which was degraded.
        protocol: by which the values are.
        family: the degradations.
        metric: what is drawn.
        cells: results; those on other pairs are passed over.
        styles: of the methods.
        name: keeps the ids of this chart apart from others'.
    """
    known = {(cell.method, cell.degradation): _mean(cell, protocol, metric) for cell in cells if cell.corpus == corpus}
    lines = []
    for one in styles:
        values = [(x, known.get((one.method, degradation))) for x, degradation in family.of]
        points = [(x, y) for x, y in values if y is not None]
        if len(points) > 1:
            lines.append(([x for x, _ in points], [y for _, y in points], one))
    if not lines:
        return None
    with style.context(["default", THEME]):
        figure, axes = _lines(lines)
        axes.xaxis.set_major_locator(FixedLocator(_apart([x for x, _ in family.of])))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        _label(axes, family.label, metric)
        return _svg(figure, name, f"{metric.label} against {family.label} on {corpus}")


def _apart(values: Sequence[float]) -> list[float]:
    """Ascending values without those that are too near the one before to be written beside it."""
    kept = [values[0]]
    for value in values[1:]:
        if value - kept[-1] >= (values[-1] - values[0]) / 12:
            kept.append(value)
    return kept


def _mean(cell: Cell, protocol: str, metric: Heading) -> float | None:
    scores = cell.protocols.get(protocol)
    return scores.metrics.get(metric.name) if scores else None


def _of_method(method: str) -> str:
    """The id of what is drawn of a method, until the SVG is written."""
    return f"method.{method}"


def _lines(lines: Sequence[tuple[Sequence[float], Sequence[float], Series]]) -> tuple[Figure, Axes]:
    """One line per method, named at its right end."""
    figure = Figure(figsize=(4.0, 2.4))
    named = [_width(one.method) for _, _, one in lines] if len(lines) <= MOST else [0.0]
    figure.subplots_adjust(right=0.96 - max(named) / (72 * figure.get_figwidth()))
    axes = figure.add_subplot()
    for x, y, one in lines:
        (line,) = axes.plot(x, y, one.line, color=_mark_colour(one.colour))
        line.set(marker=one.marker, markersize=5, markevery=max(1, len(x) // 8), gid=_of_method(one.method))
    if len(lines) <= MOST:
        height = 72 * figure.get_figheight() * axes.get_position().height
        low, high = axes.get_ylim()
        ends = [(y[-1] - low) / (high - low) for _, y, _ in lines]
        for (_, _, one), end in zip(lines, spread(ends, 1.2 * SMALL / height), strict=True):
            text = axes.text(1.02, end, one.method, transform=axes.transAxes, va="center", size=SMALL)
            text.set(color=_mark_colour(one.colour), gid=_of_method(one.method))
    return figure, axes


def _width(name: str) -> float:
    """About how wide a name is beside a mark, in points, whatever the reader's font."""
    return 0.58 * SMALL * len(name)


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The places moved as little as keeps each `gap` apart from the next, in their order and, if they fit, below 1."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    for below, index in zip(order, order[1:], strict=False):
        moved[index] = max(moved[index], moved[below] + gap)
    ceiling = 1.0
    for index in reversed(order):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def _name_points(figure: Figure, axes: Axes, points: Sequence[tuple[float, float, Series]]) -> None:
    """The method's name beside each point, where one side of it is free; the legend has the others."""
    axes.autoscale_view()
    frame = axes.get_window_extent()
    scale = figure.dpi / 72
    high, reach = SMALL * scale, 8 * scale
    places = [
        axes.transData.transform((x, y)) if x > 0 else (frame.x0 + reach, axes.transData.transform((1, y))[1])
        for x, y, _ in points
    ]
    taken = [
        (x - reach, y - reach, x + reach, y + reach) for (x, y), (cost, _, _) in zip(places, points, strict=True) if cost > 0
    ]
    for (x, y), (cost, _, one) in zip(places, points, strict=True):
        wide = _width(one.method) * scale
        sides = [
            (x + reach, y - high / 2),
            (x - reach - wide, y - high / 2),
            (x - wide / 2, y + reach),
            (x - wide / 2, y - reach - high),
        ]
        if cost == 0:
            sides = [
                (x, y + 0.4 * high),
                (frame.x1 - wide, y + 0.4 * high),
                (x, y - 1.2 * high),
                (frame.x1 - wide, y - 1.2 * high),
            ]
        for left, bottom in sides:
            box = (left, bottom, left + wide, bottom + high)
            if left < frame.x0 or box[2] > frame.x1 + reach or any(_overlap(box, other) for other in taken):
                continue
            taken.append(box)
            inside = axes.transAxes.inverted().transform((left, bottom + high / 2))
            text = axes.text(inside[0], inside[1], one.method, transform=axes.transAxes, va="center", size=SMALL)
            text.set(color=_mark_colour(one.colour), gid=_of_method(one.method))
            break


Box = tuple[float, float, float, float]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _short(value: float) -> str:
    """A number of an axis: 0.05, 20, 5k, 2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _label(axes: Axes, horizontal: str, metric: Heading) -> None:
    axes.set_xlabel(horizontal)
    axes.set_ylabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
    axes.tick_params(which="both", length=0)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an SVG element that takes its colours from the page; `name` keeps its ids apart from other charts'."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(rf'\bid="{_of_method("")}', 'data-method="', text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor")
    for index in range(COLOURS):
        text = text.replace(_mark_colour(index), f"var(--c{index})")
    opening = Markup('<svg role="img" aria-label="{}" class="chart" ').format(description)
    return Markup(str(opening) + text.removeprefix("<svg ").strip())

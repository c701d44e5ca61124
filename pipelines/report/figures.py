"""Pictures of the report: crops side by side and charts, as data URIs and inline SVG with the same bytes every time."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter
from numpy.typing import NDArray
from PIL import Image

from pipelines.errors import VSRError
from pipelines.report.results import Cell
from pipelines.report.tables import METRICS, Pair

Picture = NDArray[np.uint8]
"""`(H, W, 3)` RGB."""

PSNR = METRICS[0]
STEP = 8  # crops begin on this grid, so that whole LR pixels are shown at the usual scales
TILE = 256  # pixels of an enlarged crop

COLOURS = 7
"""The page gives the colours `--c0` (references, grey) to `--c6`, told apart by colour-blind readers, for light and dark."""
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "p": "⬟"}
LINES = ("-", "--", "-.", ":")


@dataclass(frozen=True)
class Series:
    """How a method is drawn in every chart: the index of its colour, its marker and the character that looks like it."""

    method: str
    colour: int
    marker: str
    glyph: str
    line: str


@dataclass(frozen=True)
class Tile:
    """One picture of a row of crops. `psnr` is the clip's, by the lead protocol."""

    label: str
    source: str
    psnr: float | None


@dataclass(frozen=True)
class Crops:
    """The same window of LR, of every method's frame and of the truth.

    `whole` is the true frame; `window` is (left, top, width, height) in percent of it.
    """

    clip: str
    whole: str
    window: tuple[float, float, float, float]
    size: int
    tiles: tuple[Tile, ...]


# ---------------------------------------------------------------- crops


def few(names: Sequence[str], count: int = 4) -> list[str]:
    """At most `count` of the names, evenly spread, first and last among them."""
    if len(names) <= count:
        return list(names)
    return [names[round(index * (len(names) - 1) / (count - 1))] for index in range(count)]


def crops(pair: Pair, cells: Sequence[Cell]) -> list[Crops]:
    """Detail crops of a few clips of a pair, for the methods of `cells` in their order.

    Raises:
        VSRError: a sample is damaged or has another size than the truth.
    """
    samples = [{unquote(folder.name): folder for folder in (cell.folder / "samples").glob("*")} for cell in cells]
    clips = sorted({clip for found in samples for clip in found})
    return [
        _crops(pair, clip, {found[clip]: cell for cell, found in zip(cells, samples, strict=True) if clip in found})
        for clip in few(clips)
    ]


def _crops(pair: Pair, clip: str, samples: dict[Path, Cell]) -> Crops:
    folders, cells = list(samples), list(samples.values())
    truth = _read(folders[0] / "truth.png")
    shown: list[tuple[str, Picture, float | None]] = [("truth", truth, None)]
    for folder, cell in samples.items():
        scores = cell.protocols.get(pair.protocol)
        score = scores.clips.get(clip) if scores else None
        shown.append((cell.method, _read(folder / "restored.png", truth.shape), score.psnr if score else None))
    if all(cell.network != "bicubic" for cell in cells):
        shown.insert(1, ("bicubic", _read(folders[0] / "bicubic.png", truth.shape), None))
    side = crop_side(truth.shape[0], truth.shape[1])
    top, left = busiest_window([picture for _, picture, _ in shown], side)
    shown = [("LR", enlarge(_read(folders[0] / "lr.png"), truth.shape[0], truth.shape[1]), None), *shown[1:], shown[0]]
    height, width = truth.shape[:2]
    return Crops(
        clip,
        _jpeg(truth),
        (100 * left / width, 100 * top / height, 100 * side / width, 100 * side / height),
        side,
        tuple(Tile(label, _png(picture[top : top + side, left : left + side]), psnr) for label, picture, psnr in shown),
    )


def crop_side(height: int, width: int) -> int:
    """The side of the window: about a fifth of the height, 48 to 128 pixels, and never more than the frame."""
    return min(height, width, max(48, min(128, height // 5 // 16 * 16)))


def busiest_window(pictures: Sequence[Picture], side: int) -> tuple[int, int]:
    """(top, left) of the `side` x `side` window in which the pictures `(H, W, 3)` differ most: the sum
    over its pixels of the variance of luma across the pictures, in integers, first of equals."""
    luma = np.stack([(picture.astype(np.int64) @ np.array([77, 150, 29])) >> 8 for picture in pictures])
    spread = len(pictures) * (luma**2).sum(0) - luma.sum(0) ** 2
    total = np.pad(spread.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    tops = np.arange(0, luma.shape[1] - side + 1, STEP)
    lefts = np.arange(0, luma.shape[2] - side + 1, STEP)
    rows = total[tops + side] - total[tops]
    found = int(np.argmax(rows[:, lefts + side] - rows[:, lefts]))
    return int(tops[found // len(lefts)]), int(lefts[found % len(lefts)])


def enlarge(picture: Picture, height: int, width: int) -> Picture:
    """The nearest pixel of `picture` for each pixel of a larger frame, whatever the ratio."""
    rows = (2 * np.arange(height) + 1) * picture.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * picture.shape[1] // (2 * width)
    return picture[rows[:, None], columns]


def _read(path: Path, shape: tuple[int, ...] | None = None) -> Picture:
    try:
        with Image.open(path) as image:
            picture = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise VSRError(
            f"the sample {path} is missing or damaged: delete the folder {path.parents[2]} and evaluate again."
        ) from error
    if shape is not None and picture.shape != shape:
        raise VSRError(
            f"the sample {path} is {picture.shape[1]}x{picture.shape[0]} but its truth is {shape[1]}x{shape[0]}: "
            f"delete the folder {path.parents[2]} and evaluate again."
        )
    return picture


def _png(picture: Picture) -> str:
    """Enlarged by whole pixels, so that a browser's own scaling has nothing to invent."""
    times = math.ceil(TILE / picture.shape[0])
    return _encode(picture.repeat(times, 0).repeat(times, 1), "png", optimize=True)


def _jpeg(picture: Picture, width: int = 640) -> str:
    """A small copy of a whole frame, for orientation."""
    image = Image.fromarray(picture)
    image.thumbnail((width, width), Image.Resampling.LANCZOS)
    return _encode(np.asarray(image), "jpeg", quality=85)


def _encode(picture: Picture, form: str, **options: int | bool) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, form, **options)
    return f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode()}"


# ---------------------------------------------------------------- charts

INK = "#0a0bff"


def _mark_colour(index: int) -> str:
    """The colour that stands for `--c<index>` until the SVG is written."""
    return f"#0a0b{index:02x}"


THEME = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vsr",
    "text.parse_math": False,
    "figure.figsize": (4.6, 3.0),
    "figure.constrained_layout.use": True,
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


def quality_against_time(pair: Pair, cells: Sequence[Cell], styles: Sequence[Series], name: str) -> Markup | None:
    """PSNR of each method by the lead protocol against its seconds per frame, or None where fewer than two were measured."""
    look = {one.method: one for one in styles}
    points = []
    for cell in cells:
        scores = cell.protocols.get(pair.protocol)
        if cell.timing and scores:
            points.append((cell.timing.seconds_per_frame, scores.psnr, look[cell.method]))
    if len(points) < 2:
        return None
    with style.context(["default", THEME]):
        figure = Figure()
        axes = figure.add_subplot()
        for seconds, psnr, one in points:
            axes.plot([seconds], [psnr], one.marker, color=_mark_colour(one.colour), markersize=9, clip_on=False)
        axes.set_xscale("log")
        low, high = min(point[0] for point in points), max(point[0] for point in points)
        axes.set_xlim(low / 2, high * 2)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(y=0.15)
        _label(axes, "seconds per frame")
        return _svg(figure, name, f"PSNR against seconds per frame on {pair.label}")


def quality_over_frames(pair: Pair, clip: str, cells: Sequence[Cell], styles: Sequence[Series], name: str) -> Markup | None:
    """PSNR of every frame of a clip by the lead protocol, one line per method, or None where no frames were kept."""
    look = {one.method: one for one in styles}
    with style.context(["default", THEME]):
        figure = Figure(figsize=(4.6, 2.4))
        axes = figure.add_subplot()
        for cell in cells:
            frames = cell.frames()
            frames = frames[(frames["clip"] == clip) & (frames["protocol"] == pair.protocol) & (frames["metric"] == PSNR.key)]
            frames = frames.sort_values("frame")
            if len(frames):
                one = look[cell.method]
                every = max(1, len(frames) // 8)
                colour = _mark_colour(one.colour)
                (line,) = axes.plot(frames["frame"].to_numpy(), frames["value"].to_numpy(), one.line, color=colour)
                line.set(marker=one.marker, markersize=4, markevery=every)
        if not axes.lines:
            return None
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10], integer=True))
        _label(axes, "frame")
        return _svg(figure, name, f"PSNR of every frame of the clip {clip} on {pair.label}")


def _label(axes: Axes, horizontal: str) -> None:
    axes.set_xlabel(horizontal)
    axes.set_ylabel("PSNR (dB)")
    axes.tick_params(which="both", length=0)
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 5, 10]))


def _svg(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an SVG element that takes its colours from the page; `name` keeps its ids apart from other charts'."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor")
    for index in range(COLOURS):
        text = text.replace(_mark_colour(index), f"var(--c{index})")
    opening = Markup('<svg role="img" aria-label="{}" class="chart" ').format(description)
    return Markup(str(opening) + text.removeprefix("<svg ").strip())

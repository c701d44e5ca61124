"""Published figures, each with the paper it stands in, its setting, and what is doubtful about it.

`published.csv` holds every figure of the tables of seven papers as printed, one per line: also those that are known to be
misprints, which say so. A figure may stand beside a measured one; `comparable` says whether the two have the same setting.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.report.sources import CONVENTIONS, FAMILIES, QUANTITIES, SOURCES, TEST_SETS, test_set

FILE = Path(__file__).with_name("published.csv")

HEADLINES = (("reds4", "bi_x"), ("rdg", "rendered"), ("reds4", "crf25_x4"), ("vid4", ""), ("udm10", "realworld_x4"))
"""Where a method's first figure is looked for, by test set and beginning of the degradation."""


@dataclass(frozen=True)
class Published:
    """A published figure.

    Args:
        source: a key of `SOURCES`.
        table: the table it stands in, or `text`.
        method: what this project calls the method: of a network here, its name.
        name: what the paper calls it.
        variant: empty for the method as it is; else an ablation, or what was changed.
        corpus: a key of `TEST_SETS`, empty for sizes and run times.
        clip: empty for the mean over the test set.
        scale: how many times larger frames get, None where it is not stated.
        time_scale: how many times more frames come out, None where it is not stated.
        degradation: the recipe of this project that does as the paper, see `CONVENTIONS`; empty where it is not stated.
        channel: `rgb` or `y`, empty where there is none or it is not stated.
        metric: a key of `QUANTITIES`.
        value: as printed, in `unit`.
        text: the same with the digits that are printed.
        unit: of `value`.
        note: what else the paper says.
        doubt: what is doubtful, worst first, `kind: what` separated by `; `: a `misprint` cannot be what was meant, a `conflict`
            does not agree with another printed figure, a setting was `assumed`, `inferred` or left `unstated`.
    """

    source: str
    table: str
    method: str
    name: str
    variant: str
    corpus: str
    clip: str
    scale: float | None
    time_scale: float | None
    degradation: str
    channel: str
    metric: str
    value: float
    text: str
    unit: str
    note: str
    doubt: str

    @property
    def higher_is_better(self) -> bool:
        """Which way is better."""
        return QUANTITIES[self.metric].higher_is_better

    @property
    def misprint(self) -> bool:
        """Whether the value cannot be what was meant, so that nothing is to be computed from it."""
        return self.doubt.startswith("misprint")

    @property
    def where(self) -> str:
        """Paper and table, short."""
        return f"{SOURCES[self.source].short}, {self.table}"

    @property
    def setting(self) -> str:
        """Test set, degradation and channel in words."""
        parts = [
            TEST_SETS[self.corpus].title + (f" {self.clip}" if self.clip else "") if self.corpus else "",
            self.degradation or (f"x{self.scale:g}" if self.scale else ""),
            {"rgb": "RGB", "y": "Y", "": ""}[self.channel],
        ]
        return ", ".join(filter(None, parts))


@functools.cache
def load() -> tuple[Published, ...]:
    """Every figure, in the order of the papers' tables.

    Raises:
        VSRError: a line of the file is not as it must be; says which and why.
    """
    return read(FILE)


def read(path: Path) -> tuple[Published, ...]:
    """The figures of a file like `published.csv`.

    Raises:
        VSRError: as `load`.
    """
    found: list[Published] = []
    seen: set[tuple[object, ...]] = set()
    with path.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            try:
                figure = _figure(row)
                _check(figure)
            except (KeyError, TypeError, ValueError) as error:
                raise VSRError(f"{path.name} line {number} is damaged ({error!s}): restore it from git.") from error
            setting = (figure.source, figure.table, figure.method, figure.variant, figure.corpus, figure.clip)
            key = (*setting, figure.scale, figure.time_scale, figure.degradation, figure.channel, figure.metric)
            if key in seen:
                raise VSRError(f"{path.name} line {number} has a figure that a line above it has: remove one.")
            seen.add(key)
            found.append(figure)
    return tuple(found)


def _figure(row: Mapping[str, str]) -> Published:
    convention = row["degradation"]
    if convention not in ("", *CONVENTIONS):
        raise ValueError(f"degradation {convention!r} is not known")
    recipe = CONVENTIONS[convention].recipe.format(scale=row["scale"].replace(".", "_")) if convention else ""
    return Published(
        source=row["source"],
        table=row["table"],
        method=row["method"],
        name=row["name"],
        variant=row["variant"],
        corpus=row["corpus"],
        clip=row["clip"],
        scale=float(row["scale"]) if row["scale"] else None,
        time_scale=float(row["time_scale"]) if row["time_scale"] else None,
        degradation=recipe,
        channel=row["channel"],
        metric=row["metric"],
        value=float(row["value"]),
        text=row["value"],
        unit=row["unit"],
        note=row["note"],
        doubt=row["doubt"],
    )


DOUBTS = ("misprint", "conflict", "assumed", "inferred", "unstated")


def _check(figure: Published) -> None:
    for kind, name, known in (
        ("source", figure.source, SOURCES),
        ("metric", figure.metric, QUANTITIES),
        ("corpus", figure.corpus, ("", *TEST_SETS)),
        ("channel", figure.channel, ("", "rgb", "y")),
    ):
        if name not in known:
            raise ValueError(f"{kind} {name!r} is not known")
    quantity = QUANTITIES[figure.metric]
    if not quantity.low <= figure.value <= quantity.high or figure.unit not in quantity.units:
        raise ValueError(f"{figure.metric} is {figure.text} {figure.unit}")
    if not (figure.table and figure.method and figure.name):
        raise ValueError("table, method or name is empty")
    kinds = [doubt.partition(": ")[0] for doubt in figure.doubt.split("; ")] if figure.doubt else []
    if any(kind not in DOUBTS for kind in kinds) or kinds != sorted(kinds, key=DOUBTS.index):
        raise ValueError(f"doubt is {figure.doubt!r}")


def beside(method: str, corpus: str, degradation: str, protocol: str, metric: str) -> list[Published]:
    """The published means to put beside a measured one; the same figure of a paper only once.

    Args:
        method: the network (`Cell.network`), whatever the experiment is called.
        corpus: as params.yaml calls it.
        degradation: a recipe.
        protocol: what was scored; figures on its channel, and those whose channel is not stated.
        metric: a metric of this project.

    Raises:
        VSRError: there is no such protocol.
    """
    scored = protocols.get(protocol)
    printed = next((name for name in FAMILIES if metric.startswith(f"{name}_")), metric)
    found = {
        (figure.source, figure.text): figure
        for figure in reversed(load())
        if figure.method == method
        and not figure.variant
        and figure.metric == printed
        and figure.corpus == test_set(corpus)
        and figure.clip == (scored.motion or "")
        and figure.degradation == degradation
        and figure.channel in ("", scored.channel)
    }
    return list(reversed(found.values()))


def headline(network: str, scale: float = 4) -> list[Published]:
    """The figures that a method is known by: PSNR and SSIM of the first of `HEADLINES` that has any.

    For a corpus on which nobody has published: to be shown with their `setting`, as what they are. Empty where none of the
    papers has the method at that scale.
    """
    own = [
        figure
        for figure in load()
        if figure.method == network and not figure.variant and not figure.clip and figure.scale in (scale, None)
    ]
    for corpus, degradation in HEADLINES:
        here = [figure for figure in own if figure.corpus == corpus and figure.degradation.startswith(degradation)]
        first = next((figure for figure in here if figure.metric == "psnr"), None)
        if first is not None:
            same = _setting_of(first)
            return [figure for figure in here if figure.metric in ("psnr", "ssim") and _setting_of(figure) == same]
    return []


def _setting_of(figure: Published) -> tuple[str, ...]:
    return (figure.source, figure.table, figure.degradation, figure.channel)

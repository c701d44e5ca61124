"""Published figures, each with the paper it stands in, its setting, and what is doubtful about it.

`published.csv` holds every figure of the tables of seven papers as printed, one per line: also those that are known to be
misprints, which say so. A figure may stand beside a measured one; `comparable` says whether the two have the same setting.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.clips.layouts import reds, testsets, vimeo90k
from pipelines.clips.layouts.published import Alike
from pipelines.errors import VSRError
from pipelines.evaluation import protocols
from pipelines.params.methods import published_profile
from pipelines.priors import weights
from pipelines.report.results import Cell

FILE = Path(__file__).with_name("published.csv")

Methods = Mapping[str, Container[str]]
"""The profiles that methods have, as `methods` of params.yaml."""


@dataclass(frozen=True)
class Source:
    """Where figures were read: the paper, and what to know before its figures are quoted.

    `through` names the text that the paper's tables were copied from, where it was not the paper itself.
    """

    short: str
    citation: str
    warnings: tuple[str, ...] = ()
    through: str | None = None


_LECTURE = "the slides of a lecture by Ling Haitao, Efficient Video Super-Resolution, Sun Yat-sen University, 30 March 2025"

SOURCES: Mapping[str, Source] = {
    "dcgu": Source(
        "Huang et al., AAAI 2024",
        "Cong Huang, Jiahao Li, Lei Chu, Dong Liu and Yan Lu. Arbitrary-Scale Video Super-Resolution Guided by Dynamic Context. "
        "AAAI Conference on Artificial Intelligence, 2024.",
        ("Tables 2 to 6 do not name their test set.",),
    ),
    "seem": Source(
        "Lu et al., 2023",
        "Zhihe Lu, Zeyu Xiao, Jiawang Bai, Zhiwei Xiong and Xinchao Wang. Can SAM Boost Video Super-Resolution? arXiv:2305.06524, 2023.",
        (
            "On REDS4 its EDVR is EDVR-M.",
            "Table 4 mixes protocols: the printed means of DRVSR, FRVSR, MMCNN, MTUDM, DUF and TDAN are not the means of their clips.",
            "The text reports a drop on fast motion, Table 3 shows a gain. With SEEM alone tuned, clip 015 loses (Table 2).",
            "Five of the gains printed in Tables 3 and 4 are one last digit off; gains are not kept here.",
        ),
    ),
    "slides_rdg": Source(
        "Zheng et al., CVPR 2025",
        "Mingjun Zheng, Long Sun, Jiangxin Dong and Jinshan Pan. Efficient Video Super-Resolution for Real-time Rendering with "
        "Decoupled G-buffer Guidance. IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR), 2025.",
        ("BasicVSR* and BasicVSR++* are smaller than the published networks; what was changed is not said.",),
        _LECTURE,
    ),
    "slides_dap": Source(
        "Fuoli et al., WACV 2023",
        "Dario Fuoli, Martin Danelljan, Radu Timofte and Luc Van Gool. Fast Online Video Super-Resolution with Deformable Attention "
        "Pyramid. IEEE/CVF Winter Conference on Applications of Computer Vision (WACV), 2023. arXiv:2202.01731.",
        ("Its Vimeo-90K figures are not those of BI: BasicVSR has 37.53 dB here and 37.18 dB under BI.",),
        _LECTURE,
    ),
    "slides_star": Source(
        "Xie et al., 2025",
        "Rui Xie, Yinhong Liu, Penghao Zhou, Chen Zhao, Jun Zhou, Kai Zhang, Zhenyu Zhang, Jian Yang, Zhenheng Yang and Ying Tai. STAR: "
        "Spatial-Temporal Augmentation with Text-to-Video Models for Real-World Video Super-Resolution. arXiv:2501.02976, 2025.",
        (
            "Position (i) of LIEM is called the best, but (iii) has the better PSNR and warping error (Table 3).",
            "Tables 3, 4 and 6 do not name their test set.",
        ),
        _LECTURE,
    ),
    "adavsr": Source(
        "Gupta et al., ACM MM 2021",
        "Akash Gupta, Padmaja Jonnalagedda, Bir Bhanu and Amit K. Roy-Chowdhury. Ada-VSR: Adaptive Video Super-Resolution with "
        "Meta-Learning. 29th ACM International Conference on Multimedia (MM '21), 2021. doi:10.1145/3474085.3475320.",
        (
            "Tables 2 and 3 have different Vid4 figures for the same methods; the text uses those of Table 3.",
            "Only Table 3 says that it is blind. Table 2 takes its baselines from another paper.",
            "Three times faster than Zooming Slow-Mo, the text says; by Table 3 it is 2.93 times.",
        ),
    ),
    "sdatc": Source(
        "An et al., 2025",
        "Hongyu An, Xinfeng Zhang, Shijie Zhao, Li Zhang and Ruiqin Xiong. Spatial Degradation-Aware and Temporal Consistent Diffusion "
        "Model for Compressed Video Super-Resolution. arXiv:2502.07381, 2025.",
        (
            "The best in all perceptual metrics, the text says; in 17 of 54 cells it is not.",
            "Among generative methods it has the best PSNR or SSIM in 2 of 18 cells.",
        ),
    ),
}


@dataclass(frozen=True)
class Quantity:
    """A printed quantity: which way is better, the range it can have, and the units it is printed in."""

    higher_is_better: bool
    low: float
    high: float
    units: tuple[str, ...] = ("",)


QUANTITIES: Mapping[str, Quantity] = {
    "psnr": Quantity(True, 0, 60, ("dB",)),
    "ssim": Quantity(True, 0, 1),
    "lpips": Quantity(False, 0, 1),
    "dists": Quantity(False, 0, 1),
    "fid": Quantity(False, 0, 1000),
    "niqe": Quantity(False, 0, 100),
    "ilniqe": Quantity(False, 0, 200),
    "maniqa": Quantity(True, 0, 1),
    "clipiqa": Quantity(True, 0, 1),
    "dover": Quantity(True, 0, 1),
    "vmaf": Quantity(True, 0, 100),
    "warping_error": Quantity(False, 0, 100, ("10⁻³",)),
    "perceptual_loss": Quantity(False, 0, 1),
    "parameters": Quantity(False, 0, 5000, ("M", "B")),
    "trainable_parameters": Quantity(False, 0, 5000, ("M",)),
    "runtime": Quantity(False, 0, 5000, ("ms", "s")),
    "fps": Quantity(True, 0, 1000, ("1/s",)),
    "memory": Quantity(False, 0, 100_000, ("MB",)),
    "flops": Quantity(False, 0, 1e6, ("G",)),
    "macs": Quantity(False, 0, 1e6, ("G",)),
}
"""What is printed."""

FAMILIES = ("lpips", "niqe", "warping_error")
"""Printed quantities of which the papers do not say which of several they are, this project's `lpips_alex` or `lpips_vgg`: each of
these may have such a figure beside it, which says so as its doubt."""


@dataclass(frozen=True)
class Convention:
    """How papers degrade, and the recipe of this project that does the same or comes nearest.

    `recipe` may hold `{scale}`. `differs` says why numbers are not comparable though the recipe is the nearest one;
    `caveat` what the papers leave open where they are.
    """

    recipe: str
    means: str
    differs: str = ""
    caveat: str = ""


_CODED = "the paper says neither how frames were made small before coding nor the coder's preset"

CONVENTIONS: Mapping[str, Convention] = {
    "bi": Convention("bi_x{scale}", "MATLAB's imresize, bicubic with antialiasing, rounded to 8 bits"),
    "bd": Convention("bd_x{scale}", "Gaussian blur of sigma 1.6, then every fourth pixel, as for BasicVSR"),
    **{f"crf{crf}": Convention(f"crf{crf}_x4", f"made small, then H.264 at CRF {crf}", caveat=_CODED) for crf in (15, 25, 35)},
    "aniso_blind": Convention(
        "aniso_x4_t2",
        "anisotropic Gaussian kernels and every second frame, unknown to the method",
        differs="kernels are drawn, and those of the paper are not published",
    ),
    "rendered": Convention(
        "rendered", "LR and HR rendered each for itself", differs="LR frames are rendered and made by no recipe"
    ),
    "synthetic": Convention(
        "realworld_x4",
        "the second-order degradation of RealBasicVSR",
        differs="the degradation is drawn, and the draws of the paper are not published",
    ),
    "real": Convention("real", "real footage, of which there is no HR", differs="the footage has no HR"),
}
"""What papers call their degradation. A figure whose paper does not say it has none."""


@dataclass(frozen=True)
class TestSet:
    """A published test set. `clips` are the names, or how many there may be where copies differ in names; `corpora` what it is
    called in params.yaml; `frames` which of a clip are scored."""

    title: str
    clips: frozenset[str] | tuple[int, ...] = ()
    corpora: tuple[str, ...] = ()
    frames: str = "all"


def _clips(name: str) -> frozenset[str] | tuple[int, ...]:
    clips = testsets.PROMISES[name].clips
    return (clips.count,) if isinstance(clips, Alike) else frozenset(clips)


_VIMEO = vimeo90k.PROMISE

TEST_SETS: Mapping[str, TestSet] = {
    "reds4": TestSet("REDS4", frozenset(reds.REDS4), ("reds4", "reds")),
    "vid4": TestSet("Vid4", _clips("vid4"), ("vid4",)),
    "udm10": TestSet("UDM10", _clips("udm10"), ("udm10",)),
    # Nine test clips are in none of the lists by motion; which of the two papers score, they do not say.
    "vimeo90k": TestSet("Vimeo-90K-T", (_VIMEO.test, sum(_VIMEO.motion.values())), ("vimeo90k", "vimeo90k_t"), frames="centre"),
    "rdg": TestSet("RDG's eight scenes", (8,), ("rdg",)),
    "reds4val": TestSet("REDS4val"),
    "reds30": TestSet("REDS30"),
    "openvid30": TestSet("OpenVid30"),
    "videolq": TestSet("VideoLQ"),
}

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


def _test_set(corpus: str) -> str | None:
    """The published test set that a corpus of params.yaml is called after."""
    return next((key for key, found in TEST_SETS.items() if corpus in found.corpora), None)


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
        and figure.corpus == _test_set(corpus)
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


def comparable(cell: Cell, methods: Methods, protocol: str | None = None) -> tuple[bool, str]:
    """Whether a result has the setting of a published figure: test set, degradation, what is scored, and how the network was made.

    Args:
        cell: a result.
        methods: of params.yaml.
        protocol: the one that it is read by, the leading one by default.

    Returns:
        Whether it is, and why not, or what it rests on; a part of a sentence.

    Raises:
        VSRError: there is no such protocol.
    """
    if not cell.applicable:
        return False, f"not evaluated: {cell.reason}"
    protocol = protocol or cell.lead_protocol or ""
    reasons = [*_of_the_network(cell, methods), *(reason for why in _DIFFERENCES for reason in why(cell, protocol))]
    if reasons:
        return False, "; ".join(reasons)
    trained = _trained_on(cell)
    made = f"published parameters {cell.weights}" if cell.weights else "the published network and recipe"
    made = f"{made}, trained on {trained.replace('/', ' under ')}" if trained else "closed form"
    convention = _convention(cell.degradation)
    return True, "; ".join(filter(None, (made, convention.caveat if convention else "")))


def _of_the_test_set(cell: Cell, protocol: str) -> list[str]:
    key = _test_set(cell.corpus)
    if key is None:
        return [f"{cell.corpus} is not a published test set"]
    if protocol not in cell.protocols:
        return [f"not scored by protocol {protocol}"]
    known, clips = TEST_SETS[key], set(cell.protocols[protocol].clips)
    motion = protocols.get(protocol).motion
    expected = (_VIMEO.motion[motion],) if motion else known.clips
    whole = clips == expected if isinstance(expected, frozenset) else len(clips) in expected
    number = len(expected) if isinstance(expected, frozenset) else max(expected)
    return [] if whole else [f"{len(clips)} clips that are not the {number} of {known.title}"]


def _of_the_degradation(cell: Cell, protocol: str) -> list[str]:
    convention = _convention(cell.degradation)
    if convention is None:
        return [f"no paper here degrades by {cell.degradation}"]
    return [convention.differs] if convention.differs else []


def _of_the_protocol(cell: Cell, protocol: str) -> list[str]:
    key, scored = _test_set(cell.corpus), protocols.get(protocol)
    if scored.border or scored.skip:
        return [f"protocol {protocol} leaves out {scored.border} px at the border and {scored.skip} frames at each end"]
    if key is not None and scored.frames != TEST_SETS[key].frames:
        return [f"protocol {protocol} scores {'all frames' if scored.frames == 'all' else 'the centre frame'}, the papers do not"]
    return []


def _of_the_network(cell: Cell, methods: Methods) -> list[str]:
    if cell.profile is None:
        return ["the result does not say which profile it is of, evaluate again"]
    other = other_profile(cell, methods)
    reasons = [f"not the published network and recipe ({other})"] if other else []
    return reasons + _of_the_training(cell) + other_masks(cell)


def _of_the_training(cell: Cell) -> list[str]:
    known = _trained_on(cell)
    if known is None:
        return [f"what the parameters {cell.weights} were trained on is not known"] if cell.weights else []
    trained, _, degraded = known.partition("/")
    needed = "reds" if _test_set(cell.corpus) == "reds4" or cell.degradation.startswith("crf") else "vimeo90k"
    reasons = [] if trained == needed else [f"trained on {trained}, not on {needed}"]
    # One network for all scales is trained under bicubic reduction, as those of the papers.
    if degraded != cell.degradation and not (degraded.startswith("any scale") and cell.degradation.startswith("bi_x")):
        reasons.append(f"trained under {degraded}")
    return reasons


def _trained_on(cell: Cell) -> str | None:
    """What a network was trained on, here or by who published its parameters; None in closed form, or where it is not known."""
    if cell.weights is None:
        return cell.trained_on
    known = weights.REGISTRY.get(cell.weights)
    return known.trained_on if known else None


def other_profile(cell: Cell, methods: Methods) -> str | None:
    """Which profile a result is of where that is not the published one; parameters that are published have no profile."""
    if cell.weights or cell.profile is None:
        return None
    corpus = cell.trained_on.partition("/")[0] if cell.trained_on else None
    expected = published_profile(methods.get(cell.network, ()), corpus)
    return None if cell.profile == expected else f"profile {cell.profile}, not {expected}"


SAM, POINTS = "sam_vit_h", 8
"""What makes the masks that guide SEEM: SAM with ViT-H, asked for what is at a grid of so many points each way."""


def other_masks(cell: Cell) -> list[str]:
    """In what the masks that guide a network are not those of SEEM's paper; none without masks."""
    masks = cell.masks
    if not masks:
        return []
    if masks["backend"] != "sam":
        return [f"masks by {masks['backend']}, not by SAM"]
    found, points = masks["weights"], masks["points_per_side"]
    differences = [] if found == SAM else [f"masks by SAM with the weights {found}, not {SAM}"]
    return differences + ([] if points == POINTS else [f"masks of {points} × {points} points, not of {POINTS} × {POINTS}"])


_DIFFERENCES: tuple[Callable[[Cell, str], list[str]], ...] = (
    _of_the_test_set,
    _of_the_degradation,
    _of_the_protocol,
)


def _convention(degradation: str) -> Convention | None:
    """The convention whose recipe has that name, at any scale."""
    for convention in CONVENTIONS.values():
        start, holds, end = convention.recipe.partition("{scale}")
        middle = degradation[len(start) : len(degradation) - len(end)]
        matches = degradation.startswith(start) and degradation.endswith(end) and middle.replace("_", "", 1).isdigit()
        if matches if holds else degradation == convention.recipe:
            return convention
    return None

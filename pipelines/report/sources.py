"""Where published figures come from: the papers, what they print, how they degrade, and what they test on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.clips.layouts import reds, testsets, vimeo90k
from pipelines.clips.layouts.published import Alike


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


def test_set(corpus: str) -> str | None:
    """The published test set that a corpus of params.yaml is called after."""
    return next((key for key, found in TEST_SETS.items() if corpus in found.corpora), None)

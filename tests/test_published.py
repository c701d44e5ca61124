"""Published figures: all there, as printed, with what is doubtful about them, and the right ones beside a measured one."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipelines import metrics as registry
from pipelines.clips.layouts import vimeo90k
from pipelines.errors import VSRError
from pipelines.params import load as load_params
from pipelines.report import published
from pipelines.report.published import Published, beside, headline, load
from pipelines.report.sources import FAMILIES, QUANTITIES, SOURCES, TEST_SETS

COUNTS = {
    "dcgu": {"Table 1": 32, "Table 2": 48, "Table 3": 16, "Table 4": 6, "Table 5": 5, "Table 6": 3},
    "seem": {"Table 1": 90, "Table 2": 20, "Table 3": 32, "Table 4": 100, "Table 5": 8, "Table 6": 8, "text": 1},
    "slides_rdg": {"results": 270, "text": 1},
    "slides_dap": {"ablation": 24, "results": 132, "text": 1},
    "slides_star": {"Table 1": 162, "Table 3": 18, "Table 4": 12, "Table 6": 25},
    "adavsr": {"Table 2": 159, "Table 3": 8, "Table 4": 9},
    "sdatc": {
        **{"Table I": 504, "Table II": 240, "Table III": 29, "Table IV": 20},
        **{"Table V": 20, "Table VI": 6, "Table VII": 28},
    },
}
"""Figures per table, counted in the papers."""


def test_every_table_is_there_whole() -> None:
    found = Counter((figure.source, figure.table) for figure in load())
    assert found == {(source, table): count for source, tables in COUNTS.items() for table, count in tables.items()}
    assert len(load()) == 2037
    assert set(SOURCES) == set(COUNTS)


def test_figures_are_sane() -> None:
    for figure in load():
        assert figure.metric in QUANTITIES and figure.value == float(figure.text), figure
        assert figure.higher_is_better == QUANTITIES[figure.metric].higher_is_better
        assert re.fullmatch(r"[a-z0-9][a-z0-9_]*", figure.method), figure
        assert figure.corpus or not figure.channel, figure
        assert not figure.clip or figure.corpus, figure
        assert figure.scale in (None, 2, 2.5, 3, 3.5, 4, 8, 12) and figure.time_scale in (None, 1, 2), figure
    assert {figure.metric for figure in load()} == set(QUANTITIES)
    assert {figure.corpus for figure in load()} == {"", *TEST_SETS}


def test_clips_of_public_sets_have_their_names() -> None:
    for figure in load():
        clips = TEST_SETS[figure.corpus].clips if figure.corpus else ()
        if isinstance(clips, frozenset) and figure.clip:
            assert figure.clip in clips, figure
    assert {figure.clip for figure in load() if figure.corpus == "vimeo90k"} == {"", *vimeo90k.PROMISE.motion}


@pytest.mark.parametrize(
    ("source", "method", "corpus", "clip", "degradation", "channel", "metric", "text"),
    [
        ("dcgu", "basicvsr_dcgu", "reds4", "", "bi_x4", "rgb", "psnr", "31.57"),
        ("dcgu", "basicvsr_plusplus_dcgu", "vid4", "", "bi_x4", "y", "ssim", "0.8404"),
        ("dcgu", "basicvsr_plusplus_liif", "reds4", "", "bi_x3_5", "rgb", "psnr", "33.44"),
        ("dcgu", "basicvsr_plusplus_metasr", "reds4", "", "bi_x12", "rgb", "ssim", "0.6617"),
        ("dcgu", "basicvsr", "vimeo90k", "", "bi_x4", "y", "psnr", "37.18"),
        ("seem", "edvr_m", "reds4", "000", "bi_x4", "rgb", "psnr", "27.7464"),
        ("seem", "basicvsr", "reds4", "015", "bi_x4", "rgb", "psnr", "34.1752"),
        ("seem", "seem_basicvsr", "vimeo90k", "slow", "bi_x4", "rgb", "ssim", "0.90775"),
        ("seem", "seem_edvr", "vid4", "", "bi_x4", "y", "psnr", "27.3608"),
        ("slides_rdg", "rdg_s", "rdg", "", "rendered", "", "vmaf", "87.22"),
        ("slides_rdg", "smfanet", "rdg", "", "rendered", "rgb", "psnr", "29.12"),
        ("slides_rdg", "rdg", "", "", "", "", "runtime", "18.78"),
        ("slides_dap", "dap_128", "udm10", "", "bd_x4", "y", "ssim", "0.9664"),
        ("slides_dap", "edvr_l", "vimeo90k", "", "bd_x4", "y", "psnr", "37.81"),
        ("slides_dap", "basicvsr_plusplus", "", "", "", "", "macs", "418.1"),
        ("slides_dap", "bicubic", "udm10", "", "bd_x4", "y", "psnr", "28.47"),
        ("slides_star", "star", "udm10", "", "realworld_x4", "", "lpips", "0.1885"),
        ("slides_star", "star", "videolq", "", "real", "", "warping_error", "6.38"),
        ("adavsr", "ada_vsr", "vimeo90k", "fast", "", "", "niqe", "6.99"),
        ("adavsr", "zooming_slow_mo", "vimeo90k", "medium", "", "", "psnr", "35.24"),
        ("sdatc", "sdatc", "reds4", "", "crf35_x4", "", "fid", "113.19"),
        ("sdatc", "basicvsr_plusplus", "vid4", "", "crf15_x4", "y", "psnr", "25.74"),
        ("sdatc", "realbasicvsr", "reds4", "", "crf25_x4", "y", "psnr", "25.95"),
        ("sdatc", "basicvsr_plusplus", "udm10", "", "crf35_x4", "y", "psnr", "27.90"),
    ],
)
def test_figures_are_those_of_the_papers(
    source: str, method: str, corpus: str, clip: str, degradation: str, channel: str, metric: str, text: str
) -> None:
    found = {
        figure.text
        for figure in load()
        if (figure.source, figure.method, figure.corpus, figure.clip, figure.degradation, figure.channel, figure.metric)
        == (source, method, corpus, clip, degradation, channel, metric)
        and not figure.variant
    }
    assert found == {text}


def test_printed_means_are_means_of_their_clips_or_say_that_they_are_not() -> None:
    """So a digit that was lost in a clip or in a mean is found, and nothing that is right is doubted."""
    groups: dict[tuple[object, ...], dict[str, Published]] = {}
    for figure in load():
        if figure.corpus in ("reds4", "vid4", "rdg") and figure.scale == 4:
            key = (figure.source, figure.table, figure.method, figure.variant, figure.corpus, figure.degradation, figure.metric)
            groups.setdefault(key, {})[figure.clip] = figure
    checked = 0
    for clips in groups.values():
        if len(clips) < 5:  # only the mean is printed
            continue
        mean = clips.pop("")
        off = abs(sum(clip.value for clip in clips.values()) / len(clips) - mean.value)
        digits = max(len(one.text.rstrip("0").partition(".")[2]) for one in (mean, *clips.values()))
        doubted = "mean of its eight" in mean.doubt or "not the mean of the four" in mean.doubt
        assert doubted == (off > 10**-digits), (mean, off)
        checked += 1
    assert checked > 60


def test_times_and_frame_rates_agree() -> None:
    costs: dict[tuple[str, ...], dict[str, float]] = {}
    for figure in load():
        if not figure.corpus and not figure.variant and figure.table == "results":
            costs.setdefault((figure.source, figure.method), {})[figure.metric] = figure.value
    pairs = [found for found in costs.values() if "fps" in found]
    assert len(pairs) >= 12
    assert all(abs(1000 / found["runtime"] - found["fps"]) <= 0.051 for found in pairs)
    assert all(found["flops"] == pytest.approx(2 * found["macs"], rel=0.003) for found in pairs if "flops" in found)


def test_known_misprints_say_so() -> None:
    misprints = {(figure.source, figure.method, figure.text): figure for figure in load() if figure.misprint}
    assert set(misprints) == {("dcgu", "basicvsr_plusplus_lte", "6.67"), ("slides_rdg", "basicvsr_plusplus", "0.8716")}
    assert "36.67" in misprints["dcgu", "basicvsr_plusplus_lte", "6.67"].doubt
    assert "0.8434" in misprints["slides_rdg", "basicvsr_plusplus", "0.8716"].doubt
    (lost,) = beside("basicvsr_plusplus_lte", "reds4", "bi_x2_5", "arbitrary_scale", "psnr")
    assert lost.misprint and lost.value == 6.67


@pytest.mark.parametrize(
    ("source", "method", "metric", "text", "says"),
    [
        ("slides_rdg", "rdg", "fps", "126", "RDG-s"),
        ("slides_dap", "dap_128", "psnr", "30.49", "30.59"),
        ("slides_dap", "dap_128", "psnr", "30.59", "30.49"),
        ("seem", "edvr_m", "psnr", "30.5274", "EDVR-M"),
        ("seem", "drvsr", "psnr", "25.5200", "not the mean"),
        ("seem", "seem_edvr", "psnr", "35.8333", "weighted"),
        ("seem", "seem_basicvsr", "ssim", "0.82360", "without SEEM"),
        ("adavsr", "temporal_profile", "psnr", "26.50", "25.78"),
        ("adavsr", "ada_vsr", "psnr", "26.96", "26.98"),
        ("sdatc", "sdatc", "psnr", "26.58", "25.28"),
        ("sdatc", "basicvsr_plusplus", "parameters", "7.0", "7.3"),
        ("slides_dap", "rbpn", "runtime", "1507", "asterisk"),
        ("slides_star", "star", "psnr", "23.14", "damaged"),
    ],
)
def test_known_conflicts_say_so(source: str, method: str, metric: str, text: str, says: str) -> None:
    found = [
        figure
        for figure in load()
        if (figure.source, figure.method, figure.metric, figure.text) == (source, method, metric, text)
    ]
    assert found and all(says in figure.doubt for figure in found)


def test_what_is_not_stated_is_not_made_up() -> None:
    for figure in load():
        if figure.source == "adavsr" and figure.table == "Table 2":
            assert not figure.degradation and not figure.channel and "unstated" in figure.doubt
        if figure.metric == "lpips":
            assert "the network of LPIPS" in figure.doubt
        if figure.metric == "warping_error":
            assert "flow network" in figure.doubt
        if figure.metric in FAMILIES:
            assert "unstated" in figure.doubt


def test_recipes_are_those_of_params() -> None:
    recipes = load_params().recipes
    used = {figure.degradation for figure in load() if figure.degradation}
    assert used - set(recipes) == {"rendered", "real"}


# ---------------------------------------------------------------- beside a measured one


def test_beside_gives_a_papers_figure_once() -> None:
    found = beside("basicvsr", "reds", "bi_x4", "reds4", "psnr")
    assert [(figure.source, figure.text) for figure in found] == [
        ("dcgu", "31.42"),
        ("seem", "31.4171"),
        ("slides_dap", "31.42"),
    ]
    assert beside("basicvsr", "reds", "bi_x4", "y", "psnr") == []  # it is printed of RGB
    assert beside("basicvsr", "parallax", "bi_x4", "y", "psnr") == []
    assert beside("basicvsr", "vid4", "crf25_x4", "vid4", "psnr") == []
    assert [figure.text for figure in beside("bicubic", "reds4", "bi_x4", "rgb", "psnr")] == ["26.1400", "26.14"]


def test_beside_takes_the_part_that_the_protocol_scores() -> None:
    assert beside("seem_basicvsr", "vimeo90k", "bi_x4", "vimeo90k_fast", "psnr") == []  # it is printed of RGB
    assert {figure.clip for figure in load() if figure.method == "seem_basicvsr" and figure.corpus == "vimeo90k"} == {
        *("", "slow", "medium", "fast")
    }
    (figure,) = beside("basicvsr", "vimeo90k", "bi_x4", "vimeo90k_t", "psnr")
    assert figure.text == "37.18"
    with pytest.raises(VSRError, match="unknown protocol"):
        beside("basicvsr", "vid4", "bi_x4", "vid5", "psnr")


def test_every_kind_of_a_metric_has_the_printed_one_beside_it() -> None:
    (figure,) = beside("sdatc", "reds4", "crf25_x4", "compressed", "lpips_alex")
    assert figure.text == "0.3488" and "unstated" in figure.doubt
    assert beside("sdatc", "reds4", "crf25_x4", "compressed", "lpips_vgg") == [figure]
    (figure,) = beside("sdatc", "reds4", "crf25_x4", "compressed", "niqe_matlab")
    assert figure.text == "2.796" and "which NIQE" in figure.doubt
    (figure,) = beside("star", "udm10", "realworld_x4", "udm10", "warping_error_raft_large")
    assert figure.text == "2.68" and figure.unit == registry.get("warping_error_raft_large").unit


def test_headlines_are_the_papers_own_claims() -> None:
    claims = {
        network: [figure.text for figure in headline(network)]
        for network in ("basicvsr", "basicvsr_plusplus", "iconvsr", "dap_64", "rdg", "rdg_s", "sdatc", "star", "ada_vsr")
    }
    assert claims == {
        "basicvsr": ["31.42", "0.8909"],
        "basicvsr_plusplus": ["32.39", "0.9069"],
        "iconvsr": ["31.67", "0.8948"],
        "dap_64": ["29.97", "0.8571"],
        "rdg": ["29.69", "0.8494"],
        "rdg_s": ["29.37", "0.8421"],
        "sdatc": ["25.28", "0.6705"],
        "star": ["23.91", "0.7164"],
        "ada_vsr": ["26.98", "0.84"],
    }
    assert [figure.text for figure in headline("basicvsr_plusplus_dcgu", 2.5)] == ["37.05", "0.9569"]
    assert headline("basicvsr", 3) == [] and headline("nearest") == []
    assert headline("basicvsr")[0].setting == "REDS4, bi_x4, RGB"
    assert headline("basicvsr")[0].where == "Huang et al., AAAI 2024, Table 1"


# ---------------------------------------------------------------- the file


HEADER = "source,table,method,name,variant,corpus,clip,scale,time_scale,degradation,channel,metric,value,unit,note,doubt\n"
LINE = "seem,Table 4,basicvsr,BasicVSR,,vid4,,4,1,bi,y,psnr,27.2383,dB,,\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (LINE.replace("seem", "seam"), "source 'seam'"),
        (LINE.replace("psnr", "psrn"), "metric 'psrn'"),
        (LINE.replace("27.2383", "272383"), "psnr is 272383 dB"),
        (LINE.replace("27.2383", "high"), "'high'"),
        (LINE.replace("dB", "M"), "psnr is 27.2383 M"),
        (LINE.replace(",bi,", ",by,"), "degradation 'by'"),
        (LINE.replace("vid4", "vid5"), "corpus 'vid5'"),
        (LINE.replace(",y,", ",x,"), "channel 'x'"),
        (LINE.replace(",,\n", ",,perhaps\n"), "doubt is 'perhaps'"),
        (LINE.replace(",,\n", ",,inferred: a; misprint: b\n"), "doubt is"),
        ("seem,Table 4\n", "damaged"),
        (LINE + LINE, "line 3 has a figure that a line above it has"),
    ],
)
def test_a_damaged_file_says_its_line(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(HEADER + line)
    with pytest.raises(VSRError, match=r"line \d") as error:
        published.read(path)
    assert says in str(error.value)


def test_a_sound_line_is_read(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    path.write_text(HEADER + LINE)
    (figure,) = published.read(path)
    assert (figure.value, figure.degradation, figure.higher_is_better, figure.doubt) == (27.2383, "bi_x4", True, "")


def test_quantities_agree_with_the_metrics_of_the_same_name() -> None:
    for name, quantity in QUANTITIES.items():
        for metric in registry.METRICS.values():
            if metric.name == name or (name in FAMILIES and metric.name.startswith(f"{name}_")):
                assert (metric.higher_is_better, (metric.unit,)) == (quantity.higher_is_better, quantity.units), metric.name

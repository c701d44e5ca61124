"""The report: what it says is what was measured, it says so the same way every time, and it needs nothing else."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import fabricated
import numpy as np
import pandas as pd
import pytest
from fabricated import CLIPS, HOSTILE, METHODS, NOTE, SKIPPED, VERSIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from pipelines import results as reading
from pipelines.errors import VSRError
from pipelines.params import ROOT, Params, Raft, Sam
from pipelines.report import answer, charts, facts, families, formats, overview, page, pictures, tables
from pipelines.report.versions import versions


@pytest.fixture
def params() -> Params:
    return fabricated.params()


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three methods on two pairs."""
    return fabricated.results(tmp_path / "results")


def _page(params: Params, results: Path, out: Path) -> tuple[ET.Element, str]:
    page.write(params, results, out, VERSIONS)
    text = (out / "index.html").read_text(encoding="utf-8")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>")), text


# ---------------------------------------------------------------- tables


@settings(deadline=None)
@given(st.lists(st.none() | st.sampled_from([20.0, 20.001, 20.004, 20.006, 21.0, 22.5, float("inf")]), max_size=8))
def test_ranks_are_dense_ranks_of_what_is_shown(values: list[float | None]) -> None:
    shown = pd.Series(values, dtype=float).round(2)
    expected = shown.rank(method="dense", ascending=False).map({1.0: "best", 2.0: "second"}).fillna("").tolist()
    assert tables.rank(values, tables.heading("psnr")) == (expected if shown.notna().sum() > 1 else [""] * len(values))


def test_ties_share_a_mark_and_a_lower_metric_is_ranked_upwards() -> None:
    assert tables.rank([30.004, 29.996, 28.0, None, 27.0], tables.heading("psnr")) == ["best", "best", "second", "", ""]
    lower = tables.Heading("lpips", "LPIPS", "", 3, higher=False)
    assert tables.rank([0.3, 0.1, 0.2], lower) == ["", "best", "second"]
    assert tables.rank([0.3], lower) == [""]
    assert tables.rank([0.3, 0.1], tables.heading("no_such_metric")) == ["", ""]


def test_the_suite_is_the_lead_protocols_means(params: Params, results: Path) -> None:
    cells = reading.load(results)
    made = formats.frame(tables.suite(params, "first_look", cells))
    frames = pd.concat(
        cell.frames().assign(method=cell.method, corpus=cell.corpus, degradation=cell.degradation) for cell in cells
    )
    clips = frames[frames["protocol"] == "y"].groupby(["method", "corpus", "degradation", "metric", "clip"])["value"].mean()
    means = clips.groupby(["method", "corpus", "degradation", "metric"]).mean().unstack(["corpus", "degradation", "metric"])
    pd.testing.assert_frame_equal(made, means.loc[made.index, made.columns], check_names=False)
    best = tables.suite(params, "first_look", cells)
    for column, (pair, metric) in enumerate((pair, metric) for pair in best.pairs for metric in best.metrics):
        entries = [[entry for place in row.places for entry in place.entries][column] for row in best.rows]
        order = means.loc[:, (pair.corpus, pair.degradation, metric.name)].sort_values(ascending=False).index
        marks = {row.name: entry.mark for row, entry in zip(best.rows, entries, strict=True)}
        assert (marks[order[0]], marks[order[1]], marks[order[2]]) == ("best", "second", "")


def test_a_cell_without_values_says_why(params: Params, results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results / "basicvsr_bi" / "parallax" / "bi_x4")
    fabricated.change(results, "basicvsr_crf25", "crf25_x4", applicable=False, reason="needs 5 frames", protocols={}, cost=None)
    rows = {row.name: row for row in tables.suite(params, "first_look", reading.load(results)).rows}
    assert [place.missing for place in rows["basicvsr_bi"].places] == ["not run", None]
    assert [place.missing for place in rows["basicvsr_crf25"].places] == [None, "not applicable: needs 5 frames"]
    _, text = _page(params, results, tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    for said in ("not run", "not applicable: needs 5 frames"):
        assert said in text
        assert said in markdown
    values = formats.frame(tables.suite(params, "first_look", reading.load(results)))
    assert values.isna().sum().sum() == 4


def test_a_report_of_nothing_says_so(params: Params, tmp_path: Path) -> None:
    _, text = _page(params, tmp_path / "results", tmp_path / "out")
    assert "Not run: 3 methods of params.yaml" in text and "Nothing of it was run" in text and "<tr data-method" not in text
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 0


def test_methods_of_every_kind_are_shown_where_they_are_tested(tmp_path: Path) -> None:
    tree = fabricated.params(["bi_x4", "bi_x2"]).model_dump()
    made = {"profile": "small", "corpus": "parallax", "start": "basicvsr_bi"}
    tree["experiments"]["seem"] = {**made, "method": "seem_basicvsr", "degradation": "bi_x4", "prior": "segments"}
    free = {**made, "method": "basicvsr_dcgu", "degradation": "in_step", "prior": "none"}
    tree["experiments"] |= {name: free for name in ("dcgu", "later")}
    tree["suites"]["first_look"]["methods"] = ["bicubic", "basicvsr_bi", "seem", "dcgu", "later"]
    chosen = Params.model_validate(tree)
    root = fabricated.results(tmp_path / "results", {"bicubic": "bicubic", "dcgu": "basicvsr_dcgu"}, ["bi_x4", "bi_x2"])
    fabricated.results(root, {"basicvsr_bi": "basicvsr", "seem": "seem_basicvsr"}, ["bi_x4"])
    fabricated.change(root, "seem", "bi_x4", prior={"kind": "masks", "name": "segments", "model": {"backend": "felzenszwalb"}})
    fabricated.results(root, {"basicvsr_bi": "basicvsr"}, ["bi_x2"])
    fabricated.change(root, "basicvsr_bi", "bi_x2", applicable=False, reason="it enlarges 4 times")
    rows = {row.name: row for row in tables.suite(chosen, "first_look", reading.load(root)).rows}
    assert {name: [place.missing for place in row.places] for name, row in rows.items()} == {
        "bicubic": [None, None],
        "basicvsr_bi": [None, "not applicable: it enlarges 4 times"],
        "seem": [None, "not run"],
        "dcgu": [None, None],
        "later": ["not run", "not run"],
    }
    assert rows["seem"].tag == "profile small; masks by felzenszwalb, not by SAM"
    _, text = _page(chosen, root, tmp_path / "out")
    for said in (
        "Not run: 2 methods of params.yaml",
        "Not here: later (not run).",
        "Not here: basicvsr_bi (not applicable: it enlarges 4 times); seem (not run).",
        "it guides seem",
        "parallax · bi_x4 · guided by segments",
        "parallax · one network for all scales of 1 to 4",
    ):
        assert said in text, said
    shown = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(shown[shown["method"] == "seem"]["degradation"]) == {"bi_x4"}
    assert set(shown[shown["method"] == "dcgu"]["degradation"]) == {"bi_x4", "bi_x2"}


def test_results_that_params_no_longer_name_are_passed_over(params: Params, results: Path, tmp_path: Path) -> None:
    _page(params, results, tmp_path / "a")
    fabricated.result(results / "retired" / "parallax" / "bi_x4", "retired", "edvr_m", 99)
    _page(params, results, tmp_path / "b")
    for name in ("index.html", "report.md", "results.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_notes_stand_at_their_method_or_their_value(params: Params, results: Path) -> None:
    fabricated.change(results, "basicvsr_bi", "crf25_x4", notes=[NOTE, "restored in windows of 30 frames"])
    table = tables.suite(params, "first_look", reading.load(results))
    assert table.notes == (NOTE, "restored in windows of 30 frames")
    assert [row.notes for row in table.rows] == [(), (1,), (1,)]
    assert [place.notes for place in table.rows[1].places] == [(), (2,)]


def test_frames_that_equal_the_truth_are_owned_up(params: Params, results: Path) -> None:
    protocols = json.loads((results / "bicubic/parallax/bi_x4/metrics.json").read_text())["protocols"]
    protocols["y"]["lossless"] = 3
    fabricated.change(results, "bicubic", "bi_x4", protocols=protocols)
    table = tables.suite(params, "first_look", reading.load(results))
    assert table.notes[table.rows[0].places[0].notes[0] - 1].startswith("3 of 21 frames are equal to the truth")


def test_csv_has_each_value_once(params: Params, results: Path, tmp_path: Path) -> None:
    page.write(params, results, tmp_path, VERSIONS)
    found = pd.read_csv(tmp_path / "results.csv", keep_default_na=False)
    key = ["method", "corpus", "degradation", "protocol", "metric", "clip"]
    assert not found.duplicated(key).any()
    costs = ["parameters", "gmacs", "gmacs_without_deform", "seconds_per_frame"]
    assert len(found) == 3 * 2 * (2 * 2 * (1 + len(CLIPS)) + len(costs))
    assert set(found["metric"]) == {"psnr", "ssim", *costs}
    source = json.loads((results / "bicubic/parallax/bi_x4/metrics.json").read_text())["protocols"]["rgb"]["clips"][HOSTILE]
    row = found.set_index(key).loc[("bicubic", "parallax", "bi_x4", "rgb", "ssim", HOSTILE)]
    assert (float(row["value"]), int(row["frames"])) == (source["metrics"]["ssim"], 7)


def test_markdown_and_terminal_show_the_same_values(params: Params, results: Path) -> None:
    table = tables.suite(params, "first_look", reading.load(results))
    written = formats.markdown(table)
    lines = [line for line in written.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {6}
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(formats.terminal(table, 200))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for line, row in zip(lines[2:], table.rows, strict=True):
        for entry in (entry for place in row.places for entry in place.entries):
            assert {"best": f"**{entry.text}**", "second": f"<ins>{entry.text}</ins>", "": f"| {entry.text}"}[entry.mark] in line
            assert entry.text in printed
    assert NOTE in written


def test_markdown_keeps_text_as_text() -> None:
    assert formats.escape("a_b") == "a_b"
    assert formats.escape("_a_ | <b>\n`c`") == r"\_a\_ \| &lt;b&gt; \`c\`"


# ---------------------------------------------------------------- the page


def test_the_pages_numbers_are_the_csvs(params: Params, results: Path, tmp_path: Path) -> None:
    root, _ = _page(params, results, tmp_path)
    rows = pd.read_csv(tmp_path / "results.csv", keep_default_na=False, dtype=str)
    key = ["method", "corpus", "degradation", "protocol", "metric", "clip"]
    value = rows[rows["value"] != ""].set_index(key)["value"].map(float)
    seen = 0
    for table in root.iter("table"):
        for row in table.iter("tr"):
            for cell in row.findall("td[@data-value]"):
                about = {**table.attrib, **row.attrib, **cell.attrib}
                expected = value[tuple(about[f"data-{name}"] for name in key)]
                shown = next(cell.iter("data"))
                assert float(about["data-value"]) == float(shown.get("value", "nan")) == expected
                assert shown.text == tables.heading(about["data-metric"]).write(expected)
                seen += 1
    assert seen == 2 * 2 + 3 * 2 * 2 + 2 * 2 * (len(CLIPS) + 1) * 3 * 2 + 2 * 2 * 3 * 2
    tiles = list(root.iterfind(".//div[@class='tiles']//data"))
    assert len(tiles) == 2 * len(CLIPS) * 3
    assert {float(found.get("value", "nan")) for found in tiles} <= set(value)


def test_the_page_needs_nothing_else(params: Params, results: Path, tmp_path: Path) -> None:
    root, text = _page(params, results, tmp_path)
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"iframe", "object", "embed", "link"} or element.get("href") == "data:,"
        for name, link in element.attrib.items():
            assert not name.startswith("on"), element.tag
            if name.rpartition("}")[2] in {"src", "href", "srcset", "action"}:
                assert link.startswith(("#", "data:")), link
    assert not re.findall(r"url\((?!#)|@import", text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    targets = {link[1:] for element in root.iter() for link in element.attrib.values() if re.fullmatch(r"#[\w-]+", link)}
    assert {target for target in targets if not re.fullmatch(r"[0-9a-f]{3,8}", target)} <= set(ids)
    labelled = [element.get("aria-labelledby") for element in root.iter() if element.get("aria-labelledby")]
    assert set(labelled) <= set(ids)
    assert all(image.get("alt") for image in root.iter("img"))


def test_hostile_names_stay_text(params: Params, results: Path, tmp_path: Path) -> None:
    root, text = _page(params, results, tmp_path)
    assert "<img src=x" not in text
    assert HOSTILE in {(head.text or "").strip() for head in root.iter("th")}
    assert "<img" not in (tmp_path / "report.md").read_text()


def test_the_same_results_give_the_same_bytes(
    params: Params, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.write(params, results, tmp_path / "a", VERSIONS)
    moved = tmp_path / "elsewhere"
    shutil.copytree(results, moved / "results")
    monkeypatch.chdir(moved)
    page.write(params, Path("results"), Path("b"), VERSIONS)
    for name in ("index.html", "report.md", "results.csv"):
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (moved / "b" / name).read_bytes()
        assert str(tmp_path).encode() not in first


def test_stand_ins_and_starts_are_said_openly(params: Params, results: Path, tmp_path: Path) -> None:
    _, text = _page(params, results, tmp_path)
    for said in ("classical stand-in for Segment Anything", "classical stand-in for RAFT", "trained here on the exact flow"):
        assert said in text
    sam = Sam(
        backend="sam",
        weights="sam_vit_b",
        points_per_side=8,
        masks_per_point=3,
        pred_iou_threshold=0.88,
        stability_threshold=0.95,
        nms_threshold=0.7,
        max_masks=64,
        batch=64,
    )
    raft = Raft(backend="raft", weights="raft_small", updates=12, enlarge=1, batch=8)
    priors = {"segments": sam, "motion": raft}
    starts = {
        key: value.model_copy(update={"training": None, "weights": "spynet_published"}) for key, value in params.starts.items()
    }
    learned = params.model_copy(update={"priors": priors, "starts": starts})
    _, text = _page(learned, results, tmp_path)
    assert "stand-in" not in text
    assert "sam_vit_b" in text
    assert "published parameters spynet_published" in text


def test_the_page_begins_with_the_answer(params: Params, results: Path, tmp_path: Path) -> None:
    root, text = _page(params, results, tmp_path)
    cells = reading.load(results)
    said = answer.sentence(answer.answers(tables.tested_pairs(params), list(params.tested), cells))
    assert "".join(root.find(".//p[@id='answer']").itertext()) == said  # type: ignore[union-attr]
    assert said in (tmp_path / "report.md").read_text()
    assert text.index(said) < text.index('class="answer"') < text.index('class="suite"')
    labels = [found.text for found in root.iterfind(".//div[@class='crops']//b")]
    first = answer.answers(tables.tested_pairs(params), list(params.tested), cells)[0]
    assert labels == [*dict.fromkeys(("bicubic", first.second.method, first.best.method)), "truth"]


def test_legends_and_rows_are_of_what_was_run(params: Params, results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results / "basicvsr_crf25")
    shutil.rmtree(results / "basicvsr_bi" / "parallax" / "crf25_x4")
    root, text = _page(params, results, tmp_path)
    legends = [
        ["".join(item.itertext()).split()[-1] for item in found.iter("li")] for found in root.iterfind(".//ul[@class='legend']")
    ]
    assert legends == [["bicubic", "basicvsr_bi"], ["bicubic", "basicvsr_bi"], ["bicubic"]]
    assert 'data-method="basicvsr_crf25"' not in text and "Not here: basicvsr_crf25 (not run)." in text
    assert "Not run: the method basicvsr_crf25 of params.yaml" in text


def test_what_stands_between_backticks_is_code(params: Params, results: Path, tmp_path: Path) -> None:
    fabricated.change(results, "basicvsr_bi", "bi_x4", notes=["run `make <demo>` again"])
    root, _ = _page(params, results, tmp_path)
    assert "make <demo>" in {found.text for found in root.iter("code")}


# ---------------------------------------------------------------- cost


def test_cost_has_a_row_for_each_method(params: Params, results: Path) -> None:
    cells = reading.load(results)
    rows = facts.costs(list(METHODS), cells)
    assert [row.method for row in rows] == list(METHODS)
    for row in rows:
        assert {cell.timing for cell in cells if cell.method == row.method} == {row.timing}
        assert row.cost.parameters == (0 if row.method == "bicubic" else 1234567 + len(row.method))


def test_which_methods_hold_which_frame_rate(results: Path) -> None:
    """A rate is held by what restores 99 of 100 frames in its time; other frames and other machines are told apart."""
    (row, *_) = facts.costs(list(METHODS), reading.load(results))

    def measured(method: str, p99: float, **other: Any) -> facts.CostRow:
        return replace(row, method=method, timing=row.timing.model_copy(update={"seconds_p99": p99, **other}))

    rows = [measured("slow", 0.1), measured("film", 1 / 24), measured("fast", 0.001), measured("elsewhere", 0.03, hardware="GPU")]
    here, there = facts.real_time(rows)
    assert here.endswith(": 60 by fast; 30 by fast; 24 by film, fast.") and row.timing.place in here
    assert "GPU, 2 threads" in there and there.endswith(": 60 by none; 30 by elsewhere; 24 by elsewhere.")


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (376.74, 4, "376.7"),
        (0.012345, 3, "0.0123"),
        (1234.5, 4, "1,234"),
        (0.0, 3, "0"),
        (9.996, 3, "10.0"),
        (52987, 3, "52,987"),
    ],
)
def test_significant(value: float, digits: int, text: str) -> None:
    assert facts.significant(value, digits) == text


# ---------------------------------------------------------------- pictures


def test_the_window_is_where_the_pictures_differ_most() -> None:
    draw = np.random.default_rng(0)
    frames = [draw.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(3)]
    luma = [np.floor(picture.astype(float) @ [77, 150, 29] / 256) for picture in frames]
    spread = np.var(luma, axis=0)
    best = max(
        ((spread[top : top + 16, left : left + 16].sum(), top, left) for top in range(0, 25, 8) for left in range(0, 41, 8)),
        key=lambda found: found[0],
    )
    assert pictures.busiest_window(frames, 16) == best[1:]
    same = [np.zeros((40, 56, 3), np.uint8)] * 2
    assert pictures.busiest_window(same, 40) == (0, 0)


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_enlarging_repeats_pixels(height: int, width: int, times: int) -> None:
    small = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    expected = np.repeat(np.repeat(small, times, 0), times, 1)
    np.testing.assert_array_equal(pictures.enlarge(small, height * times, width * times), expected)


def _decode(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def _tested(params: Params, results: Path) -> tuple[tables.Pair, list[reading.Cell]]:
    pair = tables.tested_pairs(params)[0]
    cells = [cell for cell in reading.load(results) if cell.degradation == pair.degradation]
    return pair, sorted(cells, key=lambda cell: list(METHODS).index(cell.method))


def test_viewers_hold_one_region_of_every_picture(params: Params, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, cells = _tested(params, results)
    monkeypatch.setattr(pictures, "REGION", (48, 64))
    (album,) = pictures.albums([(pair, cells)])
    assert [viewer.clip for viewer in album.viewers] == sorted(CLIPS)
    for viewer in album.viewers:
        assert [tile.label for tile in viewer.tiles] == ["LR", *METHODS, "truth"]
        assert viewer.size == (64, 48)
        left, top, side = viewer.lens
        assert 0 <= left <= 64 - side and 0 <= top <= 48 - side
        folder = results / "basicvsr_bi" / "parallax" / "bi_x4" / "samples" / quote(viewer.clip, safe=" ()")
        truth = np.asarray(Image.open(folder / "truth.png"))
        shown = _decode(viewer.tiles[-1].source)
        places = [(y, x) for y in range(25) for x in range(33) if np.array_equal(truth[y : y + 48, x : x + 64], shown)]
        assert len(places) == 1
        y, x = places[0]
        restored = np.asarray(Image.open(folder / "restored.png"))[y : y + 48, x : x + 64]
        np.testing.assert_array_equal(_decode(viewer.tiles[2].source), restored)
        lr = np.asarray(Image.open(folder / "lr.png")).repeat(4, 0).repeat(4, 1)[y : y + 48, x : x + 64]
        np.testing.assert_array_equal(_decode(viewer.tiles[0].source), lr)
        assert [tile.label for tile in viewer.profiles] == [*METHODS, "truth"]
        np.testing.assert_array_equal(_decode(viewer.profiles[-1].source), truth[: fabricated.FRAMES])
        assert [tile.label for tile in viewer.invented] == ["basicvsr_bi", "basicvsr_crf25"]
        assert _decode(viewer.invented[0].source).shape == (48, 64, 3)
    (without,) = pictures.albums([(pair, cells[1:])])
    assert [tile.label for tile in without.viewers[0].tiles] == ["LR", "bicubic", "basicvsr_bi", "basicvsr_crf25", "truth"]


def test_pictures_and_videos_keep_to_their_room(params: Params, results: Path, tmp_path: Path) -> None:
    pair, cells = _tested(params, results)
    for cell in cells:
        (cell.folder / "samples" / "city" / "clip.mp4").write_bytes(bytes(3000))
    (whole,) = pictures.albums([(pair, cells)], videos=8100)
    (city,) = (viewer for viewer in whole.viewers if viewer.clip == "city")
    assert [tile.label for tile in city.videos] == ["bicubic", "basicvsr_bi"]
    assert city.without_video == ("basicvsr_crf25",)
    weight = sum(len(tile.source) for tile in (*city.tiles, *city.profiles)) + len(city.whole)
    narrow = pictures.albums([(pair, cells), (pair, cells)], pictures=int(2.5 * weight))
    assert [len(album.viewers) for album in narrow] == [1, 1]
    assert [len(album.left_out) for album in narrow] == [2, 2]
    _, text = _page(params, results, tmp_path / "out")
    assert text.count("<video") == 3 and "data:video/mp4;base64" in text


@settings(deadline=None)
@given(st.integers(1, 400), st.integers(1, 60), st.data())
def test_a_region_lies_inside_and_holds_its_window(whole: int, side: int, data: st.DataObject) -> None:
    side = min(side, whole)
    start = data.draw(st.integers(0, (whole - side) // pictures.STEP)) * pictures.STEP
    kept = pictures.around(start, side, whole, 80)
    assert 0 <= kept.start <= start and start + side <= kept.stop <= whole
    assert kept.stop - kept.start == min(whole, 80)


def test_few_are_spread_over_all() -> None:
    names = [f"{index:03d}" for index in range(100)]
    assert pictures.few(names) == ["000", "033", "066", "099"]
    assert pictures.few(names[:3]) == names[:3]


def test_charts_carry_no_date_and_take_the_pages_colours(params: Params, results: Path) -> None:
    pair, cells = _tested(params, results)
    styles = charts.series(list(METHODS), {"bicubic"})
    assert [style.colour for style in styles] == [0, 1, 2]
    frames = {cell.method: cell.frames() for cell in cells}
    drawn = [charts.quality_against_cost(pair, cells, styles, cost, cost) for cost in charts.COSTS]
    drawn.append(charts.quality_over_frames(pair, "city", frames, styles, "frames"))
    for chart in drawn:
        assert chart is not None
        ET.fromstring(str(chart))
        assert "date" not in chart.lower()
        assert "var(--c0)" in chart and "var(--c2)" in chart and "currentColor" in chart
        assert "#0a0b" not in chart
        assert {"bicubic", *METHODS} <= {text.text for text in ET.fromstring(str(chart)).iter("{http://www.w3.org/2000/svg}text")}
    assert charts.quality_against_cost(pair, cells[:1], styles, "seconds", "one") is None
    assert charts.quality_over_frames(pair, "nowhere", frames, styles, "two") is None


def test_perception_stands_against_distortion_where_both_were_measured(params: Params, results: Path, tmp_path: Path) -> None:
    pair, cells = _tested(params, results)
    styles = charts.series(list(METHODS), {"bicubic"})
    assert charts.perception_against_distortion(pair, cells, styles, "none") is None
    measured = reading.load(fabricated.results(tmp_path / "measured", extra=["niqe", "lpips_squeeze"]))
    both = [cell for cell in measured if cell.degradation == pair.degradation]
    chart = charts.perception_against_distortion(pair, both, styles, "both")
    assert chart is not None
    texts = list(ET.fromstring(str(chart)).iter("{http://www.w3.org/2000/svg}text"))
    names = [text.text or "" for text in texts]
    assert {"LPIPS-Squeeze", "PSNR (dB)", *METHODS} <= set(names)
    ticks = texts[: names.index("LPIPS-Squeeze")]
    leftwards = sorted(ticks, key=lambda tick: -float(tick.attrib["x"]))
    assert len(ticks) > 1 and leftwards == sorted(
        ticks, key=lambda tick: float(tick.text or "")
    )  # what looks better is further right
    assert charts.perception_against_distortion(pair, both[:1], styles, "one") is None


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.12))
def test_names_beside_lines_keep_apart_and_in_order(places: list[float], gap: float) -> None:
    moved = charts.spread(places, gap)
    order = np.argsort(np.array(places), kind="stable")
    assert (np.diff(np.array(moved)[order]) >= gap - 1e-9).all()
    assert max(moved) <= 1
    apart = np.diff(np.sort(places))
    if (apart >= gap).all():
        np.testing.assert_allclose(moved, places, atol=1e-9)


def test_families_differ_in_one_number(params: Params) -> None:
    found = families.families(params.recipes, list(params.recipes))
    of = {family.label: [name for _, name in family.of] for family in found}
    assert of["CRF"] == ["crf15_x4", "crf25_x4", "crf35_x4"]
    assert of["scale"] == ["bi_x2", "bi_x2_5", "bi_x3", "bi_x3_5", "bi_x4", "bi_x8", "bi_x12"]
    assert {name: family for name, family in of.items() if name not in ("CRF", "scale", "window")} == {}


def test_robustness_is_the_means_over_a_family(tmp_path: Path) -> None:
    crfs = ["crf15_x4", "crf25_x4", "crf35_x4"]
    chosen = fabricated.params(["bi_x4", *crfs])
    root = fabricated.results(tmp_path / "results", degradations=["bi_x4", *crfs])
    shutil.rmtree(root / "basicvsr_bi" / "parallax" / "crf15_x4")
    for crf in crfs[:2]:
        shutil.rmtree(root / "basicvsr_crf25" / "parallax" / crf)
    cells = reading.load(root)
    (family,) = families.families(chosen.recipes, chosen.tests.degradations)
    chart = charts.robustness("parallax", "y", family, tables.heading("psnr"), cells, charts.series(list(METHODS), set()), "one")
    assert chart is not None
    named = {text.text for text in ET.fromstring(str(chart)).iter("{http://www.w3.org/2000/svg}text")}
    assert {"15", "25", "35", "CRF", "bicubic", "basicvsr_bi"} <= named
    assert "basicvsr_crf25" not in named
    few = [cell for cell in cells if cell.degradation in ("bi_x4", "crf15_x4")]
    assert (
        charts.robustness("parallax", "y", family, tables.heading("psnr"), few, charts.series(list(METHODS), set()), "x") is None
    )
    _, text = _page(chosen, root, tmp_path / "out")
    assert "PSNR against CRF" in text and "PSNR against parameters" in text


# ---------------------------------------------------------------- metrics, differences and published figures


def test_a_skipped_metric_says_why_everywhere(tmp_path: Path) -> None:
    chosen = fabricated.params(metrics=["psnr", "lpips_squeeze", "vmaf"])
    root = fabricated.results(tmp_path / "results", extra=["lpips_squeeze", "of_old"])
    table = tables.suite(chosen, "first_look", reading.load(root))
    assert [metric.name for metric in table.metrics] == ["psnr", "lpips_squeeze", "vmaf"]
    said = f"VMAF was skipped: {SKIPPED['vmaf']}"
    for row in table.rows:
        for place in row.places:
            vmaf = place.entries[2]
            assert vmaf.value is None and table.notes[vmaf.notes[0] - 1] == said
    tree, _ = _page(chosen, root, tmp_path / "out")
    notes = ["".join(item.itertext()) for item in tree.iter("li")]
    assert notes.count(said) == 1 + 2 * 2  # the suite; of each pair all metrics, and the clips
    found = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    skipped = found[found["metric"] == "vmaf"]
    assert len(skipped) == 3 * 2 and set(skipped["value"]) == {""} and set(skipped["missing"]) == {said}
    assert "of_old" in {"".join(head.itertext()) for head in tree.iter("th")}
    assert said.replace("&", "&amp;") in (tmp_path / "out" / "report.md").read_text()
    with pytest.raises(VSRError, match="psnr"):
        tables.suite(fabricated.params(metrics=["psrn"]), "first_look", reading.load(root))


def test_differences_are_paired_over_clips(params: Params, results: Path, tmp_path: Path) -> None:
    from scipy.stats import ttest_rel

    cells = {cell.method: cell for cell in reading.load(results) if cell.degradation == "bi_x4"}
    pair = tables.tested_pairs(params)[0]
    lead = overview.overviews(pair, list(METHODS), cells.values(), {})[0]
    assert lead.reference == "bicubic"
    assert all(entry.difference is None for entry in lead.rows[0].places[0].entries)
    for row in lead.rows[1:]:
        for entry in row.places[0].entries:
            ours, other = (
                [scores.metrics[entry.metric.name] for _, scores in sorted(cells[name].protocols["y"].clips.items())]
                for name in (row.name, "bicubic")
            )
            expected = ttest_rel(ours, other)
            interval = expected.confidence_interval(0.95)
            assert entry.difference is not None
            assert entry.difference.mean == pytest.approx(np.mean(ours) - np.mean(other))
            assert (entry.difference.low, entry.difference.high) == pytest.approx((interval.low, interval.high))
            assert (entry.difference.verdict == "not distinguishable") == (expected.pvalue > 0.05)
    page.write(params, results, tmp_path, VERSIONS)
    rows = pd.read_csv(tmp_path / "results.csv", keep_default_na=False).set_index(
        ["method", "degradation", "protocol", "metric", "clip"]
    )
    row = rows.loc[("basicvsr_bi", "bi_x4", "y", "psnr", "")]
    assert row["reference"] == "bicubic"
    assert float(row["difference"]) == lead.rows[1].places[0].entries[0].difference.mean  # type: ignore[union-attr]


def test_published_figures_stand_beside_and_say_whether_they_compare(tmp_path: Path) -> None:
    chosen = fabricated.params(vid4=True)
    root = fabricated.results(tmp_path / "results", corpora=("parallax", "vid4"))
    cells = reading.load(root)
    table = tables.suite(chosen, "vid4", cells)
    assert table.published and not tables.suite(chosen, "first_look", cells).published
    psnr = table.rows[1].places[0].entries[0]
    # BasicVSR on Vid4, BI x4, Y (Chan et al., CVPR 2021), which later papers repeat.
    assert psnr.published is not None and psnr.published.value == 27.24
    assert psnr.published.difference == pytest.approx((psnr.value or 0) - 27.24)
    assert not psnr.published.comparable
    said = "not comparable: not the published network and recipe (profile small, not published)"
    assert said in table.notes[psnr.published.notes[0] - 1]
    assert table.rows[1].tag == "profile small" and table.rows[0].tag == ""
    path = root / "basicvsr_bi" / "vid4" / "bi_x4" / "metrics.json"
    same = {**json.loads(path.read_text()), "profile": "published", "weights": "basicvsr_vimeo90k_bi", "trained_on": None}
    path.write_text(json.dumps(same))
    again = tables.suite(chosen, "vid4", reading.load(root)).rows[1]
    beside = again.places[0].entries[0].published
    assert beside is not None and beside.comparable and again.tag == ""
    tree, text = _page(chosen, root, tmp_path / "out")
    signs = {name: [small for small in tree.iter("small") if small.get("class") == name] for name in ("like", "unlike")}
    assert all("=" in "".join(small.itertext()) for small in signs["like"]) and signs["like"]
    assert all("≠" in "".join(small.itertext()) for small in signs["unlike"]) and signs["unlike"]
    assert "What the papers report of these networks, elsewhere" in text
    markdown = (tmp_path / "out" / "report.md").read_text()
    assert (
        f"27.24 {tables.heading('psnr').write_difference(beside.difference or 0)} = <sup>" in markdown and "≠ <sup>" in markdown
    )
    found = pd.read_csv(tmp_path / "out" / "results.csv", keep_default_na=False)
    row = found.set_index(["method", "corpus", "degradation", "protocol", "metric", "clip"]).loc[
        ("basicvsr_bi", "vid4", "bi_x4", "vid4", "psnr", "")
    ]
    assert (float(row["published"]), row["comparable"]) == (27.24, "yes")


def test_differences_read_as_signs() -> None:
    psnr = tables.heading("psnr")
    assert [psnr.write_difference(value) for value in (0.314, -0.314, 0.001, -0.001)] == ["+0.31", "−0.31", "0.00", "0.00"]


# ---------------------------------------------------------------- colours

PAPER = {"page", "card", "head"}
WRITTEN = {"ink", "soft", "link", "like", "warn"}


def _linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[index : index + 2], 16) for index in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _contrast(one: str, other: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""
    light, dark = sorted((float(_linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _themes() -> list[dict[str, str]]:
    style = (ROOT / "pipelines" / "report" / "style.css.j2").read_text()
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in re.findall(r":root \{(.*?)\}", style, re.S)]
    assert len(found) == 2 and found[0].keys() == found[1].keys()
    return found


def test_a_chart_can_be_read_without_colour() -> None:
    styles = charts.series([f"method_{index}" for index in range(charts.MOST)], {"method_0"})
    assert len({(style.marker, style.line) for style in styles}) == charts.MOST
    assert len({(style.glyph, style.colour) for style in styles}) >= charts.MOST - 1


def test_text_and_marks_stand_out_in_light_and_dark() -> None:
    for theme in _themes():
        for paper in PAPER:
            for name in WRITTEN | {f"c{index}" for index in range(charts.COLOURS)}:
                assert _contrast(theme[name], theme[paper]) >= 4.5, (name, paper)
        assert _contrast(theme["warn"], theme["warn-back"]) >= 4.5
        assert _contrast(theme["edge"], theme["card"]) >= 3


# ---------------------------------------------------------------- damage and versions


def test_damaged_results_are_named(results: Path, params: Params, tmp_path: Path) -> None:
    path = results / "bicubic" / "parallax" / "bi_x4" / "metrics.json"
    whole = path.read_text()
    path.write_text(whole[:50])
    with pytest.raises(VSRError, match=r"bi_x4 is damaged .*evaluate again"):
        reading.load(results)
    path.write_text(whole.replace('"lead_protocol": "y"', '"lead_protocol": "lab"'))
    with pytest.raises(VSRError, match="lead protocol 'lab' has no scores"):
        reading.load(results)
    path.write_text(whole.replace('"bi_x4"', '"bd_x4"'))
    with pytest.raises(VSRError, match="is the result of bicubic on parallax under bd_x4"):
        reading.load(results)
    path.write_text(whole)
    sample = path.parent / "samples" / "city" / "restored.png"
    sample.write_bytes(sample.read_bytes()[:60])
    with pytest.raises(VSRError, match=r"restored.png is missing or damaged"):
        page.write(params, results, tmp_path / "out", VERSIONS)
    assert not (tmp_path / "out").exists()
    Image.new("RGB", (9, 9)).save(sample)
    with pytest.raises(VSRError, match="is 9x9 but its truth is 96x72"):
        page.write(params, results, tmp_path / "out", VERSIONS)


def test_versions_are_found_without_importing_what_they_are_of() -> None:
    program = (
        "import sys; from pipelines.report.versions import versions; found = versions(); "
        "assert not {'ray', 'mlflow', 'torch', 'dvc'} & set(sys.modules); print(','.join(found))"
    )
    made = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert made.stdout.strip() == "python,torch,torchvision,ray,dvc,mlflow,numpy,opencv,ffmpeg"
    assert re.match(r"\d+\.\d+", versions()["torch"])

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
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from pipelines.errors import VSRError
from pipelines.params import ROOT, Params, Raft, Sam
from pipelines.report import facts, figures, page, tables
from pipelines.report import results as reading
from pipelines.report.versions import versions

HOSTILE = "<img src=x onerror=alert(1)>&\"'|/*_$x$"
CLIPS = ["city", HOSTILE, "walk"]
NOTE = "reduced network, trained for 900 steps on parallax; not comparable to published figures"
METHODS = {"bicubic": "bicubic", "basicvsr_bi": "basicvsr", "basicvsr_crf25": "basicvsr"}
DEGRADATIONS = ["bi_x4", "crf25_x4"]
VERSIONS = {"python": "3.11.7", "torch": "2.12.1"}


@pytest.fixture
def params() -> Params:
    """Those of the repository, tested on the two pairs that there are results of."""
    tree = yaml.safe_load((ROOT / "params.yaml").read_text())
    tree["tests"]["degradations"] = tree["suites"]["first_look"]["degradations"] = DEGRADATIONS
    return Params.model_validate(tree)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Three methods on two pairs, written as the evaluation writes them."""
    folder = tmp_path / "results"
    for place, (method, network) in enumerate(METHODS.items()):
        for other, degradation in enumerate(DEGRADATIONS):
            _result(folder / method / "parallax" / degradation, method, network, degradation, 10 * place + other)
    return folder


def _result(folder: Path, method: str, network: str, degradation: str, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows: list[tuple[str, int, str, str, float]] = []
    protocols: dict[str, Any] = {}
    for protocol in ("y", "rgb"):
        clips = {}
        for clip in CLIPS:
            psnr, ssim = draw.uniform(22, 32, 7), draw.uniform(0.5, 0.95, 7)
            rows += [(clip, frame, protocol, "psnr", value) for frame, value in enumerate(psnr)]
            rows += [(clip, frame, protocol, "ssim", value) for frame, value in enumerate(ssim)]
            clips[clip] = {"psnr": psnr.mean(), "ssim": ssim.mean(), "frames": 7}
        means = {key: float(np.mean([clip[key] for clip in clips.values()])) for key in ("psnr", "ssim")}
        protocols[protocol] = {**means, "frames": 21, "lossless": 0, "clips": clips}
    for clip in CLIPS:
        samples = folder / "samples" / quote(clip, safe=" ()")
        samples.mkdir(parents=True)
        truth = np.random.default_rng(CLIPS.index(clip)).integers(0, 256, (72, 96, 3), dtype=np.uint8)
        lr = truth[::4, ::4]
        plain = np.asarray(Image.fromarray(lr).resize((96, 72), Image.Resampling.BICUBIC))
        mixed = plain if network == "bicubic" else ((plain.astype(int) + truth) // 2).astype(np.uint8)
        for name, picture in {"lr": lr, "bicubic": plain, "restored": mixed, "truth": truth}.items():
            Image.fromarray(picture).save(samples / f"{name}.png")
    metrics = {
        "method": method,
        "network": network,
        "corpus": "parallax",
        "degradation": degradation,
        "split": "test",
        "applicable": True,
        "reason": None,
        "lead_protocol": "y",
        "protocols": protocols,
        "cost": {"parameters": 1234567, "gmacs": 376.7, "gmacs_without_deform": 370.25, "lr": [18, 24]},
        "notes": [] if network == "bicubic" else [NOTE],
        "inputs": {f"data/lr/parallax/{degradation}": "0123456789abcdef0123456789abcdef.dir"},
        "trained_on": None if network == "bicubic" else "parallax/bi_x4",
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    pd.DataFrame(rows, columns=["clip", "frame", "protocol", "metric", "value"]).to_parquet(folder / "frames.parquet")
    seconds = float(draw.uniform(0.01, 1))
    (folder / "timing.json").write_text(json.dumps({"seconds_per_frame": seconds, "device": "cpu", "threads": 2, "lr": [18, 24]}))


def _change(results: Path, method: str, degradation: str, **values: Any) -> None:
    path = results / method / "parallax" / degradation / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def _page(params: Params, results: Path, out: Path) -> tuple[ET.Element, str]:
    page.write(params, results, out, VERSIONS)
    text = (out / "index.html").read_text(encoding="utf-8")
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>")), text


# ---------------------------------------------------------------- tables


@given(st.lists(st.none() | st.sampled_from([20.0, 20.001, 20.004, 20.006, 21.0, 22.5, float("inf")]), max_size=8))
def test_ranks_are_dense_ranks_of_what_is_shown(values: list[float | None]) -> None:
    shown = pd.Series(values, dtype=float).round(2)
    expected = shown.rank(method="dense", ascending=False).map({1.0: "best", 2.0: "second"}).fillna("").tolist()
    assert tables.rank(values, tables.METRICS[0]) == (expected if shown.notna().sum() > 1 else [""] * len(values))


def test_ties_share_a_mark_and_a_lower_metric_is_ranked_upwards() -> None:
    assert tables.rank([30.004, 29.996, 28.0, None, 27.0], tables.METRICS[0]) == ["best", "best", "second", "", ""]
    lower = tables.Metric("lpips", "LPIPS", "", 3, higher=False)
    assert tables.rank([0.3, 0.1, 0.2], lower) == ["", "best", "second"]
    assert tables.rank([0.3], lower) == [""]


def test_the_suite_is_the_lead_protocols_means(params: Params, results: Path) -> None:
    cells = reading.load(results)
    made = tables.frame(tables.suite(params, "first_look", cells))
    frames = pd.concat(
        cell.frames().assign(method=cell.method, corpus=cell.corpus, degradation=cell.degradation) for cell in cells
    )
    clips = frames[frames["protocol"] == "y"].groupby(["method", "corpus", "degradation", "metric", "clip"])["value"].mean()
    means = clips.groupby(["method", "corpus", "degradation", "metric"]).mean().unstack(["corpus", "degradation", "metric"])
    pd.testing.assert_frame_equal(made, means.loc[made.index, made.columns], check_names=False)
    best = tables.suite(params, "first_look", cells)
    for column, (pair, metric) in enumerate((pair, metric) for pair in best.pairs for metric in tables.METRICS):
        entries = [[entry for place in row.places for entry in place.entries][column] for row in best.rows]
        order = means.loc[:, (pair.corpus, pair.degradation, metric.key)].sort_values(ascending=False).index
        marks = {row.name: entry.mark for row, entry in zip(best.rows, entries, strict=True)}
        assert (marks[order[0]], marks[order[1]], marks[order[2]]) == ("best", "second", "")


def test_a_cell_without_values_says_why(params: Params, results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results / "basicvsr_bi" / "parallax" / "bi_x4")
    _change(results, "basicvsr_crf25", "crf25_x4", applicable=False, reason="needs 5 frames", protocols={}, cost=None)
    rows = {row.name: row for row in tables.suite(params, "first_look", reading.load(results)).rows}
    assert [place.missing for place in rows["basicvsr_bi"].places] == ["not evaluated yet", None]
    assert [place.missing for place in rows["basicvsr_crf25"].places] == [None, "not applicable: needs 5 frames"]
    _, text = _page(params, results, tmp_path / "out")
    markdown = (tmp_path / "out" / "report.md").read_text()
    for said in ("not evaluated yet", "not applicable: needs 5 frames"):
        assert said in text
        assert said in markdown
    values = tables.frame(tables.suite(params, "first_look", reading.load(results)))
    assert values.isna().sum().sum() == 4


def test_a_report_of_nothing_says_so(params: Params, tmp_path: Path) -> None:
    _, text = _page(params, tmp_path / "results", tmp_path / "out")
    assert text.count("not evaluated yet") >= 6
    assert len(pd.read_csv(tmp_path / "out" / "results.csv")) == 0


def test_results_that_params_no_longer_name_are_passed_over(params: Params, results: Path, tmp_path: Path) -> None:
    _page(params, results, tmp_path / "a")
    _result(results / "retired" / "parallax" / "bi_x4", "retired", "edvr_m", "bi_x4", 99)
    _page(params, results, tmp_path / "b")
    for name in ("index.html", "report.md", "results.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_notes_stand_at_their_method_or_their_value(params: Params, results: Path) -> None:
    _change(results, "basicvsr_bi", "crf25_x4", notes=[NOTE, "restored in windows of 30 frames"])
    table = tables.suite(params, "first_look", reading.load(results))
    assert table.notes == (NOTE, "restored in windows of 30 frames")
    assert [row.notes for row in table.rows] == [(), (1,), (1,)]
    assert [place.notes for place in table.rows[1].places] == [(), (2,)]


def test_frames_that_equal_the_truth_are_owned_up(params: Params, results: Path) -> None:
    protocols = json.loads((results / "bicubic/parallax/bi_x4/metrics.json").read_text())["protocols"]
    protocols["y"]["lossless"] = 3
    _change(results, "bicubic", "bi_x4", protocols=protocols)
    table = tables.suite(params, "first_look", reading.load(results))
    assert table.notes[table.rows[0].places[0].notes[0] - 1].startswith("3 of 21 frames are equal to the truth")


def test_csv_has_each_value_once(params: Params, results: Path, tmp_path: Path) -> None:
    page.write(params, results, tmp_path, VERSIONS)
    found = pd.read_csv(tmp_path / "results.csv", keep_default_na=False)
    key = ["method", "corpus", "degradation", "protocol", "metric", "clip"]
    assert not found.duplicated(key).any()
    assert len(found) == 3 * 2 * 2 * 2 * (1 + len(CLIPS))
    source = json.loads((results / "bicubic/parallax/bi_x4/metrics.json").read_text())["protocols"]["rgb"]["clips"][HOSTILE]
    row = found.set_index(key).loc[("bicubic", "parallax", "bi_x4", "rgb", "ssim", HOSTILE)]
    assert (row["value"], row["frames"]) == (source["ssim"], 7)


def test_markdown_and_terminal_show_the_same_values(params: Params, results: Path) -> None:
    table = tables.suite(params, "first_look", reading.load(results))
    written = tables.markdown(table)
    lines = [line for line in written.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {6}
    console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system=None)
    console.print(tables.terminal(table))
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for line, row in zip(lines[2:], table.rows, strict=True):
        for entry in (entry for place in row.places for entry in place.entries):
            assert {"best": f"**{entry.text}**", "second": f"<ins>{entry.text}</ins>", "": f"| {entry.text}"}[entry.mark] in line
            assert entry.text in printed
    assert NOTE in written


def test_markdown_keeps_text_as_text() -> None:
    assert tables.escape("a_b") == "a_b"
    assert tables.escape("_a_ | <b>\n`c`") == r"\_a\_ \| &lt;b&gt; \`c\`"


# ---------------------------------------------------------------- the page


def test_the_pages_numbers_are_the_csvs(params: Params, results: Path, tmp_path: Path) -> None:
    root, _ = _page(params, results, tmp_path)
    rows = pd.read_csv(tmp_path / "results.csv", keep_default_na=False, dtype=str)
    value = rows.set_index(["method", "corpus", "degradation", "protocol", "metric", "clip"])["value"].map(float)
    decimals = {"psnr": 2, "ssim": 4}

    def check(found: ET.Element, key: tuple[str, ...]) -> None:
        assert float(found.get("value", "nan")) == value[key], key
        assert found.text == f"{value[key]:.{decimals[key[4]]}f}", key

    seen = 0
    for table in root.iter("table"):
        if table.get("class") == "suite":
            for row in table.findall("tbody/tr"):
                method = (row.find("th").text or "").strip()  # type: ignore[union-attr]
                keys = [(method, "parallax", degradation, "y", metric, "") for degradation in DEGRADATIONS for metric in decimals]
                for found, key in zip(row.iter("data"), keys, strict=True):
                    check(found, key)
                    seen += 1
        elif table.get("class") == "clips":
            methods = [head.text or "" for head in table.findall("thead/tr/th[@scope='colgroup']")]
            corpus, degradation, protocol = (table.get(f"data-{name}", "") for name in ("corpus", "degradation", "protocol"))
            for row in [*table.findall("tbody/tr"), *table.findall("tfoot/tr")]:
                clip = (row.find("th").text or "").strip()  # type: ignore[union-attr]
                clip = "" if clip == "mean of clips" else clip
                keys = [(method, corpus, degradation, protocol, metric, clip) for method in methods for metric in decimals]
                for found, key in zip(row.iter("data"), keys, strict=True):
                    check(found, key)
                    seen += 1
    assert seen == 3 * 2 * 2 + 2 * 2 * (len(CLIPS) + 1) * 3 * 2
    assert len(list(root.iterfind(".//div[@class='tiles']//data"))) == 2 * len(CLIPS) * 3
    for found in root.iterfind(".//div[@class='tiles']//data"):
        assert float(found.get("value", "nan")) in set(value)


def test_the_page_needs_nothing_else(params: Params, results: Path, tmp_path: Path) -> None:
    root, text = _page(params, results, tmp_path)
    for element in root.iter():
        assert element.tag.rpartition("}")[2] not in {"script", "iframe", "object", "embed"}
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
        pred_iou_threshold=0.88,
        stability_threshold=0.95,
        nms_threshold=0.7,
        max_masks=64,
        batch=64,
    )
    raft = Raft(backend="raft", weights="raft_small", updates=12, enlarge=1, batch=8)
    masks = {key: value.model_copy(update={"model": sam}) for key, value in params.masks.items()}
    flows = {key: value.model_copy(update={"model": raft}) for key, value in params.flows.items()}
    starts = {
        key: value.model_copy(update={"training": None, "weights": "spynet_published"}) for key, value in params.starts.items()
    }
    learned = params.model_copy(update={"masks": masks, "flows": flows, "starts": starts})
    _, text = _page(learned, results, tmp_path)
    assert "stand-in" not in text
    assert "sam_vit_b" in text
    assert "published parameters spynet_published" in text


# ---------------------------------------------------------------- cost


def test_cost_gives_the_range_over_the_pairs(params: Params, results: Path) -> None:
    cells = reading.load(results)
    rows = facts.costs(list(METHODS), cells)
    assert [row.method for row in rows] == list(METHODS)
    for row in rows:
        seconds = [cell.timing.seconds_per_frame for cell in cells if cell.method == row.method and cell.timing]
        assert row.seconds == (min(seconds), max(seconds))
        assert row.cost is not None and row.cost.parameters == 1234567


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (376.74, 4, "376.7"),
        (0.012345, 3, "0.0123"),
        (1234.5, 4, "1,234"),
        (0.0, 3, "0"),
        (9.996, 3, "10.00"),
        (52987, 3, "52,987"),
    ],
)
def test_significant(value: float, digits: int, text: str) -> None:
    assert facts.significant(value, digits) == text


# ---------------------------------------------------------------- pictures


def test_the_window_is_where_the_pictures_differ_most() -> None:
    draw = np.random.default_rng(0)
    pictures = [draw.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(3)]
    luma = [np.floor(picture.astype(float) @ [77, 150, 29] / 256) for picture in pictures]
    spread = np.var(luma, axis=0)
    best = max(
        ((spread[top : top + 16, left : left + 16].sum(), top, left) for top in range(0, 25, 8) for left in range(0, 41, 8)),
        key=lambda found: found[0],
    )
    assert figures.busiest_window(pictures, 16) == best[1:]
    same = [np.zeros((40, 56, 3), np.uint8)] * 2
    assert figures.busiest_window(same, 40) == (0, 0)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_enlarging_repeats_pixels(height: int, width: int, times: int) -> None:
    small = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    expected = np.repeat(np.repeat(small, times, 0), times, 1)
    np.testing.assert_array_equal(figures.enlarge(small, height * times, width * times), expected)


def test_tiles_show_one_window_of_every_picture(params: Params, results: Path) -> None:
    pair = tables.tested_pairs(params)[0]
    cells = [cell for cell in reading.load(results) if cell.degradation == pair.degradation]
    order = sorted(cells, key=lambda cell: list(METHODS).index(cell.method))
    drawn = figures.crops(pair, order)
    assert [crop.clip for crop in drawn] == sorted(CLIPS)
    for crop in drawn:
        assert [tile.label for tile in crop.tiles] == ["LR", *METHODS, "truth"]
        left, top = round(crop.window[0] * 96 / 100), round(crop.window[1] * 72 / 100)
        folder = results / "basicvsr_bi" / "parallax" / "bi_x4" / "samples" / quote(crop.clip, safe=" ()")
        for label, name in {"truth": "truth", "basicvsr_bi": "restored"}.items():
            (tile,) = (tile for tile in crop.tiles if tile.label == label)
            shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.source.partition(",")[2]))))
            times = shown.shape[0] // crop.size
            picture = np.asarray(Image.open(folder / f"{name}.png"))[top : top + crop.size, left : left + crop.size]
            np.testing.assert_array_equal(shown, picture.repeat(times, 0).repeat(times, 1))
    without = figures.crops(pair, order[1:])
    assert [tile.label for tile in without[0].tiles] == ["LR", "bicubic", "basicvsr_bi", "basicvsr_crf25", "truth"]


def test_few_are_spread_over_all() -> None:
    names = [f"{index:03d}" for index in range(100)]
    assert figures.few(names) == ["000", "033", "066", "099"]
    assert figures.few(names[:3]) == names[:3]


def test_charts_carry_no_date_and_take_the_pages_colours(params: Params, results: Path) -> None:
    pair = tables.tested_pairs(params)[0]
    cells = [cell for cell in reading.load(results) if cell.degradation == pair.degradation]
    styles = figures.series(list(METHODS), {"bicubic"})
    assert [style.colour for style in styles] == [0, 1, 2]
    chart = figures.quality_against_time(pair, cells, styles, "one")
    lines = figures.quality_over_frames(pair, "city", cells, styles, "two")
    assert chart is not None and lines is not None
    for drawn in (chart, lines):
        ET.fromstring(str(drawn))
        assert "date" not in drawn.lower()
        assert "var(--c0)" in drawn and "var(--c2)" in drawn and "currentColor" in drawn
        assert "#0a0b" not in drawn
    assert figures.quality_against_time(pair, cells[:1], styles, "one") is None
    assert figures.quality_over_frames(pair, "nowhere", cells, styles, "two") is None


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

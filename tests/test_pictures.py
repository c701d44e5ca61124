"""Priors as pictures, and the MLflow runs in which people look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from pipelines import params, weights
from pipelines.clips.store import ClipAttributes, ClipWriter, Frame, Store, assemble
from pipelines.errors import VSRError
from pipelines.priors import flows, picture
from pipelines.runtime import tracking
from pipelines.runtime.lineage import Stage
from stages import flows as flows_stage
from stages.priors import EXPERIMENT, tracked

FELZENSZWALB = params.Felzenszwalb(backend="felzenszwalb", scale=60, sigma=0.6, min_size=24, max_masks=64)
DIGEST = "d41d8cd98f00b204e9800998ecf8427e.dir"


def write(folder: Path, clips: dict[str, list[Frame]], size: tuple[int, int]) -> Store:
    for name, frames in clips.items():
        with ClipWriter(folder / "parts", name, flows.SCALES) as writer:
            for frame in frames:
                writer.append(frame)
            writer.finish(ClipAttributes("test", 25.0, *size, name))
    assemble(folder / "parts", list(clips), folder / "store")
    return Store(folder / "store")


def grey(size: tuple[int, int], level: int = 100) -> Frame:
    return {"rgb": np.full((*size, 3), level, np.uint8)}


def uniform(size: tuple[int, int], flow: tuple[float, float]) -> Frame:
    """Everything moves alike, nothing is hidden but the first row."""
    field = np.broadcast_to(np.array(flow, np.float32), (*size, 2))
    hidden = np.zeros(size, bool)
    hidden[0] = True
    return {"flow_forward": field, "flow_backward": -field, "occlusion_forward": hidden, "occlusion_backward": hidden}


def colours(image: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.unique(image.reshape(-1, 3), axis=0).tolist()}


# ---------------------------------------------------------------- pictures


def test_masks_are_coloured_where_they_are() -> None:
    frame = np.full((6, 8, 3), 100, np.uint8)
    stack = np.zeros((2, 6, 8), bool)
    stack[0, :4], stack[1, :2] = True, True
    out = picture.masks_over(frame, stack)
    assert out.dtype == np.uint8 and out.shape == frame.shape
    assert (out[4:] == 100).all()
    assert len(colours(out)) == 3
    assert np.array_equal(picture.masks_over(frame, stack, 0.0), frame)


def test_flow_is_on_the_wheel() -> None:
    """The ends of the wheel's legs are known: right is red, left is a blue between cyan and blue; rest is white."""
    field = np.array([[[4, 0], [0, 0], [-4, 0], [8, 0]]], np.float32)
    red, white, left, beyond = picture.flow(field, longest=4)[0]
    assert tuple(red) == (255, 0, 0) and tuple(white) == (255, 255, 255)
    assert left[0] == 0 and left[2] == 255
    assert tuple(beyond) == (191, 0, 0)
    assert (picture.flow(np.zeros((2, 2, 2), np.float32)) == 255).all()
    half = picture.flow(np.array([[[2, 0]]], np.float32), longest=4)[0, 0]
    assert tuple(half) == (255, 127, 127)


def test_the_legend_is_the_flow_from_its_centre() -> None:
    disc = picture.legend(101)
    assert disc.shape == (101, 101, 3)
    for x, y in ((80, 50), (20, 50), (50, 85), (61, 39), (50, 50)):
        field = np.array([[[(x - 50) / 50.5, (y - 50) / 50.5]]], np.float32)
        assert np.abs(disc[y, x].astype(int) - picture.flow(field, longest=1.0)[0, 0]).max() <= 1
    assert (disc[0, 0] == 255).all() and (disc[-1, -1] == 255).all()


def test_what_is_hidden_is_red_and_the_rest_is_grey() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (5, 6, 3), np.uint8)
    hidden = np.zeros((5, 6), bool)
    hidden[1, 2] = True
    out = picture.hidden_over(frame, hidden)
    assert out.dtype == np.uint8 and out[1, 2, 0] > 200 > 100 > out[1, 2, 1]
    rest = out[~hidden]
    assert (rest == rest[:, :1]).all()


@pytest.mark.parametrize(("size", "expected"), [((54, 96), (270, 480)), ((480, 640), (480, 640)), ((1080, 1920), (540, 960))])
def test_frames_are_fitted_by_whole_factors(size: tuple[int, int], expected: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 4, (*size, 3), np.uint8)
    out = picture.fitted(image)
    assert out.shape == (*expected, 3)
    assert colours(out) <= colours(image)


def test_rows_of_pictures_keep_their_pixels() -> None:
    one, two = np.full((4, 5, 3), 7, np.uint8), np.full((6, 3, 3), 9, np.uint8)
    row = picture.side_by_side(one, two)
    assert row.shape == (6, 5 + 8 + 3, 3)
    assert (row[:4, :5] == 7).all() and (row[:, 13:] == 9).all() and (row[4:, :5] == 255).all()
    assert np.array_equal(picture.titled(one, "a title that is too long")[-4:], one)


def test_pictures_of_three_clips(tmp_path: Path) -> None:
    size = (48, 64)
    names = [f"clip {letter}" for letter in "abcdefg"]
    frames = write(tmp_path / "frames", {name: [grey(size)] * 5 for name in names}, size)
    mask = np.zeros((1, *size), bool)
    mask[0, :24] = True
    one, none = {"masks": mask, "scores": np.ones(1, np.float32)}, {"masks": mask[:0], "scores": np.ones(0, np.float32)}
    made = write(tmp_path / "masks", {name: [none, none, one, none, none] for name in names}, size)
    pictures = picture.of_masks(frames, made)
    assert list(pictures) == ["clip a", "clip d", "clip g"]
    for image in pictures.values():
        left, right = image[24:, :320], image[24:, 328:]  # 5 times as large, the frame in the middle
        assert (left == 100).all()
        assert (right[120:] == 100).all() and len(colours(right[:120])) == 1 and right[0, 0].max() > 150
    made = write(tmp_path / "flows", {name: [uniform(size, (3, 0))] * 5 for name in names}, size)
    pictures = picture.of_flows(frames, made)
    assert list(pictures) == ["clip a", "clip d", "clip g"]
    flow = pictures["clip d"][24:264, 328:648]
    assert colours(flow) == {(255, 0, 0)}
    hidden = pictures["clip d"][24:264, 656:976]
    assert len(colours(hidden[:5])) == 1 and len(colours(hidden[5:])) == 1


def test_pictures_of_a_lone_frame(tmp_path: Path) -> None:
    size = (48, 64)
    frames = write(tmp_path / "frames", {"a": [grey(size)]}, size)
    made = write(tmp_path / "flows", {"a": [uniform(size, (0, 0))]}, size)
    assert colours(picture.of_flows(frames, made)["a"][24:264, 328:648]) == {(255, 255, 255)}


# ---------------------------------------------------------------- in MLflow


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    where = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", where)
    return where


def test_a_prior_has_one_run(tmp_path: Path, where: str) -> None:
    stage = Stage("masks@toy", "0123456789abcdef", {"data/lr/toy/bi_x4": DIGEST}, {}, tmp_path / "work")
    entry = params.OfFrames(prior="segments", frames="lr/toy/bi_x4")
    with pytest.raises(RuntimeError), tracked(stage, "masks", entry, weights.provenance(FELZENSZWALB)):
        raise RuntimeError
    client = MlflowClient(where)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    of = [experiment.experiment_id]
    assert [run.info.status for run in client.search_runs(of)] == ["FAILED"]
    pictures = {"orbit (1)": np.zeros((8, 9, 3), np.uint8), "pan": np.zeros((8, 9, 3), np.uint8)}
    for shown in (["pan"], list(pictures), list(pictures)):
        with tracked(stage, "masks", entry, weights.provenance(FELZENSZWALB)) as run:
            run.metrics(0, {"masks_mean": 3.0})
            run.images(0, {name: pictures[name] for name in shown})
    (kept,) = client.search_runs(of)
    assert (kept.info.run_name, kept.info.status) == ("masks@toy", "FINISHED")
    assert kept.data.metrics == {"masks_mean": 3.0}
    assert kept.data.params["backend"] == "felzenszwalb" and kept.data.params["frames"] == "lr/toy/bi_x4"
    tags = {key: value for key, value in kept.data.tags.items() if key.startswith("vsr.")}
    assert tags == {
        "vsr.run_key": stage.run_key,
        "vsr.prior": "masks",
        "vsr.backend": "felzenszwalb",
        "vsr.corpus": "toy",
        "vsr.degradation": "bi_x4",
    }
    assert [given.dataset.name for given in kept.inputs.dataset_inputs] == ["data/lr/toy/bi_x4"]
    files = [file.path for file in client.list_artifacts(kept.info.run_id, "images") if file.path.endswith(".png")]
    assert sorted(file.split("+")[0] for file in files) == ["images/orbit _1_", "images/pan"]
    # Flows of HR frames under the same name are another run.
    stage = Stage("flows@toy", "fedcba9876543210", {}, {}, tmp_path / "work")
    dis = params.Dis(backend="dis", preset="fast", enlarge=1)
    with tracked(stage, "flows", params.OfFrames(prior="motion", frames="hr/toy"), weights.provenance(dis)):
        pass
    (other,) = client.search_runs(of, "tags.`vsr.prior` = 'flow'")
    assert other.info.run_name == "flows@toy" and "vsr.degradation" not in other.data.tags
    assert len(client.search_runs(of)) == 2


def test_without_mlflow_it_ends_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    stage = Stage("masks@toy", "0123456789abcdef", {}, {}, tmp_path / "work")
    entry = params.OfFrames(prior="segments", frames="hr/toy")
    with pytest.raises(VSRError, match="no MLflow server answers"), tracked(stage, "masks", entry, {"backend": "felzenszwalb"}):
        raise AssertionError
    assert tracking.uri() == "http://127.0.0.1:9"


def test_flows_are_measured_where_the_corpus_has_exact_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows_stage, "data", lambda *parts: tmp_path.joinpath(*parts, "store"))
    made = write(tmp_path / "made", {"a": [uniform((12, 16), (3, 4))] * 2}, (12, 16))
    assert flows_stage.errors(made, "toy") == {}
    # At scale 4 and 4 HR pixels to the right, exact LR flow is (1, 0).
    write(tmp_path / "truth" / "toy", {"a": [uniform((48, 64), (4, 0))] * 2}, (48, 64))
    expected = np.hypot(2, 4)
    found = flows_stage.errors(made, "toy")
    assert found == pytest.approx({"endpoint_error": expected, "endpoint_error_visible": expected})
    write(tmp_path / "truth" / "odd", {"a": [uniform((30, 40), (4, 0))] * 2}, (30, 40))  # scale 2.5
    assert flows_stage.errors(made, "odd") == {}
    write(tmp_path / "truth" / "other", {"b": [uniform((48, 64), (4, 0))] * 2}, (48, 64))
    assert flows_stage.errors(made, "other") == {}
    depth = {"depth": np.ones((48, 64), np.float32)}
    write(tmp_path / "truth" / "depth", {"a": [depth] * 2}, (48, 64))
    assert flows_stage.errors(made, "depth") == {}

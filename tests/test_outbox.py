"""A training whose MLflow server is stopped in the middle, and what waits for it."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from servers import free_port, mlflow_server
from toys import Inner, recipe

from pipelines.errors import VSRError
from pipelines.monitoring import Images, Metrics
from pipelines.runtime import outbox, tracking, trainer
from pipelines.runtime.outbox import Outbox
from pipelines.runtime.tracking import Run


class Stopping(Inner):
    """Ends a process group after four steps."""

    group = 0

    def summary(self, found: list[float], step: int) -> tuple[Metrics, Images]:
        if step == 4:
            os.killpg(self.group, signal.SIGKILL)
        return {"sum": float(np.mean(found))}, {"view": np.full((4, 4, 3), step, np.uint8)}


def stopping(folder: Path, group: int) -> Stopping:
    task = Stopping(folder)
    task.group = group
    return task


def test_a_training_outlives_its_server(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that it had to say is there in the end, once and in order, as if the server had always answered."""
    port, said = free_port(), list[str]()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    arguments: dict[str, Any] = {"name": "run", "storage": tmp_path, "workers": trainer.Workers(1, 1, False), "say": said.append}
    with mlflow_server(tmp_path, port) as (_, process):
        run = Run.find_or_create(name="toy", run_key="abc", params={}, tags={}, inputs=[])
        trainer.run(partial(stopping, tmp_path, process.pid), recipe(), tracker=run, **arguments)
        process.wait()
    waiting = tmp_path / "run" / trainer.UNSENT
    assert any(line.startswith("curves and images are kept until MLflow answers: no MLflow server answers") for line in said)
    assert said[-1].startswith("step 8/8") and list(waiting.glob("*.pkl"))
    with pytest.raises(VSRError, match=rf"curve points and images wait in {waiting}: no MLflow server answers"):
        Outbox(run, waiting).empty()
    with mlflow_server(tmp_path, port) as (address, _):
        late: list[str] = []
        Outbox(run, waiting, late.append).empty()
        assert not list(waiting.glob("*.pkl")) and len(late) == 1 and "sent late" in late[0]
        client = MlflowClient(address)
        assert [point.step for point in client.get_metric_history(run.id, "loss")] == list(range(1, 9))
        assert [point.step for point in client.get_metric_history(run.id, "validation/sum")] == [0, 2, 4, 6, 8]
        images = [file.path for file in client.list_artifacts(run.id, "images") if file.path.endswith(".png")]
        assert sorted({int(path.split("+step+")[1].split("+")[0]) for path in images}) == [0, 2, 4, 6, 8]
        Outbox(run, waiting, late.append).empty()
        assert len(late) == 1


@dataclass
class Deaf:
    """A tracker that does not always answer."""

    answers: bool = False
    asked: int = 0
    heard: list[tuple[str, int, Any]] = field(default_factory=list)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._hear("metrics", step, values)

    def images(self, step: int, images: dict[str, np.ndarray]) -> None:
        self._hear("images", step, images)

    def _hear(self, kind: str, step: int, what: Any) -> None:
        self.asked += 1
        if not self.answers:
            raise VSRError("nobody answers.")
        self.heard.append((kind, step, what))


def test_what_waits_is_sent_first_and_silence_is_not_asked_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now[0])
    tracker, said = Deaf(), list[str]()
    box = Outbox(tracker, tmp_path / "unsent", said.append)
    for step in range(12):
        box.metrics(step, {"loss": float(step)})
    assert tracker.asked == 1 and len(said) == 1
    # Another process goes on, as after a kill.
    again = Outbox(tracker, tmp_path / "unsent", said.append)
    again.images(12, {"x": np.zeros((1, 1, 3), np.uint8)})
    assert tracker.asked == 2
    tracker.answers = True
    again.metrics(13, {"loss": 13.0})
    assert not tracker.heard
    now[0] += outbox.PAUSE + 1
    again.metrics(14, {"loss": 14.0})
    assert [step for _, step, _ in tracker.heard] == list(range(15)) and tracker.heard[12][0] == "images"
    assert said[-1] == "MLflow answers again: 14 curve points and images were sent late"
    assert not list((tmp_path / "unsent").iterdir())


def test_the_error_that_ended_a_run_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Also where MLflow does not answer any more."""
    run = Run(f"http://127.0.0.1:{free_port()}", "abc")
    with pytest.raises(VSRError, match="the clip is damaged"), run.working():
        raise VSRError("the clip is damaged")
    assert "MLflow still shows this run as running: no MLflow server answers" in capsys.readouterr().err
    with pytest.raises(VSRError, match="no MLflow server answers"), run.working():
        pass
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracking.preflight()
    kept = Run.find_or_create(name="toy", run_key="abc", params={}, tags={}, inputs=[])
    with pytest.raises(KeyboardInterrupt), kept.working():
        raise KeyboardInterrupt
    assert MlflowClient(tracking.uri()).get_run(kept.id).info.status == "FAILED"
    with kept.working():
        pass
    assert MlflowClient(tracking.uri()).get_run(kept.id).info.status == "FINISHED"

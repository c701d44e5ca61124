"""What `vsr repro` shows while it runs, from the lines that stages print, and what it says before."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipelines.monitoring.progress import TrainingLog
from pipelines.runtime import plan, repro
from pipelines.runtime.display import Lines, Running, Screen, share
from pipelines.runtime.plan import Times, announced, duration, spoken
from pipelines.runtime.progress import Progress

TRAIN, RESTORE, SCORE = (
    "train@basicvsr_plusplus_metasr",
    "restore@basicvsr_plusplus_metasr-parallax-bi_x2_5",
    "score@basicvsr_plusplus_metasr-parallax-bi_x2_5",
)
GRAPH = {"ingest@parallax": set(), TRAIN: {"ingest@parallax"}, RESTORE: {TRAIN}, SCORE: {RESTORE}, "report": {SCORE}}
LABEL = SCORE.replace("@", " ").replace("-", " ")


class Clock:
    """Seconds as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def play(shown: Lines, clock: Clock) -> None:
    """A run as stages have it: one trains for two hours, one restores, one is scored, one fails."""
    shown.start(TRAIN)
    for minute in range(1, 121):
        clock.now += 60
        shown.say(TRAIN, f"step {minute * 5}/600  loss 0.01234  psnr 26.861  2.1 steps/s  {120 - minute}:00 left")
        shown.tick()
        if minute == 60:
            shown.say(TRAIN, "warning: at step 300 a deformable convolution samples 60 pixels away on average.")
            shown.say(TRAIN, "step 301/600  loss 0.01234  psnr 26.861  2.1 steps/s  59:48 left")
    shown.end(TRAIN, True)
    shown.start(SCORE)
    for clips in range(5):
        clock.now += 5
        shown.say(SCORE, f"{LABEL}: {clips}/4 clips, {20 * clips} frames, {5 * clips} s")
        shown.tick()
    shown.say(SCORE, f"{LABEL}: skipped niqe, niqe_pris_params.npz is not there")
    shown.say(SCORE, f"{LABEL}: PSNR 28.56 dB, SSIM 0.8312 (y, 4 clips)")
    shown.end(SCORE, True)
    shown.start("report")
    shown.say("report", "error: the result in results/x is damaged.")
    shown.end("report", False)


def test_lines_of_progress_are_known_by_those_who_print_them(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    log = TrainingLog(8, said.append)
    log.validated(2, {"psnr": 26.9}, {})
    log.log(8, {"loss": 0.5})
    assert [share(line) for line in said] == [1.0]
    row = Running(0)
    row.heard("step 301/600  loss 0.01234  psnr 26.861  2.1 steps/s  9:48 left", 10)  # it went on from step 300
    assert (row.left(10, None), row.left(70, None), row.left(1000, None)) == (588, 528, 0)
    with Progress("degrade holidays bi_x4: a clip", 4) as progress:
        progress.clip()
    assert share(capsys.readouterr().err.strip()) == 0.25
    for other in ("going on from step 20/200", "score a b: PSNR 1/2 dB", "error: 3/4 clips failed", ""):
        assert share(other) is None


def test_without_a_terminal_there_is_a_line_at_start_and_end_and_every_minute(tmp_path: Path) -> None:
    out, clock = io.StringIO(), Clock()
    play(Lines(GRAPH, {TRAIN, SCORE, "report"}, Times(tmp_path / "times.json"), 2, out, clock), clock)
    lines = out.getvalue().splitlines()
    minutes = [line for line in lines if "; running: " in line]
    assert len(minutes) == 120 and len(lines) == 120 + 3 + 3 + 3  # three start and end; what they said beside progress
    assert (
        minutes[29]
        == f"0 of 3 done, 2 waiting, more than 1 h 30 min left; running: {TRAIN} (step 150/600 loss 0.01234 psnr 26.861 2.1 steps/s 90:00 left)"
    )
    assert f"[{TRAIN}] warning: at step 300 a deformable convolution samples 60 pixels away on average." in lines
    assert f"[{TRAIN}] done in 2:00:00 (1 of 3): step 600/600 loss 0.01234 psnr 26.861 2.1 steps/s 0:00 left" in lines
    assert lines[-6:] == [
        f"[{SCORE}] started",
        f"[{SCORE}] {LABEL}: skipped niqe, niqe_pris_params.npz is not there",
        f"[{SCORE}] done in 0:25 (2 of 3): PSNR 28.56 dB, SSIM 0.8312 (y, 4 clips)",
        "[report] started",
        "[report] error: the result in results/x is damaged.",
        "[report] failed in 0:00 (3 of 3)",
    ]


def test_times_are_kept_for_the_next_run(tmp_path: Path) -> None:
    path, clock = tmp_path / ".vsr" / "times.json", Clock()
    shown = Lines(GRAPH, {TRAIN, SCORE, "report"}, Times(path), 2, io.StringIO(), clock)
    play(shown, clock)
    shown.start(RESTORE)
    clock.now += 1
    shown.say(RESTORE, f"Stage '{RESTORE}' is cached - skipping run, checking out outputs")
    shown.end(RESTORE, True)
    again = Times(path)
    assert again.expected(GRAPH) == {TRAIN: 7200, SCORE: 25}  # neither what failed nor what was there already
    assert again.expected(["train@other", "restore@other-a-b"]) == {"train@other": 7200}
    path.write_text("{")
    assert Times(path).expected(GRAPH) == {}


@pytest.mark.parametrize("width", [80, 200])
def test_names_are_whole_in_the_table_of_a_terminal(tmp_path: Path, width: int) -> None:
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, width=width, height=24, force_terminal=True, color_system=None, legacy_windows=False)
    times = Times(tmp_path / "times.json")
    times.took("restore@other-parallax-bi_x4", 90)
    with Screen(GRAPH, {TRAIN, RESTORE, SCORE, "report"}, times, 2, console, clock=clock) as shown:
        play(shown, clock)
        shown.start(RESTORE)
        clock.now += 30
        shown.tick()
        shown.say(RESTORE, f"{RESTORE.replace('@', ' ').replace('-', ' ')}: 1/4 clips, 20 frames, 30 s")
        shown.tick()
    lines = re.split(r"\r?\n|\r", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()))
    table = [line.rstrip() for line in lines]
    assert max(map(len, table)) <= width or width < 120  # a line that a stage said is wrapped by the terminal, not cut
    assert any(re.fullmatch(rf"{re.escape(RESTORE)} +0:30, 1:00 left", line) for line in table)
    assert any(re.fullmatch(rf"{re.escape(RESTORE)} +0:30, 1:30 left", line) for line in table)  # by its pace
    assert any(line.endswith("1/4 clips, 20 frames, 0.7 frames/s") for line in table)
    done = next(line for line in table if line.startswith(f"✓ {SCORE}"))
    assert len(done) <= width and done.startswith(f"✓ {SCORE}  0:25  PSNR 28.56 dB")
    assert "✗ report  0:00" in table and "3 of 4 done, 1 failed, 0 waiting, about 1 min left" in table
    assert sum(line.startswith(f"✓ {TRAIN}") for line in table) == 1


# ---------------------------------------------------------------- before it starts


@settings(deadline=None)
@given(st.data())
def test_the_time_is_between_the_bounds_of_any_schedule(data: st.DataObject) -> None:
    """Never more than one after another, never less than any chain or an even share; exactly these where nothing else bounds it."""
    names = [
        f"{kind}@{index}" for index, kind in enumerate(data.draw(st.lists(st.sampled_from(["train", "measure"]), max_size=6)))
    ]
    graph = {name: data.draw(st.sets(st.sampled_from(names[:place]))) if place else set() for place, name in enumerate(names)}
    seconds = {name: data.draw(st.integers(0, 100)) for name in names}
    jobs = data.draw(st.integers(1, 3))

    def ends(stage: str) -> int:
        return seconds[stage] + max(map(ends, graph[stage]), default=0)

    found, total = duration(graph, seconds, jobs), sum(seconds.values())
    assert max([total / jobs, *map(ends, names)]) <= found + 1e-9 and found <= total + 1e-9
    assert duration(graph, seconds, 1) == total
    assert duration(
        {name: set() for name in names if name[0] == "m"}, {name: seconds[name] for name in names if name[0] == "m"}, 3
    ) == sum(seconds[name] for name in names if name[0] == "m")


def test_a_time_is_said_as_one_says_it() -> None:
    assert [spoken(seconds) for seconds in (0, 12.4, 59, 90, 3540, 3600, 4800)] == [
        *("0 s", "12 s", "59 s", "2 min", "59 min", "1 h", "1 h 20 min"),
    ]


def test_what_is_stale_is_said_with_its_methods_and_its_time(tmp_path: Path) -> None:
    graph = {**GRAPH, "adopt@bicubic": set(), "restore_baseline@bicubic-parallax-bi_x4": {"adopt@bicubic"}}
    times = Times(tmp_path / "times.json")
    assert announced(graph, {SCORE, "report"}, times, 2)[-1] == "How long it takes is not known: no such stage ran here yet."
    times.took("train@basicvsr_bi", 600)
    times.took(SCORE, 30)
    times.took("report", 3)
    lines = announced(graph, set(graph) - {"ingest@parallax"}, times, 2)
    assert lines == [
        "6 stages are stale: 1 adopt, 1 train, 2 restore, 1 score, 1 report.",
        "Trained and tested: basicvsr_plusplus_metasr.",
        "Tested: bicubic.",
        "More than 11 min by the last times; not run here yet, so taken as others of their kind: 1; of a kind that never ran here, so not counted: 3.",
    ]
    assert announced(graph, {"report"}, times, 2) == ["1 stage is stale: 1 report.", "About 3 s by the last times."]


ONE = "stages: {make: {cmd: 'python work.py', deps: [work.py], outs: [made]}}\n"
WORK = """
print("make: 1/2 clips, 20 frames, 2 s")
print("make: 2/2 clips, 40 frames, 4 s")
open("made", "w").write("made")
"""
RUN = """
import sys
from pathlib import Path
from pipelines.runtime.repro import repro
sys.exit(not repro(Path.cwd(), 2))
"""


def test_on_a_real_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`vsr repro --dry` runs nothing; without it the table is drawn, and gone when it ends."""
    (tmp_path / "dvc.yaml").write_text(ONE)
    (tmp_path / "work.py").write_text(WORK)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    assert repro.repro(tmp_path, 2, dry=True)
    assert capsys.readouterr().out.splitlines() == [
        "1 stage is stale: 1 make.",
        "How long it takes is not known: no such stage ran here yet.",
    ]
    assert not (tmp_path / "made").exists()
    shown = _on_terminal([sys.executable, "-c", RUN], tmp_path)
    assert (tmp_path / "made").exists() and Times(tmp_path / repro.TIMES).known("make")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert re.search(r"✓ make  0:\d\d  2/2 clips, 40 frames, 10.0 frames/s", text), text
    assert "0 of 1 done, 0 waiting" in text and "\x1b[?25h" in shown  # the cursor is back


def _environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "RAY_ADDRESS": "no stage here needs a cluster",
        "PYTHONPATH": str(Path(plan.__file__).parents[2]),
        **more,
    }


def _on_terminal(command: list[str], where: Path, width: int = 80) -> str:
    """What a command writes to a terminal of that width."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, width))
    options: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "close_fds": True}
    with subprocess.Popen(command, cwd=where, env=_environment(TERM="xterm"), **options) as process:
        os.close(theirs)
        read = b""
        while True:
            try:
                read += os.read(ours, 4096)
            except OSError:  # the terminal is hung up
                break
        assert process.wait(timeout=60) == 0, read
    os.close(ours)
    return read.decode()

"""Random processes of `vsr repro` are killed at random times: `python tests/chaos.py --faults 50 --minutes 30`.

A small project is made once undisturbed. Then it is made again and again from nothing, with one process of all that work on it hit by a
signal at a time, until so many were, or the minutes are over. Whenever a run ends well, its outputs have the bytes of the undisturbed ones,
MLflow has every run once, and no process of it is left.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from project import Project, clone
from test_edits import SCORE, TRAIN, smallest

COMMAND = ("vsr", "repro", "--jobs", "2", TRAIN, SCORE)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""Most kills are without a word."""

PATIENCE = 1000.0
"""Seconds after which a run hangs."""

GONE = 60.0
"""Seconds in which the processes of a run that was ended have to go."""

MADE = ("data", "results", "report", "dvc.lock", ".vsr", ".dvc/cache", ".dvc/tmp")


@dataclass
class Chaos:
    """A project, what it leaves undisturbed, and the faults so far: by the kind of process and the signal, and whether the run went on."""

    project: Project
    random: random.Random
    faults: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    made: int = 0

    def __post_init__(self) -> None:
        began = time.monotonic()
        self.project.run(*COMMAND)
        self.seconds = time.monotonic() - began
        self.locked, self.runs = self.project.locked(), self.project.runs()

    def make(self, most: int, until: float) -> None:
        """Make the project from nothing, with faults until it is there or there were enough."""
        for name in MADE:
            path = self.project.root / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        while self.disturbed() if self.faults.total() < most and time.monotonic() < until else self.undisturbed():
            pass
        assert self.project.locked() == self.locked, "other bytes than those of the undisturbed run"
        assert self.project.runs() == self.runs, "MLflow's runs are not those of the undisturbed run"
        assert not list(self.project.root.glob("**/*.partial")), "something half-written is left"
        self.made += 1

    def disturbed(self) -> bool:
        """A run with a fault; whether more has to be done."""
        process = self.project.start(*COMMAND)
        time.sleep(self.random.uniform(0, self.seconds))
        fault = _hit(process, self.random)
        said = self._end(process)
        went_on = process.returncode == 0
        if fault:
            self.faults[*fault, "went on" if went_on else "ended, and went on when run again"] += 1
            ended = "went on" if went_on else (said.splitlines() or ["without a word"])[-1]
            print(f"{self.faults.total():5} {fault[1]:8} {fault[0]:30} {ended[:140]}", flush=True)
        return not went_on

    def undisturbed(self) -> bool:
        """A run without a fault, which ends well."""
        process = self.project.start(*COMMAND)
        said = self._end(process)
        assert process.returncode == 0, said
        return False

    def _end(self, process: subprocess.Popen[str]) -> str:
        try:
            said = process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"it hangs after {self.faults}: {process.communicate()[0]}") from None
        assert "Traceback" not in said, said
        deadline = time.monotonic() + GONE
        while left := self._processes():
            assert time.monotonic() < deadline, f"processes are left {self.faults}: {left}"
            time.sleep(0.5)
        return said

    def _processes(self) -> list[list[str]]:
        """The commands of all that work in the project."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.project.root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.cmdline())
            except (psutil.Error, OSError):
                continue
        return found

    def table(self) -> str:
        """The faults so far, in Markdown."""
        rows = [f"| {kind} | {number} | {ended} | {count} |" for (kind, number, ended), count in sorted(self.faults.items())]
        return "\n".join(["| process | signal | the run | times |", "|---|---|---|--:|", *rows])


def _hit(process: subprocess.Popen[str], draw: random.Random) -> tuple[str, str] | None:
    """Send a signal to a process of a run: what it was, and which signal; None if the run had ended."""
    try:
        run = psutil.Process(process.pid)
        victim, number = draw.choice([run, *run.children(recursive=True)]), draw.choice(SIGNALS)
        kind = _kind(victim)
        victim.send_signal(number)
    except psutil.Error:
        return None
    return kind, number.name


def _kind(process: psutil.Process) -> str:
    """What a process is, in a word or two."""
    words = process.cmdline()
    if words and words[0].startswith("ray::"):
        return words[0].partition("(")[0]
    text = " ".join(words)
    if "-m stages." in text:
        return f"driver of {text.partition('-m stages.')[2].split()[0]}"
    known = {"-m dvc": "dvc", "fork_server": "fork server", "vsr repro": "vsr repro", "/ray/": f"Ray's {process.name()}"}
    return next((kind for part, kind in known.items() if part in text), process.name())


def main() -> None:
    """Run until there were enough faults, and print how they ended."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vsr-chaos-") as folder:
        chaos = Chaos(clone(Path(folder) / "clone", smallest), random.Random(asked.seed))
        until = time.monotonic() + 60 * asked.minutes
        while chaos.faults.total() < asked.faults and time.monotonic() < until:
            chaos.make(asked.faults, until)
        print(chaos.table())
        print(f"{chaos.faults.total()} faults in {chaos.made} makings; all of them left the bytes of the undisturbed one.")


if __name__ == "__main__":
    main()

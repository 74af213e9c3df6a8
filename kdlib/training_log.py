"""What a training writes while it goes on: losses, timing, and a note for whoever watches from another process."""

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from kdlib.files import write_text
from kdlib.runs import Run

PROGRESS_SECONDS = 2.0  # between two notes to whoever watches from another process


class Window(dict):
    """Since the last log line, for every loss: [sum, iterations that had it]."""

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            total, count = self.get(name, (0.0, 0))
            self[name] = [total + value, count + 1]

    def pop_means(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.items()}
        self.clear()
        return means


def truncate(path: Path, step: int) -> None:
    """Drop a log's lines after ``step``, a torn last line included."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        with contextlib.suppress(json.JSONDecodeError):
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
    write_text(path, "".join(kept))


class TrainingLog:
    """The run's log files, and the note that lets another process show how far the run is."""

    def __init__(self, run: Run, first_step: int):
        self.run = run
        self.last = (first_step, time.perf_counter())
        self.started = self.last
        self.noted = 0.0

    def __enter__(self) -> "TrainingLog":
        self.losses = open(self.run.path / "log.jsonl", "a", encoding="utf-8")
        self.timing = open(self.run.path / "timing.jsonl", "a", encoding="utf-8")
        self.events = _tensorboard(self.run, self.started[0])
        return self

    def __exit__(self, *exception: object) -> None:
        self.losses.close()
        self.timing.close()
        if self.events:
            self.events.close()

    def write(self, step: int, values: dict[str, float]) -> None:
        now = time.perf_counter()
        rate = (step - self.last[0]) / (now - self.last[1])
        self.last = (step, now)
        self.losses.write(json.dumps({"step": step, **values}) + "\n")
        self.timing.write(json.dumps({"step": step, "iterations_per_second": float(f"{rate:.6g}")}) + "\n")
        self.losses.flush()
        self.timing.flush()
        if self.events:
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def sync(self) -> None:
        """The log reaches the disk before the checkpoint that continues it."""
        os.fsync(self.losses.fileno())

    def note_progress(self, step: int, total: int, losses: dict[str, float]) -> None:
        now = time.perf_counter()
        if now - self.noted < PROGRESS_SECONDS and step < total:
            return
        self.noted = now
        rate = (step - self.started[0]) / (now - self.started[1])
        note = {"step": step, "total": total, "iterations_per_second": rate, "seconds_left": (total - step) / rate}
        temporary = self.run.path / ".progress.tmp"
        temporary.write_text(json.dumps({**note, "losses": losses}), encoding="utf-8")
        temporary.replace(self.run.path / "progress.json")  # not synced: nothing is lost with it


def _tensorboard(run: Run, first_step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run.path / "tensorboard"), purge_step=first_step + 1)

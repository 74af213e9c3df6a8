"""The training loop: batches in, a finished run folder out, resumable at any moment.

Everything random is a function of (seed, step) and everything else that an iteration changes is in the checkpoint, so a
run that was killed and started again ends, on a CPU, with the same bits as one that never stopped.
"""

import contextlib
import fcntl
import json
import math
import os
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from kdlib.augmentation import AugmentationSettings
from kdlib.checkpoints import load_checkpoint, save_checkpoint, save_weights, write_atomically, write_text
from kdlib.data import Dataset, TrainingBatches, prefetch
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.grids import assemble, demonstration
from kdlib.networks import Networks
from kdlib.paths import shown
from kdlib.progress import progress_bar
from kdlib.runs import Run, RunSettings, describe_environment
from kdlib.training_step import Learner, NonFiniteLoss, diversity_weight, make_learner, train_iteration

PROGRESS_SECONDS = 2.0  # between two notes to whoever watches from another process
BAR_LOSSES = ("G/latent/adv", "G/latent/sty", "G/latent/cyc", "KD/G/latent/use")


def train(run: Run, settings: RunSettings, dataset: Dataset, teacher: Networks | None = None, progress: bool = True) -> Run:
    """Train ``run`` to its end, from its last checkpoint if it has one. A finished run is returned as it is.

    ``teacher`` must be given if and only if the settings distil. Raises `NonFiniteLoss`, naming step and loss, and
    OSError on a full disk; both leave the last good checkpoint, from which the same call goes on.
    """
    if settings.distill != (teacher is not None):
        raise InputError("distill = True needs a teacher, distill = False takes none")
    if run.finished:
        return run
    with _sole_trainer(run):
        _train(run, settings, dataset, teacher, progress)
    return run


@contextlib.contextmanager
def _sole_trainer(run: Run) -> Iterator[None]:
    """Hold the run folder's lock: two processes that train one run would spoil its log. The lock ends with its process."""
    with open(run.path / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{shown(run.path)}: another process is training this run; wait for it, or end it") from error
        yield


def _train(run: Run, settings: RunSettings, dataset: Dataset, teacher: Networks | None, progress: bool) -> None:
    training = settings.preset.training
    device = prepare(settings.preset.machine, training.allow_tf32)
    learner = make_learner(
        settings.build(training.seed).to(device), training, settings.preset.losses, settings.diversity_iterations,
        teacher.to(device) if teacher is not None else None,
    )  # fmt: skip
    for leftover in run.path.rglob(".*.tmp"):  # of a process killed while it wrote
        leftover.unlink()
    window = restore(learner, run)
    past = run.json("environment.json") if (run.path / "environment.json").is_file() else []
    run.write_json("environment.json", [*past, {"first_step": learner.step, **describe_environment(device)}])

    batches = TrainingBatches(
        dataset.train, training.batch_size, settings.preset.networks.latent_dim, training.seed,
        augmentation=AugmentationSettings(
            crop_probability=training.crop_probability, flip_probability=training.flip_probability
        ),
    )  # fmt: skip
    logs = settings.preset.logging
    bar = progress_bar(total=settings.iterations, initial=learner.step, unit="it", desc=run.name, disable=not progress)
    upcoming = contextlib.closing(prefetch(batches, learner.step, settings.iterations))
    with bar, _Log(run, learner.step) as log, upcoming as steps:
        for _, batch in steps:
            losses = train_iteration(learner, batch.to(device))
            window.add(losses)
            step = learner.step
            last = step == settings.iterations
            if step % logs.log_every == 0 or last:
                ds = diversity_weight(learner.losses.lambda_ds, step - 1, learner.diversity_iterations)
                log.write(step, {"lambda_ds": ds, **window.pop_means()}, bar)
            if step % logs.sample_every == 0 or last:
                write_samples(run, learner.average, dataset, step, device)
            if step % logs.checkpoint_every == 0 or last:
                log.sync()
                checkpoint(learner, run, window, logs.keep_checkpoints)
            log.note_progress(step, settings.iterations, losses)
            bar.update()
            if step % logs.log_every == 0:
                bar.set_postfix({k: f"{losses[k]:.3f}" for k in BAR_LOSSES if k in losses}, refresh=False)
    finish(run, settings, learner)


class _Window(dict):
    """Since the last log line, for every loss: [sum, iterations that had it]."""

    def add(self, losses: dict[str, float]) -> None:
        for name, value in losses.items():
            total, count = self.get(name, (0.0, 0))
            self[name] = [total + value, count + 1]

    def pop_means(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.items()}
        self.clear()
        return means


def checkpoint(learner: Learner, run: Run, window: _Window, keep: int) -> None:
    """Write the learner's whole state, then remove all but the last ``keep`` checkpoints.

    Weights that are not finite are not written: a loss can be finite on the very step that spoils the weights.
    """
    for name, network in learner.nets.modules():
        for key, p in network.named_parameters():
            if not torch.isfinite(p).all():
                raise NonFiniteLoss(f"step {learner.step}: weights {name}.{key} are not finite; the last checkpoint is intact")
    content: dict[str, Any] = {
        "step": learner.step,
        "networks": {name: network.state_dict() for name, network in learner.nets.modules()},
        "average": {name: network.state_dict() for name, network in learner.average.modules()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in learner.optimizers.items()},
        "window": dict(window),
    }
    save_checkpoint(run.checkpoint_folder / f"step_{learner.step:07d}.pt", content)
    for old in checkpoints_of(run)[:-keep]:
        old.unlink()


def checkpoints_of(run: Run) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted(run.checkpoint_folder.glob("step_*.pt"))


def restore(learner: Learner, run: Run) -> _Window:
    """Bring ``learner`` to the run's last checkpoint, if it has one; cut the log back to it. Returns the open window."""
    window, paths = _Window(), checkpoints_of(run)
    if paths:
        content = load_checkpoint(paths[-1])
        try:
            for name, network in learner.nets.modules():
                network.load_state_dict(content["networks"][name])
            for name, network in learner.average.modules():
                network.load_state_dict(content["average"][name])
            for name, optimizer in learner.optimizers.items():
                optimizer.load_state_dict(content["optimizers"][name])
            learner.step = content["step"]
            window.update(content["window"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{shown(paths[-1])}: does not fit this run's networks ({error}); remove it") from error
    for name in ("log.jsonl", "timing.jsonl"):
        _truncate_lines(run.path / name, learner.step)
    return window


def _truncate_lines(path: Path, step: int) -> None:
    """Drop a log's lines after ``step``, a torn last line included."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        with contextlib.suppress(json.JSONDecodeError):
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
    write_text(path, "".join(kept))


class _Log:
    """The run's log files, and the note that lets another process show how far the run is."""

    def __init__(self, run: Run, first_step: int):
        self.run = run
        self.last = (first_step, time.perf_counter())
        self.started = self.last
        self.noted = 0.0

    def __enter__(self) -> "_Log":
        self.losses = open(self.run.path / "log.jsonl", "a", encoding="utf-8")
        self.timing = open(self.run.path / "timing.jsonl", "a", encoding="utf-8")
        self.events = _tensorboard(self.run, self.started[0])
        return self

    def __exit__(self, *exception: object) -> None:
        self.losses.close()
        self.timing.close()
        if self.events:
            self.events.close()

    def write(self, step: int, values: dict[str, float], bar: tqdm) -> None:
        now = time.perf_counter()
        rate = (step - self.last[0]) / (now - self.last[1])
        self.last = (step, now)
        self.losses.write(json.dumps({"step": step, **values}) + "\n")
        self.timing.write(json.dumps({"step": step, "iterations_per_second": round(rate, 4)}) + "\n")
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


def write_samples(run: Run, nets: Networks, dataset: Dataset, step: int, device: torch.device) -> None:
    """Translations of the first val pictures of every domain, latent- and reference-guided, as two PNG files."""
    grids = demonstration(nets, dataset, device)
    for guide, rows in (("latent", grids.latent), ("reference", grids.reference)):
        picture = assemble(rows, scale=max(1, 64 // nets.arch.image_size))
        write_atomically(run.path / "samples" / f"{guide}_{step:07d}.png", lambda p, im=picture: im.save(p, format="png"))


def finish(run: Run, settings: RunSettings, learner: Learner) -> None:
    """Write the moving averages as final weights, then the mark that the run is complete."""
    save_weights(run.weights, dict(learner.average.modules()), {"settings": settings.as_dict(), "step": learner.step})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    seconds = training_seconds(run)
    run.write_json(
        "finished.json",
        {
            "step": learner.step,
            "seconds": round(seconds, 1),
            "seconds_per_iteration": round(seconds / learner.step, 4),
            "peak_memory_bytes": peak,  # of the process, pictures and libraries included
            "peak_device_memory_bytes": on_device,
            "role": "distilled student" if settings.distill else settings.role,
        },
    )
    (run.path / "progress.json").unlink(missing_ok=True)


def training_seconds(run: Run) -> float:
    """Seconds spent in iterations that count, summed over all starts of the run."""
    rows, previous, total = run.lines("timing.jsonl"), 0, 0.0
    for row in rows:
        total += (row["step"] - previous) / row["iterations_per_second"]
        previous = row["step"]
    return total if math.isfinite(total) else 0.0

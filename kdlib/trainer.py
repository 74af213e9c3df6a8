"""The training loop: batches in, a finished run folder out, resumable at any moment.

Everything random is a function of (seed, step) and everything else that an iteration changes is in the checkpoint, so a
run that was killed and started again ends, on a CPU, with the same bits as one that never stopped.
"""

import contextlib
import fcntl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kdlib import parallel
from kdlib.augmentation import AugmentationSettings
from kdlib.checkpoints import load_checkpoint, save_checkpoint, save_weights
from kdlib.data import Dataset, TrainingBatches, prefetch
from kdlib.devices import computed_precision, prepare
from kdlib.errors import InputError
from kdlib.files import write_atomically
from kdlib.grids import assemble, demonstration
from kdlib.learner import Learner, diversity_weight, make_learner, rate_share, set_rates
from kdlib.memory import peak_memory
from kdlib.networks import Networks
from kdlib.parallel import Workers
from kdlib.paths import shown
from kdlib.progress import progress_bar
from kdlib.runs import TEACHER, Run, RunSettings, describe_environment
from kdlib.settings import Preset
from kdlib.teacher_discriminator import write_discriminator
from kdlib.training_log import TrainingLog, Window, truncate
from kdlib.training_step import Losses, NonFiniteLoss, train_iteration

BAR_LOSSES = ("G/latent/adv", "G/latent/sty", "G/latent/cyc", "KD/G/latent/use")


def train(
    run: Run, settings: RunSettings, dataset: Dataset, teacher: Networks | None = None, progress: bool = True, start: Networks | None = None
) -> Run:
    """Train ``run`` to its end, from its last checkpoint if it has one. A finished run is returned as it is.

    Of several processes (`kdlib.parallel`) the first writes; any number of them may go on with a run.

    ``teacher`` must be given if and only if the settings distil, ``start`` if and only if they name a start_variant. Raises
    `NonFiniteLoss`, naming step and loss, and OSError on a full disk; both leave the last good checkpoint, from which the same call goes on.
    """
    if settings.distill != (teacher is not None):
        raise InputError("distill = True needs a teacher, distill = False takes none")
    if bool(settings.preset.training.start_variant) != (start is not None):
        raise InputError("start_variant needs the networks to begin with, and nothing else takes them")
    if run.finished:
        return run
    together = parallel.workers()
    with _sole_trainer(run) if together.first else contextlib.nullcontext():
        _train(run, settings, dataset, teacher, start, together, progress)
    together.wait()
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


def _train(
    run: Run, settings: RunSettings, dataset: Dataset, teacher: Networks | None, start: Networks | None, workers: Workers, progress: bool
) -> None:
    training, logs = settings.preset.training, settings.preset.logging
    device = prepare(settings.preset.machine, training.allow_tf32)
    learner = make_learner(
        settings.build(training.seed).to(device), training, settings.preset.losses, settings.diversity_iterations,
        teacher.to(device) if teacher is not None else None, workers, resumed=bool(checkpoints_of(run)), start=start,
    )  # fmt: skip
    window = restore(learner, run)
    if workers.first:
        precision = computed_precision(training.precision, device)
        if precision != training.precision:
            print(f"{run.name}: no {training.precision} on this processor, computing in {precision}; environment.json says so", file=sys.stderr)
        _tidy(run, learner.step, {**describe_environment(device), "processes": workers.count, "precision": precision})
    batches = batches_of(settings.preset, dataset, workers)
    reading = (logs.log_every, logs.sample_every, logs.candidate_every, logs.checkpoint_every)
    bar = progress_bar(total=settings.iterations, initial=learner.step, unit="it", desc=run.name, disable=not (progress and workers.first))
    upcoming = contextlib.closing(prefetch(batches, learner.step, settings.iterations, pin=device.type == "cuda"))
    pending: list[Losses] = []
    losses: dict[str, float] = {}  # the last that were read
    with bar, upcoming as steps, TrainingLog(run, learner.step) if workers.first else contextlib.nullcontext() as log:
        for _, batch in steps:
            set_rates(learner, rate_share(learner.step, settings.iterations, settings.decay_iterations))
            pending.append(train_iteration(learner, batch.to(device)))
            step = learner.step
            last = step == settings.iterations
            due = [last or (every > 0 and step % every == 0) for every in reading]
            if any(due):
                for losses in (iteration.read() for iteration in pending):  # the one place where the loop waits for a GPU
                    window.add(losses)
                pending.clear()
            if not workers.first:
                continue
            if due[0]:
                ds = diversity_weight(learner.losses.lambda_ds, step - 1, learner.diversity_iterations)
                log.write(step, {"lambda_ds": ds, **window.pop_means()})
                bar.set_postfix({k: f"{losses[k]:.3f}" for k in BAR_LOSSES if k in losses}, refresh=False)
            if due[1]:
                write_samples(run, learner.average, dataset, step, device)
            if due[2] and logs.candidate_every:
                write_candidate(learner, run, settings)  # before the checkpoint: a run that goes on from there lacks none
            if due[3]:
                log.sync()
                checkpoint(learner, run, window, logs.keep_checkpoints)
            log.note_progress(step, settings.iterations, losses)
            bar.update()
    if workers.first:
        finish(run, settings, learner)


def batches_of(preset: Preset, dataset: Dataset, workers: Workers = Workers()) -> TrainingBatches:
    """The batches that ``preset`` trains on."""
    training = preset.training
    augmentation = AugmentationSettings(crop_probability=training.crop_probability, flip_probability=training.flip_probability)
    return TrainingBatches(dataset.train, training.batch_size, preset.networks.latent_dim, training.seed, augmentation, workers)


def _tidy(run: Run, first_step: int, environment: dict[str, Any]) -> None:
    """Before a run starts or goes on: remove what a killed process left, cut the log back, note where it runs."""
    for leftover in run.path.rglob(".*.tmp"):
        leftover.unlink()
    for name in ("log.jsonl", "timing.jsonl"):
        truncate(run.path / name, first_step)
    past = run.json("environment.json") if (run.path / "environment.json").is_file() else []
    run.write_json("environment.json", [*past, {"first_step": first_step, **environment}])


def checkpoint(learner: Learner, run: Run, window: Window, keep: int) -> None:
    """Write the learner's whole state, then remove all but the last ``keep`` checkpoints. Only finite weights are written."""
    _check_finite(learner)
    content: dict[str, Any] = {
        "step": learner.step,
        "networks": {name: network.state_dict() for name, network in learner.nets.modules()},
        "average": {name: network.state_dict() for name, network in learner.average.modules()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in learner.optimizers.items()},
        "window": dict(window),
    }
    if learner.adapters is not None:
        content["adapters"] = learner.adapters.state_dict()
    save_checkpoint(run.checkpoint_folder / f"step_{learner.step:07d}.pt", content)
    for old in checkpoints_of(run)[:-keep]:
        old.unlink()


def write_candidate(learner: Learner, run: Run, settings: RunSettings) -> None:
    """Keep this iteration's moving averages, in the format of the final weights, for whoever chooses among them.

    A run resumed from an earlier checkpoint writes them again, on a CPU with the same bytes.
    """
    _check_finite(learner)
    _write_average(run.candidate(learner.step), settings, learner)


def _write_average(path: Path, settings: RunSettings, learner: Learner) -> None:
    about = {"settings": settings.as_dict(), "step": learner.step}
    save_weights(path, dict(learner.average.modules()), about, settings.preset.logging.weights_precision)


def _check_finite(learner: Learner) -> None:
    """Raise `NonFiniteLoss` unless all weights are finite: a loss can be finite on the very step that spoils the weights."""
    adapters = [("adapters", learner.adapters)] if learner.adapters is not None else []
    for name, network in (*learner.nets.modules(), *adapters):
        for key, p in network.named_parameters():
            if not torch.isfinite(p).all():
                raise NonFiniteLoss(f"step {learner.step}: weights {name}.{key} are not finite; the last checkpoint is intact")


def checkpoints_of(run: Run) -> list[Path]:
    """The run's checkpoints, oldest first."""
    return sorted(run.checkpoint_folder.glob("step_*.pt"))


def restore(learner: Learner, run: Run) -> Window:
    """Bring ``learner`` to the run's last checkpoint, if it has one. Returns the losses that are not logged yet."""
    window, paths = Window(), checkpoints_of(run)
    if paths:
        content = load_checkpoint(paths[-1])
        try:
            for name, network in learner.nets.modules():
                network.load_state_dict(content["networks"][name])
            for name, network in learner.average.modules():
                network.load_state_dict(content["average"][name])
            for name, optimizer in learner.optimizers.items():
                optimizer.load_state_dict(content["optimizers"][name])
            if learner.adapters is not None:
                learner.adapters.load_state_dict(content["adapters"])
            learner.step = content["step"]
            window.update(content["window"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(f"{shown(paths[-1])}: does not fit this run's networks ({error}); remove it") from error
    return window


def write_samples(run: Run, nets: Networks, dataset: Dataset, step: int, device: torch.device) -> None:
    """Translations of the first val pictures of every domain, latent- and reference-guided, as two PNG files."""
    grids = demonstration(nets, dataset, device)
    for guide, rows in (("latent", grids.latent), ("reference", grids.reference)):
        picture = assemble(rows, scale=max(1, 64 // nets.arch.image_size))
        write_atomically(run.path / "samples" / f"{guide}_{step:07d}.png", lambda p, im=picture: im.save(p, format="png"))


def finish(run: Run, settings: RunSettings, learner: Learner) -> None:
    """Write the moving averages as final weights, a teacher's discriminator beside them, then the mark that the run is complete."""
    _write_average(run.weights, settings, learner)
    if settings.role == TEACHER:
        write_discriminator(run, settings, learner.nets.discriminator, learner.step)
    on_device = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    seconds = training_seconds(run)
    run.write_json(
        "finished.json",
        {
            "step": learner.step,
            "seconds": round(seconds, 1),
            "seconds_per_iteration": round(seconds / learner.step, 4),
            "peak_memory_bytes": peak_memory(),  # of the process, pictures and libraries included
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
    return total

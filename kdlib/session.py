"""From a preset to the things a run needs: its data, its teacher, its run folder. What notebooks call."""

from pathlib import Path
from typing import Any

from kdlib.config import DataSettings, Preset
from kdlib.critters import generate
from kdlib.data import Dataset, open_dataset
from kdlib.errors import InputError
from kdlib.networks import Networks
from kdlib.paths import data_folder, from_repository, runs_folder
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, find_run, open_run, run_name
from kdlib.trainer import train


def data_root(data: DataSettings, progress: bool = True) -> Path:
    """Folder of the preset's pictures; Critters are drawn on first use."""
    if data.source == "folder":
        return from_repository(data.data_root)
    name = f"critters{data.image_size}-{data.train_per_domain}-{data.val_per_domain}-seed{data.data_seed}"
    return generate(
        data_folder() / name,
        image_size=data.image_size,
        train_per_domain=data.train_per_domain,
        val_per_domain=data.val_per_domain,
        seed=data.data_seed,
        progress=progress,
    )


def open_data(preset: Preset, progress: bool = True) -> Dataset:
    """The preset's data set, checked whole: nothing is trained on pictures that were not looked at."""
    data = preset.data
    return open_dataset(data_root(data, progress), data.image_size, data.skip_bad, preset.training.batch_size)


def load_teacher(preset: Preset, teacher: str = TEACHER) -> tuple[Networks, str]:
    """The preset's trained teacher (the reader's own, else the shipped one) and the hash of its weights."""
    run = find_run(preset.name, teacher)
    return run.load_networks(), run.weights_hash()


def train_teacher(preset: Preset, run: str | None = None, progress: bool = True) -> Run:
    """Train the preset's teacher with StarGAN-v2's objective; a finished one, shipped or own, is not redone."""
    dataset = open_data(preset, progress)
    settings = RunSettings(preset, TEACHER, preset.networks.teacher_alpha, False, dataset.domains, dataset.train.content_hash)
    if run is None:
        try:
            shipped = find_run(preset.name, TEACHER)
            return open_run(shipped.path, settings)
        except InputError:
            pass  # none yet, or one with other settings: the reader's own folder decides below
    return train(open_run(runs_folder() / preset.name / (run or TEACHER), settings), settings, dataset, progress=progress)


def train_student(preset: Preset, alpha: int, distill: bool, run: str | None = None, progress: bool = True) -> Run:
    """Train a student of width cap ``alpha``, with or without distillation. Raises `InputError` where its teacher is missing."""
    dataset = open_data(preset, progress)
    teacher, teacher_hash = load_teacher(preset) if distill else (None, "")
    settings = RunSettings(preset, STUDENT, alpha, distill, dataset.domains, dataset.train.content_hash, teacher_hash)
    folder = open_run(runs_folder() / preset.name / (run or run_name(STUDENT, alpha, distill)), settings)
    return train(folder, settings, dataset, teacher, progress)


def unknown_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Overrides that are set (not None), for a notebook to show."""
    return {name: value for name, value in values.items() if value is not None}

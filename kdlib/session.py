"""From a preset to the things a run needs: its data, its teacher, its run folder. What notebooks call."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from kdlib.config import DataSettings, Preset
from kdlib.critters import generate
from kdlib.data import Dataset, open_dataset
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.evaluation import evaluate
from kdlib.factor_network import load_factor_network
from kdlib.features import load_feature_network, state_sha256
from kdlib.networks import Networks
from kdlib.paths import cache_folder, data_folder, from_repository, reference_folder, runs_folder, shown
from kdlib.profiling import cost
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, describe_environment, find_run, open_run, run_name
from kdlib.trainer import train
from kdlib.validation import DataReport, inspect_dataset


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


def inspect_data(preset: Preset, progress: bool = True) -> DataReport:
    """What the validator finds in the preset's pictures, problems included; nothing is raised for them."""
    return inspect_dataset(data_root(preset.data, progress), preset.data.image_size, preset.training.batch_size)


def load_teacher(preset: Preset, dataset: Dataset) -> tuple[Networks, str]:
    """The preset's trained teacher (the reader's own, else the shipped one) and the hash of its weights."""
    run = find_run(preset.name, TEACHER)
    check_fits(run, dataset)
    return run.load_networks(), run.weights_hash()


def check_fits(run: Run, dataset: Dataset) -> None:
    """Raise `InputError` unless the run was trained on pictures of these domains and this size."""
    own = run.settings()
    if (own.domains, own.preset.data.image_size) != (dataset.domains, dataset.image_size):
        raise InputError(
            f"{shown(run.path)}: made for {', '.join(own.domains)} at {own.preset.data.image_size} px; "
            f"the pictures given are {', '.join(dataset.domains)} at {dataset.image_size} px"
        )


def own_folder(preset: Preset, name: str) -> Path:
    """Folder of the reader's run of that name. Raises `InputError` for a name that is no plain folder name."""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"run = {name!r}: give a plain folder name of letters, digits, '.', '_' and '-'")
    return runs_folder() / preset.name / name


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
    return train(open_run(own_folder(preset, run or TEACHER), settings), settings, dataset, progress=progress)


def train_student(preset: Preset, alpha: int, distill: bool, run: str | None = None, progress: bool = True) -> Run:
    """Train a student of width cap ``alpha``, with or without distillation. Raises `InputError` where its teacher is missing."""
    if not isinstance(distill, bool) or isinstance(alpha, bool) or not isinstance(alpha, int):
        raise InputError(f"alpha = {alpha!r}, distill = {distill!r}: give a whole number, and True or False (capitalised on a command line)")
    dataset = open_data(preset, progress)
    teacher, teacher_hash = load_teacher(preset, dataset) if distill else (None, "")
    settings = RunSettings(preset, STUDENT, alpha, distill, dataset.domains, dataset.train.content_hash, teacher_hash)
    folder = open_run(own_folder(preset, run or run_name(STUDENT, alpha, distill)), settings)
    return train(folder, settings, dataset, teacher, progress)


def evaluate_run(preset: Preset, name: str, progress: bool = True) -> dict[str, Any]:
    """Scores of a finished run by the preset's protocol, kept in its metrics.json; not redone while nothing has changed."""
    run = find_run(preset.name, name)
    dataset = open_data(preset, progress)
    check_fits(run, dataset)
    device = prepare(preset.machine)
    features = load_feature_network(preset.evaluation.feature_network, device=device)
    factors = load_factor_network(device) if preset.data.source == "critters" else None
    key = {
        "weights": run.weights_hash(),
        "data": [dataset.train.content_hash, dataset.val.content_hash],
        "evaluation": dataclasses.asdict(preset.evaluation),
        "judges": [features.weights_sha256, factors and state_sha256(factors)],
    }
    if (run.path / "metrics.json").is_file():
        metrics = run.json("metrics.json")
        if metrics.get("key") == key:
            return metrics
    nets, settings = run.load_networks(device), preset.evaluation
    metrics = evaluate(
        nets,
        dataset,
        feature_network=features,
        factor_network=factors,
        outputs_per_source=settings.outputs_per_source,
        sources_per_domain=settings.sources_per_domain,
        batch_size=settings.evaluation_batch_size,
        seed=settings.evaluation_seed,
        latent_dim=preset.networks.latent_dim,
        device=device,
        cache_dir=cache_folder(),
        progress=progress,
    )
    metrics = {"key": key, "cost": cost(nets), "environment": describe_environment(device), **metrics}
    if not run.path.is_relative_to(reference_folder()):  # what is kept in git is not overwritten by a look at it
        run.write_json("metrics.json", metrics)
    return metrics

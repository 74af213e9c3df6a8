"""From a preset to the things a run needs: its data, its teacher, its run folder. What notebooks call."""

import functools
import re
from pathlib import Path
from typing import Any

import torch

from kdlib import parallel, released_runs
from kdlib.critters import SPECIES, generate
from kdlib.data import Dataset, open_dataset
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.learner import asks_for_discriminator
from kdlib.networks import Networks
from kdlib.paths import cache_folder, data_folder, from_repository, reference_folder, runs_folder, shown
from kdlib.profiling import cost
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, describe_environment, find_run, named_run, open_run, run_name, with_landmarks
from kdlib.scoring.course import COURSE, course
from kdlib.scoring.evaluation import evaluate
from kdlib.scoring.factor_network import load_factor_network
from kdlib.scoring.features import load_feature_network
from kdlib.scoring.judges import Judges
from kdlib.scoring.selection import Judge, choose, evaluated_weights
from kdlib.scoring.spectrum import DEFINITION
from kdlib.settings import DataSettings, Preset
from kdlib.trainer import train
from kdlib.validation import DataReport, inspect_dataset, list_pictures


def data_place(data: DataSettings) -> Path:
    """Folder where the preset's pictures lie, or, of Critters, will lie once they are drawn."""
    if data.source == "folder":
        return from_repository(data.data_root)
    return data_folder() / f"critters{data.image_size}-{data.train_per_domain}-{data.val_per_domain}-seed{data.data_seed}"


def data_root(data: DataSettings, progress: bool = True) -> Path:
    """Folder of the preset's pictures; Critters are drawn on first use."""
    if data.source == "folder":
        return data_place(data)
    return generate(
        data_place(data),
        image_size=data.image_size,
        train_per_domain=data.train_per_domain,
        val_per_domain=data.val_per_domain,
        seed=data.data_seed,
        progress=progress,
    )


def open_data(preset: Preset, progress: bool = True) -> Dataset:
    """The preset's data set, checked whole: nothing is trained on pictures that were not looked at."""
    data = preset.data
    return open_dataset(data_root(data, progress), data.image_size, data.skip_bad, preset.training.batch_size, expected=data.expected)


def inspect_data(preset: Preset, progress: bool = True) -> DataReport:
    """What the validator finds in the preset's pictures, problems included; nothing is raised for them."""
    data = preset.data
    return inspect_dataset(data_root(data, progress), data.image_size, preset.training.batch_size, data.expected)


def domain_names(preset: Preset) -> tuple[str, ...]:
    """The preset's domains in their order, without its pictures being drawn or read: its folder's, else those it expects.

    Raises `InputError` where they cannot be told because the preset's folder is not there.
    """
    if preset.data.source == "critters":
        return SPECIES
    root = from_repository(preset.data.data_root)
    if domains := list_pictures(root).domains.get("train", ()) or tuple(sorted(preset.data.expected_train)):
        return domains
    raise InputError(f"no folders of pictures in {shown(root)}/train: give the data set's folder, e.g. -p data_root /data/afhq")


def import_released(preset: Preset, file: Path, name: str | None = None) -> Run:
    """A released checkpoint as the preset's run ``name`` (None: chosen by what the file holds), see `kdlib.released_runs`."""
    folder = own_folder(preset, name or TEACHER).parent
    return released_runs.import_released(file, preset, domain_names(preset), folder, name)


def teacher_run(preset: Preset) -> Run:
    """The finished run that the preset's students learn from: what its setting ``teacher`` names, else its own run `teacher`.

    A released checkpoint is imported as that run on first use. Raises `InputError` where there is no such run, or another one.
    """
    given = preset.machine.teacher
    if not given:
        return find_run(preset.name, TEACHER)
    path = from_repository(given)
    if named := named_run(given):
        run = find_run(*named)
    elif not path.is_dir():
        return import_released(preset, path, TEACHER)
    else:
        run = Run(path)
    if not run.finished:
        raise InputError(f"teacher = {given}: not the folder of a finished run; give one, or a released checkpoint")
    if run.settings().role == STUDENT:
        raise InputError(f"teacher = {given}: the run of a student; give a teacher's, or a released checkpoint of one")
    return run


def load_teacher(preset: Preset, dataset: Dataset) -> tuple[Networks, str]:
    """The teacher of the preset's students, with its discriminator where they learn from that, and the hash of its weights."""
    run = teacher_run(preset)
    check_fits(run, dataset)
    teacher, seen = run.load_networks(landmarks=_named_landmarks(preset)), run.weights_hash()
    if asks_for_discriminator(preset.training, preset.losses):
        teacher.discriminator = run.load_discriminator()
        seen = f"{seen}, {run.weights_hash(run.discriminator)}"
    return teacher, seen


def _named_landmarks(preset: Preset) -> Path | None:
    return from_repository(preset.machine.landmarks) if preset.machine.landmarks else None


def _with_landmarks_of_teacher(preset: Preset) -> Preset:
    """The preset with the landmark network of its students' teacher, where it needs one and names none."""
    if preset.networks.w_hpf == 0 or preset.machine.landmarks:
        return preset
    return with_landmarks(preset, teacher_run(preset).path if preset.machine.teacher else own_folder(preset, TEACHER))


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
    """Train the preset's teacher with StarGAN-v2's objective; a finished one, shipped, released or own, is not redone."""
    with parallel.workers().first_then_others():
        dataset = open_data(preset, progress)
        if run is None and (preset.machine.teacher or Run(own_folder(preset, TEACHER)).imported):
            given = teacher_run(preset)
            check_fits(given, dataset)
            return given
        settings = RunSettings(preset, TEACHER, preset.networks.teacher_alpha, False, dataset.domains, dataset.train.content_hash)
        if run is None:
            try:
                shipped = find_run(preset.name, TEACHER)
                return open_run(shipped.path, settings)
            except InputError:
                pass  # none yet, or one with other settings: the reader's own folder decides below
        folder = open_run(own_folder(preset, run or TEACHER), settings)
    return train(folder, settings, dataset, progress=progress)


def train_student(preset: Preset, alpha: int, distill: bool, run: str | None = None, progress: bool = True) -> Run:
    """Train a student of width cap ``alpha``, with or without distillation. Raises `InputError` where its teacher is missing."""
    if not isinstance(distill, bool) or isinstance(alpha, bool) or not isinstance(alpha, int):
        raise InputError(f"alpha = {alpha!r}, distill = {distill!r}: give a whole number, and True or False (capitalised on a command line)")
    with parallel.workers().first_then_others():
        dataset = open_data(preset, progress)
        name = run or run_name(STUDENT, alpha, distill, preset.variant)
        teacher, teacher_hash = load_teacher(preset, dataset) if distill else (None, "")
        start, start_hash = load_start(preset, alpha, distill, name)
        preset = _with_landmarks_of_teacher(preset)
        preset.architecture(len(dataset.domains), alpha=alpha, student=True)  # of a width that cannot be built no folder is left
        settings = RunSettings(preset, STUDENT, alpha, distill, dataset.domains, dataset.train.content_hash, teacher_hash, start_hash)
        folder = open_run(own_folder(preset, name), settings)
    return train(folder, settings, dataset, teacher, progress, start)


def load_start(preset: Preset, alpha: int, distill: bool, name: str) -> tuple[Networks | None, str]:
    """What the student ``name`` begins as where ``start_variant`` is set, and the hash of its weights; else (None, "").

    It is the finished run of that variant with the same width, of another seed where ``name`` says one. Raises `InputError` where there is none.
    """
    variant, seed = preset.training.start_variant, preset.training.seed
    if not variant:
        return None, ""
    if not distill:
        raise InputError(f"start_variant = {variant!r}: is of distilled students; give distill = True")
    begun = run_name(STUDENT, alpha, distill, variant, seed if name.endswith(f"-seed{seed}") else None)
    try:
        run = find_run(preset.name, begun)
    except InputError as error:
        raise InputError(f"start_variant = {variant!r}: {error}") from error
    return run.load_networks(landmarks=_named_landmarks(preset)), run.weights_hash()


def judges_of(preset: Preset, device: torch.device | str = "cpu") -> Judges:
    """The networks that the preset's scores need, on ``device``; published weights are fetched on first use."""
    settings = preset.evaluation
    features = [load_feature_network(name, device=device) for name in settings.feature_networks]
    factors = load_factor_network(device) if preset.data.source == "critters" else None
    if not settings.lpips:
        return Judges(features, factors)
    from kdlib.scoring.lpips_distance import LpipsDistance  # with it come the package lpips and torchvision's models

    return Judges(features, factors, LpipsDistance().to(device))


def score(
    preset: Preset, nets: Networks, dataset: Dataset, judges: Judges, device: torch.device | str = "cpu", progress: bool = True
) -> dict[str, Any]:
    """Scores of networks on ``device`` by the preset's protocol; see `kdlib.scoring.evaluation.evaluate`."""
    settings = preset.evaluation
    return evaluate(
        nets,
        dataset,
        judges,
        outputs_per_source=settings.outputs_per_source,
        sources_per_domain=settings.sources_per_domain,
        batch_size=settings.evaluation_batch_size,
        seed=settings.evaluation_seed,
        seeds=settings.evaluation_seeds,
        latent_dim=preset.networks.latent_dim,
        device=device,
        cache_dir=cache_folder(),
        progress=progress,
    )


def _named(preset: Preset, name: str) -> Run:
    """The preset's finished run of that name; ``teacher`` is the one that its students learn from, wherever it lies."""
    return teacher_run(preset) if name == TEACHER else find_run(preset.name, name)


def evaluated_networks(preset: Preset, name: str) -> Networks:
    """G, E and F, on the CPU, that the scores of the preset's run ``name`` are about."""
    run = _named(preset, name)
    return run.load_networks(landmarks=_named_landmarks(preset), weights=evaluated_weights(run))


def evaluate_run(preset: Preset, name: str, progress: bool = True) -> dict[str, Any]:
    """Scores of a finished run by the preset's protocol, kept in its metrics.json; not redone while nothing has changed.

    What is scored is the end of the run, or, of a student, the candidate that `kdlib.scoring.selection` chooses where the preset asks
    for that.
    """
    run = _named(preset, name)
    judge = _judge_of(preset, run, progress)
    selection = choose(preset, run, judge) if run.settings().role == STUDENT else None  # a teacher teaches with its last weights
    return judge(preset, run.candidate(selection["chosen"]) if selection else run.weights, "metrics.json", selection)


def score_course(preset: Preset, name: str, outputs_per_source: int, progress: bool = True) -> dict[str, Any]:
    """Scores of the weights that the preset's finished run ``name`` kept on its way, in its course.json; see `kdlib.scoring.course`."""
    run = _named(preset, name)
    found = course(preset, run, _judge_of(preset, run, progress), outputs_per_source)
    run.write_json(COURSE, found)
    return found


def _judge_of(preset: Preset, run: Run, progress: bool) -> Judge:
    """`_judge` of a run by the preset's pictures, networks and device."""
    dataset = open_data(preset, progress)
    check_fits(run, dataset)
    device = prepare(preset.machine)
    return functools.partial(_judge, run, dataset, judges_of(preset, device), device, progress)


def _judge(
    run: Run, dataset: Dataset, judges: Judges, device: torch.device, progress: bool,
    preset: Preset, weights: Path, record: str, selection: dict[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Scores of one set of the run's weights, kept in its file ``record`` with the choice that led to them."""
    key = {
        "weights": run.weights_hash(weights),
        "data": [dataset.train.content_hash, dataset.val.content_hash],
        "evaluation": preset.as_dict()["evaluation"],
        "judges": judges.hashes,
        "spectrum": DEFINITION,
    }
    if (run.path / record).is_file():
        metrics = run.json(record)
        if metrics.get("key") == key and metrics.get("selection") == selection:
            return metrics
    nets = run.load_networks(device, _named_landmarks(preset), weights)
    metrics = {
        "key": key,
        **({} if selection is None else {"selection": selection}),
        "cost": cost(nets),
        "environment": describe_environment(device),
        **score(preset, nets, dataset, judges, device, progress),
    }
    if not run.path.is_relative_to(reference_folder()):  # what is kept in git is not overwritten by a look at it
        run.write_json(record, metrics)
    return metrics

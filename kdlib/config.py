"""Settings of a study: frozen dataclasses filled from one preset file (kdlib/presets/*.toml), strictly.

Every number of a study stands in its preset. A name that no dataclass knows, a value of the wrong type or out of range
is an error; nothing is guessed. Names are unique over all sections, so that ``-p lambda_ds 0`` says everything on the
command line of a notebook that has it among its parameters: `load_preset(name, lambda_ds=0)`.
"""

import dataclasses
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from kdlib.architecture import Architecture, check_down_blocks, check_masks_exist
from kdlib.errors import InputError
from kdlib.paths import from_repository

PRESET_FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class DataSettings:
    source: str = "critters"  # "critters": drawn by code on first use; "folder": {train,val}/{domain}/* under data_root
    data_root: str = ""  # folder data sets only; relative paths start at the repository root
    image_size: int = 64  # pixels; pictures of another size are resized
    train_per_domain: int = 0  # critters only: pictures drawn
    val_per_domain: int = 0
    data_seed: int = 777
    skip_bad: bool = False  # leave unreadable pictures out instead of refusing to start
    expected_train: dict[str, int] = field(default_factory=dict)  # pictures a domain, {cat = 5153, ...}; others are a warning; empty: any
    expected_val: dict[str, int] = field(default_factory=dict)

    @property
    def expected(self) -> dict[str, dict[str, int]]:
        """Expected pictures by split and domain, of those splits for which any are."""
        return {split: counts for split, counts in (("train", self.expected_train), ("val", self.expected_val)) if counts}


@dataclass(frozen=True)
class NetworkSettings:
    teacher_alpha: int = 512  # width cap of the teacher
    base_width: int = 0  # width after the first convolution; 0: StarGAN-v2's 2**14 / image_size
    style_dim: int = 64
    latent_dim: int = 16
    w_hpf: float = 0.0  # > 0: high-pass skip with face masks (CelebA-HQ)
    generator_down_blocks: int = 0  # 0: the thesis's rule, log2(image_size) - 4, which ends at 16x16; every further one halves that


@dataclass(frozen=True)
class TrainingSettings:
    teacher_iterations: int = 100_000
    student_iterations: int = 100_000
    teacher_diversity_iterations: int = 0  # over which a teacher's lambda_ds decays to 0; 0: the whole run, as in the thesis
    batch_size: int = 8
    seed: int = 777
    learning_rate: float = 1e-4  # G, E, D, D^s
    student_learning_rate: float = 0.0  # the same of a student; 0: as its teacher's, which is the thesis's choice
    mapping_learning_rate: float = 1e-6  # F without distillation (the thesis's scan is ambiguous, its code says 1e-6)
    mapping_learning_rate_distilled: float = 1e-4  # F with distillation
    beta1: float = 0.0
    beta2: float = 0.99
    weight_decay: float = 1e-4
    ema_decay: float = 0.999
    ema_ramp: bool = False  # decay min(ema_decay, (1 + t) / (10 + t)): a short run's average forgets its start
    crop_probability: float = 0.5  # random resized crop of sources and references
    flip_probability: float = 0.5
    style_warp: float = 0.0  # strength, 0 to 1, of the random warp of pictures shown to E (not in the thesis)
    cycle_noise: float = 0.0  # deviation of the noise on pictures from which the source is restored (not in the thesis)
    r1_every: int = 1  # R1 on every so many iterations, that much heavier there (StyleGAN2's lazy regularisation; the thesis: 1)
    precision: str = "float32"  # or "bfloat16": autocast of the forward passes
    compile: bool = False  # torch.compile of generators and style encoders: for GPUs; a minute, and no gain, on CPUs
    allow_tf32: bool = False
    distillation_real: str = "teacher"  # what D is shown as real in Eqs 31, 32: the teacher's picture; "data": a picture of the data set


@dataclass(frozen=True)
class LossWeights:
    """Weight of every loss; 0 leaves its computation out. Names follow FACTS: sections 2.4.3 and 4.3 of the thesis."""

    lambda_adv: float = 1.0  # Eq 7
    lambda_r1: float = 1.0  # Eq 6, on real images, and on teacher images in distillation
    lambda_sty: float = 1.0  # Eq 8
    lambda_ds: float = 1.0  # Eq 9; decays linearly to 0 over the run
    lambda_cyc: float = 1.0  # Eq 10
    lambda_image_adv_latent: float = 1.0  # Eq 31
    lambda_image_adv_reference: float = 1.0  # Eq 32
    lambda_style_adv_target: float = 1.0  # Eq 33: latent z1, target domain
    lambda_style_adv_source: float = 1.0  # Eq 34: latent z2, source domain
    lambda_style_use_latent: float = 1.0  # Eq 35
    lambda_style_use_reference: float = 1.0  # Eq 36
    lambda_source_latent: float = 1.0  # Eq 37
    lambda_source_reference: float = 1.0  # Eq 38
    lambda_style_l1_target: float = 0.0  # no part of the thesis: L1 between style codes, in place of Eq 33
    lambda_style_l1_source: float = 0.0  # the same in place of Eq 34


@dataclass(frozen=True)
class LoggingSettings:
    log_every: int = 10  # iterations
    sample_every: int = 1_000
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2
    candidate_every: int = 0  # iterations between moving averages kept for `selection`, the last one too; 0: none
    weights_precision: str = "float32"  # of the moving averages as they are written; "float16": half the file


@dataclass(frozen=True)
class EvaluationSettings:
    evaluation_seed: int = 777
    evaluation_seeds: int = 1  # so many, from evaluation_seed on; with more than one, scores have a mean and a deviation
    outputs_per_source: int = 10
    sources_per_domain: int = 0  # 0: every val picture
    evaluation_batch_size: int = 50
    feature_networks: tuple[str, ...] = ("factor_network",)  # each with scores of its own name; see kdlib.scoring.features
    lpips: bool = False  # fetches AlexNet's weights on first use, as the Inceptions do theirs
    selection: str = "last"  # what is evaluated: the end of a run, or "best_candidate", the thesis's best of ten by score


@dataclass(frozen=True)
class StudySettings:
    """The grid of students: every width, with and without distillation; seeds; named changes of the settings, one at a time."""

    alphas: tuple[int, ...] = (64, 96, 128, 160)
    main_alpha: int = 0  # the width that is trained with every seed and in every variant; 0: the widest
    seeds: tuple[int, ...] = ()  # of students of main_alpha; empty: the preset's one
    seeds_of_others: int = 1  # with so many of these seeds, the first ones, other widths are trained
    seeds_of_variants: int = 1  # the same of variants
    variants: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> settings of training and losses, of distilled students

    @property
    def main(self) -> int:
        return self.main_alpha or max(self.alphas)


@dataclass(frozen=True)
class MachineSettings:
    """Where to run, and where things lie. No part of what a run is: a run may go on with others of these.

    A student is bound to the weights of its ``teacher`` all the same, by their hash (`RunSettings.teacher_hash`).
    """

    device: str = "auto"  # "auto": cuda, else mps, else cpu
    threads: int = 0  # 0: PyTorch's choice
    landmarks: str = ""  # where w_hpf > 0: file of the face-landmark network (wing.ckpt), relative paths from the repository root
    teacher: str = ""  # a released checkpoint or a run folder to distil from; empty: the preset's own run `teacher`


@dataclass(frozen=True)
class Preset:
    name: str
    description: str = ""
    variant: str = ""  # the one of study.variants whose settings are in force
    data: DataSettings = field(default_factory=DataSettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    losses: LossWeights = field(default_factory=LossWeights)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    study: StudySettings = field(default_factory=StudySettings)
    machine: MachineSettings = field(default_factory=MachineSettings)

    def __post_init__(self):
        _check_ranges(self)

    def architecture(self, domains: int, *, alpha: int, student: bool) -> Architecture:
        """The architecture of this preset's teacher or of a student of width cap ``alpha``."""
        n = self.networks
        return Architecture(
            self.data.image_size, domains, alpha, student, n.w_hpf, n.base_width or None, n.style_dim, n.latent_dim,
            n.generator_down_blocks or None,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as written to JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Preset) if f.default_factory is not dataclasses.MISSING}
SECTION_OF = {f.name: section for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)}

_AT_LEAST_ONE = {
    "image_size", "teacher_alpha", "style_dim", "latent_dim", "batch_size", "log_every", "sample_every",
    "checkpoint_every", "keep_checkpoints", "r1_every", "evaluation_batch_size", "teacher_iterations", "student_iterations",
    "evaluation_seeds",
}  # fmt: skip
_PROBABILITIES = {"crop_probability", "flip_probability", "style_warp", "beta1", "beta2", "ema_decay"}
_CHOICES = {
    "source": ("critters", "folder"),
    "precision": ("float32", "bfloat16"),
    "distillation_real": ("teacher", "data"),
    "weights_precision": ("float32", "float16"),
    "selection": ("last", "best_candidate"),
    "feature_networks": ("factor_network", "squeezenet", "inception_torchvision", "inception_pytorch_fid"),
}


def _check_ranges(preset: Preset) -> None:
    for section in SECTIONS:
        for name, value in vars(getattr(preset, section)).items():
            if name in _CHOICES:
                for one in value if isinstance(value, tuple) else (value,):
                    if one not in _CHOICES[name]:
                        raise InputError(f"{name} = {one!r}: must be one of {', '.join(map(repr, _CHOICES[name]))}")
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                if name in _AT_LEAST_ONE and value < 1:
                    raise InputError(f"{name} = {value}: must be at least 1")
                if not 0 <= value < float("inf"):
                    raise InputError(f"{name} = {value}: must be 0 or more, and finite")
                if name in _PROBABILITIES and value > 1:
                    raise InputError(f"{name} = {value}: must lie between 0 and 1")
    for split, counts in preset.data.expected.items():
        for domain, count in counts.items():
            if count < 1:
                raise InputError(f"expected_{split}, {domain} = {count}: must be at least 1; leave the domain out if any number will do")
    check_masks_exist(preset.networks.w_hpf, preset.data.image_size)
    if preset.networks.generator_down_blocks:
        check_down_blocks(preset.networks.generator_down_blocks, preset.data.image_size, preset.networks.w_hpf)
    if preset.evaluation.outputs_per_source < 2:
        raise InputError("outputs_per_source: diversity needs at least 2 outputs a source")
    _check_study(preset)
    if not isinstance(preset.name, str) or not re.fullmatch(r"[\w.-]+", preset.name) or preset.name == "reference":
        raise InputError(f"preset name {preset.name!r}: it names a folder under runs/; use letters, digits, '.', '_', '-', not 'reference'")
    networks = preset.evaluation.feature_networks
    if not networks or len(set(networks)) < len(networks):
        raise InputError(f"feature_networks = {list(networks)}: name at least one, and each once")
    if preset.data.source == "folder" and "factor_network" in networks:
        raise InputError(
            "feature_networks: 'factor_network' knows Critters only; for pictures of a folder name others, "
            "e.g. -p feature_networks squeezenet,inception_torchvision"
        )
    if preset.data.source == "folder" and not preset.data.data_root:
        raise InputError("data_root is empty: give the folder that holds train/ and val/, e.g. -p data_root /data/afhq")


def _check_study(preset: Preset) -> None:
    study = preset.study
    alphas, seeds = study.alphas, study.seeds
    if not alphas or min(alphas) < 1 or len(set(alphas)) < len(alphas):
        raise InputError(f"alphas = {list(alphas)}: needs at least one width, each at least 1 and named once")
    if study.main not in alphas:
        raise InputError(f"main_alpha = {study.main}: must be one of alphas, {', '.join(map(str, alphas))}")
    if len(set(seeds)) < len(seeds) or any(seed < 0 for seed in seeds):
        raise InputError(f"seeds = {list(seeds)}: each must be 0 or more and named once")
    for name, values in study.variants.items():
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise InputError(f"variant {name!r}: it becomes part of a folder's name; use a to z, digits and '_'")
        strangers = [key for key in values if SECTION_OF.get(key) not in ("training", "losses")]
        if strangers or not values:
            raise InputError(
                f"variant {name}: " + (f"{', '.join(strangers)} is no setting of [training] or [losses]" if strangers else "changes no setting")
            )
    if preset.variant and preset.variant not in study.variants:
        known = f"this preset has {', '.join(study.variants)}" if study.variants else "this preset has none"
        raise InputError(f"variant = {preset.variant!r}: no such variant; {known}")


def _coerce(name: str, value: Any, kind: type) -> Any:
    """Value as ``kind``, or an error: int stands for float, a list for a tuple, "a,b" for a tuple of names; "False" is no boolean."""
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...] and isinstance(value, str):  # as a papermill command line gives it
        value = [part.strip() for part in value.split(",")]
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(name, v, get_args(kind)[0]) for v in value)
    if get_origin(kind) is dict and isinstance(value, dict):
        key_kind, value_kind = get_args(kind)
        return {_coerce(f"{name}, key", k, key_kind): _coerce(f"{name}, {k}", v, value_kind) for k, v in value.items()}
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    hint = " (on a papermill command line write True or False, capitalised)" if kind is bool else ""
    raise InputError(f"{name} = {value!r}: must be {getattr(kind, '__name__', kind)}{hint}")


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{where}: must be a section of settings, not {values!r}")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(f"{where}: unknown setting {', '.join(unknown)}; known: {', '.join(hints)}")
    return kind(**{name: _coerce(name, value, hints[name]) for name, value in values.items()})


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(p.stem for p in PRESET_FOLDER.glob("*.toml"))


def preset_from_dict(values: dict[str, Any], where: str = "settings") -> Preset:
    """A preset from nested plain values, e.g. a run folder's settings.json. Raises `InputError` on anything unknown."""
    values = dict(values)
    sections = {s: _build(kind, values.pop(s, {}), f"{where} [{s}]") for s, kind in SECTIONS.items()}
    unknown = sorted(set(values) - {"name", "description", "variant"})
    if unknown:
        raise InputError(f"{where}: unknown section or setting {', '.join(unknown)}; sections: {', '.join(SECTIONS)}")
    if "name" not in values:
        raise InputError(f"{where}: has no name")
    return Preset(**values, **sections)


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if value is not None}


def load_preset(name: str | Path, *, variant: str | None = None, **overrides: Any) -> Preset:
    """Read a shipped preset by name, or a file ending in .toml, then apply ``variant``, one of its study's, and ``overrides``.

    An override of None leaves the preset's value, so that notebook parameters can default to None. Raises `InputError`
    for an unknown preset, variant or setting, a wrong type, or a value out of range.
    """
    path = PRESET_FOLDER / f"{name}.toml"
    if str(name).endswith(".toml"):
        path = Path(name) if Path(name).is_file() else from_repository(name)
    if not path.is_file():
        raise InputError(f"preset {str(name)!r}: no such preset; shipped: {', '.join(preset_names())}; or give a .toml file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name}: not valid TOML: {error}") from error
    values.setdefault("name", path.stem)
    if variant:
        values["variant"] = variant
        known = values.get("study", {}).get("variants", {})
        overrides = {**(known[variant] if isinstance(known, dict) and variant in known else {}), **_given(overrides)}
    for key, value in overrides.items():
        if key not in SECTION_OF:
            raise InputError(f"unknown setting {key!r}; known: {', '.join(sorted(SECTION_OF))}")
        if value is not None:
            values.setdefault(SECTION_OF[key], {})[key] = value
    return preset_from_dict(values, path.name)

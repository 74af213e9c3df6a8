"""Settings of a study: frozen dataclasses, a section each; `kdlib.config` fills them from preset files (kdlib/presets/*.toml).

Every number of a study stands in its preset or in the one that it names as its base; what both leave out has the default written
here. Names are unique over all sections, so that ``-p lambda_ds 0`` says everything on the command line of a notebook that has it
among its parameters. What values they may have is in `kdlib.ranges`.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from kdlib.architecture import Architecture, GeneratorDesign
from kdlib.ranges import check_ranges


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
    teacher_decay_iterations: int = 0  # a teacher's last ones, over which its learning rates fall to 0; 0: constant, as in the thesis
    student_diversity_iterations: int = 0  # both the same of a student
    student_decay_iterations: int = 0
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
    precision: str = "float32"  # or "bfloat16": autocast of the forward passes, on processors that have it (`kdlib.devices.has_bfloat16`)
    compile: bool = False  # torch.compile of generators and style encoders: for GPUs; a minute, and no gain, on CPUs
    allow_tf32: bool = False
    distillation_real: str = "teacher"  # what D is shown as real in Eqs 31, 32: the teacher's picture; "data": the data set's; or "both"
    # No part of the thesis, from here on; see kdlib.distillation_step.
    style_space: str = "own"  # a distilled student's F: its "own", "init" (begun as the teacher's), "fitted" (that and frozen), or the "teacher"'s
    style_fit_iterations: int = 3_000  # of F alone, before the others', where style_space is "init" or "fitted"
    style_match_warp: bool = True  # whether style_warp moves the pictures off which lambda_style_match has E_S read its teacher's codes
    style_match_of: str = "data"  # the pictures that it reads there: the data set's, or "both": the teacher's translations, too
    perceptual_network: str = "discriminator"  # whose features lambda_output_perceptual compares: the teacher's, or "squeezenet"
    feature_stages: tuple[str, ...] = ("bottleneck", "decoder")  # of the generator, where lambda_feature compares
    filter_keep: float = 1.0  # share of the teacher's pictures of a batch that is taught, the best by filter_score; 1: all
    filter_score: str = "discriminator"  # the logit of the teacher's D, or "cycle": how well the teacher finds back to the source
    student_discriminator_alpha: int = 0  # width cap of a student's D; 0: as of its other networks
    student_mapping_width: int = 0  # hidden units of a student's F, whose multiplications hardly count; 0: by its width cap
    start_variant: str = ""  # a distilled student begins as the finished one of that variant, of the same width: G, E, and an "own" F
    frozen: tuple[str, ...] = ()  # those of "generator", "style_encoder", "mapping_network" that stay as they began, with start_variant
    discriminator_start: str = "noise"  # a distilled student's D begins from noise, or as the "teacher"'s, whose width it must have then


@dataclass(frozen=True)
class LossWeights:
    """Weight of every loss; 0 leaves its computation out. Names follow sections 2.4.3 and 4.3 of the thesis."""

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
    lambda_style_energy: float = 0.0  # nor these: energy distance between both F's codes, in the fit of style_fit_iterations
    lambda_style_match: float = 0.0  # L1 between the codes that both style encoders read off a picture
    lambda_output_l1: float = 0.0  # L1 between both generators' pictures
    lambda_output_perceptual: float = 0.0  # the same in features of perceptual_network
    lambda_feature: float = 0.0  # relative squared difference of the generators' features at feature_stages, behind 1x1 adapters


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
    variants_only: bool = False  # the other students are those of the preset's `base`, and are trained in its study
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
    teacher: str = ""  # a released checkpoint, a run folder or a run's name ("mini/teacher") to distil from; empty: the preset's own run `teacher`


@dataclass(frozen=True)
class Preset:
    name: str
    description: str = ""
    variant: str = ""  # the one of study.variants whose settings are in force
    base: str = ""  # the shipped preset that what the file leaves out comes from
    data: DataSettings = field(default_factory=DataSettings)
    networks: NetworkSettings = field(default_factory=NetworkSettings)
    student_generator: GeneratorDesign = field(default_factory=GeneratorDesign)  # of students alone: a teacher has the thesis's
    training: TrainingSettings = field(default_factory=TrainingSettings)
    losses: LossWeights = field(default_factory=LossWeights)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    study: StudySettings = field(default_factory=StudySettings)
    machine: MachineSettings = field(default_factory=MachineSettings)

    def __post_init__(self):
        check_ranges(self)

    def architecture(self, domains: int, *, alpha: int, student: bool, distilled: bool = False) -> Architecture:
        """The architecture of this preset's teacher or of a student of width cap ``alpha``; ``distilled`` ones may have their teacher's F."""
        n, t = self.networks, self.training
        takes_mapping = student and distilled and t.style_space == "teacher"
        mapping_width = Architecture(alpha=n.teacher_alpha).mapping_units if takes_mapping else t.student_mapping_width or None
        return Architecture(
            self.data.image_size, domains, alpha, student, n.w_hpf, n.base_width or None, n.style_dim, n.latent_dim,
            n.generator_down_blocks or None, self.student_generator if student and self.student_generator != GeneratorDesign() else None,
            mapping_width if student else None,
            (t.student_discriminator_alpha or None) if student else None,
        )  # fmt: skip

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as written to JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


SECTIONS = {f.name: f.default_factory for f in dataclasses.fields(Preset) if f.default_factory is not dataclasses.MISSING}
SECTION_OF = {f.name: section for section, kind in SECTIONS.items() for f in dataclasses.fields(kind)}

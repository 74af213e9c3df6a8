"""What an iteration of training changes: networks, their moving average (thesis Eq 4), an optimiser for each network.

Besides, what methods of distillation that the thesis does not have need: adapters of features, which learn with G, and a network
whose features compare pictures. How an iteration changes it is `kdlib.training_step`'s.
"""

from dataclasses import dataclass

import torch
from torch import nn

from kdlib.checkpoints import take_weights
from kdlib.errors import InputError
from kdlib.feature_distillation import FeatureAdapters
from kdlib.networks import Networks
from kdlib.parallel import Workers
from kdlib.perceptual import DiscriminatorMaps, SqueezeNetMaps
from kdlib.settings import LossWeights, TrainingSettings
from kdlib.style_space import take_style_space


@dataclass
class Learner:
    """What an iteration changes: networks, their moving average, one optimiser a network; and the settings it obeys."""

    nets: Networks
    average: Networks  # exponential moving average of G, E and F: what is evaluated and shipped
    optimizers: dict[str, torch.optim.Optimizer]  # a frozen network has none
    rates: dict[str, float]  # the learning rate of each, before any decay
    training: TrainingSettings
    losses: LossWeights
    diversity_iterations: int  # the diversity weight reaches 0 there
    teacher: Networks | None = None  # frozen; given: every iteration distils
    workers: Workers = Workers()  # who share every batch
    adapters: FeatureAdapters | None = None  # learn with G's optimiser
    perceptual: nn.Module | None = None  # frozen; pictures to maps, see `kdlib.perceptual`
    step: int = 0  # iterations done


def asks_for_discriminator(training: TrainingSettings, losses: LossWeights) -> bool:
    """Whether a student that learns by these settings needs its teacher's discriminator."""
    by_features = losses.lambda_output_perceptual > 0 and training.perceptual_network == "discriminator"
    return by_features or training.discriminator_start == "teacher" or (training.filter_keep < 1 and training.filter_score == "discriminator")


def make_learner(
    nets: Networks, training: TrainingSettings, losses: LossWeights, diversity_iterations: int, teacher: Networks | None = None,
    workers: Workers = Workers(), resumed: bool = False, start: Networks | None = None,
) -> Learner:  # fmt: skip
    """Optimisers and moving average for freshly built ``nets`` (on their device already).

    Adam with the thesis's settings (5.3.1) for every network; F learns with its own rate, which distillation raises.
    ``resumed``: all that is learned comes from a checkpoint afterwards, see `kdlib.trainer.restore`. ``start``: where ``start_variant`` is set.
    Raises `InputError` where the teacher lacks what a setting needs of it, or ``start`` is of other widths.
    """
    if teacher is None:
        nets.style_discriminator = None  # it judges against a teacher; without one there is nothing to judge
    else:
        for _, network in teacher.modules():
            network.eval().requires_grad_(False)
        if asks_for_discriminator(training, losses) and teacher.discriminator is None:
            raise InputError(
                "filter_score or perceptual_network = 'discriminator', or discriminator_start = 'teacher': the teacher given has no discriminator"
            )
        if start is not None:
            _take_start(nets, start, training)
        take_style_space(nets, teacher, training, losses, resumed)
        if training.discriminator_start == "teacher":
            _take_discriminator(nets, teacher)
    for _, network in (*nets.modules(), *(teacher.modules() if teacher else ())):
        network.to(memory_format=torch.channels_last)  # a fifth to a third faster on CPUs: no reordering around small convolutions
    average = nets.averaged_copy()
    adapters = None
    if teacher is not None and losses.lambda_feature > 0:
        adapters = FeatureAdapters(nets.arch, teacher.arch, training.feature_stages, training.seed)
        adapters.to(next(nets.generator.parameters()).device, memory_format=torch.channels_last)
    if training.compile:  # D stays as it is: a compiled network cannot be differentiated twice, as R1 asks for
        for network in (nets, *([teacher] if teacher else [])):
            for module, method in ((network.generator, "content"), (network.generator, "render"), (network.style_encoder, "forward")):
                setattr(module, method, torch.compile(getattr(module, method)))
    rate = (training.student_learning_rate if nets.arch.student else 0.0) or training.learning_rate
    f_rate = training.mapping_learning_rate if teacher is None else training.mapping_learning_rate_distilled
    rates = {name: f_rate if name == "mapping_network" else rate for name, _ in nets.modules()}
    optimizers = {
        name: torch.optim.Adam(
            [*network.parameters(), *(adapters.parameters() if adapters is not None and name == "generator" else ())],
            lr=rates[name],
            betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
            fused=True,
        )
        for name, network in nets.modules()
        if any(p.requires_grad for p in network.parameters())
    }
    perceptual = _perceptual(training, losses, teacher) if teacher is not None else None
    return Learner(nets, average, optimizers, rates, training, losses, diversity_iterations, teacher, workers, adapters, perceptual)


def _take_start(nets: Networks, start: Networks, training: TrainingSettings) -> None:
    """The student begins as ``start``, but for an F that is made anew from the teacher's; ``frozen`` networks stay so."""
    for name in Networks.TRANSLATING:
        if name == "mapping_network" and training.style_space != "own":
            continue
        refused = f"start_variant = {training.start_variant!r}: its {name} has other widths than this student's"
        take_weights(getattr(nets, name), getattr(start, name), refused)
    for name in training.frozen:
        getattr(nets, name).requires_grad_(False)
    if "mapping_network" in training.frozen:
        nets.style_discriminator = None  # it would judge codes that nobody changes


def _take_discriminator(nets: Networks, teacher: Networks) -> None:
    """The student's D begins as the teacher's, as in GAN Compression (Li et al. 2020, 3.1). Raises `InputError` where widths differ."""
    refused = "discriminator_start = 'teacher': the student's D has another width; set student_discriminator_alpha to the teacher's width cap"
    take_weights(nets.discriminator, teacher.discriminator, refused)


def _perceptual(training: TrainingSettings, losses: LossWeights, teacher: Networks) -> nn.Module | None:
    """The network in whose features pictures are compared, on the teacher's device; None where they are not."""
    if losses.lambda_output_perceptual == 0:
        return None
    if training.perceptual_network == "discriminator":
        return DiscriminatorMaps(teacher.discriminator)
    return SqueezeNetMaps().to(next(teacher.generator.parameters()).device).requires_grad_(False)


def rate_share(step: int, iterations: int, decaying: int) -> float:
    """Share of the learning rates that an iteration uses (``step`` done before it): 1, over the last ``decaying`` linearly to 0.

    The schedule of CycleGAN (Zhu et al. 2017, section 4). The last iteration still has 1/``decaying`` of the rate.
    """
    return min(1.0, (iterations - step) / decaying) if decaying else 1.0


def set_rates(learner: Learner, share: float) -> None:
    """Give every optimiser ``share`` of its network's learning rate."""
    for name, optimizer in learner.optimizers.items():
        for group in optimizer.param_groups:
            group["lr"] = share * learner.rates[name]


def diversity_weight(lambda_ds: float, step: int, iterations: int) -> float:
    """lambda_ds decayed linearly to 0 over ``iterations`` (thesis 5.3.3), a pure function of the step (0 for the first)."""
    return lambda_ds * max(0.0, 1.0 - step / iterations)


def average_decay(training: TrainingSettings, step: int) -> float:
    """Decay of the moving average at ``step`` (Eq 4), ramped up at the start if the preset asks for it."""
    return min(training.ema_decay, (1 + step) / (10 + step)) if training.ema_ramp else training.ema_decay


def update_average(average: Networks, nets: Networks, decay: float) -> None:
    """average <- decay average + (1 - decay) nets, over the parameters of G, E and F (Eq 4)."""
    pairs = [pair for n in Networks.TRANSLATING for pair in zip(getattr(average, n).parameters(), getattr(nets, n).parameters())]
    with torch.no_grad():
        torch._foreach_lerp_(*map(list, zip(*pairs)), 1 - decay)

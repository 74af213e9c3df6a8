"""What an iteration of training changes: networks, their moving average (thesis Eq 4), an optimiser for each network.

How an iteration changes it is `kdlib.training_step`'s.
"""

from dataclasses import dataclass

import torch

from kdlib.networks import Networks
from kdlib.parallel import Workers
from kdlib.settings import LossWeights, TrainingSettings


@dataclass
class Learner:
    """What an iteration changes: networks, their moving average, one optimiser a network; and the settings it obeys."""

    nets: Networks
    average: Networks  # exponential moving average of G, E and F: what is evaluated and shipped
    optimizers: dict[str, torch.optim.Optimizer]
    training: TrainingSettings
    losses: LossWeights
    diversity_iterations: int  # the diversity weight reaches 0 there
    teacher: Networks | None = None  # frozen; given: every iteration distils
    workers: Workers = Workers()  # who share every batch
    step: int = 0  # iterations done


def make_learner(
    nets: Networks, training: TrainingSettings, losses: LossWeights, diversity_iterations: int, teacher: Networks | None = None,
    workers: Workers = Workers(),
) -> Learner:  # fmt: skip
    """Optimisers and moving average for freshly built ``nets`` (on their device already).

    Adam with the thesis's settings (5.3.1) for every network; F learns with its own rate, which distillation raises.
    """
    if teacher is None:
        nets.style_discriminator = None  # it judges against a teacher; without one there is nothing to judge
    else:
        for name in Networks.TRANSLATING:
            getattr(teacher, name).eval().requires_grad_(False)
    for _, network in (*nets.modules(), *(teacher.modules() if teacher else ())):
        network.to(memory_format=torch.channels_last)  # a fifth to a third faster on CPUs: no reordering around small convolutions
    average = nets.averaged_copy()
    if training.compile:  # D stays as it is: a compiled network cannot be differentiated twice, as R1 asks for
        for network in (nets, *([teacher] if teacher else [])):
            for module, method in ((network.generator, "content"), (network.generator, "render"), (network.style_encoder, "forward")):
                setattr(module, method, torch.compile(getattr(module, method)))
    rate = (training.student_learning_rate if nets.arch.student else 0.0) or training.learning_rate
    f_rate = training.mapping_learning_rate if teacher is None else training.mapping_learning_rate_distilled
    optimizers = {
        name: torch.optim.Adam(
            network.parameters(),
            lr=f_rate if name == "mapping_network" else rate,
            betas=(training.beta1, training.beta2),
            weight_decay=training.weight_decay,
            fused=True,
        )
        for name, network in nets.modules()
    }
    return Learner(nets, average, optimizers, training, losses, diversity_iterations, teacher, workers)


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

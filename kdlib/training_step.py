"""One training iteration: StarGAN-v2's own step, and the distillation step that the thesis adds to it.

`stargan_step` has 4 updates, `distillation_step` 8 more, each with its own backward pass and optimiser step, in the
order in which the thesis's code makes them (thesis 2.4.3 and 4.3; its text gives no order). Read top to bottom:

    G generator, E style encoder, F mapping network, D discriminator, D^s style discriminator; T teacher, S student.

A weight of 0 leaves the term's computation out; an update none of whose terms is left is skipped.
"""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.augmentation import WarpSettings, style_warp
from kdlib.config import LossWeights, TrainingSettings
from kdlib.data import Batch, step_rng
from kdlib.losses import adversarial_loss, cycle_loss, diversity_loss, r1_penalty, style_reconstruction_loss
from kdlib.networks import Networks


class NonFiniteLoss(FloatingPointError):
    """A loss became infinite or not a number; the message names the step and the loss."""


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
    step: int = 0  # iterations done


def make_learner(
    nets: Networks, training: TrainingSettings, losses: LossWeights, diversity_iterations: int, teacher: Networks | None = None
) -> Learner:
    """Optimisers and moving average for freshly built ``nets`` (on their device already).

    Adam with the thesis's settings (5.3.1) for every network; F learns with its own rate, which distillation raises.
    """
    if teacher is None:
        nets.style_discriminator = None  # it judges against a teacher; without one there is nothing to judge
    else:
        for name in Networks.TRANSLATING:
            getattr(teacher, name).eval().requires_grad_(False)
    for _, network in nets.modules():
        network.to(memory_format=torch.channels_last)  # a fifth to a third faster on CPUs: no reordering around small convolutions
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
    return Learner(nets, nets.averaged_copy(), optimizers, training, losses, diversity_iterations, teacher)


def diversity_weight(lambda_ds: float, step: int, iterations: int) -> float:
    """lambda_ds decayed linearly to 0 over ``iterations`` (thesis 5.3.3), a pure function of the step (0 for the first)."""
    return lambda_ds * max(0.0, 1.0 - step / iterations)


def average_decay(training: TrainingSettings, step: int) -> float:
    """Decay of the moving average at ``step`` (Eq 4), ramped up at the start if the preset asks for it."""
    return min(training.ema_decay, (1 + step) / (10 + step)) if training.ema_ramp else training.ema_decay


@dataclass
class _Iteration:
    """One iteration's inputs and helpers, and the losses it has seen."""

    learner: Learner
    batch: Batch
    warp_rng: np.random.Generator
    autocast: Callable[[], torch.autocast]
    seen: dict[str, Tensor] = field(default_factory=dict)

    @functools.cached_property
    def masks(self) -> tuple[Tensor, Tensor] | None:
        """Face masks of the sources, the same for every update of the iteration and for teacher and student."""
        return self.learner.nets.masks(self.batch.x)

    def encode(self, encoder: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """E(x, y), of pictures warped at random where the preset asks for it: pose cannot hide in a style then."""
        return encoder(style_warp(x, self.warp_rng, WarpSettings(strength=self.learner.training.style_warp)), y)

    def update(self, name: str, terms: dict[str, tuple[float, Tensor]], networks: Iterable[str]) -> None:
        """One backward pass of the weighted sum of ``terms`` and one optimiser step of each of ``networks``.

        Gradients are computed for those networks' weights only.
        """
        for term, (_, value) in terms.items():
            self.seen[f"{name}/{term}"] = value.detach()
        total = sum(weight * value for weight, value in terms.values())
        parameters = [p for n in networks for p in getattr(self.learner.nets, n).parameters()]
        total.backward(inputs=parameters)
        for n in networks:
            self.learner.optimizers[n].step()
            self.learner.optimizers[n].zero_grad(set_to_none=True)


def _discriminator_update(it: _Iteration, name: str, w_adv: float, real: tuple, fake: tuple) -> None:
    """D learns to tell ``real`` (x, y) from ``fake`` (x, y): Eq 7, or Eqs 31 and 32, with R1 on the real ones (Eq 6)."""
    if w_adv == 0:
        return
    d, w_r1 = it.learner.nets.discriminator, it.learner.losses.lambda_r1
    x, y = real
    x = x.detach().requires_grad_(w_r1 > 0)
    with it.autocast():
        real_logits, fake_logits = d(x, y), d(*fake)
    terms = {"real": (w_adv, adversarial_loss(real_logits, True)), "fake": (w_adv, adversarial_loss(fake_logits, False))}
    if w_r1 > 0:
        terms["r1"] = (w_r1, r1_penalty(real_logits, x))
    it.update(name, terms, ["discriminator"])


def _translation_update(it: _Iteration, name: str, style: Callable[[int], Tensor], networks: list[str]) -> None:
    """StarGAN-v2's generator objective (Eqs 7 to 11); ``style(0)`` and ``style(1)`` are two styles of the target domain."""
    nets, b, w = it.learner.nets, it.batch, it.learner.losses
    w_ds = diversity_weight(w.lambda_ds, it.learner.step, it.learner.diversity_iterations)
    terms = {}
    with it.autocast():
        s = style(0)
        fake = nets.generator(b.x, s, it.masks)
        if w.lambda_adv > 0:
            terms["adv"] = (w.lambda_adv, adversarial_loss(nets.discriminator(fake, b.y_ref), True))
        if w.lambda_sty > 0:
            terms["sty"] = (w.lambda_sty, style_reconstruction_loss(it.encode(nets.style_encoder, fake, b.y_ref), s))
        if w_ds > 0:
            with torch.no_grad():
                fake2 = nets.generator(b.x, style(1), it.masks)
            terms["ds"] = (-w_ds, diversity_loss(fake, fake2))
        if w.lambda_cyc > 0:
            s_source = it.encode(nets.style_encoder, b.x, b.y)
            terms["cyc"] = (w.lambda_cyc, cycle_loss(nets.generator(fake, s_source, nets.masks(fake)), b.x))
    if terms:
        it.update(name, terms, networks)


def stargan_step(it: _Iteration) -> None:
    """StarGAN-v2's own iteration (Eqs 6 to 12): D on latent-guided, then reference-guided fakes; G, F, E; then G alone."""
    nets, b = it.learner.nets, it.batch

    def latent_style(i: int) -> Tensor:
        return nets.mapping_network((b.z, b.z2)[i], b.y_ref)

    def reference_style(i: int) -> Tensor:
        return it.encode(nets.style_encoder, (b.x_ref, b.x_ref2)[i], b.y_ref)

    for guide, style in (("latent", latent_style), ("reference", reference_style)):
        with torch.no_grad(), it.autocast():
            fake = nets.generator(b.x, style(0), it.masks)
        _discriminator_update(it, f"D/{guide}", it.learner.losses.lambda_adv, (b.x, b.y), (fake.float(), b.y_ref))

    _translation_update(it, "G/latent", latent_style, ["generator", "mapping_network", "style_encoder"])
    _translation_update(it, "G/reference", reference_style, ["generator"])


def distillation_step(it: _Iteration) -> None:
    """What distillation adds (Eqs 31 to 38). Images of both generators are made with the TEACHER's style codes."""
    nets, teacher, b, w = it.learner.nets, it.learner.teacher, it.batch, it.learner.losses

    with torch.no_grad(), it.autocast():
        s_latent = teacher.mapping_network(b.z, b.y_ref)  # s_z1: target domain
        s_latent2 = teacher.mapping_network(b.z2, b.y)  # s_z2: source domain
        s_reference = teacher.style_encoder(b.x_ref, b.y_ref)
        s_source = teacher.style_encoder(b.x, b.y)

    guides = {
        "latent": (s_latent, w.lambda_image_adv_latent, w.lambda_style_use_latent, w.lambda_source_latent),
        "reference": (s_reference, w.lambda_image_adv_reference, w.lambda_style_use_reference, w.lambda_source_reference),
    }
    # Image adversarial, D's side: the teacher's image is real, the student's fake (Eq 31, then Eq 32).
    for guide, (s, w_adv, _, _) in guides.items():
        if w_adv > 0:
            with torch.no_grad(), it.autocast():
                of_teacher = teacher.generator(b.x, s, it.masks).float()
                of_student = nets.generator(b.x, s, it.masks).float()
            _discriminator_update(it, f"KD/D/{guide}", w_adv, (of_teacher, b.y_ref), (of_student, b.y_ref))

    # Style adversarial, D^s's side, then F_S's (Eq 33 on z1 and the target domain, Eq 34 on z2 and the source domain).
    codes = {
        "target": (b.z, b.y_ref, s_latent, w.lambda_style_adv_target),
        "source": (b.z2, b.y, s_latent2, w.lambda_style_adv_source),
    }
    codes = {name: code for name, code in codes.items() if code[-1] > 0}
    for name, (z, y, s, weight) in codes.items():
        with it.autocast():
            with torch.no_grad():
                s_student = nets.mapping_network(z, y)
            real, fake = nets.style_discriminator(s, y), nets.style_discriminator(s_student, y)
        terms = {"real": (weight, adversarial_loss(real, True)), "fake": (weight, adversarial_loss(fake, False))}
        it.update(f"KD/Ds/{name}", terms, ["style_discriminator"])
    for name, (z, y, _, weight) in codes.items():
        with it.autocast():
            logits = nets.style_discriminator(nets.mapping_network(z, y), y)
        it.update(f"KD/F/{name}", {"adv": (weight, adversarial_loss(logits, True))}, ["mapping_network"])

    # G_S and E_S: image adversarial, style utilisation, source attributes (Eqs 32, 36, 38, then Eqs 31, 35, 37).
    for guide, (s, w_adv, w_use, w_source) in reversed(guides.items()):
        if max(w_adv, w_use, w_source) == 0:
            continue
        terms = {}
        with it.autocast():
            fake = nets.generator(b.x, s, it.masks)
            if w_adv > 0:
                terms["adv"] = (w_adv, adversarial_loss(nets.discriminator(fake, b.y_ref), True))
            if w_use > 0:
                terms["use"] = (w_use, style_reconstruction_loss(it.encode(nets.style_encoder, fake, b.y_ref), s))
            if w_source > 0:
                terms["source"] = (w_source, cycle_loss(nets.generator(fake, s_source, nets.masks(fake)), b.x))
        it.update(f"KD/G/{guide}", terms, ["generator", "style_encoder"])


def update_average(average: Networks, nets: Networks, decay: float) -> None:
    """average <- decay average + (1 - decay) nets, over the parameters of G, E and F (Eq 4)."""
    with torch.no_grad():
        for name in Networks.TRANSLATING:
            for a, p in zip(getattr(average, name).parameters(), getattr(nets, name).parameters()):
                a.lerp_(p, 1 - decay)


def train_iteration(learner: Learner, batch: Batch) -> dict[str, float]:
    """Do iteration ``learner.step`` on ``batch`` (on the learner's device), and advance the step.

    Every random number is a function of (seed, step). Returns the unweighted losses by name, e.g. ``G/latent/cyc``.
    Raises `NonFiniteLoss`; the learner's weights are spoilt then, its last checkpoint is not.
    """
    device_type = batch.x.device.type
    low_precision = learner.training.precision == "bfloat16"
    it = _Iteration(
        learner,
        batch,
        step_rng(learner.training.seed, learner.step, "style warp"),
        lambda: torch.autocast(device_type, torch.bfloat16, enabled=low_precision),
    )
    stargan_step(it)
    if learner.teacher is not None:
        distillation_step(it)
    update_average(learner.average, learner.nets, average_decay(learner.training, learner.step))

    values = torch.stack([v.float() for v in it.seen.values()]).tolist()  # one wait for the device, not one a loss
    losses = dict(zip(it.seen, values))
    bad = [name for name, value in losses.items() if not math.isfinite(value)]
    learner.step += 1
    if bad:
        raise NonFiniteLoss(
            f"step {learner.step}: loss {bad[0]} is {losses[bad[0]]}"
            + (f" (then also {', '.join(bad[1:])})" if bad[1:] else "")
            + "; the last checkpoint is intact: lower the learning rate or the loss's weight and start a new run"
        )
    return losses

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

from kdlib.augmentation import WarpSettings, affine_warp, draw_warps
from kdlib.data import Batch, step_rng
from kdlib.learner import Learner, average_decay, diversity_weight, update_average
from kdlib.losses import adversarial_loss, cycle_loss, diversity_loss, r1_penalty, style_reconstruction_loss
from kdlib.networks import Content


class NonFiniteLoss(FloatingPointError):
    """A loss became infinite or not a number; the message names the step and the loss."""


@dataclass(frozen=True)
class _Drawn:
    """A picture of the sources in the target domain, with what it was made of: kept while the weights that drew it hold."""

    content: Content
    style: Tensor  # [N S]
    picture: Tensor  # [N 3 H W]

    @staticmethod
    def of(generator: nn.Module, content: Content, style: Tensor) -> "_Drawn":
        return _Drawn(content, style, generator.render(content, style))


@dataclass(frozen=True)
class _Guide:
    """The teacher's style codes for one kind of guidance, and the weights of the three terms that hang on it."""

    style: Tensor  # [N S]
    w_adv: float
    w_use: float
    w_source: float

    @property
    def used(self) -> bool:
        return max(self.w_adv, self.w_use, self.w_source) > 0


@dataclass
class _Iteration:
    """One iteration's inputs and helpers, and the losses it has seen."""

    learner: Learner
    batch: Batch
    warp_rng: np.random.Generator
    noise_rng: np.random.Generator
    autocast: Callable[[], torch.autocast]
    seen: dict[str, Tensor] = field(default_factory=dict)

    @functools.cached_property
    def masks(self) -> tuple[Tensor, Tensor] | None:
        """Face masks of the sources, the same for every update of the iteration and for teacher and student."""
        return self.learner.nets.masks(self.batch.x)

    def encode(self, encoder: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """E(x, y), of pictures warped at random where the preset asks for it: pose cannot hide in a style then."""
        warp, workers = WarpSettings(strength=self.learner.training.style_warp), self.learner.workers
        if warp.strength > 0:
            maps = draw_warps(len(x) * workers.count, self.warp_rng, warp)  # for the whole batch, to use one's own
            x = affine_warp(x, maps[workers.part(len(maps))], warp.padding)
        return encoder(x, y)

    def hindered(self, picture: Tensor) -> Tensor:
        """The picture that a cycle goes back from, with noise where the preset asks for it: a faint hidden message is drowned."""
        deviation, workers = self.learner.training.cycle_noise, self.learner.workers
        if deviation == 0:
            return picture
        shape = (len(picture) * workers.count, *picture.shape[1:])  # for the whole batch, to use one's own
        noise = self.noise_rng.standard_normal(shape, dtype=np.float32)[workers.part(shape[0])]
        return picture + deviation * torch.from_numpy(noise).to(picture)

    def update(self, name: str, terms: dict[str, tuple[float, Tensor]], networks: Iterable[str]) -> None:
        """One backward pass of the weighted sum of ``terms`` and one optimiser step of each of ``networks``.

        Gradients are computed for those networks' weights only.
        """
        for term, (_, value) in terms.items():
            self.seen[f"{name}/{term}"] = value.detach()
        total = sum(weight * value for weight, value in terms.values())
        parameters = [p for n in networks for p in getattr(self.learner.nets, n).parameters()]
        total.backward(inputs=parameters)
        self.learner.workers.average([p.grad for p in parameters if p.grad is not None])
        for n in networks:
            self.learner.optimizers[n].step()
            self.learner.optimizers[n].zero_grad(set_to_none=True)


def _discriminator_update(it: _Iteration, name: str, w_adv: float, real: tuple, fake: tuple) -> None:
    """D learns to tell ``real`` (x, y) from ``fake`` (x, y): Eq 7, or Eqs 31 and 32, with R1 on the real ones (Eq 6)."""
    d, every = it.learner.nets.discriminator, it.learner.training.r1_every
    w_r1 = it.learner.losses.lambda_r1 * every if it.learner.step % every == 0 else 0.0
    x, y = real
    x = x.detach().requires_grad_(w_r1 > 0)
    x_fake, y_fake = fake
    with it.autocast():
        real_logits, fake_logits = d(x, y), d(x_fake.detach().float(), y_fake)
    terms = {"real": (w_adv, adversarial_loss(real_logits, True)), "fake": (w_adv, adversarial_loss(fake_logits, False))}
    if w_r1 > 0:
        terms["r1"] = (w_r1, r1_penalty(real_logits, x))
    it.update(name, terms, ["discriminator"])


def _translation_update(it: _Iteration, name: str, drawn: _Drawn, second: Callable[[], Tensor], networks: list[str]) -> None:
    """StarGAN-v2's generator objective (Eqs 7 to 11) on the picture ``drawn``; ``second`` gives another style of its domain."""
    nets, b, w = it.learner.nets, it.batch, it.learner.losses
    w_ds = diversity_weight(w.lambda_ds, it.learner.step, it.learner.diversity_iterations)
    terms = {}
    with it.autocast():
        fake = drawn.picture
        if w.lambda_adv > 0:
            terms["adv"] = (w.lambda_adv, adversarial_loss(nets.discriminator(fake, b.y_ref), True))
        if w.lambda_sty > 0:
            terms["sty"] = (w.lambda_sty, style_reconstruction_loss(it.encode(nets.style_encoder, fake, b.y_ref), drawn.style))
        if w_ds > 0:
            with torch.no_grad():
                fake2 = nets.generator.render(drawn.content, second())
            terms["ds"] = (-w_ds, diversity_loss(fake, fake2))
        if w.lambda_cyc > 0:
            with torch.set_grad_enabled("style_encoder" in networks):
                s_source = it.encode(nets.style_encoder, b.x, b.y)
            terms["cyc"] = (w.lambda_cyc, cycle_loss(nets.generator(it.hindered(fake), s_source, nets.masks(fake)), b.x))
    if terms:
        it.update(name, terms, networks)


def stargan_step(it: _Iteration) -> None:
    """StarGAN-v2's own iteration (Eqs 6 to 12): D on latent-guided, then reference-guided fakes; G, F, E; then G alone.

    No update of D changes G, E or F: the latent-guided pictures that D is shown are the ones that G learns from next.
    """
    nets, b, w_adv = it.learner.nets, it.batch, it.learner.losses.lambda_adv
    g = nets.generator

    def latent_style(z: Tensor) -> Tensor:
        return nets.mapping_network(z, b.y_ref)

    def reference_style(x: Tensor) -> Tensor:  # no update here reaches E through a reference
        with torch.no_grad():
            return it.encode(nets.style_encoder, x, b.y_ref)

    with it.autocast():
        content = g.content(b.x, it.masks)
        by_latent = _Drawn.of(g, content, latent_style(b.z))
    if w_adv > 0:
        _discriminator_update(it, "D/latent", w_adv, (b.x, b.y), (by_latent.picture, b.y_ref))
        with torch.no_grad(), it.autocast():
            by_reference = g.render(content, reference_style(b.x_ref))
        _discriminator_update(it, "D/reference", w_adv, (b.x, b.y), (by_reference, b.y_ref))

    _translation_update(it, "G/latent", by_latent, lambda: latent_style(b.z2), ["generator", "mapping_network", "style_encoder"])
    del content, by_latent  # of weights that are no more

    with it.autocast():
        by_reference = _Drawn.of(g, g.content(b.x, it.masks), reference_style(b.x_ref))
    _translation_update(it, "G/reference", by_reference, lambda: reference_style(b.x_ref2), ["generator"])


def distillation_step(it: _Iteration) -> None:
    """What distillation adds (Eqs 31 to 38). Pictures of both generators are drawn with the TEACHER's style codes.

    The updates of D, D^s and F in the middle leave G as it is: the reference-guided pictures that D is shown are the ones
    that G learns from next.
    """
    nets, teacher, b, w = it.learner.nets, it.learner.teacher, it.batch, it.learner.losses

    with torch.no_grad(), it.autocast():
        s_latent = teacher.mapping_network(b.z, b.y_ref)  # s_z1: target domain
        s_latent2 = teacher.mapping_network(b.z2, b.y)  # s_z2: source domain
        s_reference = teacher.style_encoder(b.x_ref, b.y_ref)
        s_source = teacher.style_encoder(b.x, b.y)
    latent = _Guide(s_latent, w.lambda_image_adv_latent, w.lambda_style_use_latent, w.lambda_source_latent)
    reference = _Guide(s_reference, w.lambda_image_adv_reference, w.lambda_style_use_reference, w.lambda_source_reference)

    drawn = None
    if reference.used or latent.w_adv > 0:
        with it.autocast():
            content = nets.generator.content(b.x, it.masks)
            drawn = _Drawn.of(nets.generator, content, s_reference)

    # Image adversarial, D's side: the teacher's picture is real, the student's fake (Eq 31, then Eq 32).
    from_data = it.learner.training.distillation_real == "data"  # no part of the thesis: what do the teacher's pictures bring?
    if (latent.w_adv > 0 or reference.w_adv > 0) and not from_data:
        with torch.no_grad(), it.autocast():
            of_teacher = teacher.generator.content(b.x, it.masks)
    if latent.w_adv > 0:
        with torch.no_grad(), it.autocast():
            real = b.x_ref2 if from_data else teacher.generator.render(of_teacher, s_latent)
            fake = nets.generator.render(content, s_latent)
        _discriminator_update(it, "KD/D/latent", latent.w_adv, (real.float(), b.y_ref), (fake, b.y_ref))
    if reference.w_adv > 0:
        with torch.no_grad(), it.autocast():
            real = b.x_ref if from_data else teacher.generator.render(of_teacher, s_reference)
        _discriminator_update(it, "KD/D/reference", reference.w_adv, (real.float(), b.y_ref), (drawn.picture, b.y_ref))

    # Style adversarial, D^s's side, then F_S's (Eq 33 on z1 and the target domain, Eq 34 on z2 and the source domain).
    codes = {
        "target": (b.z, b.y_ref, s_latent, w.lambda_style_adv_target, w.lambda_style_l1_target),
        "source": (b.z2, b.y, s_latent2, w.lambda_style_adv_source, w.lambda_style_l1_source),
    }
    for name, (z, y, s, w_adv, _) in codes.items():
        if w_adv == 0:
            continue
        with it.autocast():
            with torch.no_grad():
                s_student = nets.mapping_network(z, y)
            real, fake = nets.style_discriminator(s, y), nets.style_discriminator(s_student, y)
        terms = {"real": (w_adv, adversarial_loss(real, True)), "fake": (w_adv, adversarial_loss(fake, False))}
        it.update(f"KD/Ds/{name}", terms, ["style_discriminator"])
    for name, (z, y, s, w_adv, w_l1) in codes.items():
        terms = {}
        with it.autocast():
            s_student = nets.mapping_network(z, y) if max(w_adv, w_l1) > 0 else None
            if w_adv > 0:
                terms["adv"] = (w_adv, adversarial_loss(nets.style_discriminator(s_student, y), True))
            if w_l1 > 0:
                terms["l1"] = (w_l1, style_reconstruction_loss(s_student, s))
        if terms:
            it.update(f"KD/F/{name}", terms, ["mapping_network"])

    # G_S and E_S: image adversarial, style utilisation, source attributes (Eqs 32, 36, 38, then Eqs 31, 35, 37).
    if reference.used:
        _imitation_update(it, "KD/G/reference", drawn, reference, s_source)
    del drawn
    if latent.used:
        with it.autocast():
            drawn = _Drawn.of(nets.generator, nets.generator.content(b.x, it.masks), s_latent)
        _imitation_update(it, "KD/G/latent", drawn, latent, s_source)


def _imitation_update(it: _Iteration, name: str, drawn: _Drawn, guide: _Guide, s_source: Tensor) -> None:
    """G_S and E_S learn from the picture ``drawn`` in the teacher's style; ``s_source`` is the teacher's style of the source."""
    nets, b = it.learner.nets, it.batch
    fake, terms = drawn.picture, {}
    with it.autocast():
        if guide.w_adv > 0:
            terms["adv"] = (guide.w_adv, adversarial_loss(nets.discriminator(fake, b.y_ref), True))
        if guide.w_use > 0:
            terms["use"] = (guide.w_use, style_reconstruction_loss(it.encode(nets.style_encoder, fake, b.y_ref), guide.style))
        if guide.w_source > 0:
            terms["source"] = (guide.w_source, cycle_loss(nets.generator(it.hindered(fake), s_source, nets.masks(fake)), b.x))
    it.update(name, terms, ["generator", "style_encoder"])


@dataclass(frozen=True)
class Losses:
    """The unweighted losses of one iteration, still on their device: reading them waits until it has got so far."""

    step: int  # iterations done with this one
    names: tuple[str, ...]  # e.g. G/latent/cyc
    values: Tensor  # one each, means over the whole batch

    def read(self) -> dict[str, float]:
        """The losses by name. Raises `NonFiniteLoss`; the learner's weights are spoilt then, its last checkpoint is not."""
        losses = dict(zip(self.names, self.values.tolist()))
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            raise NonFiniteLoss(
                f"step {self.step}: loss {bad[0]} is {losses[bad[0]]}"
                + (f" (then also {', '.join(bad[1:])})" if bad[1:] else "")
                + "; the last checkpoint is intact: lower the learning rate or the loss's weight and start a new run"
            )
        return losses


def train_iteration(learner: Learner, batch: Batch) -> Losses:
    """Do iteration ``learner.step`` on ``batch`` (on the learner's device; of several workers, one's own part), advance the step.

    Every random number is a function of (seed, step). Nothing here waits for a GPU.
    """
    device_type = batch.x.device.type
    low_precision = learner.training.precision == "bfloat16"
    it = _Iteration(
        learner,
        batch,
        step_rng(learner.training.seed, learner.step, "style warp"),
        step_rng(learner.training.seed, learner.step, "cycle noise"),
        lambda: torch.autocast(device_type, torch.bfloat16, enabled=low_precision),
    )
    stargan_step(it)
    if learner.teacher is not None:
        distillation_step(it)
    update_average(learner.average, learner.nets, average_decay(learner.training, learner.step))

    learner.step += 1
    values = torch.stack([v.float() for v in it.seen.values()])
    learner.workers.average([values])
    return Losses(learner.step, tuple(it.seen), values)

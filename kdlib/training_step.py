"""One training iteration: StarGAN-v2's own step, and the distillation step that the thesis adds to it.

`stargan_step` has 4 updates, `kdlib.distillation_step` 8 more, each with its own backward pass and optimiser step, in the
order in which the thesis's code makes them (thesis 2.4.3 and 4.3; its text gives no order). Read top to bottom:

    G generator, E style encoder, F mapping network, D discriminator, D^s style discriminator; T teacher, S student.

A weight of 0 leaves the term's computation out; an update none of whose terms is left is skipped.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.data import Batch, step_rng
from kdlib.devices import computed_precision
from kdlib.distillation_step import distillation_step
from kdlib.errors import InputError
from kdlib.iteration import Drawn, Iteration, discriminator_update
from kdlib.learner import Learner, average_decay, diversity_weight, update_average
from kdlib.losses import adversarial_loss, cycle_loss, diversity_loss, style_reconstruction_loss


class NonFiniteLoss(FloatingPointError):
    """A loss became infinite or not a number; the message names the step and the loss."""


def _translation_update(it: Iteration, name: str, drawn: Drawn, second: Callable[[], Tensor], networks: list[str]) -> None:
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


def stargan_step(it: Iteration) -> None:
    """StarGAN-v2's own iteration (Eqs 6 to 12): D on latent-guided, then reference-guided fakes; G, F, E; then G alone.

    No update of D changes G, E or F: the latent-guided pictures that D is shown are the ones that G learns from next.
    """
    nets, b, w = it.learner.nets, it.batch, it.learner.losses
    g, w_adv = nets.generator, w.lambda_adv
    if max(w_adv, w.lambda_sty, w.lambda_ds, w.lambda_cyc) == 0:  # a student that learns from its teacher alone
        return

    def latent_style(z: Tensor) -> Tensor:
        return nets.mapping_network(z, b.y_ref)

    def reference_style(x: Tensor) -> Tensor:  # no update here reaches E through a reference
        with torch.no_grad():
            return it.encode(nets.style_encoder, x, b.y_ref)

    with it.autocast():
        content = g.content(b.x, it.masks)
        by_latent = Drawn.of(g, content, latent_style(b.z))
    if w_adv > 0:
        discriminator_update(it, "D/latent", w_adv, (b.x, b.y), (by_latent.picture, b.y_ref))
        with torch.no_grad(), it.autocast():
            by_reference = g.render(content, reference_style(b.x_ref))
        discriminator_update(it, "D/reference", w_adv, (b.x, b.y), (by_reference, b.y_ref))

    _translation_update(it, "G/latent", by_latent, lambda: latent_style(b.z2), ["generator", "mapping_network", "style_encoder"])
    del content, by_latent  # of weights that are no more

    with it.autocast():
        by_reference = Drawn.of(g, g.content(b.x, it.masks), reference_style(b.x_ref))
    _translation_update(it, "G/reference", by_reference, lambda: reference_style(b.x_ref2), ["generator"])


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
    device = batch.x.device
    low_precision = computed_precision(learner.training.precision, device) == "bfloat16"
    it = Iteration(
        learner,
        batch,
        step_rng(learner.training.seed, learner.step, "style warp"),
        step_rng(learner.training.seed, learner.step, "cycle noise"),
        lambda: torch.autocast(device.type, torch.bfloat16, enabled=low_precision),
    )
    stargan_step(it)
    if learner.teacher is not None:
        distillation_step(it)
    if not it.seen:
        raise InputError("every loss has a weight of 0, so nothing would be learned; set one of [losses] above 0")
    update_average(learner.average, learner.nets, average_decay(learner.training, learner.step))

    learner.step += 1
    values = torch.stack([v.float() for v in it.seen.values()])
    learner.workers.average([values])
    return Losses(learner.step, tuple(it.seen), values)

"""One training iteration written straight down: the reference that `kdlib.training_step` is held to, in numbers and in time.

StarGAN-v2's four updates, then the thesis's eight (thesis 2.4.3, 4.3), in the order in which they were trained, as a plain GAN
code base has them: float32, PyTorch's default memory layout, every picture generated where it is needed, gradients of every
network computed in every backward pass, ordinary Adam, a moving average tensor by tensor. It shares the networks with kdlib and
nothing else; `tests/plain_networks.py` is the second implementation of those.

Not for training: no checkpoints, no face masks, no skipping of terms.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdlib.data import Batch
from kdlib.networks import Networks
from kdlib.settings import LossWeights, TrainingSettings


def cross_entropy(logits: Tensor, real: bool) -> Tensor:
    """Binary cross-entropy from its definition, in double precision."""
    p = torch.sigmoid(logits.double())
    return -torch.log(p if real else 1 - p).mean().float()


class PlainStep:
    """``nets`` are trained in place; ``teacher`` given, every iteration distils. ``iterations``: of the diversity weight's decay."""

    def __init__(
        self, nets: Networks, training: TrainingSettings, weights: LossWeights, iterations: int, teacher: Networks | None = None
    ):  # fmt: skip
        self.nets, self.teacher, self.training, self.w, self.iterations = nets, teacher, training, weights, iterations
        self.average = nets.averaged_copy()
        rates = dict.fromkeys((name for name, _ in nets.modules()), training.learning_rate)
        rates["mapping_network"] = training.mapping_learning_rate if teacher is None else training.mapping_learning_rate_distilled
        betas, decay = (training.beta1, training.beta2), training.weight_decay
        self.adam = {
            name: torch.optim.Adam(network.parameters(), lr=rates[name], betas=betas, weight_decay=decay, foreach=False)
            for name, network in nets.modules()
        }
        self.log: dict[str, Tensor] = {}

    def apply(self, total: Tensor, *names: str) -> None:
        """One backward pass through everything, one step of the named networks' optimisers."""
        for optimizer in self.adam.values():
            optimizer.zero_grad()
        total.backward()
        for name in names:
            self.adam[name].step()

    def update_discriminator(self, name: str, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], weight: float) -> None:
        d = self.nets.discriminator
        x = real[0].detach().clone().requires_grad_()
        logits = d(x, real[1])
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        r1 = (gradient**2).sum(dim=(1, 2, 3)).mean() / 2
        on_real, on_fake = cross_entropy(logits, True), cross_entropy(d(fake[0].detach(), fake[1]), False)
        self.log |= {f"{name}/real": on_real, f"{name}/fake": on_fake, f"{name}/r1": r1}
        self.apply(weight * (on_real + on_fake) + self.w.lambda_r1 * r1, "discriminator")

    def update_generator(self, name: str, b: Batch, s: Tensor, s2: Tensor, step: int, *networks: str) -> None:
        g, e, d, w = self.nets.generator, self.nets.style_encoder, self.nets.discriminator, self.w
        fake = g(b.x, s)
        adv, sty = cross_entropy(d(fake, b.y_ref), True), F.l1_loss(e(fake, b.y_ref), s)
        ds, cyc = F.l1_loss(fake, g(b.x, s2).detach()), F.l1_loss(g(fake, e(b.x, b.y)), b.x)
        self.log |= {f"{name}/adv": adv, f"{name}/sty": sty, f"{name}/ds": ds, f"{name}/cyc": cyc}
        w_ds = w.lambda_ds * (1 - step / self.iterations)
        self.apply(w.lambda_adv * adv + w.lambda_sty * sty - w_ds * ds + w.lambda_cyc * cyc, *networks)

    def stargan(self, b: Batch, step: int) -> None:
        g, e, f, w_adv = self.nets.generator, self.nets.style_encoder, self.nets.mapping_network, self.w.lambda_adv
        self.update_discriminator("D/latent", (b.x, b.y), (g(b.x, f(b.z, b.y_ref)), b.y_ref), w_adv)
        self.update_discriminator("D/reference", (b.x, b.y), (g(b.x, e(b.x_ref, b.y_ref)), b.y_ref), w_adv)
        every = ("generator", "mapping_network", "style_encoder")
        self.update_generator("G/latent", b, f(b.z, b.y_ref), f(b.z2, b.y_ref), step, *every)
        self.update_generator("G/reference", b, e(b.x_ref, b.y_ref), e(b.x_ref2, b.y_ref), step, "generator")

    def distillation(self, b: Batch) -> None:
        nets, t, w = self.nets, self.teacher, self.w
        g, e, f, d, ds = nets.generator, nets.style_encoder, nets.mapping_network, nets.discriminator, nets.style_discriminator
        with torch.no_grad():
            s1, s2 = t.mapping_network(b.z, b.y_ref), t.mapping_network(b.z2, b.y)
            s_ref, s_own = t.style_encoder(b.x_ref, b.y_ref), t.style_encoder(b.x, b.y)
            by_latent, by_reference = t.generator(b.x, s1), t.generator(b.x, s_ref)
        self.update_discriminator("KD/D/latent", (by_latent, b.y_ref), (g(b.x, s1), b.y_ref), w.lambda_image_adv_latent)
        self.update_discriminator("KD/D/reference", (by_reference, b.y_ref), (g(b.x, s_ref), b.y_ref), w.lambda_image_adv_reference)
        codes = (
            ("target", b.z, b.y_ref, s1, w.lambda_style_adv_target),
            ("source", b.z2, b.y, s2, w.lambda_style_adv_source),
        )
        for name, z, y, s, weight in codes:
            real, fake = cross_entropy(ds(s, y), True), cross_entropy(ds(f(z, y).detach(), y), False)
            self.log |= {f"KD/Ds/{name}/real": real, f"KD/Ds/{name}/fake": fake}
            self.apply(weight * (real + fake), "style_discriminator")
        for name, z, y, _, weight in codes:
            adv = cross_entropy(ds(f(z, y), y), True)
            self.log[f"KD/F/{name}/adv"] = adv
            self.apply(weight * adv, "mapping_network")
        for name, s, w_adv, w_use, w_source in (
            ("reference", s_ref, w.lambda_image_adv_reference, w.lambda_style_use_reference, w.lambda_source_reference),
            ("latent", s1, w.lambda_image_adv_latent, w.lambda_style_use_latent, w.lambda_source_latent),
        ):
            fake = g(b.x, s)
            adv, use, source = cross_entropy(d(fake, b.y_ref), True), F.l1_loss(s, e(fake, b.y_ref)), F.l1_loss(b.x, g(fake, s_own))
            self.log |= {f"KD/G/{name}/adv": adv, f"KD/G/{name}/use": use, f"KD/G/{name}/source": source}
            self.apply(w_adv * adv + w_use * use + w_source * source, "generator", "style_encoder")

    def iteration(self, batch: Batch, step: int) -> dict[str, float]:
        """Iteration ``step`` (0 is the first) on ``batch``; the unweighted losses by name, as `train_iteration` has them."""
        self.log = {}
        self.stargan(batch, step)
        if self.teacher is not None:
            self.distillation(batch)
        self.move_average(step)
        return {name: value.item() for name, value in self.log.items()}

    def move_average(self, step: int) -> None:
        """Eq 4, with the same decay at every ``step``."""
        with torch.no_grad():
            for name in Networks.TRANSLATING:
                for a, p in zip(getattr(self.average, name).parameters(), getattr(self.nets, name).parameters()):
                    a.copy_(torch.lerp(p, a, self.training.ema_decay))

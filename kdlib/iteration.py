"""What the updates of one training iteration share: its batch, its random numbers, one backward pass a call, the losses seen.

Which updates there are is said in `kdlib.training_step` and `kdlib.distillation_step`.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.augmentation import WarpSettings, affine_warp, draw_warps
from kdlib.data import Batch
from kdlib.learner import Learner
from kdlib.losses import adversarial_loss, r1_penalty
from kdlib.networks import Content, Generator


@dataclass(frozen=True)
class Drawn:
    """A picture of the sources in the target domain, with what it was made of: kept while the weights that drew it hold."""

    content: Content
    style: Tensor  # [N S]
    picture: Tensor  # [N 3 H W]
    features: tuple[Tensor, ...] = ()  # what left every decoder block, where that is asked for

    @staticmethod
    def of(generator: Generator, content: Content, style: Tensor, with_features: bool = False) -> "Drawn":
        if not with_features:
            return Drawn(content, style, generator.render(content, style))
        features: list[Tensor] = []
        picture = generator.render(content, style, features)
        return Drawn(content, style, picture, tuple(features))


@dataclass
class Iteration:
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

        Gradients are computed for those networks' weights only; a frozen one, which has no optimiser, stays as it is.
        """
        for term, (_, value) in terms.items():
            self.seen[f"{name}/{term}"] = value.detach()
        total = sum(weight * value for weight, value in terms.values())
        optimizers = [self.learner.optimizers[n] for n in networks if n in self.learner.optimizers]
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        total.backward(inputs=parameters)
        self.learner.workers.average([p.grad for p in parameters if p.grad is not None])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)


def discriminator_update(
    it: Iteration, name: str, w_adv: float, real: tuple[Tensor, Tensor], fake: tuple[Tensor, Tensor], sample_weights: Tensor | None = None
) -> None:
    """D learns to tell ``real`` (x, y) from ``fake`` (x, y): Eq 7, or Eqs 31 and 32, with R1 on the real ones (Eq 6).

    ``sample_weights``: of the real ones.
    """
    d, every = it.learner.nets.discriminator, it.learner.training.r1_every
    w_r1 = it.learner.losses.lambda_r1 * every if it.learner.step % every == 0 else 0.0
    x, y = real
    x = x.detach().requires_grad_(w_r1 > 0)
    x_fake, y_fake = fake
    with it.autocast():
        real_logits, fake_logits = d(x, y), d(x_fake.detach().float(), y_fake)
    terms = {"real": (w_adv, adversarial_loss(real_logits, True, sample_weights)), "fake": (w_adv, adversarial_loss(fake_logits, False))}
    if w_r1 > 0:
        terms["r1"] = (w_r1, r1_penalty(real_logits, x, sample_weights))
    it.update(name, terms, ["discriminator"])

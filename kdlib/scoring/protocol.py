"""Which outputs an evaluation asks for, and how they are made. What they score is evaluation.py's.

Thesis section 5.2: every validation picture is translated with ten latents and with ten references. Each draw is a pure
function of (seed, ordered pair, source), so the same outputs are asked for whatever the batch size, whichever other
sources are evaluated, and whichever networks answer: scores of two models differ by the models.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdlib.data import Split
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.networks import Networks

_LATENT, _REFERENCE, _SOURCES = range(3)  # what a random draw is for: part of its seed


def to_8_bits(images: Tensor) -> Tensor:
    """Images in [-1, 1] (clamped) as uint8, rounded half up as torchvision's ``save_image`` does."""
    return ((images + 1) * 127.5).clamp(0, 255).add(0.5).to(torch.uint8)  # the cast truncates


def draw_latents(seed: int, pair: int, source: int, outputs: int, latent_dim: int) -> np.ndarray:
    """The standard normal latents [outputs latent_dim] float32 of one source in one ordered pair of domains."""
    random = np.random.default_rng([seed, _LATENT, pair, source])
    return random.standard_normal((outputs, latent_dim)).astype(np.float32)


def draw_references(seed: int, pair: int, source: int, outputs: int, available: int) -> np.ndarray:
    """Indices [outputs] of the references of one source in one ordered pair; distinct if there are enough of them."""
    random = np.random.default_rng([seed, _REFERENCE, pair, source])
    return random.choice(available, outputs, replace=outputs > available)


def choose_sources(seed: int, domain: int, available: int, wanted: int | None) -> np.ndarray:
    """Sorted indices of the validation pictures to translate: all, or ``wanted`` of them at random."""
    if not wanted or wanted >= available:
        return np.arange(available)
    return np.sort(np.random.default_rng([seed, _SOURCES, domain]).choice(available, wanted, replace=False))


def choose_kept(sources: int, outputs: int, limit: int) -> np.ndarray:
    """Which of sources * outputs results, source by source, enter a kernel distance: bool, at most ``limit`` True.

    One output of each source first, then a second: outputs of one source resemble each other, and a kernel distance takes
    its vectors for independent, so such pairs are kept rare. Sources are taken in a fixed random order.
    """
    rank = np.random.default_rng(0).permutation(sources)
    return (rank[:, None] + sources * np.arange(outputs)[None, :] < limit).ravel()


@contextmanager
def eval_mode(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Evaluation mode and no gradients; training flags are put back afterwards."""
    flags = [(module, module.training) for network in networks for module in network.modules()]
    try:
        for module, _ in flags:
            module.training = False
        with torch.no_grad():
            yield
    finally:
        for module, training in flags:
            module.training = training


@dataclass(frozen=True)
class Draws:
    """What decides the outputs besides networks and pictures; see ``evaluation.evaluate``."""

    seed: int
    outputs_per_source: int
    sources_per_domain: int  # 0: every validation picture
    latent_dim: int

    def __post_init__(self):
        for name, least in (("seed", 0), ("outputs_per_source", 2), ("sources_per_domain", 0), ("latent_dim", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")


class Translations:
    """Translations of a split's pictures by one set of networks, a batch at a time. Networks are in evaluation mode."""

    def __init__(self, nets: Networks, split: Split, draws: Draws, batch_size: int, device: torch.device | str):
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        self.nets, self.split, self.draws = nets, split, draws
        self.batch_size, self.device = batch_size, device
        self.sources = [
            choose_sources(draws.seed, domain, count, draws.sources_per_domain) for domain, count in enumerate(split.counts)
        ]
        self._styles: dict[int, Tensor] = {}

    def images(self, domain: int, indices) -> Tensor:
        """Pictures of a domain [N 3 H W] in [-1, 1]."""
        return to_float(self.split.images(domain)[indices]).to(self.device)

    def batches(self, count: int) -> Iterator[np.ndarray]:
        for start in range(0, count, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, count))

    def _labels(self, domain: int, count: int) -> Tensor:
        return torch.full((count,), domain, dtype=torch.int64, device=self.device)

    def own_styles(self, domain: int) -> Tensor:
        """The style of every picture of a domain, [V 64]: encoded once, however often it serves as a reference."""
        if domain not in self._styles:
            batches = self.batches(self.split.counts[domain])
            parts = [self.nets.style_encoder(self.images(domain, b), self._labels(domain, len(b))) for b in batches]
            self._styles[domain] = torch.cat(parts)
        return self._styles[domain]

    def guide(self, mode: str, source: int, target: int) -> tuple[Tensor, np.ndarray | None]:
        """For one ordered pair of domains: the styles [S * K 64] of its outputs, source by source, and, reference-guided,
        the indices [S K] of the references among the target's pictures."""
        draws = self.draws
        pair = source * len(self.split.domains) + target
        if mode == "reference":
            options = (draws.outputs_per_source, self.split.counts[target])
            references = np.stack([draw_references(draws.seed, pair, i, *options) for i in self.sources[source]])
            return self.own_styles(target)[torch.from_numpy(references.ravel()).to(self.device)], references
        options = (draws.outputs_per_source, draws.latent_dim)
        latents = np.concatenate([draw_latents(draws.seed, pair, i, *options) for i in self.sources[source]])
        parts = torch.from_numpy(latents).to(self.device).split(self.batch_size)
        return torch.cat([self.nets.mapping_network(z, self._labels(target, len(z))) for z in parts]), None

    def translate(self, domain: int, indices: np.ndarray, styles: Tensor) -> Tensor:
        """Pictures ``indices`` [N] of a domain in styles [N 64] -> [N 3 H W], the generator's floats.

        A picture that recurs is read, and encoded by the generator, once. Raises InputError when the generator gives NaN.
        """
        distinct, where = np.unique(indices, return_inverse=True)
        x, generator = self.images(domain, distinct), self.nets.generator
        content = generator.content(x, self.nets.masks(x))
        outputs = generator.render(content.of(torch.from_numpy(where).to(self.device)), styles)
        if not torch.isfinite(outputs).all():
            raise InputError("the generator's output holds NaN or infinite values: its weights have diverged")
        return outputs

    def outputs(self, source: int, styles: Tensor) -> Iterator[Tensor]:
        """Batches [N 3 H W] of the outputs of one ordered pair, the generator's floats, in the order of ``guide``."""
        sources = np.repeat(self.sources[source], self.draws.outputs_per_source)
        for batch in self.batches(len(sources)):
            yield self.translate(source, sources[batch], styles[batch[0] : batch[-1] + 1])

    def reconstruction_error(self, domain: int) -> float:
        """L1 between sources and their translation in their own style: mean over elements, on the scale of [-1, 1]."""
        sources, styles, total = self.sources[domain], self.own_styles(domain), 0.0
        for batch in self.batches(len(sources)):
            chosen = sources[batch]
            outputs = self.translate(domain, chosen, styles[torch.from_numpy(chosen).to(self.device)])
            total += float((outputs - self.images(domain, chosen)).abs().mean(dim=(1, 2, 3)).sum())
        return total / len(sources)

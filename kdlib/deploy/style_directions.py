"""Directions in a model's style space that change one thing one can see: what the sliders of the live demo move a style along.

A direction is estimated for each domain from styles of random latents: translate a few sources with them, read a quantity (how light
the background is, say) off the translations with the factor network, and take Cov(style, quantity) / std(quantity), which is how
styles differ, on average, where the quantity is one standard deviation higher. Whether a model obeys it is then measured with other
latents: a direction is kept only if it changes the quantity, in every domain, by about as much as it promises.

Not in the thesis, which never looks into the 64 numbers of a style. Critters only, whose factors can be read off.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS, critter_at, render
from kdlib.images import square, to_float
from kdlib.networks import Networks
from kdlib.scoring.factor_network import load_factor_network

FACTORS = CONTENT_FACTORS + STYLE_FACTORS
STYLES, TESTS = 200, 40  # latents that a direction is estimated from, and others that it is tried on
SOURCES = 2
SEED = 777
ENOUGH = 0.6  # of the change that is asked for


def _mean(factors: Tensor, *names: str) -> Tensor:
    """[N 16] -> [N]"""
    return factors[:, [FACTORS.index(name) for name in names]].mean(1)


def _lightness(part: str) -> Callable[[Tensor], Tensor]:
    return lambda f: _mean(f, *(f"{part}_{c}" for c in ("red", "green", "blue")))


def _warmth(part: str) -> Callable[[Tensor], Tensor]:
    return lambda f: _mean(f, f"{part}_red") - _mean(f, f"{part}_blue")


@dataclass(frozen=True)
class Quantity:
    """Something seen in a picture: ``of`` reads it off factors [N 16] -> [N]; ``label`` names the slider that raises it."""

    name: str
    label: str
    of: Callable[[Tensor], Tensor]


QUANTITIES = (
    Quantity("background_warmth", "Warmer background", _warmth("background")),
    Quantity("background_lightness", "Lighter background", _lightness("background")),
    Quantity("fur_warmth", "Warmer fur", _warmth("fur")),
    Quantity("fur_lightness", "Lighter fur", _lightness("fur")),
    Quantity("markings", "More markings", lambda f: _mean(f, "markings")),
)


@dataclass(frozen=True)
class Direction:
    """``vectors``: by domain, the change [S] of a style for one standard deviation. ``obeyed``: the least of the measured changes, as a
    share of the change asked for; 1 is exact."""

    quantity: Quantity
    vectors: dict[str, Tensor]
    obeyed: float


def style_directions(nets: Networks, domains: Iterable[str] = SPECIES, seed: int = SEED) -> dict[str, Direction]:
    """The direction of every quantity in the style space of ``nets``, by the quantity's name; none is left out."""
    measure = _Measurement(nets, seed)
    found: dict[str, dict[str, tuple[Tensor, float]]] = {quantity.name: {} for quantity in QUANTITIES}
    for label, domain in enumerate(domains):
        styles = measure.styles(label, STYLES + TESTS)
        factors = measure.factors(styles[:STYLES])
        for quantity in QUANTITIES:
            values = quantity.of(factors)
            spread = values.std().clamp_min(1e-6)  # a quantity that no style changes: the vector is 0 then, and nothing obeys
            vector = (styles[:STYLES] - styles[:STYLES].mean(0)).T @ (values - values.mean()) / (STYLES - 1) / spread
            up, down = (quantity.of(measure.factors(styles[STYLES:] + side * vector)) for side in (1, -1))
            found[quantity.name][domain] = vector, float((up - down).mean() / (2 * spread))
    return {
        quantity.name: Direction(
            quantity,
            {domain: vector for domain, (vector, _) in found[quantity.name].items()},
            min(obeyed for _, obeyed in found[quantity.name].values()),
        )
        for quantity in QUANTITIES
    }


def common_directions(models: dict[str, dict[str, Direction]], most: int = 3) -> list[str]:
    """Names of the quantities that every model obeys well enough, best first, ``most`` at the most; ``models``: name to directions."""
    least = {quantity.name: min(directions[quantity.name].obeyed for directions in models.values()) for quantity in QUANTITIES}
    return [name for name in sorted(least, key=lambda name: -least[name]) if least[name] >= ENOUGH][:most]


class _Measurement:
    """Styles of random latents, and what translations in given styles look like to the factor network."""

    def __init__(self, nets: Networks, seed: int):
        self.nets, self.seed = nets, seed
        self.judge = load_factor_network()
        sources = [critter_at(SPECIES[i % len(SPECIES)], i, split="val", seed=seed) for i in range(SOURCES)]
        self.sources = to_float(torch.stack([square(render(critter, nets.arch.image_size), nets.arch.image_size) for critter in sources]))

    @torch.inference_mode()
    def styles(self, label: int, count: int) -> Tensor:
        """[count S]"""
        random = torch.Generator().manual_seed(self.seed + label)
        z = torch.randn(count, self.nets.arch.latent_dim, generator=random)
        return self.nets.mapping_network(z, torch.full((count,), label))

    @torch.inference_mode()
    def factors(self, styles: Tensor) -> Tensor:
        """Factors [N 16] of translations in the styles [N S], means over the sources."""
        found = []
        for source in self.sources:
            content = self.nets.generator.content(source[None])
            pictures = [self.nets.generator.render(content.of(torch.zeros(len(part), dtype=torch.long)), part) for part in styles.split(50)]
            found.append(self.judge(torch.cat(pictures).clamp(-1, 1)).factors)
        return torch.stack(found).mean(0)

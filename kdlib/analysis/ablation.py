"""What each kind of distillation loss brings: the variants of a study, what each of them changes, and the claims about them.

A variant is the distilled main width with one thing changed (`kdlib.settings.StudySettings.variants`). A claim about it names the
scores that its loss is meant for; the whole table of scores stands beside it.
"""

import dataclasses
from dataclasses import dataclass

from kdlib.analysis.claims import Claim, Measure, Part, compare, distance, factor
from kdlib.analysis.seeds import StudyResults
from kdlib.headlines import FACTORS, Headline
from kdlib.results import GUIDES


@dataclass(frozen=True)
class Variant:
    """``change``: what is done; ``claim``: what that should cost, in ``measures``; ``equations`` of the thesis."""

    change: str
    equations: str
    claim: str
    measures: tuple[Measure, ...]


def _factors(name: str, key: str, *guides: str) -> tuple[Measure, ...]:
    return tuple(Measure(f"{name}, {guide}" if len(guides) > 1 else name, factor(guide, key).of) for guide in guides)


_DISTANCES = tuple(distance(guide) for guide in GUIDES)
VARIANTS = {
    "without_image_adversarial": Variant(
        "image adversarial terms left out", "31, 32", "Leaving out the image adversarial terms raises the Fréchet distance.", _DISTANCES
    ),
    "without_style_adversarial": Variant(
        "style adversarial terms left out", "33, 34", "Leaving out the style adversarial terms raises the latent-guided Fréchet distance.",
        (distance("latent"),),
    ),
    "without_style_use": Variant(
        "style utilisation left out", "35, 36", "Leaving out style utilisation lets the colours follow the reference less.",
        _factors("style followed", "style_correlation", "reference"),
    ),
    "without_source": Variant(
        "source attributes left out", "37, 38", "Leaving out the source terms keeps less of the source.",
        _factors("content kept", "content_correlation", *GUIDES),
    ),
    "style_l1": Variant(
        "style discriminator replaced by an L1 between codes", "33, 34", "The style discriminator does better than a plain L1 between style codes.",
        (distance("latent"),),
    ),
    "real_pictures": Variant(
        "real pictures for the teacher's, as what $D$ takes for real", "31, 32",
        "The teacher's pictures are a better example for $D$ than real ones.", _DISTANCES,
    ),
}  # fmt: skip


def described(variant: str) -> Variant:
    """A variant as the book tells it; one that it does not know by its name alone, and judged by the Frechet distance."""
    name = variant.replace("_", " ")
    return VARIANTS.get(variant) or Variant(name, "–", f"The variant “{name}” raises the Fréchet distance.", _DISTANCES)


def cost_of(results: StudyResults, variant: str, measure: Measure) -> Part | None:
    """How much worse than the full recipe a variant of the distilled main width is; a ``margin`` > 0 is worse.

    A variant may have iterations of its own, as one that is cheaper an iteration; the recipe is that of its own precision where there is one.
    """
    full, changed = results.start_of(variant), results.student(results.main, True, variant)
    part = compare(results, full, changed, measure, equal_iterations=False)
    return None if part is None else dataclasses.replace(part, margin=-part.margin)


def ablation_claims(variants: tuple[str, ...]) -> tuple[Claim, ...]:
    """A claim a variant."""
    return tuple(
        Claim(
            f"ablation_{name}", described(name).claim,
            lambda results, name=name: [cost_of(results, name, measure) for measure in described(name).measures],
        )
        for name in variants
    )  # fmt: skip


def measure_of(headline: Headline, guide: str) -> Measure:
    """A headline score, of one guide, as something that can be compared."""
    return Measure(f"{headline.heading}, {guide}", factor(guide, headline.key).of, headline.digits, headline.lower_is_better)


TOLD_FACTORS = tuple(h for h in FACTORS if h.key != "leak_correlation")  # which stays at chance wherever the others are good

"""Scores of translated Critters in terms of the factors they were drawn from.

The thesis measures sets of pictures (FID) and spread (LPIPS), section 5.2; neither notices a generator that ignores its
source or its reference. Critters' factors are known, and the factor network reads them off any picture, so this module
can ask directly: is the result of the asked species, did the source's pose and gaze survive, did the colours come from
the reference, and did anything of the reference come along that should not have?

Every score is computed within one ordered pair of domains (cat to dog, ...), over its S sources with K outputs each.
Sources and references are judged by the network's predictions too, not by the drawing's own factors, so that a bias of
the network falls on both sides alike. Correlations are Pearson's, 0 where a side is constant (see metrics.correlation).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from torch import Tensor

from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS
from kdlib.errors import InputError
from kdlib.scoring.metrics import correlation, mean_absolute_error, pairwise_diversity, to_float64

POSE_FACTORS = ("x", "y", "size", "tilt")
DETAIL_FACTORS = ("gaze", "mouth")  # a few pixels wide: learned last, so summarised apart
STYLE_GROUPS = {
    "fur": ("fur_red", "fur_green", "fur_blue"),
    "markings": ("markings",),
    "eye": ("eye_red", "eye_green", "eye_blue"),
    "background": ("background_red", "background_green", "background_blue"),
}
HEADLINE_STYLES = ("fur", "background")
_COLUMN = {name: index for index, name in enumerate((*CONTENT_FACTORS, *STYLE_FACTORS))}


class FactorPrediction(Protocol):
    """What the factor network returns for N images: features [N D], species logits [N 3], factors [N 16]."""

    features: Tensor
    species_logits: Tensor
    factors: Tensor


@dataclass(frozen=True)
class Factors:
    """Predicted factors of pictures: ``factors`` [... 16] in CONTENT_FACTORS + STYLE_FACTORS order and natural units,
    ``species`` [...] as indices into SPECIES. The leading shape is [S] for sources, [S K] for outputs and references."""

    factors: np.ndarray
    species: np.ndarray

    @classmethod
    def of(cls, prediction: FactorPrediction) -> "Factors":
        return cls(to_float64(prediction.factors), prediction.species_logits.argmax(dim=1).cpu().numpy())

    @classmethod
    def concatenate(cls, parts: list["Factors"]) -> "Factors":
        return cls(np.concatenate([p.factors for p in parts]), np.concatenate([p.species for p in parts]))

    def __getitem__(self, index) -> "Factors":
        return Factors(self.factors[index], self.species[index])

    def reshape(self, *shape: int) -> "Factors":
        return Factors(self.factors.reshape(*shape, -1), self.species.reshape(shape))

    def column(self, name: str) -> np.ndarray:
        return self.factors[..., _COLUMN[name]]


def species_index(domain: str) -> int:
    """The factor network's index of a domain; raises InputError for a domain that is not one of Critters' species."""
    if domain not in SPECIES:
        raise InputError(
            f"domain {domain!r} is not one of Critters' species ({', '.join(SPECIES)}): evaluate other pictures without "
            "a factor network"
        )
    return SPECIES.index(domain)


def _check_shapes(sources: Factors, outputs: Factors, references: Factors | None) -> None:
    leading = outputs.species.shape
    if len(leading) != 2 or leading[1] < 2 or sources.species.shape != leading[:1]:
        raise InputError(
            f"factor scores need sources [S] and outputs [S K] with K at least 2, got {list(sources.species.shape)} and "
            f"{list(leading)}"
        )
    if references is not None and references.species.shape != leading:
        raise InputError(f"references must be shaped like outputs {list(leading)}: got {list(references.species.shape)}")


def content_scores(sources: Factors, outputs: Factors) -> dict[str, float]:
    """``content_error_F`` (mean absolute, in F's units) and ``content_correlation_F`` of outputs with their source, for
    every content factor F; ``content_correlation`` is the mean over pose, ``detail_correlation`` over gaze and mouth."""
    scores = {}
    for name in CONTENT_FACTORS:
        result = outputs.column(name)
        source = np.broadcast_to(sources.column(name)[:, None], result.shape)
        scores[f"content_error_{name}"] = mean_absolute_error(result, source)
        scores[f"content_correlation_{name}"] = correlation(result, source)
    scores["content_correlation"] = _mean(scores[f"content_correlation_{name}"] for name in POSE_FACTORS)
    scores["detail_correlation"] = _mean(scores[f"content_correlation_{name}"] for name in DETAIL_FACTORS)
    return scores


def style_scores(outputs: Factors, references: Factors) -> dict[str, float]:
    """``style_correlation_G`` and ``style_error_G`` of outputs with their reference for every style group G: the mean over
    the group's RGB channels of each channel's correlation (mean absolute error); ``style_correlation`` is the mean over
    fur and background, the two large areas."""
    scores = {}
    for group, channels in STYLE_GROUPS.items():
        pairs = [(outputs.column(channel), references.column(channel)) for channel in channels]
        scores[f"style_correlation_{group}"] = _mean(correlation(a, b) for a, b in pairs)
        scores[f"style_error_{group}"] = _mean(mean_absolute_error(a, b) for a, b in pairs)
    scores["style_correlation"] = _mean(scores[f"style_correlation_{group}"] for group in HEADLINE_STYLES)
    return scores


def leak_scores(outputs: Factors, references: Factors) -> dict[str, float]:
    """``leak_correlation_F``: correlation of an output's content with the REFERENCE's, which should be near 0;
    ``leak_correlation`` is the mean of its absolute value over pose. Its floor is chance, about 0.8 / sqrt(S K)."""
    scores = {
        f"leak_correlation_{name}": correlation(outputs.column(name), references.column(name))
        for name in CONTENT_FACTORS
    }
    scores["leak_correlation"] = _mean(abs(scores[f"leak_correlation_{name}"]) for name in POSE_FACTORS)
    return scores


def factor_scores(
    sources: Factors, outputs: Factors, target: str, references: Factors | None = None
) -> dict[str, float]:
    """All factor scores of one ordered pair of domains, plain finite floats by name.

    ``sources`` [S], ``outputs`` [S K] asked to be of the species ``target``, ``references`` [S K] when each output had
    one (without: no style and leak scores). Besides the three groups above:

    - ``domain_accuracy``: share of outputs that the factor network takes for the target species;
    - ``style_diversity``: mean over sources of the mean Euclidean distance between the predicted style factors (10
      numbers in [0, 1]) of its K outputs, K (K - 1) / 2 pairs.

    Raises InputError on shapes that do not fit and on a target that is not a species.
    """
    _check_shapes(sources, outputs, references)
    styles = np.stack([outputs.column(name) for name in STYLE_FACTORS], axis=-1)
    scores = {
        "domain_accuracy": float((outputs.species == species_index(target)).mean()),
        **content_scores(sources, outputs),
        "style_diversity": float(pairwise_diversity(styles).mean()),
    }
    if references is not None:
        scores |= style_scores(outputs, references) | leak_scores(outputs, references)
    return scores


def _mean(values) -> float:
    return float(np.mean(list(values)))

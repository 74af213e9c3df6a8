"""How far an exported model is from PyTorch's: errors of its outputs, and what that does to its scores.

Errors are those of float32 outputs on the same inputs; a picture's are on its scale of [-1, 1], where 8-bit levels are 2 / 255 =
0.0078 apart. Scores are those of `kdlib.scoring.evaluation` on the same draws, so that two models' differ by the models alone.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kdlib.deploy.runtimes import Runner
from kdlib.headlines import FACTORS, distances, headlines
from kdlib.results import GUIDES

Inputs = tuple[np.ndarray, ...]  # of a network, in its order, [N ...] each
Scores = dict[str, dict[str, float]]  # by guide, then by name


def run_in_batches(run: Runner, inputs: Inputs, batch_size: int) -> np.ndarray:
    """Outputs [N ...] for inputs [N ...], so many at a time."""
    starts = range(0, len(inputs[0]), batch_size)
    return np.concatenate([run(*(a[start : start + batch_size] for a in inputs)) for start in starts])


def output_errors(got: np.ndarray, want: np.ndarray) -> dict[str, float]:
    """``max`` and ``mean`` of the absolute error; ``relative``: its root mean square over the standard deviation of ``want``."""
    error = np.abs(got.astype(np.float64) - want)
    return {"max": float(error.max()), "mean": float(error.mean()), "relative": float(np.sqrt((error**2).mean()) / want.std())}


def psnr(got: np.ndarray, want: np.ndarray) -> float:
    """Peak signal-to-noise ratio of pictures in [-1, 1], in dB: 10 log10(2^2 / mean square error); infinite for equal ones."""
    square = ((got.astype(np.float64) - want) ** 2).mean()
    return float(10 * np.log10(4 / square)) if square > 0 else float("inf")


def headline_scores(result: dict[str, Any]) -> Scores:
    """The scores of an evaluation that tables show, by guide: distances, LPIPS, factor scores, as far as it has them."""
    means = {guide: result[guide]["mean"] for guide in GUIDES}
    names = [headline.key for headline in headlines([_row(result)])]
    return {guide: {name: means[guide][name] for name in names if name in means[guide]} for guide in GUIDES}


def _row(result: dict[str, Any]) -> dict[str, Any]:
    """An evaluation as `kdlib.headlines` knows it."""
    networks = {network["name"]: network["scores"] for network in result["protocol"]["feature_networks"]}
    return {"feature_networks": networks} | {f"{guide}_{key}": value for guide in GUIDES for key, value in result[guide]["mean"].items()}


@dataclass(frozen=True)
class Tolerance:
    """By how much a model may be worse than the float model for it to take that model's place."""

    frechet: float = 0.05  # share of the float model's distance, in every feature network
    factors: float = 0.02  # of each factor score, which are correlations and shares: of 1
    psnr: float = 35.0  # dB, at least, of its pictures as noisy versions of the float model's; at 30 plain areas are visibly mottled

    def noise(self, psnr_to_float: float) -> list[str]:
        """A phrase if pictures are noisier than tolerated."""
        return [] if psnr_to_float >= self.psnr else [f"PSNR {psnr_to_float:.1f} < {self.psnr:g} dB"]

    def violations(self, result: dict[str, Any], of_float: dict[str, Any], psnr_to_float: float) -> list[str]:
        """A phrase for everything that is worse than tolerated; none: the model will do.

        ``result`` and ``of_float`` are evaluations on the same draws. Scores that have no better and worse (diversities, LPIPS, whose
        size says as much about noise as about variety) are not asked. ``psnr_to_float``: because scores of sets of pictures, above
        all of a poor model's, hardly notice noise.
        """
        found = self.noise(psnr_to_float)
        for guide in GUIDES:
            mean, reference = result[guide]["mean"], of_float[guide]["mean"]
            limits = {h.key: reference[h.key] * (1 + self.frechet) for h in distances([_row(of_float)], "frechet")}
            found += [f"{guide} {name} {mean[name]:.2f} > {limit:.2f}" for name, limit in limits.items() if mean[name] > limit]
            for headline in FACTORS:
                name = headline.key
                if name not in mean or name == "style_diversity":
                    continue
                loss = (mean[name] - reference[name]) * (1 if headline.lower_is_better else -1)
                if loss > self.factors:
                    found.append(f"{guide} {name} {mean[name]:.3f} instead of {reference[name]:.3f}")
        return found

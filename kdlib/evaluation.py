"""The evaluation protocol: every ordered pair of domains, ten outputs for every validation picture.

Thesis section 5.2 and the code behind its Table 5.2. For each source domain -> target domain, each validation picture is
translated ten times, latent-guided (ten latents) and reference-guided (ten pictures of the target's validation set). The
distances compare these outputs with ALL training pictures of the target domain; diversity is the mean distance over the
45 pairs of outputs of one source; scores are averaged over sources, then over pairs of domains.

Where this differs from the thesis:
- Its FID and LPIPS need downloaded networks. Here distances and diversity are computed on the features of any network of
  features.py, and every such score carries that network's name ("frechet_squeezenet").
- A kernel distance stands beside the Frechet distance, which is biased by the number of samples.
- Critters are scored in their factors as well (factor_scores.py); ``reconstruction`` is the L1 error of translating a
  picture with its own style.
- ``real`` holds what the pictures of the validation set score in place of outputs: what a perfect model would reach. They
  are ten times fewer than the outputs, so their Frechet distance is biased up more; the kernel distance compares fairly.
- Outputs are rounded to 8 bits before ALL scores but that L1 (the thesis: before FID only, through PNG files; its LPIPS
  sees the generator's floats). Rounding is in memory and exactly what writing a PNG would do.
- Random draws depend on (seed, pair, source) alone, not on the batch size or on which other sources are evaluated.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor, nn
from tqdm import tqdm

from kdlib.critters import CONTENT_FACTORS
from kdlib.data import Dataset
from kdlib.errors import InputError
from kdlib.factor_scores import Factors, factor_scores, species_index
from kdlib.feature_cache import FeatureCollector, SetFeatures, real_features
from kdlib.features import FactorNetworkFeatures, FeatureNetwork, state_sha256
from kdlib.metrics import frechet_distance, kernel_distance, pairwise_diversity
from kdlib.networks import Networks
from kdlib.progress import progress_bar
from kdlib.protocol import Draws, Translations, choose_kept, eval_mode

MODES = ("latent", "reference")


@dataclass(frozen=True)
class _Domain:
    """What is known of one domain's real pictures."""

    index: int
    name: str
    train: SetFeatures
    val: SetFeatures
    factors: Factors | None  # of every validation picture


class _Scorer:
    """Measures pictures and turns what it measured into scores; collects the warnings that come up."""

    def __init__(self, feature_network: FeatureNetwork, factor_network: nn.Module | None, kernel_samples: int):
        self.feature_network, self.factor_network = feature_network, factor_network
        self.name, self.dimension = feature_network.name, feature_network.dimension
        self.kernel_samples = kernel_samples
        self.warnings = dict.fromkeys(feature_network.warnings)  # a set that keeps its order
        # When both are one network, outputs pass through it once.
        self.one_pass = (
            factor_network is not None
            and isinstance(feature_network, FactorNetworkFeatures)
            and feature_network.weights_sha256 == state_sha256(factor_network)
        )

    def measure(self, images: Tensor) -> tuple[Tensor, Factors | None]:
        """Features [N D] and, with a factor network, predicted factors of images [N 3 H W]."""
        if self.one_pass:
            prediction = self.factor_network(images)
            return prediction.features, Factors.of(prediction)
        factors = None if self.factor_network is None else Factors.of(self.factor_network(images))
        return self.feature_network(images), factors

    def distances(self, part: str, images: SetFeatures, train: SetFeatures) -> dict[str, float]:
        """Frechet and kernel distance of a set to the target's training pictures; ``part`` names it in warnings."""
        frechet = frechet_distance(images.statistics, train.statistics)
        if frechet.warning:
            self.warnings[f"{part}: {frechet.warning}"] = None
        return {
            f"frechet_{self.name}": frechet.value,
            f"kernel_{self.name}": kernel_distance(images.sample, train.sample).value,
        }

    def real(self, domain: _Domain) -> dict[str, float]:
        """What the validation pictures score as if they were outputs; diversities are over all pairs of them."""
        scores = self.distances("real", domain.val, domain.train)
        scores[f"diversity_{self.name}"] = float(pdist(domain.val.sample.astype(np.float64)).mean())
        if domain.factors is not None:
            scores["domain_accuracy"] = float((domain.factors.species == species_index(domain.name)).mean())
            scores["style_diversity"] = float(pdist(domain.factors.factors[:, len(CONTENT_FACTORS) :]).mean())
        return scores

    def pair(self, mode: str, made: Translations, source: _Domain, target: _Domain, bar: tqdm) -> dict[str, float]:
        """All scores of one ordered pair. Outputs are made source by source, measured and dropped."""
        sources, each = made.sources[source.index], made.draws.outputs_per_source
        styles, references = made.guide(mode, source.index, target.index)
        collector = FeatureCollector(self.dimension, choose_kept(len(sources), each, self.kernel_samples))
        diversity, factors = [], []
        waiting = np.empty((0, self.dimension))  # features of a source whose outputs are not all made yet
        for images in made.outputs(source.index, styles):
            features, predicted = self.measure(images)
            collector.add(features)
            factors.append(predicted)
            waiting = np.concatenate([waiting, features.cpu().numpy()])
            complete = len(waiting) // each * each
            diversity.append(pairwise_diversity(waiting[:complete].reshape(-1, each, self.dimension)))
            waiting = waiting[complete:]
            bar.update(len(images))
        scores = self.distances(mode, collector.result(), target.train)
        scores[f"diversity_{self.name}"] = float(np.concatenate(diversity).mean())
        if self.factor_network is not None:
            outputs = Factors.concatenate(factors).reshape(len(sources), each)
            followed = None if references is None else target.factors[references]
            scores |= factor_scores(source.factors[sources], outputs, target.name, followed)
        return scores


def _with_mean(parts: str, scores: dict[str, dict[str, float]]) -> dict[str, Any]:
    names = next(iter(scores.values()))
    return {parts: scores, "mean": {name: float(np.mean([part[name] for part in scores.values()])) for name in names}}


def _check(dataset: Dataset, factor_network: nn.Module | None) -> None:
    if len(dataset.domains) < 2:
        raise InputError(f"translation needs at least two domains, the data set has {list(dataset.domains)}")
    for split, counts in (("train", dataset.train.counts), ("val", dataset.val.counts)):
        for domain, count in zip(dataset.domains, counts, strict=True):
            if count < 2:
                raise InputError(f"evaluation needs at least 2 pictures in {split}/{domain}, found {count}")
    if factor_network is not None:
        for domain in dataset.domains:
            species_index(domain)


def evaluate(
    nets: Networks,
    dataset: Dataset,
    *,
    feature_network: FeatureNetwork,
    factor_network: nn.Module | None = None,
    outputs_per_source: int = 10,
    batch_size: int = 32,
    sources_per_domain: int | None = None,
    seed: int = 777,
    latent_dim: int = 16,
    device: torch.device | str = "cpu",
    cache_dir: str | Path | None = None,
    kernel_samples: int = 2000,
    progress: bool = True,
) -> dict[str, Any]:
    """Score the networks by the protocol above; returns plain nested dicts, strings, numbers, ready for JSON.

    ``nets`` are on ``device`` like the feature and factor networks; training flags are left as found. ``factor_network``:
    for Critters only. ``sources_per_domain``: a random part of the validation set (None or 0: all of it); references are
    drawn from all of it in any case. ``cache_dir`` keeps the real pictures' features. At most ``kernel_samples`` vectors
    a side enter a kernel distance. Progress goes to stderr.

    The result: ``protocol`` (settings, counts, hashes), ``latent`` and ``reference`` ({"pairs": {"cat->dog": {score:
    value}}, "mean": {...}}), ``real`` and ``reconstruction`` ({"domains": {...}, "mean": {...}}), ``warnings``. With N the
    feature network's name, scores are ``frechet_N``, ``kernel_N``, ``diversity_N`` (mean Euclidean distance of features
    over the pairs of outputs of a source) and those of ``factor_scores``. Raises InputError on data or settings that
    cannot be evaluated, and when the generator produces NaN.
    """
    _check(dataset, factor_network)
    if kernel_samples < 2:
        raise InputError(f"kernel_samples must be at least 2, got {kernel_samples}")
    draws = Draws(seed, outputs_per_source, sources_per_domain or 0, latent_dim)
    made = Translations(nets, dataset.val, draws, batch_size, device)
    scorer = _Scorer(feature_network, factor_network, kernel_samples)
    options = {
        "kernel_samples": kernel_samples,
        "batch_size": batch_size,
        "device": device,
        "cache_dir": cache_dir,
        "progress": progress,
    }
    networks = [nets.generator, nets.style_encoder, nets.mapping_network, feature_network]
    networks += [] if factor_network is None else [factor_network]
    with eval_mode(networks):
        domains = []
        for index, name in enumerate(dataset.domains):
            train, val = (real_features(s, index, feature_network, **options) for s in (dataset.train, dataset.val))
            factors = None
            if factor_network is not None:
                batches = made.batches(dataset.val.counts[index])
                factors = Factors.concatenate([Factors.of(factor_network(made.images(index, b))) for b in batches])
            domains.append(_Domain(index, name, train, val, factors))
        pairs = [(source, target) for source in domains for target in domains if source is not target]
        outputs = sum(len(made.sources[source.index]) for source, _ in pairs) * outputs_per_source * len(MODES)
        result: dict[str, Any] = {}
        with progress_bar(total=outputs, desc="evaluation", unit="image", disable=not progress) as bar:
            for mode in MODES:
                scores = {f"{s.name}->{t.name}": scorer.pair(mode, made, s, t, bar) for s, t in pairs}
                result[mode] = _with_mean("pairs", scores)
        result["real"] = _with_mean("domains", {d.name: scorer.real(d) for d in domains})
        errors = {d.name: {"reconstruction_l1": made.reconstruction_error(d.index)} for d in domains}
        result["reconstruction"] = _with_mean("domains", errors)
    protocol = {
        **asdict(draws),
        "batch_size": batch_size,
        "device": str(device),
        "kernel_samples": kernel_samples,
        "outputs": outputs,
        "source_counts": {d.name: len(made.sources[d.index]) for d in domains},
        **_record(dataset, feature_network, factor_network),
    }
    return {"protocol": protocol, **result, "warnings": list(scorer.warnings)}


def _record(dataset: Dataset, network: FeatureNetwork, factor_network: nn.Module | None) -> dict[str, Any]:
    """What the scores depend on besides settings: pictures, measuring networks, definitions."""
    return {
        "domains": list(dataset.domains),
        "image_size": dataset.image_size,
        "train_counts": dict(zip(dataset.domains, dataset.train.counts, strict=True)),
        "val_counts": dict(zip(dataset.domains, dataset.val.counts, strict=True)),
        "train_content_hash": dataset.train.content_hash,
        "val_content_hash": dataset.val.content_hash,
        "feature_network": {
            "name": network.name,
            "dimension": network.dimension,
            "weights_sha256": network.weights_sha256,
            "preprocessing": network.preprocessing,
        },
        "factor_network_sha256": None if factor_network is None else state_sha256(factor_network),
        "quantisation": "outputs rounded to 8 bits before every score but reconstruction_l1",
        "frechet": "Gaussian fit, unbiased covariances, outputs against all training pictures of the target domain",
        "kernel": "unbiased squared MMD, kernel (x . y / D + 1)^3, one estimate from at most kernel_samples a side",
    }

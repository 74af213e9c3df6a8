"""The evaluation protocol: every ordered pair of domains, ten outputs for every validation picture, one seed or several.

Thesis section 5.2 and the code behind its Table 5.2. For each source domain -> target domain, each validation picture is
translated ten times, latent-guided (ten latents) and reference-guided (ten pictures of the target's validation set). The
distances compare these outputs with ALL training pictures of the target domain; diversity is the mean distance over the
45 pairs of outputs of one source; scores are averaged over sources, then over pairs of domains. The published teachers' scores
are means over ten seeds.

Where this differs from the thesis:
- Any number of feature networks judge the same outputs, each under score names of its own (feature_network.py). The thesis's
  FID and LPIPS are ``fid_torchvision`` (inception.py) and ``lpips`` (lpips_distance.py).
- A kernel distance stands beside each Frechet distance, which is biased by the number of samples.
- Critters are scored in their factors as well (factor_scores.py); ``reconstruction`` is the L1 error of translating a
  picture with its own style. Sharpness has a score of its own (spectrum.py).
- ``real`` holds what the pictures of the validation set score in place of outputs: what a perfect model would reach. They
  are ten times fewer than the outputs, so their Frechet distance is biased up more; the kernel distance compares fairly.
- Random draws depend on (seed, pair, source) alone, not on the batch size or on which other sources are evaluated.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kdlib.data import Dataset
from kdlib.errors import InputError
from kdlib.networks import Networks
from kdlib.progress import progress_bar
from kdlib.scoring.factor_scores import Factors, species_index
from kdlib.scoring.feature_cache import real_features
from kdlib.scoring.judges import Judges
from kdlib.scoring.judging import RealDomain, Scorer
from kdlib.scoring.protocol import Draws, Translations, eval_mode
from kdlib.scoring.spectrum import DEFINITION, MeanSpectrum

MODES = ("latent", "reference")
Scores = dict[str, float]


def evaluate(
    nets: Networks,
    dataset: Dataset,
    judges: Judges,
    *,
    outputs_per_source: int = 10,
    batch_size: int = 32,
    sources_per_domain: int | None = None,
    seed: int = 777,
    seeds: int = 1,
    latent_dim: int = 16,
    device: torch.device | str = "cpu",
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Score the networks by the protocol above; returns plain nested dicts, lists, strings, numbers, ready for JSON.

    ``nets`` are on ``device`` like the judges; training flags are left as found. ``sources_per_domain``: a random part of
    the validation set (None or 0: all of it); references are drawn from all of it in any case. ``seeds``: so many, from
    ``seed`` on. ``cache_dir`` keeps the real pictures' features. Progress goes to stderr.

    The result: ``protocol`` (settings, counts, hashes, judges), ``latent`` and ``reference`` ({"pairs": {"cat->dog":
    {score: value}}, "mean": {score: value}}), ``real`` and ``reconstruction`` ({"domains": {...}, "mean": {...}}),
    ``warnings``. With several seeds, the values of ``latent`` and ``reference`` are means over them, and each holds also
    ``deviation``, the sample standard deviation over seeds ({"pairs": ..., "mean": ...}), and ``seeds``, each seed's own
    means. Reconstruction draws nothing but the part of the sources, and is that of the first seed.

    Scores are named by the judges: each feature network's Frechet and kernel distance and diversity (mean Euclidean
    distance of features over the pairs of outputs of a source), ``lpips``, ``spectral_scores``, and ``factor_scores``. Raises
    InputError on data or settings that cannot be evaluated, and when the generator produces NaN.
    """
    _check(dataset, judges, seeds)
    draws = [Draws(seed + i, outputs_per_source, sources_per_domain or 0, latent_dim) for i in range(seeds)]
    made = Translations(nets, dataset.val, draws[0], batch_size, device)
    options = {"batch_size": batch_size, "device": device, "cache_dir": cache_dir, "progress": progress}
    scorer = Scorer(judges)
    with eval_mode([nets.generator, nets.style_encoder, nets.mapping_network, *judges.modules]):
        domains = [_real_domain(dataset, index, judges, made, options) for index in range(len(dataset.domains))]
        pairs = [(source, target) for source in domains for target in domains if source is not target]
        outputs = sum(len(made.sources[s.index]) for s, _ in pairs) * outputs_per_source * len(MODES) * seeds
        scores: dict[str, list[dict[str, Scores]]] = {mode: [] for mode in MODES}
        with progress_bar(total=outputs, desc="evaluation", unit="image", disable=not progress) as bar:
            for own in draws:
                of_seed = Translations(nets, dataset.val, own, batch_size, device)
                for mode in MODES:
                    scores[mode].append({f"{s.name}->{t.name}": scorer.pair(mode, of_seed, s, t, bar) for s, t in pairs})
        result: dict[str, Any] = {mode: _over_seeds([d.seed for d in draws], scores[mode]) for mode in MODES}
        result["real"] = _with_mean("domains", {d.name: scorer.real(d) for d in domains})
        errors = {d.name: {"reconstruction_l1": made.reconstruction_error(d.index)} for d in domains}
        result["reconstruction"] = _with_mean("domains", errors)
    protocol = {
        **asdict(draws[0]),
        "seeds": seeds,
        "batch_size": batch_size,
        "device": str(device),
        "outputs": outputs,
        "source_counts": {d.name: len(made.sources[d.index]) for d in domains},
        **_record(dataset),
        **judges.record(),
    }
    return {"protocol": protocol, **result, "warnings": scorer.warnings}


def _check(dataset: Dataset, judges: Judges, seeds: int) -> None:
    if seeds < 1:
        raise InputError(f"seeds must be at least 1, got {seeds}")
    if len(dataset.domains) < 2:
        raise InputError(f"translation needs at least two domains, the data set has {list(dataset.domains)}")
    for split, counts in (("train", dataset.train.counts), ("val", dataset.val.counts)):
        for domain, count in zip(dataset.domains, counts, strict=True):
            if count < 2:
                raise InputError(f"evaluation needs at least 2 pictures in {split}/{domain}, found {count}")
    if judges.factor_network is not None:
        for domain in dataset.domains:
            species_index(domain)


def _real_domain(dataset: Dataset, index: int, judges: Judges, made: Translations, options: dict[str, Any]) -> RealDomain:
    train, val = (
        {network.name: real_features(split, index, network, **options) for network in judges.feature_networks}
        for split in (dataset.train, dataset.val)
    )
    factors = None
    if judges.factor_network is not None:
        batches = made.batches(dataset.val.counts[index])
        factors = Factors.concatenate([Factors.of(judges.factor_network(made.images(index, b))) for b in batches])
    spectra = (MeanSpectrum.of_split(split, index) for split in (dataset.train, dataset.val))
    return RealDomain(index, dataset.domains[index], train, val, factors, *spectra)


def _average(scores: dict[str, Scores]) -> Scores:
    names = next(iter(scores.values()))
    return {name: float(np.mean([part[name] for part in scores.values()])) for name in names}


def _with_mean(parts: str, scores: dict[str, Scores]) -> dict[str, Any]:
    return {parts: scores, "mean": _average(scores)}


def _over_seeds(seeds: list[int], scores: list[dict[str, Scores]]) -> dict[str, Any]:
    """Means, and with several seeds deviations, of the scores of every pair ({pair: scores}, one a seed) and of their average."""
    if len(seeds) == 1:
        return _with_mean("pairs", scores[0])
    averages = [_average(of_seed) for of_seed in scores]

    def over(statistic, parts: list[Scores]) -> Scores:
        return {name: float(statistic([part[name] for part in parts])) for name in parts[0]}

    def both(statistic) -> dict[str, Any]:
        pairs = {pair: over(statistic, [of_seed[pair] for of_seed in scores]) for pair in scores[0]}
        return {"pairs": pairs, "mean": over(statistic, averages)}

    deviation = both(lambda values: np.std(values, ddof=1))
    return {**both(np.mean), "deviation": deviation, "seeds": {str(s): a for s, a in zip(seeds, averages, strict=True)}}


def _record(dataset: Dataset) -> dict[str, Any]:
    """What the scores depend on besides settings and judges: pictures, definitions."""
    return {
        "domains": list(dataset.domains),
        "image_size": dataset.image_size,
        "train_counts": dict(zip(dataset.domains, dataset.train.counts, strict=True)),
        "val_counts": dict(zip(dataset.domains, dataset.val.counts, strict=True)),
        "train_content_hash": dataset.train.content_hash,
        "val_content_hash": dataset.val.content_hash,
        "quantisation": "outputs rounded to 8 bits before every score but lpips and reconstruction_l1",
        "frechet": "Gaussian fit, unbiased covariances, outputs against all training pictures of the target domain",
        "spectrum": DEFINITION,
        "kernel": "unbiased squared MMD, kernel (x . y / D + 1)^3, from at most kernel.samples vectors a side: one estimate, or the "
        "mean over kernel.subsets pairs of random subsets",
    }

"""Scores of one ordered pair of domains, and of real pictures in place of outputs: the arithmetic of the protocol.

Outputs are made once, measured by every judge and dropped: what grows with their number is only the bounded sample that a
kernel distance needs. LPIPS and the reconstruction error see the generator's floats; every other score sees them rounded to
8 bits in memory, which is exactly what writing a PNG file and reading it would do.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import pdist
from torch import Tensor
from tqdm import tqdm

from kdlib.critters import CONTENT_FACTORS
from kdlib.images import to_float
from kdlib.scoring.factor_scores import Factors, factor_scores, species_index
from kdlib.scoring.feature_cache import FeatureCollector, SetFeatures
from kdlib.scoring.feature_network import FeatureNetwork
from kdlib.scoring.judges import Judges
from kdlib.scoring.metrics import frechet_distance, pairwise_diversity
from kdlib.scoring.protocol import Translations, choose_kept, to_8_bits
from kdlib.scoring.spectrum import MeanSpectrum, spectral_scores


@dataclass(frozen=True)
class RealDomain:
    """What is known of one domain's real pictures; ``train`` and ``val`` by feature network."""

    index: int
    name: str
    train: dict[str, SetFeatures]
    val: dict[str, SetFeatures]
    factors: Factors | None  # of every validation picture
    train_spectrum: MeanSpectrum
    val_spectrum: MeanSpectrum


class Groups:
    """Rows that arrive in batches of any size and leave in whole groups of ``size``; the rest waits for the next batch."""

    def __init__(self, size: int):
        self.size = size
        self._waiting: Tensor | None = None

    def complete(self, rows: Tensor) -> Tensor:
        """The next rows [N ...] -> the groups complete by now [G size ...]."""
        rows = rows if self._waiting is None else torch.cat([self._waiting, rows])
        groups = len(rows) // self.size
        self._waiting = rows[groups * self.size :].clone()
        return rows[: groups * self.size].reshape(groups, self.size, *rows.shape[1:])


class _Spread:
    """Mean over sources of a score of each source's outputs, which arrive in batches."""

    def __init__(self, outputs_per_source: int, score):
        self._groups, self._score = Groups(outputs_per_source), score
        self._values: list[np.ndarray] = []

    def add(self, rows: Tensor) -> None:
        self._values.append(np.asarray(self._score(self._groups.complete(rows)), dtype=np.float64))

    def result(self) -> float:
        return float(np.concatenate(self._values).mean())


class Scorer:
    """Turns pictures into scores; collects the warnings that come up, in order."""

    def __init__(self, judges: Judges):
        self.judges = judges
        self._warnings = dict.fromkeys(w for network in judges.feature_networks for w in network.warnings)

    @property
    def warnings(self) -> list[str]:
        return list(self._warnings)

    def distances(self, part: str, network: FeatureNetwork, images: SetFeatures, train: SetFeatures) -> dict[str, float]:
        """Frechet distance of a set to the target's training pictures, what the means have of it, and kernel distance; ``part`` names it in warnings."""
        found = {
            network.frechet_score: frechet_distance(images.statistics, train.statistics),
            network.kernel_score: network.kernel.distance(images.sample, train.sample),
        }
        self._warnings |= {f"{part}, {name}: {distance.warning}": None for name, distance in found.items() if distance.warning}
        scores = {name: distance.value for name, distance in found.items()}
        return scores | {network.shift_score: found[network.frechet_score].shift}

    def real(self, domain: RealDomain) -> dict[str, float]:
        """What the validation pictures score as if they were outputs; diversities are over all pairs of them."""
        scores = {}
        for network in self.judges.feature_networks:
            val = domain.val[network.name]
            scores |= self.distances("real", network, val, domain.train[network.name])
            scores[network.diversity_score] = float(pdist(val.sample.astype(np.float64)).mean())
        if domain.factors is not None:
            scores["domain_accuracy"] = float((domain.factors.species == species_index(domain.name)).mean())
            scores["style_diversity"] = float(pdist(domain.factors.factors[:, len(CONTENT_FACTORS) :]).mean())
        return scores | spectral_scores(domain.val_spectrum, domain.train_spectrum)

    def pair(self, mode: str, made: Translations, source: RealDomain, target: RealDomain, bar: tqdm) -> dict[str, float]:
        """All scores of one ordered pair. Outputs are made source by source, measured and dropped."""
        sources, each = made.sources[source.index], made.draws.outputs_per_source
        styles, references = made.guide(mode, source.index, target.index)
        networks, lpips = self.judges.feature_networks, self.judges.lpips
        collectors = {n.name: FeatureCollector(n.dimension, choose_kept(len(sources), each, n.kernel.samples)) for n in networks}
        diversities = {n.name: _Spread(each, pairwise_diversity) for n in networks}
        distance = None if lpips is None else _Spread(each, lambda groups: lpips(groups).cpu())
        factors, spectrum = [], MeanSpectrum()
        for outputs in made.outputs(source.index, styles):
            rounded = to_float(to_8_bits(outputs))
            features, predicted = self.judges.measure(rounded)
            spectrum.add(rounded)
            for name, vectors in features.items():
                collectors[name].add(vectors)
                diversities[name].add(vectors)
            if distance is not None:
                distance.add(outputs)
            factors.append(predicted)
            bar.update(len(outputs))
        scores = {}
        for network in networks:
            scores |= self.distances(mode, network, collectors[network.name].result(), target.train[network.name])
            scores[network.diversity_score] = diversities[network.name].result()
        if distance is not None:
            scores[lpips.score] = distance.result()
        scores |= spectral_scores(spectrum, target.train_spectrum)
        if self.judges.factor_network is not None:
            outputs = Factors.concatenate(factors).reshape(len(sources), each)
            followed = None if references is None else target.factors[references]
            scores |= factor_scores(source.factors[sources], outputs, target.name, followed)
        return scores

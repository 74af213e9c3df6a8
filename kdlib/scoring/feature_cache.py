"""Features of a set of pictures, reduced to what the distances need, and kept on disk for real pictures.

A Frechet distance needs mean and covariance, a kernel distance a bounded sample of the vectors themselves; neither needs
the pictures again. Real pictures do not change from one evaluation to the next, so their statistics are stored under a
key that names everything they depend on: the split's content, the domain, the network with its weights, the image size.
Change any of these and they are computed anew.
"""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from kdlib.data import Split
from kdlib.files import write_atomically
from kdlib.images import to_float
from kdlib.progress import progress_bar
from kdlib.scoring.feature_network import FeatureNetwork
from kdlib.scoring.metrics import FeatureStatistics, to_float64

CACHE_FORMAT = 1  # raise it when what is stored, or how it is computed, changes


@dataclass(frozen=True)
class SetFeatures:
    """A set of N pictures: ``statistics`` over all of them, ``sample`` [M D] float32 of M <= N for a kernel distance."""

    statistics: FeatureStatistics
    sample: np.ndarray


class FeatureCollector:
    """Takes the features of a set batch by batch; keeps the vectors whose position is marked in ``keep`` [N] bool."""

    def __init__(self, dimension: int, keep: np.ndarray):
        self._statistics = FeatureStatistics(dimension)
        self._keep = keep
        self._kept: list[np.ndarray] = []

    def add(self, features: torch.Tensor) -> None:
        """The next batch [B D], in the order of positions."""
        start = self._statistics.count
        self._statistics.update(features)
        keep = self._keep[start : start + len(features)]
        self._kept.append(to_float64(features)[keep].astype(np.float32))

    def result(self) -> SetFeatures:
        return SetFeatures(self._statistics, np.concatenate(self._kept))


def real_features(
    split: Split,
    domain: int,
    network: FeatureNetwork,
    *,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> SetFeatures:
    """Features of all pictures of one domain of a split, from the cache where they are in it.

    At most ``network.kernel.samples`` vectors are kept, a fixed random choice that does not depend on any evaluation's seed.
    An unreadable cache file counts as missing and is replaced.
    """
    key = {
        "format": CACHE_FORMAT,
        "content": split.content_hash,
        "domain": split.domains[domain],
        "network": network.name,
        "weights": network.weights_sha256,
        "preprocessing": network.preprocessing,
        "image_size": split.image_size,
        "kernel_samples": network.kernel.samples,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = None if cache_dir is None else Path(cache_dir) / f"features_{network.name}_{split.image_size}px_{digest[:24]}.npz"
    cached = None if path is None else _load(path)
    if cached is not None:
        return cached

    images, count = split.images(domain), split.counts[domain]
    keep = np.zeros(count, dtype=bool)
    keep[np.random.default_rng(0).permutation(count)[: network.kernel.samples]] = True
    collector = FeatureCollector(network.dimension, keep)
    starts = range(0, count, batch_size)
    with torch.no_grad():
        for start in progress_bar(starts, desc=f"real {split.domains[domain]}, {network.name}", leave=False, delay=5, disable=not progress):
            collector.add(network(to_float(images[start : start + batch_size]).to(device)))
    result = collector.result()
    if path is not None:
        _save(path, result)
    return result


def _save(path: Path, features: SetFeatures) -> None:
    statistics = features.statistics

    def write(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            np.savez(
                file,
                count=statistics.count,
                mean=statistics.mean,
                covariance=statistics.covariance,
                sample=features.sample,
            )

    write_atomically(path, write)


def _load(path: Path) -> SetFeatures | None:
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            statistics = FeatureStatistics.from_moments(int(stored["count"]), stored["mean"], stored["covariance"])
            return SetFeatures(statistics, stored["sample"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None

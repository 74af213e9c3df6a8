"""The evaluation protocol written straight down: the reference that `kdlib.scoring.evaluation` is held to, in numbers and in time.

As a plain code base has it: one picture is generated at a time and written as a PNG file, the files are read again by every metric,
and each metric computes the features that it needs, those of real pictures included, for every pair of domains. It shares with kdlib the
networks, the draws that decide which outputs are asked for, and nothing of how scores are computed.
"""

import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.linalg import sqrtm
from torch import Tensor, nn

from kdlib.data import Dataset
from kdlib.networks import Networks
from kdlib.scoring.feature_network import FeatureNetwork
from kdlib.scoring.protocol import Draws, choose_kept, choose_sources, draw_latents, draw_references

BATCH = 32  # files read, and features computed, at a time


def read(path: Path, size: int) -> np.ndarray:
    """Levels [3 size size] of one file."""
    with Image.open(path) as picture:
        rgb = picture.convert("RGB")
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(rgb).transpose(2, 0, 1)


def in_range(levels: np.ndarray) -> Tensor:
    return torch.from_numpy(levels.astype(np.float32)) / 127.5 - 1


def write(image: Tensor, path: Path) -> None:
    """One output [3 H W] as a PNG file."""
    levels = np.floor(np.clip((image.numpy() + 1) * 127.5, 0, 255) + 0.5).astype(np.uint8)
    Image.fromarray(levels.transpose(1, 2, 0)).save(path)


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Eq. 13 with SciPy's matrix square root."""
    shift = a.mean(0) - b.mean(0)
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with fewer pictures than features the product is singular; its root's trace is still right
        root = sqrtm(cov_a @ cov_b)
    return float(shift @ shift + np.trace(cov_a + cov_b - 2 * root.real))


def kernel(x: np.ndarray, y: np.ndarray) -> float:
    """Unbiased squared MMD of the cubic polynomial kernel."""
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    within = lambda a: (k(a, a).sum() - np.trace(k(a, a))) / (len(a) * (len(a) - 1))  # noqa: E731
    return float(within(x) + within(y) - 2 * k(x, y).mean())


def diversity(vectors: np.ndarray) -> float:
    """Mean distance over the pairs of outputs of each source: vectors [S K D]."""
    distances = [np.linalg.norm(v[i] - v[j]) for v in vectors for i in range(len(v)) for j in range(i + 1, len(v))]
    return float(np.mean(distances))


@dataclass
class PlainEvaluation:
    """``run`` gives {"latent": {"cat->dog": {score: value}}, "reference": ...}; ``seconds`` is what was spent on what."""

    nets: Networks
    dataset: Dataset
    networks: Sequence[FeatureNetwork]
    factor_network: nn.Module
    draws: Draws
    folder: Path  # an empty one
    seconds: dict[str, float] = field(default_factory=dict)
    files: int = 0
    bytes: int = 0

    @contextmanager
    def spent_on(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start

    @torch.no_grad()
    def run(self) -> dict[str, dict[str, dict[str, float]]]:
        domains, scores = self.dataset.domains, {}
        for mode in ("latent", "reference"):
            scores[mode] = {}
            for a, source in enumerate(domains):
                for b, target in enumerate(domains):
                    if a != b:
                        outputs = self.generate(mode, a, b)
                        scores[mode][f"{source}->{target}"] = self.score(outputs, a, b)
        return scores

    def generate(self, mode: str, source: int, target: int) -> list[Path]:
        """Write the outputs of one ordered pair, one at a time; their files, source by source."""
        size, val, draws = self.dataset.image_size, self.dataset.val, self.draws
        pair, written = source * len(self.dataset.domains) + target, []
        folder = self.folder / f"{mode}-{source}-{target}"
        folder.mkdir()
        y = torch.tensor([target])
        for i in choose_sources(draws.seed, source, val.counts[source], draws.sources_per_domain):
            latents = draw_latents(draws.seed, pair, i, draws.outputs_per_source, draws.latent_dim)
            references = draw_references(draws.seed, pair, i, draws.outputs_per_source, val.counts[target])
            for k in range(draws.outputs_per_source):
                with self.spent_on("reading sources and references"):
                    x = in_range(read(val.files(source)[i], size))[None]
                    reference = in_range(read(val.files(target)[references[k]], size))[None]
                with self.spent_on("generating"):
                    if mode == "latent":
                        s = self.nets.mapping_network(torch.from_numpy(latents[k : k + 1]), y)
                    else:
                        s = self.nets.style_encoder(reference, y)
                    output = self.nets.generator(x, s)[0]
                with self.spent_on("writing PNG files"):
                    path = folder / f"{i:05d}_{k:02d}.png"
                    write(output, path)
                written.append(path)
                self.files, self.bytes = self.files + 1, self.bytes + path.stat().st_size
        return written

    def features(self, files: Sequence[Path], network: nn.Module, what: str) -> np.ndarray:
        """What ``network`` says of files, read anew: [N D]."""
        parts = []
        for start in range(0, len(files), BATCH):
            with self.spent_on(f"reading {what}"):
                pictures = in_range(np.stack([read(path, self.dataset.image_size) for path in files[start : start + BATCH]]))
            with self.spent_on(f"features of {what}"):
                parts.append(network(pictures).double().numpy())
        return np.concatenate(parts)

    def score(self, outputs: list[Path], source: int, target: int) -> dict[str, float]:
        """Every score of one ordered pair, each in a pass of its own."""
        real, each, scores = self.dataset.train.files(target), self.draws.outputs_per_source, {}
        for network in self.networks:
            a, b = self.features(outputs, network, "outputs"), self.features(real, network, "real pictures")
            with self.spent_on("distances"):
                scores[network.frechet_score] = frechet(a, b)
                scores[network.shift_score] = float(np.sum((a.mean(axis=0) - b.mean(axis=0)) ** 2))
            a, b = self.features(outputs, network, "outputs"), self.features(real, network, "real pictures")
            limit = network.kernel.samples
            a = a[choose_kept(len(outputs) // each, each, limit)]
            b = b[np.sort(np.random.default_rng(0).permutation(len(b))[:limit])]
            with self.spent_on("distances"):
                scores[network.kernel_score] = kernel(a, b)
            vectors = self.features(outputs, network, "outputs")
            with self.spent_on("distances"):
                scores[network.diversity_score] = diversity(vectors.reshape(-1, each, vectors.shape[1]))
        species = self.features(outputs, lambda pictures: self.factor_network(pictures).species_logits, "outputs").argmax(1)
        scores["domain_accuracy"] = float((species == target).mean())
        return scores

"""Distances between sets of feature vectors, and the small statistics the scores are made of.

- Frechet distance: thesis section 2.5.1, Eq. 13; Heusel et al. 2017 (FID is this distance over Inception-v3 features).
- Kernel distance: Binkowski et al. 2018, "Demystifying MMD GANs", section 4 (KID), unbiased, beside the Frechet
  distance because that one is biased by the number of samples.
- Pairwise diversity: thesis section 5.2.2, the mean over the 45 pairs of ten outputs of one source.

Nothing here knows about networks or images: features.py makes the vectors and names the metric. All arithmetic is
float64 on the CPU. Difference from the usual implementations: Eq. 13's matrix square root is never formed (see
``frechet_distance``), so there is no complex intermediate and no epsilon added to a diagonal.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch

from kdlib.errors import InputError

Array = np.ndarray | torch.Tensor

# A side whose standard deviation is below this share of its largest magnitude counts as constant: single precision
# carries 6e-8 of a value, and a network's answer to one image moves by about ten times that with the batch size.
CONSTANT_BELOW = 1e-6


@dataclass(frozen=True)
class Distance:
    """A distance between two sets: ``value`` and a ``warning`` for the reader (or None).

    Of a kernel distance over subsets, ``spread`` is the standard deviation over them; of a Frechet distance, ``shift`` is what
    the two means have of it, and the rest is the covariances'.
    """

    value: float
    warning: str | None = None
    spread: float | None = None
    shift: float | None = None


def to_float64(values: Array) -> np.ndarray:
    """The same numbers as a float64 NumPy array, whatever device or type they came in."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().to(torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)


def _feature_matrix(features: Array, dimension: int | None = None) -> np.ndarray:
    matrix = to_float64(features)
    if matrix.ndim != 2 or (dimension is not None and matrix.shape[1] != dimension):
        wanted = "D" if dimension is None else dimension
        raise InputError(f"features must have shape [N {wanted}], got {list(matrix.shape)}")
    if not np.isfinite(matrix).all():
        raise InputError("features hold NaN or infinite values: check the network or the images they come from")
    return matrix


class FeatureStatistics:
    """Count, mean [D] and covariance [D D] of feature vectors that arrive in batches and are not kept.

    Batches are merged by Chan, Golub and LeVeque's pairwise update (1979), which does not cancel when the mean is far
    from zero; the result does not depend on how the vectors were batched, up to float64 rounding.
    """

    def __init__(self, dimension: int):
        self.count = 0
        self.mean = np.zeros(dimension)
        self._scatter = np.zeros((dimension, dimension))  # sum of (x - mean)(x - mean)^T
        self._root: np.ndarray | None = None  # of the covariance, once it was asked for

    @classmethod
    def from_moments(cls, count: int, mean: Array, covariance: Array) -> "FeatureStatistics":
        """Statistics stored earlier: ``count`` vectors with this mean [D] and (unbiased) covariance [D D]."""
        statistics = cls(len(mean))
        statistics.count = int(count)
        statistics.mean = to_float64(mean)
        statistics._scatter = to_float64(covariance) * (statistics.count - 1)
        return statistics

    @property
    def dimension(self) -> int:
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance [D D] (divides by count - 1), as in pytorch-fid and ``numpy.cov``.

        Raises InputError with fewer than two vectors.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 feature vectors, got {self.count}")
        return self._scatter / (self.count - 1)

    @property
    def root(self) -> np.ndarray:
        """The covariance's symmetric root [D D], taken once: of real pictures it is asked for with every set of outputs."""
        if self._root is None:
            self._root = _square_root(self.covariance)
        return self._root

    def update(self, features: Array) -> None:
        """Add a batch of features [N D]; raises InputError on another shape or on NaN."""
        batch = _feature_matrix(features, self.dimension)
        added = len(batch)
        if added == 0:
            return
        batch_mean = batch.mean(axis=0)
        centred = batch - batch_mean
        shift = batch_mean - self.mean
        total = self.count + added
        self._scatter += centred.T @ centred + np.outer(shift, shift * (self.count * added / total))
        self.mean = self.mean + shift * (added / total)
        self.count = total
        self._root = None


def _square_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric root of a positive semi-definite matrix; eigenvalues that rounding made negative count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics) -> Distance:
    """Squared Frechet distance between Gaussians fitted to two feature sets (thesis Eq. 13), never below zero.

    |m_a - m_b|^2 + Tr(A) + Tr(B) - 2 Tr((A B)^(1/2)). The last trace is the sum of the square roots of the
    eigenvalues of A^(1/2) B A^(1/2), which are the singular values of A^(1/2) B^(1/2). They are taken as singular
    values: always real, and rounding enters once, where the root of an eigenvalue near zero would inflate 1e-16 to
    1e-8 in each of the many empty directions of a small set.

    With no more vectors than dimensions the covariance is singular: the value is still defined, but grows as the set
    shrinks, and ``warning`` says so. Raises InputError on different dimensions or fewer than two vectors.
    """
    if a.dimension != b.dimension:
        raise InputError(f"feature dimensions differ: {a.dimension} and {b.dimension}")
    cross = np.linalg.svd(a.root @ b.root, compute_uv=False).sum()
    between_means = a.mean - b.mean
    shift = float(between_means @ between_means)
    value = shift + np.trace(a.covariance) + np.trace(b.covariance) - 2 * cross
    smallest = min(a.count, b.count)
    warning = None
    if smallest <= a.dimension:
        warning = (
            f"Frechet distance from {smallest} samples in {a.dimension} dimensions: the covariance is singular and the "
            "value biased upwards; compare it only at equal counts, or read the kernel distance"
        )
    return Distance(max(float(value), 0.0), warning, shift=shift)


def _kernel_sum(x: np.ndarray, y: np.ndarray, rows: int = 1024) -> float:
    """Sum of (x_i . y_j / D + 1)^3 over all i, j, a block of rows at a time so that memory stays bounded."""
    blocks = range(0, len(x), rows)
    return float(sum(((x[i : i + rows] @ y.T / x.shape[1] + 1) ** 3).sum() for i in blocks))


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    def within(z: np.ndarray) -> float:
        diagonal = float((((z * z).sum(axis=1) / z.shape[1] + 1) ** 3).sum())
        return (_kernel_sum(z, z) - diagonal) / (len(z) * (len(z) - 1))

    return within(x) + within(y) - 2 * _kernel_sum(x, y) / (len(x) * len(y))


def kernel_distance(
    x: Array, y: Array, *, subsets: int | None = None, subset_size: int | None = None, seed: int | None = None
) -> Distance:
    """Kernel distance of two feature sets [N D], [M D]: unbiased squared MMD, kernel k(u, v) = (u . v / D + 1)^3.

    mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean over all i, j of k(x_i, y_j)
    (Binkowski et al. 2018, Eq. 4, the same polynomial kernel). Unbiased, so two samples of one distribution average to
    zero and single values may be negative. No factor of 1000 is applied.

    By default one estimate from the whole sets. With ``subsets``, ``subset_size`` and ``seed`` (all three): the mean
    over ``subsets`` random pairs of subsets, each drawn without replacement from its set, as in that paper (100 of
    1000); ``spread`` is then their standard deviation. Raises InputError when a set is too small.
    """
    x, y = _feature_matrix(x), _feature_matrix(y)
    if x.shape[1] != y.shape[1]:
        raise InputError(f"feature dimensions differ: {x.shape[1]} and {y.shape[1]}")
    if min(len(x), len(y)) < 2:
        raise InputError(f"a kernel distance needs at least 2 feature vectors on each side, got {len(x)} and {len(y)}")
    options = (subsets, subset_size, seed)
    if all(option is None for option in options):
        return Distance(_squared_mmd(x, y))
    if any(option is None for option in options) or subsets < 1:
        raise InputError(f"give subsets (at least 1), subset_size and seed together, got {options}")
    if not 2 <= subset_size <= min(len(x), len(y)):
        raise InputError(f"subset_size must lie between 2 and the smaller set, {min(len(x), len(y))}; got {subset_size}")
    random = np.random.default_rng(seed)
    estimates = [
        _squared_mmd(
            x[random.choice(len(x), subset_size, replace=False)], y[random.choice(len(y), subset_size, replace=False)]
        )
        for _ in range(subsets)
    ]
    return Distance(float(np.mean(estimates)), spread=float(np.std(estimates)))


@dataclass(frozen=True)
class KernelProtocol:
    """How a kernel distance is estimated: from at most ``samples`` vectors a side, all at once or, with ``subsets``, as the
    mean over that many random pairs of subsets of ``subset_size`` vectors."""

    samples: int
    subsets: int | None = None
    subset_size: int | None = None

    def record(self) -> dict[str, int | None]:
        return asdict(self)

    def distance(self, x: Array, y: Array) -> Distance:
        """Kernel distance of two feature sets [N D], [M D]. The draw of subsets is fixed; they shrink to the smaller set
        where that holds too few vectors, and ``warning`` says so."""
        if self.subsets is None:
            return kernel_distance(x, y)
        size = min(self.subset_size, len(x), len(y))
        estimate = kernel_distance(x, y, subsets=self.subsets, subset_size=size, seed=0)
        if size < self.subset_size:
            warning = f"kernel distance from subsets of {size} vectors instead of {self.subset_size:,}: the smaller set holds no more"
            return Distance(estimate.value, warning, estimate.spread)
        return estimate


def _paired(a: Array, b: Array) -> tuple[np.ndarray, np.ndarray]:
    a, b = to_float64(a).ravel(), to_float64(b).ravel()
    if a.shape != b.shape or a.size == 0:
        raise InputError(f"two lists of the same, nonzero length are needed, got {a.size} and {b.size} values")
    return a, b


def correlation(a: Array, b: Array) -> float:
    """Pearson correlation of paired values, in [-1, 1]; 0 when either side is constant.

    A constant side carries no information about the other, which is what 0 says; Pearson's own answer there is 0 / 0.
    Constant means: standard deviation at most 1e-6 of the largest magnitude (float32 noise of a network's answers).
    """
    a, b = _paired(a, b)
    for side in (a, b):
        if side.std() <= CONSTANT_BELOW * np.abs(side).max():
            return 0.0
    a, b = a - a.mean(), b - b.mean()
    return float(np.clip((a / np.linalg.norm(a)) @ (b / np.linalg.norm(b)), -1.0, 1.0))


def mean_absolute_error(a: Array, b: Array) -> float:
    """Mean of |a - b| over paired values, in their own units."""
    a, b = _paired(a, b)
    return float(np.abs(a - b).mean())


def pairwise_diversity(vectors: Array) -> np.ndarray:
    """How far apart the outputs of one source lie: [S K D] -> [S], the mean Euclidean distance over the K (K - 1) / 2
    pairs (45 for K = 10, thesis section 5.2.2, which uses LPIPS as the distance)."""
    vectors = to_float64(vectors)
    if vectors.ndim != 3 or vectors.shape[1] < 2:
        raise InputError(f"diversity needs vectors [S K D] with K at least 2, got {list(vectors.shape)}")
    first, second = np.triu_indices(vectors.shape[1], k=1)
    return np.linalg.norm(vectors[:, first] - vectors[:, second], axis=2).mean(axis=1)

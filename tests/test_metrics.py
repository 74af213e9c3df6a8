"""The distances against closed forms, scipy and plain loops."""

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial.distance
import scipy.stats
import torch

from kdlib.errors import InputError
from kdlib.scoring.metrics import (
    FeatureStatistics,
    KernelProtocol,
    correlation,
    frechet_distance,
    kernel_distance,
    mean_absolute_error,
    pairwise_diversity,
)


def statistics_of(features, batch=None):
    statistics = FeatureStatistics(features.shape[1])
    for start in range(0, len(features), batch or len(features)):
        statistics.update(features[start : start + (batch or len(features))])
    return statistics


def correlated(random, count, dimension, shift=0.0):
    return random.normal(size=(count, dimension)) @ random.normal(size=(dimension, dimension)) + shift


@pytest.mark.parametrize("batch", [1, 7, 32, 500])
def test_statistics_match_numpy_and_do_not_depend_on_the_batch_size(batch):
    # The mean is far from zero: a sum of squares would lose 8 of its 16 digits here.
    features = correlated(np.random.default_rng(0), 500, 6, shift=1e4)
    statistics = statistics_of(features, batch)
    assert statistics.count == 500
    np.testing.assert_allclose(statistics.mean, features.mean(axis=0), rtol=1e-13)
    # 1e-9: float64 rounding at magnitude 1e4 (1e-12) over a covariance of order 1, with 500 additions.
    np.testing.assert_allclose(statistics.covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-9)


def test_statistics_take_single_precision_tensors_in_double():
    features = torch.randn(64, 3, generator=torch.Generator().manual_seed(0)) + 100
    expected = np.cov(features.double().numpy(), rowvar=False)
    np.testing.assert_allclose(statistics_of(features, 9).covariance, expected, rtol=1e-10)


def test_statistics_survive_storing():
    statistics = statistics_of(correlated(np.random.default_rng(1), 40, 5))
    stored = FeatureStatistics.from_moments(statistics.count, statistics.mean, statistics.covariance)
    more = np.random.default_rng(2).normal(size=(10, 5))
    statistics.update(more)
    stored.update(more)
    np.testing.assert_allclose(stored.covariance, statistics.covariance, rtol=1e-12)


@pytest.mark.parametrize(
    "features, message",
    [(np.zeros((4, 2)), r"\[N 3\]"), (np.zeros(3), r"\[N 3\]"), (np.full((2, 3), np.nan), "NaN")],
)
def test_statistics_refuse_bad_features(features, message):
    with pytest.raises(InputError, match=message):
        FeatureStatistics(3).update(features)


def test_frechet_of_diagonal_gaussians_is_the_closed_form():
    mean_a, mean_b = np.array([0.0, 1.0, -2.0]), np.array([0.5, 1.0, 1.0])
    deviation_a, deviation_b = np.array([1.0, 2.0, 0.1]), np.array([3.0, 0.5, 0.1])
    a = FeatureStatistics.from_moments(100, mean_a, np.diag(deviation_a**2))
    b = FeatureStatistics.from_moments(100, mean_b, np.diag(deviation_b**2))
    expected = ((mean_a - mean_b) ** 2).sum() + ((deviation_a - deviation_b) ** 2).sum()
    found = frechet_distance(a, b)
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.shift == pytest.approx(((mean_a - mean_b) ** 2).sum(), rel=1e-12)
    assert found.warning is None


def test_frechet_matches_the_matrix_square_root():
    random = np.random.default_rng(3)
    x, y = correlated(random, 300, 20), correlated(random, 200, 20, shift=0.3)
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + np.trace(a + b - 2 * root)
    # 1e-8: sqrtm works on the unsymmetric product, whose condition number is about 1e6 here.
    assert frechet_distance(statistics_of(x), statistics_of(y)).value == pytest.approx(expected, rel=1e-8)


def test_frechet_of_a_shifted_set_is_the_squared_shift_and_of_itself_zero():
    x = correlated(np.random.default_rng(4), 400, 12)
    shift = np.linspace(-1, 1, 12)
    assert frechet_distance(statistics_of(x), statistics_of(x)).value == pytest.approx(0, abs=1e-10)
    moved = frechet_distance(statistics_of(x), statistics_of(x + shift))
    assert moved.value == pytest.approx((shift**2).sum(), rel=1e-9)


def test_frechet_sees_vectors_that_came_after_it_was_asked():
    random = np.random.default_rng(6)
    x, y, z = (correlated(random, 200, 8, shift=s) for s in (0.0, 0.2, 1.0))
    growing, other = statistics_of(x), statistics_of(z)
    before = frechet_distance(growing, other).value
    growing.update(y * 3)
    after = frechet_distance(growing, other).value
    assert after == pytest.approx(frechet_distance(statistics_of(np.concatenate([x, y * 3])), statistics_of(z)).value, rel=1e-8)
    assert abs(after - before) > 0.1 * before


def test_frechet_with_fewer_samples_than_dimensions_works_and_warns():
    random = np.random.default_rng(5)
    x = random.normal(size=(10, 64))
    same = frechet_distance(statistics_of(x), statistics_of(x))
    assert same.value == pytest.approx(0, abs=1e-10)
    assert "10 samples in 64 dimensions" in same.warning
    # On disjoint subspaces A B = 0, so nothing is taken off the traces; 54 directions are empty on both sides.
    apart_x, apart_y = x * (np.arange(64) < 32), x * (np.arange(64) >= 32)
    expected = np.trace(np.cov(apart_x.T) + np.cov(apart_y.T)) + ((apart_x - apart_y).mean(axis=0) ** 2).sum()
    # 1e-6: the roots of zero eigenvalues come out as 1e-8 instead of 0.
    assert frechet_distance(statistics_of(apart_x), statistics_of(apart_y)).value == pytest.approx(expected, rel=1e-6)


def test_frechet_refuses_what_has_no_covariance():
    one, two = FeatureStatistics(2), FeatureStatistics(3)
    one.update(np.zeros((1, 2)))
    with pytest.raises(InputError, match="at least 2"):
        frechet_distance(one, one)
    with pytest.raises(InputError, match="differ"):
        frechet_distance(one, two)


def plain_kernel_distance(x, y):
    def k(u, v):
        return (sum(p * q for p, q in zip(u, v)) / len(u) + 1) ** 3

    m, n = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return xx + yy - 2 * sum(k(u, v) for u in x for v in y) / (m * n)


def test_kernel_distance_matches_the_double_loop():
    random = np.random.default_rng(6)
    x, y = random.normal(size=(13, 4)), random.normal(size=(9, 4)) + 0.5
    expected = plain_kernel_distance(x.tolist(), y.tolist())
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-11)
    assert kernel_distance(y, x).value == pytest.approx(expected, rel=1e-11)


def test_kernel_distance_is_blockwise_exact():
    random = np.random.default_rng(7)
    x, y = random.normal(size=(1500, 3)), random.normal(size=(1100, 3))

    def gram(p, q):
        return (p @ q.T / 3 + 1) ** 3

    xx, yy = gram(x, x), gram(y, y)
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    expected = xx.sum() / (1500 * 1499) + yy.sum() / (1100 * 1099) - 2 * gram(x, y).mean()
    assert kernel_distance(x, y).value == pytest.approx(expected, abs=1e-12)


def test_kernel_distance_is_unbiased_where_frechet_is_not():
    """Same distribution: the mean over 400 draws is zero within its standard error; the Frechet distance is not."""
    random = np.random.default_rng(8)
    draws = [(random.normal(size=(20, 8)), random.normal(size=(20, 8))) for _ in range(400)]
    values = np.array([kernel_distance(x, y).value for x, y in draws])
    # 4 standard errors: false alarm 1 in 16,000, and the seed is fixed. A biased estimate (diagonal kept) is off by 50.
    assert abs(values.mean()) < 4 * values.std(ddof=1) / np.sqrt(len(values))
    assert (values < 0).any()
    assert min(frechet_distance(statistics_of(x), statistics_of(y)).value for x, y in draws) > 0.5


def test_kernel_distance_of_a_shift_is_the_population_value():
    # x ~ N(0, 1), y ~ N(c, 1) in one dimension. With u, v independent of means p, q and variance 1:
    # E(uv + 1)^3 = E u^3 E v^3 + 3 E u^2 E v^2 + 3 p q + 1, E u^2 = p^2 + 1, E u^3 = p^3 + 3 p.
    def expected_kernel(p, q):
        return (p**3 + 3 * p) * (q**3 + 3 * q) + 3 * (p * p + 1) * (q * q + 1) + 3 * p * q + 1

    c = 0.7
    expected = expected_kernel(0, 0) + expected_kernel(c, c) - 2 * expected_kernel(0, c)
    random = np.random.default_rng(9)
    values = [
        kernel_distance(random.normal(size=(500, 1)), random.normal(size=(500, 1)) + c).value for _ in range(60)
    ]
    assert abs(np.mean(values) - expected) < 4 * np.std(values, ddof=1) / np.sqrt(60)


def test_kernel_distance_over_subsets():
    random = np.random.default_rng(10)
    x, y = random.normal(size=(60, 5)), random.normal(size=(50, 5)) + 1
    first = kernel_distance(x, y, subsets=200, subset_size=25, seed=1)
    assert first == kernel_distance(x, y, subsets=200, subset_size=25, seed=1)
    assert first != kernel_distance(x, y, subsets=200, subset_size=25, seed=2)
    # Each subset estimates the same quantity without bias, so their mean nears the whole-set value.
    assert abs(first.value - kernel_distance(x, y).value) < 4 * first.spread / np.sqrt(200)
    whole = kernel_distance(x[:50], y, subsets=3, subset_size=50, seed=0)
    assert whole.value == pytest.approx(kernel_distance(x[:50], y).value, rel=1e-11)
    assert whole.spread == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [{"subset_size": 5}, {"subsets": 2, "subset_size": 11, "seed": 0}, {"subsets": 0, "subset_size": 5, "seed": 0}],
)
def test_kernel_distance_refuses_unclear_subsets(options):
    with pytest.raises(InputError):
        kernel_distance(np.zeros((10, 2)), np.zeros((12, 2)), **options)


def test_a_kernel_protocol_takes_the_subsets_it_can_get_and_says_so():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(120, 3)), random.normal(size=(150, 3)) + 0.3
    assert KernelProtocol(200).distance(x, y) == kernel_distance(x, y)
    protocol = KernelProtocol(200, subsets=4, subset_size=100)
    assert protocol.distance(x, y) == kernel_distance(x, y, subsets=4, subset_size=100, seed=0)
    few = protocol.distance(x[:30], y)
    assert few.value == kernel_distance(x[:30], y, subsets=4, subset_size=30, seed=0).value
    assert "subsets of 30 vectors instead of 100" in few.warning


def test_correlation_matches_scipy_and_never_is_nan():
    random = np.random.default_rng(11)
    a = random.normal(size=200) + 1000
    b = 0.3 * a + random.normal(size=200)
    assert correlation(a, b) == pytest.approx(scipy.stats.pearsonr(a, b).statistic, abs=1e-12)
    assert correlation(a, -2 * a + 5) == pytest.approx(-1, abs=1e-12)
    assert correlation(a, np.full(200, 0.1)) == 0
    assert correlation(np.zeros(200), b) == 0
    # What a network answers for one image many times: equal up to float32 rounding, that is, constant.
    noisy = (0.37 + random.normal(size=200) * 3e-8).astype(np.float32)
    assert correlation(noisy, b) == 0
    with pytest.raises(InputError):
        correlation(a, b[:-1])


def test_mean_absolute_error():
    assert mean_absolute_error([1.0, 2.0, 4.0], [1.0, 0.0, 5.0]) == 1.0


def test_pairwise_diversity_matches_scipy_over_the_45_pairs():
    vectors = np.random.default_rng(12).normal(size=(3, 10, 7))
    pairs = [scipy.spatial.distance.pdist(outputs) for outputs in vectors]
    assert all(len(distances) == 45 for distances in pairs)
    np.testing.assert_allclose(pairwise_diversity(vectors), [d.mean() for d in pairs], rtol=1e-12)
    assert pairwise_diversity(np.ones((2, 10, 4))).tolist() == [0, 0]
    with pytest.raises(InputError):
        pairwise_diversity(np.ones((2, 1, 4)))

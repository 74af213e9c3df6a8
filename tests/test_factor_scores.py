"""Factor scores of made-up predictions whose answer is known without computing it, and against scipy."""

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.spatial.distance import pdist

from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS
from kdlib.errors import InputError
from kdlib.scoring.factor_scores import Factors, factor_scores

S, K = 40, 10
NAMES = (*CONTENT_FACTORS, *STYLE_FACTORS)
CONTENT, STYLE = slice(0, len(CONTENT_FACTORS)), slice(len(CONTENT_FACTORS), None)
DOG = SPECIES.index("dog")


def sampled(*shape, seed, species="cat"):
    random = np.random.default_rng(seed)
    factors = random.uniform(size=(*shape, len(NAMES)))
    factors[..., NAMES.index("tilt")] = factors[..., NAMES.index("tilt")] * 60 - 30
    return Factors(factors, np.full(shape, SPECIES.index(species)))


@pytest.fixture
def sources():
    return sampled(S, seed=0)


@pytest.fixture
def references():
    return sampled(S, K, seed=1, species="dog")


def repeated(sources):
    return sources[np.repeat(np.arange(S), K)].reshape(S, K)


def test_outputs_equal_to_their_source(sources, references):
    scores = factor_scores(sources, repeated(sources), "dog", references)
    assert scores["domain_accuracy"] == 0
    assert scores["content_correlation"] == pytest.approx(1)
    assert scores["detail_correlation"] == pytest.approx(1)
    assert all(scores[f"content_error_{name}"] == 0 for name in CONTENT_FACTORS)
    assert scores["style_diversity"] == 0
    # Independent of 400 references: |r| is about 1 / sqrt(400) = 0.05; 5 deviations.
    assert abs(scores["style_correlation"]) < 0.25 and scores["leak_correlation"] < 0.25


def test_outputs_equal_to_their_reference(sources, references):
    scores = factor_scores(sources, references, "dog", references)
    assert scores["domain_accuracy"] == 1
    assert abs(scores["content_correlation"]) < 0.25
    assert scores["style_correlation"] == pytest.approx(1)
    assert scores["leak_correlation"] == pytest.approx(1)
    for group in ("fur", "markings", "eye", "background"):
        assert scores[f"style_correlation_{group}"] == pytest.approx(1)
        assert scores[f"style_error_{group}"] == 0


def test_a_perfect_translation(sources, references):
    outputs = repeated(sources)
    outputs = Factors(outputs.factors.copy(), references.species)
    outputs.factors[..., STYLE] = references.factors[..., STYLE]
    scores = factor_scores(sources, outputs, "dog", references)
    assert (scores["domain_accuracy"], scores["content_error_tilt"], scores["style_error_eye"]) == (1, 0, 0)
    assert scores["content_correlation"] == pytest.approx(1) and scores["style_correlation"] == pytest.approx(1)
    assert scores["leak_correlation"] < 0.25


def test_each_score_against_scipy(sources, references):
    outputs = sampled(S, K, seed=2, species="fox")
    outputs.species[:, :3] = DOG
    outputs.factors[..., CONTENT] += 0.7 * sources.factors[:, None, CONTENT]
    outputs.factors[..., STYLE] += 0.4 * references.factors[..., STYLE]
    scores = factor_scores(sources, outputs, "dog", references)

    def column(factors, name):
        return factors.factors[..., NAMES.index(name)]

    def r(a, b):
        return scipy.stats.pearsonr(np.ravel(a), np.ravel(b)).statistic

    assert scores["domain_accuracy"] == pytest.approx(0.3)
    expected = {name: r(column(outputs, name), np.repeat(column(sources, name), K)) for name in CONTENT_FACTORS}
    for name in CONTENT_FACTORS:
        assert scores[f"content_correlation_{name}"] == pytest.approx(expected[name])
        error = np.abs(column(outputs, name) - column(sources, name)[:, None]).mean()
        assert scores[f"content_error_{name}"] == pytest.approx(error)
    assert scores["content_correlation"] == pytest.approx(np.mean([expected[n] for n in ("x", "y", "size", "tilt")]))
    assert scores["detail_correlation"] == pytest.approx(np.mean([expected[n] for n in ("gaze", "mouth")]))

    def group(name):
        channels = [f"{name}_{colour}" for colour in ("red", "green", "blue")]
        return np.mean([r(column(outputs, c), column(references, c)) for c in channels])

    assert scores["style_correlation_fur"] == pytest.approx(group("fur"))
    assert scores["style_correlation"] == pytest.approx((group("fur") + group("background")) / 2)
    leaks = [r(column(outputs, n), column(references, n)) for n in ("x", "y", "size", "tilt")]
    assert scores["leak_correlation"] == pytest.approx(np.abs(leaks).mean())
    distances = [pdist(row[:, STYLE]).mean() for row in outputs.factors]
    assert scores["style_diversity"] == pytest.approx(np.mean(distances))


def test_a_generator_stuck_on_one_picture_scores_zero_not_nan(sources, references):
    stuck = references[np.zeros(S * K, int), np.zeros(S * K, int)].reshape(S, K)
    scores = factor_scores(sources, stuck, "dog", references)
    assert np.isfinite(list(scores.values())).all()
    assert scores["content_correlation"] == scores["style_correlation"] == scores["leak_correlation"] == 0


def test_without_references_there_are_no_style_and_leak_scores(sources):
    scores = factor_scores(sources, sampled(S, K, seed=3), "dog")
    assert not [name for name in scores if name.startswith(("style_correlation", "style_error", "leak"))]
    assert scores["style_diversity"] > 0


def test_predictions_are_read_in_the_order_of_the_factor_network():
    prediction = SimpleNamespace(
        features=torch.zeros(2, 4),
        species_logits=torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]]),
        factors=torch.arange(32.0).view(2, 16),
    )
    factors = Factors.of(prediction)
    assert factors.species.tolist() == [1, 0]
    assert factors.column("tilt").tolist() == [3, 19]
    assert factors.column("fur_red").tolist() == [6, 22]
    assert factors.column("background_blue").tolist() == [15, 31]


def test_what_does_not_fit_is_refused(sources, references):
    with pytest.raises(InputError, match="not one of Critters' species"):
        factor_scores(sources, references, "wild")
    with pytest.raises(InputError, match=r"sources \[S\]"):
        factor_scores(sources[:-1], references, "dog")
    with pytest.raises(InputError, match="shaped like outputs"):
        factor_scores(sources, references, "dog", references[:, :5])

"""Translators without a model: what they return, and their scores against a direct computation."""

import numpy as np
import pytest
import scipy.linalg
import torch
from made_up_translation import TRAIN, VAL, FakeFeatures, data, run

from kdlib.images import to_float
from kdlib.model_free import RANDOM, REFERENCE, SOURCE, pick, translator, uniform
from kdlib.scoring.protocol import draw_latents


def test_the_source_itself():
    result = run(translator(SOURCE, data()), data())
    for mode in ("latent", "reference"):
        mean = result[mode]["mean"]
        assert mean["domain_accuracy"] == 0 and mean["diversity_fake"] == pytest.approx(0, abs=1e-6)  # rounding
        assert mean["content_correlation"] == pytest.approx(1)
    assert result["reconstruction"]["mean"]["reconstruction_l1"] == 0


def test_the_reference_itself():
    result = run(translator(REFERENCE, data()), data())
    mean = result["reference"]["mean"]
    assert mean["domain_accuracy"] == 1
    assert mean["style_correlation"] == pytest.approx(1) and mean["leak_correlation"] == pytest.approx(1)
    assert abs(mean["content_correlation"]) < 0.2  # of 120 outputs, mean of 4 factors and 6 pairs: about 0.04, 5 sigma
    assert result["reconstruction"]["mean"]["reconstruction_l1"] == 0


def test_a_random_training_picture_against_a_direct_computation():
    """dog -> fox, latent-guided, written out: the outputs are training pictures of foxes, and their distance is that of any such set."""
    dataset, features = data(), FakeFeatures()
    nets, pair = translator(RANDOM, dataset), 1 * 3 + 2
    outputs = []
    for i in range(VAL):
        x = to_float(dataset.val.images(1)[i : i + 1])
        for z in torch.from_numpy(draw_latents(777, pair, i, 10, 16)):
            s = nets.mapping_network(z[None], torch.tensor([2]))
            outputs.append(nets.generator.render(nets.generator.content(x), s)[0])
    train = to_float(dataset.train.images(2))
    drawn = [next(j for j in range(TRAIN) if torch.equal(output, train[j])) for output in outputs]
    assert len(set(drawn)) == TRAIN  # 120 draws out of 24 leave one out in 24 (23/24)^120 = 15 of 100 such tests; these draws are fixed
    fake, real = (features(pictures).double().numpy() for pictures in (train[drawn], train))
    a, b = np.cov(fake.T), np.cov(real.T)
    expected = ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    result = run(nets, dataset)
    scores = result["latent"]["pairs"]["dog->fox"]
    assert scores["frechet_fake"] == pytest.approx(expected, rel=1e-5)  # float32 features, batches of another size
    for mode in ("latent", "reference"):
        mean = result[mode]["mean"]
        assert mean["domain_accuracy"] == 1 and abs(mean["content_correlation"]) < 0.2
    assert abs(result["reference"]["mean"]["style_correlation"]) < 0.2 and result["reference"]["mean"]["leak_correlation"] < 0.25


@pytest.mark.parametrize("name", [SOURCE, RANDOM, REFERENCE])
def test_scores_do_not_depend_on_the_batch_size(name):
    scores = [run(translator(name, data()), data(), batch_size=b, sources_per_domain=3) for b in (7, 100)]
    for part in ("latent", "reference", "reconstruction"):
        assert scores[0][part]["mean"] == pytest.approx(scores[1][part]["mean"], rel=1e-4, abs=1e-6)  # float32 features


def test_draws_are_uniform_and_belong_to_their_row():
    rows = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))
    found = uniform(rows)
    assert torch.equal(found[17:19], uniform(rows[17:19])) and found.min() >= 0 and found.max() < 1
    counts = torch.histc(found.float(), 20, 0, 1)
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-squared of 19 degrees of freedom: exceeded by 1 in 1,000


def test_pictures_are_picked_of_their_domain():
    split = data().train
    y = torch.tensor([2, 0, 2, 1])
    found = pick(split, y, torch.tensor([0.0, 0.999, 0.5, 0.25], dtype=torch.float64))
    for picture, domain, index in zip(found, y.tolist(), (0, TRAIN - 1, TRAIN // 2, TRAIN // 4)):
        assert torch.equal(picture, to_float(split.images(domain)[index]))

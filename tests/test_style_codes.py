"""What is said of a style code, with encoders and generators that do known things."""

import numpy as np
import pytest
import torch
from made_up_translation import COPY_SOURCE, COPY_STYLE, TRANSLATE, FakeFactorNetwork, data, networks
from torch import nn

from kdlib.critters import CONTENT_FACTORS, STYLE_FACTORS
from kdlib.style_codes import FROM_CODE, FROM_SOURCE, HELD, RIDGE, code_scores, readout

CHANCE = 0.5  # largest correlation of unrelated factors: of 12 pictures a domain each is 0.3 wide, the mean of three 0.17; 3 sigma


def scores(keep, encoder=None):
    nets = networks(keep)
    nets.style_encoder = encoder or nets.style_encoder
    return code_scores(nets, data(), FakeFactorNetwork())


def all_of(found, names):
    return np.array([found[name] for name in names])


def test_a_generator_that_draws_everything_from_the_code():
    found = scores(COPY_STYLE)
    assert min(found[HELD].values()) > 0.98  # 24 pictures and a small ridge penalty: not exactly 1
    assert min(found[FROM_CODE].values()) == pytest.approx(1, abs=1e-4)  # 8-bit pictures
    assert max(map(abs, found[FROM_SOURCE].values())) < CHANCE


def test_a_generator_that_takes_its_content_from_the_source():
    """The code holds the content here, too, and nothing of it is used."""
    found = scores(TRANSLATE)
    assert all_of(found[HELD], CONTENT_FACTORS).min() > 0.98
    assert all_of(found[FROM_SOURCE], CONTENT_FACTORS) == pytest.approx(1, abs=1e-4)
    assert all_of(found[FROM_CODE], STYLE_FACTORS) == pytest.approx(1, abs=1e-4)
    assert abs(all_of(found[FROM_CODE], CONTENT_FACTORS)).max() < CHANCE and abs(all_of(found[FROM_SOURCE], STYLE_FACTORS)).max() < CHANCE


def test_a_code_without_content_cannot_be_read():
    class Style(nn.Module):
        def forward(self, x, y):
            return nn.functional.pad(x.flatten(2)[:, 0, 6:16], (0, 54))

    found = scores(TRANSLATE, Style())[HELD]
    assert all_of(found, STYLE_FACTORS).min() > 0.98 and abs(all_of(found, CONTENT_FACTORS)).max() < CHANCE


def test_a_constant_code_holds_nothing():
    class Nothing(nn.Module):
        def forward(self, x, y):
            return torch.ones(len(x), 64)

    found = scores(COPY_SOURCE, Nothing())
    assert set(found[HELD].values()) == {0.0} and min(found[FROM_SOURCE].values()) == pytest.approx(1, abs=1e-4)


def test_ridge_regression_against_augmented_least_squares():
    random = np.random.default_rng(0)
    codes, factors, other = random.normal(2, 3, (40, 5)), random.normal(size=(40, 2)), random.normal(2, 3, (30, 5))
    factors[:, 0] += codes @ random.normal(size=5)
    truth = random.normal(size=(30, 2)) + other[:, :2]
    x = (codes - codes.mean(0)) / codes.std(0)
    stacked = np.vstack([x, np.sqrt(RIDGE) * np.eye(5)]), np.vstack([factors - factors.mean(0), np.zeros((5, 2))])
    weights = np.linalg.lstsq(*stacked, rcond=None)[0]
    read = (other - codes.mean(0)) / codes.std(0) @ weights
    expected = [np.corrcoef(read[:, i], truth[:, i])[0, 1] for i in range(2)]
    assert readout(codes, factors, other, truth) == pytest.approx(expected)

"""Spectra of pictures whose power is known: noise, waves, and what blurring and weaving do to it."""

import math

import numpy as np
import pytest
import torch
from made_up_translation import COPY_SOURCE, data, networks, run

from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.scoring.protocol import eval_mode, to_8_bits
from kdlib.scoring.spectrum import MeanSpectrum, decibels, spectral_scores

ROUNDING = (2 / 255) ** 2 / 12


def noise(count, size=32, deviation=0.2, seed=0):
    return deviation * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def of(images):
    spectrum = MeanSpectrum()
    spectrum.add(images)
    return spectrum


@pytest.mark.parametrize("size", [8, 32, 64])
def test_white_noise_has_the_power_of_its_variance_at_every_size(size):
    power = 10 ** (decibels(noise(400, size)) / 10)
    away = power[:, 2:-1, 2:-1]  # next to frequency 0 the window has taken what the mean was
    assert away.mean().item() == pytest.approx(0.04 + ROUNDING, rel=0.03)
    # Power of one of n = 3 channels is exponentially distributed: its logarithm lies psi(3) - ln 3 below that of the mean.
    below = 10 / math.log(10) * (1 + 1 / 2 - np.euler_gamma - math.log(3))
    assert decibels(noise(400, size))[:, 2:-1, 2:-1].mean().item() == pytest.approx(10 * math.log10(0.04) + below, abs=0.15)


def test_a_plain_picture_has_the_power_of_rounding_and_no_less():
    assert decibels(torch.full((1, 3, 16, 16), 0.3)).flatten().tolist() == pytest.approx([10 * math.log10(ROUNDING)] * 256, abs=1e-6)
    rounded = to_float(to_8_bits(noise(200, 64)))
    lost = decibels(rounded - noise(200, 64))
    assert (10 ** (lost / 10)).mean().item() == pytest.approx(2 * ROUNDING, rel=0.05)  # that noise, and the floor under it


def test_a_wave_has_all_its_power_at_its_frequency():
    wave = 0.5 * torch.cos(2 * math.pi * 8 * torch.arange(32) / 32).expand(1, 3, 32, 32)
    power = 10 ** (decibels(wave)[0] / 10) - ROUNDING
    near = [(0, 7), (0, 8), (0, 9), (1, 7), (1, 8), (1, 9), (-1, 7), (-1, 8), (-1, 9)]  # a Hann window has three lines a side
    found = 2 * sum(power[k].item() for k in near)
    # Parseval: the mean over frequencies is the mean square of the windowed wave, 1/8 for the window's mean square is 1.
    assert power.sum().item() == pytest.approx(found, rel=1e-6)
    assert power.mean().item() == pytest.approx(0.125, rel=1e-3)


def test_half_the_power_everywhere_is_three_decibels():
    loud, quiet = of(noise(50)), of(noise(50) / math.sqrt(2))
    scores = spectral_scores(quiet, loud)
    assert scores["spectral_distance"] == pytest.approx(10 * math.log10(2), abs=0.01)
    assert scores["fine_detail"] == pytest.approx(-10 * math.log10(2), abs=0.01)
    assert spectral_scores(loud, loud) == {"spectral_distance": 0.0, "fine_detail": 0.0}


def test_blur_takes_fine_detail_and_a_weave_adds_a_distance():
    sharp = noise(100)
    blurred = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(sharp, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    weave = 0.2 * torch.cos(math.pi * torch.arange(32)).expand(1, 3, 32, 32)
    scores = {name: spectral_scores(of(p), of(noise(100, seed=1))) for name, p in (("blur", blurred), ("weave", sharp + weave), ("same", sharp))}
    assert scores["blur"]["fine_detail"] < -5
    assert scores["same"]["spectral_distance"] < 0.5 and abs(scores["same"]["fine_detail"]) < 0.1 < scores["weave"]["fine_detail"]
    assert 1.5 < scores["weave"]["spectral_distance"] < scores["blur"]["spectral_distance"]


def test_pictures_in_batches_are_pictures_at_once():
    images, parts = noise(10), MeanSpectrum()
    for part in images.split(3):
        parts.add(part)
    assert parts.count == 10 and parts.mean == pytest.approx(of(images).mean, abs=1e-9)


def test_real_pictures_of_a_domain():
    dataset = data()
    expected = decibels(to_float(dataset.train.images(1))).mean(dim=0).numpy()
    assert MeanSpectrum.of_split(dataset.train, 1, batch_size=5).mean == pytest.approx(expected, abs=1e-9)


def test_in_the_evaluation_against_the_targets_training_pictures():
    dataset = data()
    result = run(networks(COPY_SOURCE), dataset)
    sources = dataset.val.images(0)
    nets = networks(COPY_SOURCE)
    with eval_mode([nets.generator]):
        copies = to_float(to_8_bits(nets.generator(to_float(sources), torch.zeros(len(sources), 64))))
    expected = spectral_scores(of(copies), of(to_float(dataset.train.images(2))))
    for mode in ("latent", "reference"):
        found = result[mode]["pairs"]["cat->fox"]
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    mark = spectral_scores(of(to_float(dataset.val.images(2))), of(to_float(dataset.train.images(2))))
    assert {name: result["real"]["domains"]["fox"][name] for name in mark} == pytest.approx(mark, rel=1e-9)
    assert "decibels" in result["protocol"]["spectrum"]


def test_what_has_no_spectrum():
    with pytest.raises(InputError, match="square"):
        decibels(torch.zeros(1, 3, 8, 4))
    with pytest.raises(InputError, match="at least one picture"):
        MeanSpectrum().mean  # noqa: B018
    with pytest.raises(InputError, match="8 px and of 16 px"):
        spectral_scores(of(noise(1, 8)), of(noise(1, 16)))

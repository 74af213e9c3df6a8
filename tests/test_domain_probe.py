"""The linear probe of domains: what it says of models that change nothing, and of ones that draw a real picture of the target."""

import json
from types import SimpleNamespace

import domain_probe
import numpy as np
import pytest
import torch
from torch import nn

from kdlib import session
from kdlib.analysis.kept_study import load_study
from kdlib.book import faces_report
from kdlib.config import load_preset
from kdlib.images import to_float
from kdlib.networks import Networks

PRESET = load_preset("smoke")


class Pixels(nn.Module):
    """A feature network whose features are the picture in a few big pixels."""

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)


class Codes(nn.Module):
    """A code that says the domain."""

    def forward(self, given, y):
        return nn.functional.one_hot(y, 64).float()


class Kept(nn.Module):
    """What a generator keeps of a source: all of it."""

    def content(self, x, masks):
        return SimpleNamespace(x=x, of=lambda where: SimpleNamespace(x=x[where]))

    def render(self, content, styles):
        return content.x


class Swapped(Kept):
    """A generator that gives a real picture of the domain instead."""

    def __init__(self, pictures):
        super().__init__()
        self.pictures = pictures

    def render(self, content, styles):
        return self.pictures[styles.argmax(1)]


def test_the_probe_is_fisher_s_linear_discriminant():
    """Of two normal clouds of one covariance C it separates by C^-1 (m1 - m0)."""
    random = np.random.default_rng(0)
    mixing, means = np.array([[1.0, 0.6, 0.0], [0.0, 1.0, 0.3], [0.2, 0.0, 0.5]]), np.array([[0.0, 0.0, 0.0], [2.0, -1.0, 0.5]])
    y = np.arange(20_000) % 2
    x = random.standard_normal((20_000, 3)) @ mixing + means[y]
    probe = domain_probe.Probe(x, y)
    direction = probe.weights[:3, 1] - probe.weights[:3, 0]
    expected = np.linalg.solve(mixing.T @ mixing, means[1] - means[0])
    assert direction @ expected / np.linalg.norm(direction) / np.linalg.norm(expected) == pytest.approx(1, abs=1e-3)
    assert (probe(x) == y).mean() > 0.9


def test_models_that_keep_their_sources_and_models_that_swap_them(tmp_path, monkeypatch, capsys):
    dataset = session.open_data(PRESET, progress=False)
    ones = to_float(torch.stack([dataset.train.images(k)[0] for k in range(len(dataset.domains))]))
    generators = {"kept": Kept(), "swapped": Swapped(ones)}
    models = {
        name: SimpleNamespace(
            preset=PRESET, name=f"x/{name}", domains=dataset.domains, nets=SimpleNamespace(
                generator=generator, style_encoder=Codes(), mapping_network=Codes(), masks=lambda x: None, TRANSLATING=Networks.TRANSLATING,
                arch=SimpleNamespace(image_size=32, domains=3, latent_dim=16),
            )
        )
        for name, generator in generators.items()
    }  # fmt: skip
    monkeypatch.setattr(domain_probe, "load_model", lambda name: models[name])
    monkeypatch.setattr(domain_probe, "load_feature_network", lambda name: Pixels())
    arguments = ["--model", "kept", "--model", "swapped", "--train", "20", "--outputs", "3", "--json", str(tmp_path / faces_report.DOMAINS)]
    assert domain_probe.main(arguments) == 0
    result = json.loads((tmp_path / faces_report.DOMAINS).read_text())
    kept, swapped = (row["scores"]["reference"] for row in result["rows"])
    assert kept["mean_change"] < 0.005 < 0.1 < swapped["mean_change"]
    # A source is taken for one of the other domains where it is not taken for its own: of each pair of domains for half of that, here.
    assert kept["taken_for_target"] == pytest.approx((1 - result["real_taken_for_own"]) / (len(dataset.domains) - 1))
    assert swapped["taken_for_target"] == 1 > kept["taken_for_target"]  # the probe has learned these very pictures
    table = faces_report.domains(load_study(faces_report.PRESET), tmp_path / faces_report.DOMAINS)
    assert f"| `swapped` | 100 % / 100 % | {swapped['mean_change']:.2f} / ".replace(" %", "%") in table and "3 outputs a source" in table
    models["swapped"].preset = load_preset("smoke", data_seed=1)
    assert domain_probe.main(arguments) == 2 and "x/swapped: judged on other pictures than x/kept" in capsys.readouterr().err

"""Several judges at once, and several seeds: against one judge at a time, and NumPy over single-seed runs."""

import json

import numpy as np
import pytest
import torch
from made_up_translation import TRANSLATE, VAL, FakeFeatures, Generator, data, networks, run
from test_features import needs_squeezenet
from torch import nn

from kdlib.critters import generate
from kdlib.data import open_dataset
from kdlib.errors import InputError
from kdlib.scoring.features import load_feature_network
from kdlib.scoring.judging import Groups
from kdlib.scoring.metrics import KernelProtocol
from kdlib.scoring.protocol import to_8_bits

MODES = ("latent", "reference")


class FakeLpips(nn.Module):
    """Mean distance of a source's outputs from their mean; keeps what it was shown."""

    score = "lpips"

    def __init__(self):
        super().__init__()
        self.shown = []

    def forward(self, outputs):
        self.shown.append(outputs)
        return (outputs - outputs.mean(dim=1, keepdim=True)).flatten(2).norm(dim=2).mean(dim=1)

    def record(self):
        return {"weights_sha256": "1", "heads_sha256": "2", "scores": {"lpips": self.score}}


class Loud(Generator):
    """Leaves [-1, 1], and lies between 8-bit levels."""

    def forward(self, x, s, masks=None):
        return super().forward(x, s, masks) * 1.3 + 0.0003


def loud():
    nets = networks(TRANSLATE)
    nets.generator = Loud(TRANSLATE)
    return nets


def test_several_judges_give_what_each_gives_alone_in_one_pass():
    nets, lpips = loud(), FakeLpips()
    judges = [FakeFeatures(name="one"), FakeFeatures(name="two", seed=1)]
    judges[1].kernel = KernelProtocol(samples=40, subsets=3, subset_size=10)
    both = run(nets, None, *judges, lpips=lpips, batch_size=7)
    assert nets.generator.images == 6 * VAL * 10 * 2 + 3 * VAL
    for judge in judges:
        alone = run(loud(), None, judge, batch_size=7)
        for part in (*MODES, "real"):
            for name, value in alone[part]["mean"].items():
                assert both[part]["mean"][name] == value, name
    assert [n["name"] for n in both["protocol"]["feature_networks"]] == ["one", "two"]
    assert both["protocol"]["feature_networks"][1]["kernel"] == {"samples": 40, "subsets": 3, "subset_size": 10}
    assert both["protocol"]["lpips"]["scores"] == {"lpips": "lpips"}
    assert both["protocol"]["factor_network_sha256"]
    assert json.loads(json.dumps(both, allow_nan=False)) == both


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_lpips_sees_the_floats_of_whole_sources_and_the_others_8_bits(batch_size):
    made, seen, lpips = [], [], FakeLpips()
    nets, features = loud(), FakeFeatures()
    nets.generator.register_forward_hook(lambda module, inputs, output: made.append(output))
    features.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    result = run(nets, None, features, lpips=lpips, batch_size=batch_size)
    outputs = torch.cat(made)[: 6 * VAL * 10 * 2]  # what follows are the reconstructions
    assert outputs.max() > 1.1
    shown = torch.cat(lpips.shown)
    assert torch.equal(shown.flatten(0, 1), outputs)
    pictures = torch.cat(seen[-(-(-VAL * 10 // batch_size)) :])  # of the last pair of domains
    assert torch.equal(to_8_bits(pictures), to_8_bits(outputs[-len(pictures) :])) and pictures.max() == 1
    of_pairs = FakeLpips()(shown).view(2, 6, VAL).mean(dim=2)
    for mode, expected in zip(MODES, of_pairs, strict=True):
        assert list(score["lpips"] for score in result[mode]["pairs"].values()) == pytest.approx(expected.tolist(), rel=1e-6)
        assert result[mode]["mean"]["lpips"] == pytest.approx(expected.mean().item(), rel=1e-6)
    assert "lpips" not in result["real"]["mean"]


def test_ten_seeds_have_the_mean_and_deviation_of_ten_single_runs(tmp_path):
    options = {"sources_per_domain": 5, "outputs_per_source": 3, "lpips": FakeLpips(), "cache_dir": tmp_path}
    features = FakeFeatures()
    result = run(loud(), None, features, seed=3, seeds=10, **options)
    once = features.seen
    single = [run(loud(), None, features, seed=seed, **options) for seed in range(3, 13)]
    # Real pictures, of which there are 3 * (24 + 12), are measured once for all seeds; outputs every time.
    assert once == 3 * 36 + 10 * (6 * 5 * 3 * 2) and features.seen == once + 10 * (6 * 5 * 3 * 2)
    assert result["protocol"]["seed"] == 3 and result["protocol"]["seeds"] == 10
    assert result["protocol"]["outputs"] == 10 * single[0]["protocol"]["outputs"]
    for mode in MODES:
        assert set(result[mode]["seeds"]) == {str(seed) for seed in range(3, 13)}
        for name, value in result[mode]["mean"].items():
            values = [one[mode]["mean"][name] for one in single]
            assert value == pytest.approx(np.mean(values)) and [s[name] for s in result[mode]["seeds"].values()] == values
            assert result[mode]["deviation"]["mean"][name] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        for pair, scores in result[mode]["pairs"].items():
            for name, value in scores.items():
                values = [one[mode]["pairs"][pair][name] for one in single]
                assert value == pytest.approx(np.mean(values))
                assert result[mode]["deviation"]["pairs"][pair][name] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert result[mode]["deviation"]["mean"]["frechet_fake"] > 0
        assert "deviation" not in single[0][mode] and "seeds" not in single[0][mode]
    assert result["real"] == single[0]["real"] and result["reconstruction"] == single[0]["reconstruction"]


def test_bad_judges_and_seeds_are_refused():
    with pytest.raises(InputError, match="seeds must be at least 1"):
        run(loud(), seeds=0)
    with pytest.raises(InputError, match="each once"):
        run(loud(), None, FakeFeatures(), FakeFeatures(seed=1))


def test_small_sets_are_warned_of_judge_by_judge():
    features = FakeFeatures()
    features.kernel = KernelProtocol(samples=50, subsets=2, subset_size=30)
    result = run(loud(), data(), FakeFeatures(name="quiet"), features)
    assert [w.split(":")[0] for w in result["warnings"]] == ["latent, kernel_fake", "reference, kernel_fake", "real, kernel_fake"]
    assert "subsets of 24 vectors instead of 30" in result["warnings"][0] and "subsets of 12" in result["warnings"][2]


@pytest.mark.slow
@needs_squeezenet
def test_squeezenet_and_the_factor_network_both_see_that_nothing_was_translated(tmp_path):
    """The generator returns its source, a picture of another species than those it is compared with."""
    root = generate(tmp_path / "critters", image_size=32, train_per_domain=30, val_per_domain=6, seed=3)
    nets = networks(TRANSLATE)
    nets.generator.forward = lambda x, s, masks=None: x
    judges = [load_feature_network(name) for name in ("squeezenet", "factor_network")]
    result = run(nets, open_dataset(root, 32), *judges, factor_network=None, outputs_per_source=2, sources_per_domain=4)
    for mode in MODES:
        for name in ("kernel_squeezenet", "kernel_factor_network"):
            assert result[mode]["mean"][name] > 3 * abs(result["real"]["mean"][name]), name
    assert "latent, frechet_squeezenet: Frechet distance from 8 samples in 512 dimensions" in result["warnings"][0]


def test_groups_are_whole_and_in_order_whatever_the_batches():
    rows = torch.arange(60).view(30, 2)
    for sizes in ((30,), (1,) * 30, (7, 7, 7, 9), (2, 0, 28)):
        groups = Groups(5)
        complete = [groups.complete(batch) for batch in rows.split(list(sizes))]
        assert torch.equal(torch.cat(complete), rows.view(6, 5, 2))

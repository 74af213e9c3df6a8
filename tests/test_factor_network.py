"""The shipped factor network: against freshly drawn Critters, whose factors are known, and against its own report."""

import json
import math
from functools import cache, partial

import numpy as np
import pytest
import torch
from safetensors import safe_open

from kdlib.checkpoints import save_weights
from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS, critter_at, render
from kdlib.errors import InputError
from kdlib.scoring import factor_network
from kdlib.scoring.factor_network import HELD_OUT_SEED, REPORT, TRAINING_SEED, WEIGHTS, FactorNetwork, disturb, load_factor_network, main

NAMES = CONTENT_FACTORS + STYLE_FACTORS
SEED = 4321  # neither trained on nor used by the report
COUNT = 60  # pictures a species


@pytest.fixture(scope="module")
def network():
    return load_factor_network()


@pytest.fixture(scope="module")
def report():
    return json.loads(REPORT.read_text(encoding="utf-8"))


@cache
def drawn(size, count=COUNT):
    """Pictures [N 3 size size] in [-1, 1], species [N], factors [N 16], written without the network's own loader."""
    animals = [critter_at(species, i, split="val", seed=SEED) for species in SPECIES for i in range(count)]
    stack = np.stack([np.asarray(render(animal, size)) for animal in animals])
    pictures = torch.from_numpy(stack.transpose(0, 3, 1, 2) / 127.5 - 1).float()
    truth = np.array([[animal.factors()[name] for name in NAMES] for animal in animals])
    return pictures, np.array([SPECIES.index(animal.species) for animal in animals]), truth


@pytest.mark.parametrize("size", [32, 64])
def test_reads_fresh_pictures_as_well_as_reported(network, report, size):
    assert SEED not in (TRAINING_SEED, TRAINING_SEED + 1, HELD_OUT_SEED, report["settings"]["seed"])
    claimed = report["accuracy"][str(size)]
    pictures, species, truth = drawn(size)
    prediction = network(pictures)
    right = (prediction.species_logits.argmax(1).numpy() == species).mean()
    # Three standard errors of a share over that many pictures, and no less than one picture.
    share = claimed["species_accuracy"]
    assert right >= share - max(1, 3 * math.sqrt(3 * COUNT * share * (1 - share))) / (3 * COUNT)
    for k, name in enumerate(NAMES):
        guess, scores = prediction.factors[:, k].numpy(), claimed["factors"][name]
        # 3 standard errors of Fisher's z of a correlation over that many pictures, and of a mean absolute error, whose spread
        # about its mean is at most about its mean (errors with tails as heavy as an exponential's).
        z = math.atanh(scores["correlation"]) - 3 / math.sqrt(3 * COUNT - 3)
        assert np.corrcoef(guess, truth[:, k])[0, 1] >= math.tanh(z), name
        assert np.abs(guess - truth[:, k]).mean() <= scores["mean_absolute_error"] * (1 + 3 / math.sqrt(3 * COUNT)), name


def test_report_claims_enough(report):
    """What a scorer must reach to be one: below, a low score could be its own mistake."""
    for size in ("32", "64"):
        claimed = report["accuracy"][size]
        assert claimed["species_accuracy"] > 0.995
        for name in NAMES:
            assert claimed["factors"][name]["correlation"] > (0.90 if name in ("gaze", "mouth", "markings") else 0.97), (size, name)
            assert claimed["factors"][name]["r2"] <= claimed["factors"][name]["correlation"] ** 2 + 1e-9  # holds for any two series


def test_report_is_of_these_weights(network, report):
    with safe_open(WEIGHTS, framework="np") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["about"])
    buffers = {f"factor_network.{name}" for name, _ in network.named_buffers()}
    assert sum(math.prod(shape) for key, shape in shapes.items() if key not in buffers) == report["parameters"]
    assert about == report["settings"]
    assert WEIGHTS.stat().st_size < 1_000_000
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())


def test_sizes_agree(network):
    """One drawing at several sizes gives one reading, to within the network's error, and no picture depends on its batch."""
    readings = {size: network(drawn(size, 8)[0]) for size in (32, 64, 128, 256)}
    spread = network.scale
    for size in (32, 128, 256):
        assert torch.equal(readings[size].species_logits.argmax(1), readings[64].species_logits.argmax(1))
        # In standard deviations of each factor; a fourth of one, averaged over 24 pictures, is a correlation of about 0.97.
        difference = ((readings[size].factors - readings[64].factors) / spread).abs().mean(0)
        assert difference.max() < 0.25, (size, dict(zip(NAMES, difference.tolist(), strict=True)))
    alone = network(drawn(64, 8)[0][3:4])
    torch.testing.assert_close(alone.factors, readings[64].factors[3:4], atol=1e-3, rtol=1e-4)  # float32 sums in another order


def test_outputs_have_their_shapes(network):
    prediction = network(torch.zeros(2, 3, 40, 40))
    assert prediction.features.shape == (2, 64)
    assert prediction.species_logits.shape == (2, 3)
    assert prediction.factors.shape == (2, 16)
    for shape in [(3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 32), (1, 3, 16, 16)]:
        with pytest.raises(InputError, match="factor network takes square"):
            network(torch.zeros(shape))


def test_features_are_not_cut_off_at_zero(network):
    """A Frechet distance fits a Gaussian: rectified features, with a peak at zero, would be none."""
    features = network(drawn(32, 40)[0]).features
    assert (features < 0).any(0).all()
    assert (features > 0).any(0).all()
    assert np.linalg.matrix_rank(np.cov(features.double().numpy(), rowvar=False)) == 64


def test_stays_right_on_disturbed_pictures(network):
    """Generators blur and leave noise; the scorer must not take that for another animal."""
    pictures, species, truth = drawn(64, 40)
    random = torch.Generator().manual_seed(0)
    noisy = network((pictures + 0.05 * torch.randn(pictures.shape, generator=random)).clamp(-1, 1))
    assert (noisy.species_logits.argmax(1).numpy() == species).mean() > 0.98
    for k, name in enumerate(NAMES[:4]):
        assert np.corrcoef(noisy.factors[:, k].numpy(), truth[:, k])[0, 1] > 0.95, name
    again = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    assert torch.equal(disturb(pictures[:4], again[0]), disturb(pictures[:4], again[1]))


def test_missing_and_foreign_weights_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.safetensors"):
        load_factor_network(weights=tmp_path / "absent.safetensors")
    other = tmp_path / "other.safetensors"
    save_weights(other, {"factor_network": FactorNetwork(widths=(8, 16, 24, 32))}, {})
    with pytest.raises(InputError, match=r"(?s)other\.safetensors.*trunk\.0\.weight is \[8, 3, 3, 3\], should be \[24, 3, 3, 3\]"):
        load_factor_network(weights=other)


def test_training_command_writes_weights_and_report(tmp_path, monkeypatch):
    monkeypatch.setattr(factor_network, "accuracy", partial(factor_network.accuracy, pictures=30))  # 1,500 take a while
    for folder in ("first", "second"):
        main(["--steps", "4", "--pictures", "12", "--seed", "3", "--out", str(tmp_path / folder)])
    first, second = (tmp_path / folder / WEIGHTS.name for folder in ("first", "second"))
    load_factor_network(weights=first)
    report = json.loads((tmp_path / "first" / REPORT.name).read_text(encoding="utf-8"))
    assert report["settings"]["steps"] == 4
    assert set(report["accuracy"]["32"]["factors"]) == set(NAMES)
    assert first.read_bytes() == second.read_bytes()  # same machine, same seed, same weights

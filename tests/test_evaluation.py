"""The protocol with generators that do known things, and its scores against a plain second computation."""

import json

import numpy as np
import pytest
import scipy.linalg
import torch
from made_up_translation import (
    COPY_SOURCE, COPY_STYLE, TRAIN, TRANSLATE, VAL, FakeFactorNetwork, FakeFeatures, Generator, data, networks, run,
)  # fmt: skip
from scipy.spatial.distance import pdist

from kdlib.critters import SPECIES, generate
from kdlib.data import open_dataset
from kdlib.errors import InputError
from kdlib.images import to_float
from kdlib.networks import build_networks
from kdlib.scoring.factor_network import load_factor_network
from kdlib.scoring.features import FactorNetworkFeatures
from kdlib.scoring.metrics import KernelProtocol
from kdlib.scoring.protocol import draw_latents, draw_references, to_8_bits


def test_a_generator_that_returns_its_source():
    result = run(networks(COPY_SOURCE))
    for mode in ("latent", "reference"):
        mean = result[mode]["mean"]
        assert mean["domain_accuracy"] == 0
        assert mean["content_correlation"] == pytest.approx(1) and mean["detail_correlation"] == pytest.approx(1)
        assert mean["style_diversity"] == 0 and mean["diversity_fake"] == pytest.approx(0, abs=1e-6)  # equal rows of a product, but for rounding
    # Ten of 12 references for each of 12 sources, independent of them: |r| about 1 / sqrt(120), mean of 6 pairs; 5 sigma.
    assert abs(result["reference"]["mean"]["style_correlation"]) < 0.2
    # The generator repaints the 173 of 192 numbers that carry nothing as 0, which 8 bits had stored as 128, or 1 / 255.
    # rel: float32 carries 6e-8 of the -1..1 scale, 2e-5 of so small a number.
    assert result["reconstruction"]["mean"]["reconstruction_l1"] == pytest.approx(173 / 192 / 255, rel=1e-4)


def test_a_generator_that_returns_the_reference():
    mean = run(networks(COPY_STYLE))["reference"]["mean"]
    assert mean["domain_accuracy"] == 1
    assert mean["style_correlation"] == pytest.approx(1) and mean["leak_correlation"] == pytest.approx(1)
    assert abs(mean["content_correlation"]) < 0.2


def test_a_generator_that_translates():
    result = run(networks(TRANSLATE))
    for mode in ("latent", "reference"):
        mean = result[mode]["mean"]
        assert mean["domain_accuracy"] == 1
        assert mean["content_correlation"] == pytest.approx(1, abs=1e-4)  # 8-bit pictures: 1/255 in a range of 2
        assert mean["style_diversity"] > 1
    assert result["reference"]["mean"]["style_correlation"] == pytest.approx(1)
    assert result["reference"]["mean"]["leak_correlation"] < 0.2
    assert "style_correlation" not in result["latent"]["mean"]


@pytest.mark.parametrize("mode", ["latent", "reference"])
def test_one_pair_against_a_plain_second_computation(mode):
    """fox -> dog written out: outputs made one by one, numpy, scipy.sqrtm, a full kernel matrix."""
    dataset, features, nets = data(), FakeFeatures(), networks(TRANSLATE)
    scores = run(nets, dataset)[mode]["pairs"]["fox->dog"]
    pair, y = 2 * 3 + 1, torch.tensor([1])
    vectors = []
    nets.generator.eval()
    with torch.no_grad():
        for i in range(VAL):
            x = to_float(dataset.val.images(2)[i : i + 1])
            for k in range(10):
                if mode == "latent":
                    s = nets.mapping_network(torch.from_numpy(draw_latents(777, pair, i, 10, 16)[k : k + 1]), y)
                else:
                    chosen = int(draw_references(777, pair, i, 10, VAL)[k])
                    s = nets.style_encoder(to_float(dataset.val.images(1)[chosen : chosen + 1]), y)
                vectors.append(features(to_float(to_8_bits(nets.generator(x, s))))[0].double().numpy())
        real = features(to_float(dataset.train.images(1))).double().numpy()
    fake = np.array(vectors)
    a, b = np.cov(fake.T), np.cov(real.T)
    frechet = ((fake.mean(0) - real.mean(0)) ** 2).sum() + np.trace(a + b - 2 * scipy.linalg.sqrtm(a @ b).real)
    # 1e-5: float32 features differ in their last digits between batches of 32 and of 1.
    assert scores["frechet_fake"] == pytest.approx(frechet, rel=1e-5)
    both = np.concatenate([fake, real])
    kernel = (both @ both.T / 5 + 1) ** 3
    np.fill_diagonal(kernel, 0)
    n, m = len(fake), len(real)
    within = kernel[:n, :n].sum() / (n * (n - 1)) + kernel[n:, n:].sum() / (m * (m - 1))
    assert scores["kernel_fake"] == pytest.approx(within - 2 * kernel[:n, n:].mean(), abs=1e-6)
    assert scores["diversity_fake"] == pytest.approx(np.mean([pdist(g).mean() for g in fake.reshape(VAL, 10, 5)]), rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_scores_do_not_depend_on_the_batch_size(batch_size):
    expected, result = (run(networks(TRANSLATE), batch_size=b, sources_per_domain=3) for b in (32, batch_size))
    for part in ("latent", "reference", "real", "reconstruction"):
        # Outputs are the same 8-bit pictures; float32 features differ by about 1e-7 of their size.
        assert result[part]["mean"] == pytest.approx(expected[part]["mean"], rel=1e-4, abs=1e-6)


def test_counts_and_protocol():
    nets = networks(TRANSLATE)
    result = run(nets)
    outputs = 6 * VAL * 10 * 2
    assert result["protocol"]["outputs"] == outputs
    assert nets.generator.images == outputs + 3 * VAL  # and every source once for its reconstruction
    assert list(result["latent"]["pairs"]) == ["cat->dog", "cat->fox", "dog->cat", "dog->fox", "fox->cat", "fox->dog"]
    assert result["protocol"]["train_counts"] == dict.fromkeys(SPECIES, TRAIN)
    assert [n["name"] for n in result["protocol"]["feature_networks"]] == ["fake"]
    for mode in ("latent", "reference"):
        for name, value in result[mode]["mean"].items():
            assert value == pytest.approx(np.mean([pair[name] for pair in result[mode]["pairs"].values()]))


def test_result_is_json_and_stdout_stays_clean(capsys):
    result = run(networks(TRANSLATE), progress=True)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    printed = capsys.readouterr()
    assert printed.out == "" and "evaluation" in printed.err


def test_seed_and_part_of_the_sources():
    first = run(networks(TRANSLATE), sources_per_domain=4)
    assert first == run(networks(TRANSLATE), sources_per_domain=4)
    assert first["protocol"]["source_counts"] == dict.fromkeys(SPECIES, 4)
    other = run(networks(TRANSLATE), sources_per_domain=4, seed=1)
    assert first["latent"]["mean"]["frechet_fake"] != other["latent"]["mean"]["frechet_fake"]
    assert first["real"] == other["real"]
    copied = run(networks(COPY_SOURCE), sources_per_domain=4)
    assert copied["latent"]["mean"]["content_correlation"] == pytest.approx(1)  # each judged against its own source


def test_without_factor_network_any_domains_will_do():
    dataset = data(domains=("female", "male"))
    result = run(networks(TRANSLATE), dataset, factor_network=None)
    assert set(result["latent"]["mean"]) == {"frechet_fake", "frechet_fake_shift", "kernel_fake", "diversity_fake", "spectral_distance", "fine_detail"}
    assert set(result["reconstruction"]["mean"]) == {"reconstruction_l1"}
    assert list(result["reference"]["pairs"]) == ["female->male", "male->female"]
    with pytest.raises(InputError, match="'female' is not one of Critters' species"):
        run(networks(TRANSLATE), dataset)


def test_feature_and_factor_network_in_one_pass_give_the_same_scores():
    class Counting(FakeFactorNetwork):
        seen = 0

        def forward(self, images):
            self.seen += len(images)
            return super().forward(images)

    factor_network = Counting()
    features = FactorNetworkFeatures(factor_network)
    factor_network.seen = 0
    result = run(networks(TRANSLATE), None, features, factor_network=factor_network)
    # Real pictures for the distances, val pictures for their factors, and every output once.
    assert factor_network.seen == 3 * (TRAIN + VAL) + 3 * VAL + 6 * VAL * 10 * 2
    features.weights_sha256 = "taken for another network"
    assert run(networks(TRANSLATE), None, features, factor_network=factor_network)["latent"] == result["latent"]


def test_real_is_the_distance_between_val_and_train():
    dataset = data()
    dataset.val = dataset.train
    result = run(networks(TRANSLATE), dataset)["real"]
    assert set(result["domains"]) == set(SPECIES)
    assert result["mean"]["frechet_fake"] == pytest.approx(0, abs=1e-9)
    assert result["mean"]["domain_accuracy"] == 1
    vectors = FakeFeatures()(to_float(dataset.val.images(1))).double().numpy()
    assert result["domains"]["dog"]["diversity_fake"] == pytest.approx(pdist(vectors).mean(), rel=1e-5)


def test_statistics_of_real_pictures_are_cached(tmp_path):
    real, outputs = 3 * (TRAIN + VAL), 6 * VAL * 10 * 2

    def seen(dataset=None, features=None, **options):
        features = features or FakeFeatures()
        result = run(networks(TRANSLATE), dataset, features, cache_dir=tmp_path, **options)
        return features.seen - outputs, result

    without = run(networks(TRANSLATE))
    assert seen() == (real, without)
    assert seen() == (0, without)
    assert seen(seed=3)[0] == 0
    # Other training pictures, other weights, another cap: computed anew, and right.
    changed = data(train_seed=5)
    assert seen(changed) == (3 * TRAIN, run(networks(TRANSLATE), changed))
    assert seen(features=FakeFeatures("1"))[0] == real
    fewer = FakeFeatures()
    fewer.kernel = KernelProtocol(samples=20)
    assert seen(features=fewer)[0] == real
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("damage", [b"", b"not an archive", None])
def test_a_damaged_cache_file_is_replaced(tmp_path, damage):
    expected = run(networks(TRANSLATE), cache_dir=tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 6
    for file in files:
        file.write_bytes(file.read_bytes()[:300] if damage is None else damage)
    for real_seen in (3 * (TRAIN + VAL), 0):
        features = FakeFeatures()
        assert run(networks(TRANSLATE), None, features, cache_dir=tmp_path) == expected
        assert features.seen - 6 * VAL * 10 * 2 == real_seen


def test_training_flags_are_left_as_found():
    nets = networks(TRANSLATE)
    nets.generator.train()
    nets.style_encoder.eval()
    run(nets, sources_per_domain=2)
    assert nets.generator.training and not nets.style_encoder.training


def test_masks_of_the_source_reach_the_generator():
    class Masked(Generator):
        def forward(self, x, s, masks=None):
            torch.testing.assert_close(masks[0], x[:, :1])
            torch.testing.assert_close(masks[1], -x[:, :1])
            return super().forward(x, s)

    nets = networks(TRANSLATE)
    nets.generator, nets.masks = Masked(TRANSLATE), lambda x: (x[:, :1], -x[:, :1])
    run(nets, batch_size=25)


def test_a_diverged_generator_and_bad_settings_are_refused():
    nets = networks(TRANSLATE)
    nets.generator.forward = lambda x, s, masks=None: x * float("nan")
    with pytest.raises(InputError, match="NaN"):
        run(nets)
    for options, message in (
        ({"outputs_per_source": 1}, "outputs_per_source must be at least 2"),
        ({"batch_size": 0}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"dataset": data(domains=("cat",))}, "two domains"),
    ):
        with pytest.raises(InputError, match=message):
            run(networks(TRANSLATE), **options)
    dataset = data()
    dataset.val.counts = (VAL, 1, VAL)
    with pytest.raises(InputError, match="val/dog, found 1"):
        run(networks(TRANSLATE), dataset)


def test_few_samples_are_warned_of():
    class Wide(FakeFeatures):
        def __init__(self):
            super().__init__()
            self.dimension = 192

        def forward(self, images):
            return images.flatten(1)

    result = run(networks(TRANSLATE), None, Wide())
    assert [message.split(":")[0] for message in result["warnings"]] == [f"{part}, frechet_fake" for part in ("latent", "reference", "real")]
    assert f"{TRAIN} samples in 192 dimensions" in result["warnings"][0]
    assert f"{VAL} samples in 192 dimensions" in result["warnings"][2]
    assert run(networks(TRANSLATE))["warnings"] == []


@pytest.mark.parametrize("device, batch_size", [("cpu", 11), pytest.param("cuda", 32, marks=pytest.mark.gpu)])
def test_the_studys_own_networks_score_alike_elsewhere(device, batch_size):
    """Another batch size or device changes a convolution's last digits and so, rarely, a pixel by one of 255 levels."""
    dataset = data(image_size=32)

    def scores(device, batch_size):
        nets = build_networks(alpha=16, image_size=32, base_width=16, seed=0).to(device)
        options = {"device": device, "batch_size": batch_size, "sources_per_domain": 3, "outputs_per_source": 4}
        result = run(nets, dataset, FakeFeatures().to(device), **options)
        parts = ("latent", "reference", "reconstruction")
        return {f"{part} {name}": value for part in parts for name, value in result[part]["mean"].items()}

    # 1e-2 of a score: one level is 0.8 % of [-1, 1], in few pixels. Correlations of 12 outputs: 0.01 absolute.
    assert scores(device, batch_size) == pytest.approx(scores("cpu", 32), rel=1e-2, abs=1e-2)


def test_critters_with_the_shipped_factor_network(tmp_path):
    """Everything real but the generator, which returns its source: the pieces fit, and the scores say so."""
    root = generate(tmp_path / "critters", image_size=32, train_per_domain=70, val_per_domain=6, seed=3)
    nets = networks(COPY_SOURCE)
    nets.generator.forward = lambda x, s, masks=None: x
    factor_network = load_factor_network()
    features = FactorNetworkFeatures(factor_network)
    dataset = open_dataset(root, 32)
    result = run(nets, dataset, features, factor_network=factor_network, outputs_per_source=3)
    assert result["real"]["mean"]["domain_accuracy"] > 0.9  # its own report says 1.0 at 32 px
    for mode in ("latent", "reference"):
        assert result[mode]["mean"]["domain_accuracy"] < 0.1
        assert result[mode]["mean"]["content_correlation"] == pytest.approx(1, abs=1e-6)
        # Pictures of another species lie further from the training pictures than pictures of the species itself.
        assert result[mode]["mean"]["kernel_factor_network"] > 3 * abs(result["real"]["mean"]["kernel_factor_network"])

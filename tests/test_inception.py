"""The two Inceptions against plain pipelines over PNG files: Pillow and torchvision's transforms, and the package pytorch-fid.

The weights are random (the published ones are fetched, 100 MB each): what is tested is everything around them.
"""

import dataclasses

import numpy as np
import pytest
import torch
import torchvision
from inception_weights import pictures, pytorch_fid_inception, torchvision_inception
from made_up_translation import data
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance, get_activations
from pytorch_fid.inception import InceptionV3
from torchvision import transforms
from torchvision.utils import save_image

from kdlib import session
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.images import load_image, to_float
from kdlib.networks import build_networks
from kdlib.scoring.evaluation import evaluate
from kdlib.scoring.features import load_feature_network
from kdlib.scoring.inception import InceptionPytorchFid, InceptionTorchvision
from kdlib.scoring.judges import Judges
from kdlib.scoring.lpips_distance import LpipsDistance
from kdlib.scoring.metrics import FeatureStatistics, frechet_distance
from kdlib.scoring.published_weights import sha256_of

SIZE = 40  # pixels, a model's


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Random weights in place of the published files, whose SHA-256 become the known ones."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        for kind, make in ((InceptionTorchvision, torchvision_inception), (InceptionPytorchFid, pytorch_fid_inception)):
            torch.save(make().state_dict(), folder / kind.file.name)
            patch.setattr(kind, "file", dataclasses.replace(kind.file, sha256=sha256_of(folder / kind.file.name)))
        yield folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """PNG files larger than the model's pictures, as a photograph would be."""
    folder = tmp_path_factory.mktemp("pictures")
    for i, picture in enumerate(pictures(4, 3 * SIZE, seed=1)):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


def close(result, expected):
    """1e-5 of the features' spread: float32 through 48 layers, batched otherwise. Pictures differ by far more."""
    spread = (expected - expected.mean(dim=0)).norm()
    assert spread > 0.05 * expected.norm()
    assert (result - expected).norm() < 1e-5 * spread


def test_torchvision_features_are_those_of_a_plain_pipeline(folder, files):
    features = load_feature_network("inception_torchvision", weights=folder)
    plain = torchvision_inception()
    seen = []
    plain.fc.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    steps = [transforms.Resize([SIZE, SIZE]), transforms.Resize([299, 299]), transforms.ToTensor()]
    steps.append(transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    with torch.no_grad():
        for file in files:
            plain(transforms.Compose(steps)(Image.open(file))[None])
        result = features(to_float(torch.stack([load_image(file, SIZE) for file in files])))
    assert result.shape == (len(files), features.dimension)
    close(result, torch.cat(seen))


def test_pytorch_fid_features_are_the_packages_own(folder, files, tmp_path):
    features = load_feature_network("inception_pytorch_fid", weights=folder)
    small = []
    for file in files:  # the package takes pictures as they are: at the model's size, as written
        small.append(tmp_path / file.name)
        Image.fromarray(load_image(file, SIZE).permute(1, 2, 0).numpy()).save(small[-1])
    expected = get_activations(small, packages_own_network(), batch_size=3, num_workers=0)
    with torch.no_grad():
        result = features(to_float(torch.stack([load_image(file, SIZE) for file in files])))
    close(result, torch.from_numpy(expected).float())


def packages_own_network():
    whole = pytorch_fid_inception()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytorch_fid.inception.fid_inception_v3", lambda: whole)
        return InceptionV3([InceptionV3.BLOCK_INDEX_BY_DIM[2048]])


def test_names_weights_and_state(folder, monkeypatch):
    monkeypatch.setenv("KDLIB_WEIGHTS", str(folder))
    state = torch.random.get_rng_state()
    networks = [load_feature_network(name) for name in ("inception_torchvision", "inception_pytorch_fid")]
    assert (torch.random.get_rng_state() == state).all()  # loading draws nothing from the global stream
    assert networks[0].record()["scores"] == {
        "frechet": "fid_torchvision", "kernel": "kernel_inception_torchvision", "diversity": "diversity_inception_torchvision",
    }  # fmt: skip
    assert networks[1].record()["scores"] == {
        "frechet": "fid_pytorch_fid", "kernel": "kid_pytorch_fid", "diversity": "diversity_inception_pytorch_fid",
    }  # fmt: skip
    assert networks[1].record()["kernel"] == {"samples": 5000, "subsets": 100, "subset_size": 1000}
    for network in networks:
        assert network.weights_sha256 == sha256_of(folder / network.file.name)
        assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_other_weights_are_refused(folder, tmp_path):
    for kind in (InceptionTorchvision, InceptionPytorchFid):
        (tmp_path / kind.file.name).write_bytes(b"another file")
        with pytest.raises(InputError, match=f"{kind.file.name} is not .*its SHA-256 must be {kind.file.sha256}"):
            kind(tmp_path)


def test_a_preset_names_its_judges(folder, monkeypatch):
    monkeypatch.setenv("KDLIB_WEIGHTS", str(folder))
    alexnet = torchvision.models.alexnet(weights=None).features.state_dict()
    torch.save({f"features.{k}": v for k, v in alexnet.items()}, folder / LpipsDistance.file.name)
    monkeypatch.setattr(LpipsDistance, "file", dataclasses.replace(LpipsDistance.file, sha256=sha256_of(folder / LpipsDistance.file.name)))
    names = "factor_network,inception_torchvision,inception_pytorch_fid"
    judges = session.judges_of(load_preset("smoke", feature_networks=names, lpips=True))
    assert ",".join(n.name for n in judges.feature_networks) == names
    assert list(judges.hashes) == [*names.split(","), "factors", "lpips", "lpips_heads"]
    assert judges.hashes["factors"] == judges.hashes["factor_network"] and judges.hashes["lpips"] == LpipsDistance.file.sha256


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # how the package calls SciPy
def test_an_evaluation_gives_the_packages_fid_of_its_png_files(folder, tmp_path):
    """cat -> dog by hand: outputs written as PNG files, the package's activations and its Frechet distance.

    In the first eight features: with more features than pictures the package's root of a singular product is inexact.
    """

    class Eight(InceptionPytorchFid):
        def __init__(self, weights):
            super().__init__(weights)
            self.dimension = 8

        def forward(self, images):
            return super().forward(images)[:, :8]

    dataset = data(domains=("cat", "dog"), image_size=32)
    nets = build_networks(alpha=8, domains=2, image_size=32, base_width=8, seed=0)
    made = []
    render = nets.generator.render

    def watched(*arguments):
        made.extend(output := render(*arguments))
        return output

    nets.generator.render = watched
    options = {"outputs_per_source": 3, "sources_per_domain": 6, "batch_size": 7, "progress": False}
    scores = evaluate(nets, dataset, Judges([Eight(folder)]), **options)["latent"]["pairs"]["cat->dog"]

    def activations(images, name):
        (tmp_path / name).mkdir()
        files = [tmp_path / name / f"{i:02}.png" for i in range(len(images))]
        for file, image in zip(files, images, strict=True):
            save_image(image, file)
        return get_activations(files, packages_own_network(), batch_size=len(files), num_workers=0)[:, :8]

    # Latent-guided cat -> dog comes first: 6 sources, 3 outputs each.
    fake = activations([(image / 2 + 0.5).clamp(0, 1) for image in made[:18]], "fake")
    real = activations(dataset.train.images(1) / 255, "real")
    expected = calculate_frechet_distance(fake.mean(0), np.cov(fake.T), real.mean(0), np.cov(real.T))
    assert scores["fid_pytorch_fid"] == pytest.approx(expected, rel=1e-4)  # float32 features, batched otherwise
    assert scores["kid_pytorch_fid"] == pytest.approx(plain_kernel_distance(fake, real), rel=1e-4)


def plain_kernel_distance(x, y):
    """The mean over the 100 pairs of subsets of the smaller set's size, written out."""
    random, estimates = np.random.default_rng(0), []
    k = lambda a, b: (a @ b.T / a.shape[1] + 1) ** 3  # noqa: E731
    off = lambda m: (m.sum() - np.trace(m)) / (len(m) * (len(m) - 1))  # noqa: E731
    for _ in range(100):
        a, b = (v[random.choice(len(v), min(len(x), len(y)), replace=False)] for v in (x, y))
        estimates.append(off(k(a, a)) + off(k(b, b)) - 2 * k(a, b).mean())
    return np.mean(estimates)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")  # how the package calls SciPy
def test_frechet_distance_is_the_packages_where_pictures_are_fewer_than_features(folder):
    """Both covariances are singular there, which is where the package's root of their product is at its worst."""
    features = load_feature_network("inception_pytorch_fid", weights=folder)
    with torch.no_grad():
        sets = [features(to_float(pictures(10, SIZE, seed)))[:, :256].double().numpy() for seed in (1, 2)]
    statistics = [FeatureStatistics(256) for _ in sets]
    for own, vectors in zip(statistics, sets, strict=True):
        own.update(vectors)
    result = frechet_distance(*statistics)
    theirs = [moment for vectors in sets for moment in (vectors.mean(0), np.cov(vectors.T))]
    assert result.value == pytest.approx(calculate_frechet_distance(*theirs), rel=1e-4)
    assert "10 samples in 256 dimensions" in result.warning

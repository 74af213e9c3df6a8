"""Feature networks: interface, weights, preprocessing. SqueezeNet's own tests need its weights (KDLIB_WEIGHTS)."""

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

from kdlib.errors import InputError
from kdlib.scoring.features import FactorNetworkFeatures, SqueezeNetFeatures, load_feature_network, state_sha256

WEIGHTS = Path(os.environ.get("KDLIB_WEIGHTS", "")) / "squeezenet1_0.pth"
needs_squeezenet = pytest.mark.skipif(
    not os.environ.get("KDLIB_WEIGHTS") or not WEIGHTS.is_file(), reason="KDLIB_WEIGHTS holds no squeezenet1_0.pth"
)


class TinyFactorNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 7)

    def forward(self, images):
        return SimpleNamespace(features=self.layer(images.mean(dim=(2, 3))))


def random_squeezenet(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision.models.squeezenet1_0(weights=None)


@pytest.fixture
def weights_folder(tmp_path):
    torch.save(random_squeezenet(0).state_dict(), tmp_path / "squeezenet1_0.pth")
    return tmp_path


def test_factor_network_features():
    network = TinyFactorNetwork()
    features = FactorNetworkFeatures(network)
    images = torch.rand(5, 3, 32, 32) * 2 - 1
    assert (features.name, features.dimension) == ("factor_network", 7)
    torch.testing.assert_close(features(images), network(images).features)
    assert not any(p.requires_grad for p in features.parameters())
    with torch.no_grad():
        network.layer.bias += 1e-6
    assert state_sha256(network) != features.weights_sha256


@pytest.mark.parametrize("size", [64, 512])
def test_squeezenet_features_are_the_last_fire_module_averaged_and_divided_by_16(weights_folder, size):
    """Against a plain run of torchvision's network on Pillow's resizing, the classifier's hook giving the features."""
    features = load_feature_network("squeezenet", weights=weights_folder)
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (2, size // 4, size // 4, 3), dtype=np.uint8)
    pictures = [Image.fromarray(p).resize((size, size), Image.Resampling.BICUBIC) for p in coarse]

    plain = random_squeezenet(0).eval()
    seen = []
    plain.classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    resized = [np.asarray(p.resize((227, 227), Image.Resampling.BILINEAR), dtype=np.float32) for p in pictures]
    with torch.no_grad():
        plain(torch.from_numpy(np.stack(resized) - np.float32([123, 117, 104])).permute(0, 3, 1, 2))
        images = torch.from_numpy(np.stack([np.asarray(p) for p in pictures])).permute(0, 3, 1, 2) / 127.5 - 1
        result = features(images)
    assert result.shape == (2, features.dimension)
    expected = seen[0].mean(dim=(2, 3)) / 16
    # Pillow rounds to whole grey levels while resizing (0.5 of a spread of about 60), hence 1 %.
    assert (result - expected).norm() < 0.01 * expected.norm()


def test_squeezenet_records_its_weights_and_warns_of_others(weights_folder, monkeypatch):
    monkeypatch.setenv("KDLIB_WEIGHTS", str(weights_folder))
    state = torch.random.get_rng_state()
    features = load_feature_network("squeezenet")
    assert (torch.random.get_rng_state() == state).all()  # loading draws nothing from the global stream
    file = weights_folder / "squeezenet1_0.pth"
    assert features.weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert "differs" in features.warnings[0]
    assert SqueezeNetFeatures(file).weights_sha256 == features.weights_sha256  # the file itself will do
    assert not features.training and not any(p.requires_grad for p in features.parameters())


def test_missing_weights_say_which_file_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv("KDLIB_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="squeezenet1_0.pth.*KDLIB_WEIGHTS"):
        load_feature_network("squeezenet")
    with pytest.raises(InputError, match=f"{tmp_path}/squeezenet1_0.pth does not exist"):
        load_feature_network("squeezenet", weights=tmp_path)


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_weights_are_never_unpickled(tmp_path):
    torch.save(Intruder(tmp_path / "came_in"), tmp_path / "squeezenet1_0.pth")
    with pytest.raises(InputError, match="does not hold SqueezeNet"):
        SqueezeNetFeatures(tmp_path)
    assert not (tmp_path / "came_in").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", {"features.0.weight": torch.zeros(1)}, [torch.zeros(1)]])
def test_wrong_weights_are_refused_by_name(tmp_path, content):
    file = tmp_path / "squeezenet1_0.pth"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(InputError, match="does not hold SqueezeNet"):
        SqueezeNetFeatures(file)


def test_bad_calls_are_refused(weights_folder):
    with pytest.raises(InputError, match="inception.*factor_network, squeezenet"):
        load_feature_network("inception")
    features = SqueezeNetFeatures(weights_folder)
    for images in (torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(InputError, match=r"\[N 3 H W\]"):
            features(images)


@needs_squeezenet
def test_the_real_weights_take_an_orange_disc_for_a_ping_pong_ball():
    """The ImageNet classifier on top says whether the input is what the weights expect: with BGR the answer is another,
    with torchvision's usual 0..1 normalisation there is none above 1 %."""
    features = load_feature_network("squeezenet")
    assert not features.warnings
    network = torchvision.models.squeezenet1_0(weights=None).eval()
    network.load_state_dict(torch.load(WEIGHTS, weights_only=True))
    y, x = torch.meshgrid(torch.linspace(-1, 1, 227), torch.linspace(-1, 1, 227), indexing="ij")
    colour = torch.tensor([240.0, 140.0, 20.0]).view(3, 1, 1)
    images = torch.where(x**2 + y**2 < 0.5, colour, 255.0)[None] / 127.5 - 1
    seen = []
    features.layers.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        features(images)
        best = network.classifier(seen[0]).argmax().item()
    assert torchvision.models.SqueezeNet1_0_Weights.DEFAULT.meta["categories"][best] == "ping-pong ball"

"""LPIPS over pairs of outputs against the package's own forward, pair by pair. AlexNet's weights are random here."""

import dataclasses
import itertools

import lpips
import pytest
import torch
import torchvision

from kdlib.errors import InputError
from kdlib.scoring import lpips_distance
from kdlib.scoring.lpips_distance import HEADS, LpipsDistance
from kdlib.scoring.published_weights import sha256_of


@pytest.fixture(scope="module")
def alexnet():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.alexnet(weights=None).eval()


def save(alexnet, folder):
    """The convolutions in a file like the published one, and the known hash of that."""
    path = folder / LpipsDistance.file.name
    torch.save({f"features.{name}": tensor for name, tensor in alexnet.features.state_dict().items()}, path)
    return dataclasses.replace(LpipsDistance.file, sha256=sha256_of(path))


@pytest.fixture(scope="module")
def distance(alexnet, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LpipsDistance, "file", save(alexnet, folder))
        yield LpipsDistance(folder)


@pytest.fixture(scope="module")
def outputs():
    """Two sources with ten outputs each, beyond [-1, 1] as a generator's floats are."""
    return torch.rand(2, 10, 3, 48, 48, generator=torch.Generator().manual_seed(1)) * 3 - 1.5


def test_every_one_of_the_45_pairs_is_the_packages_number(distance, outputs):
    first, second = zip(*itertools.combinations(range(10), 2), strict=True)
    for images, mean in zip(outputs, distance(outputs), strict=True):
        expected = distance.network(images[list(first)], images[list(second)]).flatten()
        assert len(expected) == 45 and expected.std() > 1e-3 * expected.mean()
        # The same float32 operations on other batches: a few units in the last place.
        torch.testing.assert_close(distance.pairs(images), expected, rtol=1e-5, atol=0)
        assert mean == pytest.approx(expected.mean().item(), rel=1e-5)


def test_trunk_and_heads_are_what_they_should_be(distance, alexnet, outputs):
    """Written out: torchvision's AlexNet, unit vectors over channels, the heads' weights read from the package's file."""
    heads = torch.load(HEADS, weights_only=True, map_location="cpu")
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = (outputs[0, :2] - shift.view(3, 1, 1)) / scale.view(3, 1, 1)
    total, layer = 0.0, 0
    with torch.no_grad():
        for module in alexnet.features[:-1]:  # without the last pooling
            x = module(x)
            if isinstance(module, torch.nn.ReLU):
                unit = x / x.norm(dim=1, keepdim=True).clamp(min=1e-10)
                weights = heads[f"lin{layer}.model.1.weight"].view(-1, 1, 1)
                total += (((unit[0] - unit[1]) ** 2) * weights).sum(dim=0).mean().item()
                layer += 1
    assert layer == 5 and len(heads) == 5
    assert distance.pairs(outputs[0, :2]).item() == pytest.approx(total, rel=1e-5)


def test_one_pass_a_picture(distance, outputs):
    seen = []
    hook = distance.network.net.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    distance(outputs)
    hook.remove()
    assert seen == [10, 10]
    assert len(distance(outputs[:0])) == 0


def test_record_and_state(distance, alexnet, tmp_path, monkeypatch):
    record = distance.record()
    assert record["heads_sha256"] == sha256_of(HEADS) and record["weights_sha256"] == LpipsDistance.file.sha256
    assert not distance.training and not any(p.requires_grad for p in distance.parameters())
    monkeypatch.setattr(LpipsDistance, "file", save(alexnet, tmp_path))
    state = torch.random.get_rng_state()
    LpipsDistance(tmp_path)
    assert (torch.random.get_rng_state() == state).all()  # loading draws nothing from the global stream


def test_heads_that_did_not_load_are_noticed(alexnet, tmp_path, monkeypatch):
    """The package loads its heads with strict=False: had it renamed them, it would go on with random ones."""
    monkeypatch.setattr(LpipsDistance, "file", save(alexnet, tmp_path))
    whole = lpips.LPIPS.load_state_dict
    monkeypatch.setattr(lpips.LPIPS, "load_state_dict", lambda network, tensors, strict: whole(network, {}, strict=False))
    with pytest.raises(InputError, match="lin0.model.1.weight differs"):
        LpipsDistance(tmp_path)
    monkeypatch.setattr(lpips_distance, "HEADS_SHA256", "0" * 64)
    with pytest.raises(InputError, match="holds other linear heads"):
        LpipsDistance(tmp_path)


def test_other_weights_are_refused(tmp_path):
    (tmp_path / LpipsDistance.file.name).write_bytes(b"")
    with pytest.raises(InputError, match="alexnet-owt.*its SHA-256 must be"):
        LpipsDistance(tmp_path)

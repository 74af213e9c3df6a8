"""The live demo's models and manifest, and the directions that its sliders move a style along."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from demo_models import write_runs
from PIL import Image

from kdlib.critters import SPECIES
from kdlib.deploy import demo_assets, style_directions
from kdlib.deploy.demo_assets import make_assets
from kdlib.deploy.runtimes import onnxruntime
from kdlib.errors import InputError
from kdlib.use.models import load_model


def no_directions(nets, domains):
    quantity = style_directions.QUANTITIES[0]
    vectors = {domain: torch.ones(nets.arch.style_dim) / 3 for domain in domains}
    return {q.name: style_directions.Direction(q, vectors, 1.0 if q is quantity else 0.0) for q in style_directions.QUANTITIES}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    """The folder, and the manifest that was returned; made twice, the second time over the first."""
    folder = tmp_path_factory.mktemp("book") / "models"
    folder.mkdir()
    (folder / "of_yesterday.onnx").write_text("old")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_assets, "style_directions", no_directions)
        manifest = make_assets(*runs, folder)
    return folder, manifest


def test_the_manifest_says_what_the_folder_holds(made):
    folder, manifest = made
    assert manifest == json.loads((folder / "manifest.json").read_text())
    listed = {"manifest.json", *(f"example_{name}.png" for name in ("source", "style", "teacher", "student"))}
    for model in manifest["models"]:
        assert model["bytes"] == sum(network["bytes"] for network in model["networks"].values())
        assert model["parameters"] == sum(network["parameters"] for network in model["networks"].values())
        for network in model["networks"].values():
            content = (folder / network["file"]).read_bytes()
            assert (len(content), hashlib.sha256(content).hexdigest()) == (network["bytes"], network["sha256"])
            listed.add(network["file"])
    assert {f.name for f in folder.iterdir()} == listed  # and nothing of what was there before
    assert [f.name for f in folder.parent.iterdir()] == ["models"]


def test_weights_are_those_of_the_networks(made, runs):
    _, manifest = made
    for entry, path in zip(manifest["models"], runs, strict=True):
        nets = load_model(path).nets
        for name, network in entry["networks"].items():
            assert network["parameters"] == sum(p.numel() for p in getattr(nets, name).parameters())


def test_a_direction_that_is_kept_is_there_for_every_model_and_domain(made):
    folder, manifest = made
    assert [d["name"] for d in manifest["directions"]] == ["background_warmth"]
    for entry in manifest["models"]:
        assert set(entry["directions"]["background_warmth"]) == set(SPECIES)
        assert entry["directions"]["background_warmth"]["fox"] == [0.3333] * manifest["style_dim"]
    assert max(map(len, (folder / "manifest.json").read_text().splitlines())) > 300  # a vector on one line


def test_exported_networks_translate_as_pytorch_s_do(made, runs):
    """Weights are rounded to half precision, 11 bits: outputs differ by less than 1 % of their spread."""
    folder, manifest = made
    random = np.random.default_rng(0)
    size = manifest["image_size"]
    x, z, y = random.uniform(-1, 1, (1, 3, size, size)).astype("f4"), random.normal(size=(1, 16)).astype("f4"), np.array([2])
    for entry, path in zip(manifest["models"], runs, strict=True):
        nets = load_model(path).nets
        files = {name: folder / network["file"] for name, network in entry["networks"].items()}
        style = onnxruntime(files["mapping_network"])(z, y)
        with torch.inference_mode():
            pairs = [
                (style, nets.mapping_network(torch.tensor(z), torch.tensor(y))),
                (onnxruntime(files["style_encoder"])(x, y), nets.style_encoder(torch.tensor(x), torch.tensor(y))),
                (onnxruntime(files["generator"])(x, style), nets.generator(torch.tensor(x), torch.tensor(style))),
            ]
        for got, want in pairs:
            assert np.abs(got - want.numpy()).max() < 0.01 * want.std()


def test_the_example_is_a_translation(made, runs):
    folder, manifest = made
    pictures = {name: np.asarray(Image.open(folder / f"example_{name}.png")) for name in ("source", "style", "teacher", "student")}
    assert {p.shape for p in pictures.values()} == {(manifest["image_size"],) * 2 + (3,)}
    nets = load_model(runs[0]).nets
    x, reference = (torch.tensor(pictures[n]).permute(2, 0, 1)[None] / 127.5 - 1 for n in ("source", "style"))
    with torch.inference_mode():
        want = nets.generator(x, nets.style_encoder(reference, torch.tensor([1])))[0].permute(1, 2, 0)
    # Half a level from rounding, and what a different order of summation makes of it.
    assert np.abs((want.clamp(-1, 1).numpy() + 1) * 127.5 - pictures["teacher"]).max() < 0.51


@pytest.mark.parametrize(("order", "message"), [((1, 0), "is no teacher"), ((0, 0), "is no student")])
def test_roles_are_checked(runs, tmp_path, order, message):
    with pytest.raises(InputError, match=message):
        make_assets(*(runs[i] for i in order), tmp_path / "models")
    assert not list(tmp_path.iterdir())


def test_int8_needs_an_export(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(demo_assets, "style_directions", no_directions)
    with pytest.raises(InputError, match="python -m kdlib export"):
        make_assets(*runs, tmp_path / "models", ("int8", "fp16"))
    assert not (tmp_path / "models").exists()


# ---- directions


class PaintedBySelf:
    """Networks whose translation is one flat colour, red, green and blue being the first three numbers of the style."""

    arch = SimpleNamespace(latent_dim=16, style_dim=64, image_size=32)

    class generator:
        @staticmethod
        def content(x):
            return SimpleNamespace(of=lambda where: len(where))

        @staticmethod
        def render(count, s):
            return (0.2 * s[:, :3, None, None]).expand(-1, 3, 4, 4)

    @staticmethod
    def mapping_network(z, y):
        return torch.cat([z, z, z, z], 1) * torch.linspace(1, 2, 64)


def reads_background_colour(images):
    """The factors of a critter whose background is the picture's colour and which has markings of no style's making."""
    factors = torch.zeros(len(images), 16)
    factors[:, 13:16] = images[:, :, 0, 0]
    factors[:, 9] = 0.5
    return SimpleNamespace(factors=factors)


def test_directions_point_where_the_quantity_grows(monkeypatch):
    """Where q = w.s + c, moving s by Cov(s, q) / std(q) moves q by w.Cov(s, s).w / std(q) = std(q): one standard deviation."""
    monkeypatch.setattr(style_directions, "load_factor_network", lambda: reads_background_colour)
    monkeypatch.setattr(style_directions, "STYLES", 2000)
    found = style_directions.style_directions(PaintedBySelf(), ("cat", "dog"))
    lightness = found["background_lightness"]
    random = torch.Generator().manual_seed(3)
    styles = PaintedBySelf.mapping_network(torch.randn(20000, 16, generator=random), None)
    weights = torch.zeros(64)
    weights[:3] = 0.2 / 3
    quantity = styles @ weights
    for vector in lightness.vectors.values():
        # Means over 2000 draws have a relative error of a few percent.
        assert (weights @ vector / quantity.std() - 1).abs() < 0.08
    assert lightness.obeyed == pytest.approx(1, abs=0.02)  # the clamp to [-1, 1] cuts a little
    assert found["background_warmth"].obeyed == pytest.approx(1, abs=0.02)
    assert found["markings"].obeyed == 0 and found["fur_lightness"].obeyed == 0
    names = style_directions.common_directions({"a": found, "b": found})
    assert set(names) == {"background_lightness", "background_warmth"}


def test_a_direction_that_one_model_ignores_is_not_offered():
    def model(**obeyed):
        return {q.name: style_directions.Direction(q, {}, obeyed.get(q.name, 0.0)) for q in style_directions.QUANTITIES}

    models = {"teacher": model(markings=0.9, fur_warmth=0.8, fur_lightness=1.0), "student": model(markings=0.2, fur_warmth=0.7, fur_lightness=1.0)}
    assert style_directions.common_directions(models) == ["fur_lightness", "fur_warmth"]
    assert style_directions.common_directions(models, most=1) == ["fur_lightness"]

"""What a user calls, against the networks called directly, one picture at a time."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from faces_model import release_faces
from PIL import Image
from safetensors import safe_open

import kdlib
from kdlib.critters import critter_at, render
from kdlib.errors import InputError
from kdlib.networks import build_networks
from kdlib.paths import reference_folder
from kdlib.released import save_released
from kdlib.scoring.factor_network import load_factor_network
from kdlib.use.model_names import available_models, find_model

SHIPPED = reference_folder() / "mini" / "teacher"
SIZE = 64  # its pictures
GOLDEN = [0.7055602, -2.0733478, 1.2794574, 0.0108541]
DOMAINS = ("cat", "dog", "fox")


@pytest.fixture(scope="module")
def translator():
    return kdlib.load(SHIPPED, device="cpu")


@pytest.fixture(scope="module")
def cat():
    return render(critter_at("cat", 4, split="val", seed=5), SIZE)


@pytest.fixture(scope="module")
def dogs():
    return [render(critter_at("dog", i, split="val", seed=5), SIZE) for i in range(3)]


def as_input(picture):
    return torch.from_numpy(np.asarray(picture, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)


def levels(output):
    """[1 3 H W] in [-1, 1] -> [H W 3] in 0..255 as int."""
    return np.floor(np.clip(output[0].numpy().transpose(1, 2, 0) * 127.5 + 127.5, 0, 255) + 0.5).astype(int)


def assert_same(got, want, tolerance=1):
    # Sums of a convolution come in another order in another batch size, which can move a value over a rounding edge.
    assert np.abs(np.asarray(got).astype(int) - np.asarray(want).astype(int)).max() <= tolerance


# ---- what comes out


@torch.no_grad()
def test_a_seed_a_latent_and_a_reference_are_the_networks_called_by_hand(translator, cat, dogs):
    nets, y = translator.nets, torch.tensor([1])
    z = translator.latent(7)
    want = levels(nets.generator(as_input(cat), nets.mapping_network(z[None], y)))
    for guide in ({"seed": 7}, {"seed": np.int64(7)}, {"latent": z}, {"latent": z.numpy()}, {"latent": z.tolist()}):
        for domain in ("dog", 1, np.int64(1)):
            got = translator.translate(cat, domain, **guide)
            assert isinstance(got, Image.Image) and (got.size, got.mode) == ((SIZE, SIZE), "RGB")
            assert_same(got, want)
    want = levels(nets.generator(as_input(cat), nets.style_encoder(as_input(dogs[0]), y)))
    assert_same(translator.translate(cat, "dog", reference=dogs[0]), want)
    assert_same(translator.translate(cat, "dog"), translator.translate(cat, "dog", seed=0), 0)


def test_the_latent_of_a_seed_never_changes(translator):
    # Drawn once by numpy's Philox; whoever kept a seed must find the same picture again.
    assert translator.latent(7)[:4].tolist() == pytest.approx(GOLDEN, abs=1e-6)
    many = torch.stack([translator.latent(seed) for seed in range(500)])
    # 8,000 independent standard normal numbers: mean and variance within five standard errors
    assert abs(many.mean()) < 5 / 8000**0.5 and abs(many.var() - 1) < 5 * (2 / 8000) ** 0.5
    assert len({tuple(z.tolist()) for z in many}) == 500


def test_a_picture_comes_out_the_same_alone_and_in_any_batch(translator, cat, dogs):
    pictures = [cat, *dogs]
    before = torch.get_rng_state()
    together = translator.translate(pictures, "fox", seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        for got, i in zip(translator.translate([pictures[i] for i in order], "fox", seed=3, batch_size=2), order, strict=True):
            assert_same(got, together[i])
            assert_same(got, translator.translate(pictures[i], "fox", seed=3))
    # Alone, the style and the picture go through the same operations each time: the same bits.
    assert_same(translator.translate(cat, "fox", seed=3), translator.translate(cat, "fox", seed=3), 0)


def test_one_with_many_and_equally_many_in_pairs(translator, cat, dogs):
    one = lambda picture, domain, **guide: translator.translate(picture, domain, **guide)  # noqa: E731
    cases = [
        (translator.translate(cat, "dog", seed=[1, 2, 5]), [one(cat, "dog", seed=s) for s in (1, 2, 5)]),
        (translator.translate(cat, "dog", seed=range(2)), [one(cat, "dog", seed=s) for s in (0, 1)]),
        (translator.translate(cat, DOMAINS, seed=4), [one(cat, d, seed=4) for d in DOMAINS]),
        (translator.translate(cat, DOMAINS, seed=[1, 2, 3]), [one(cat, d, seed=s) for d, s in zip(DOMAINS, (1, 2, 3))]),
        (translator.translate(dogs, "cat", seed=4), [one(dog, "cat", seed=4) for dog in dogs]),
        (translator.translate(dogs, "cat", seed=[1, 2, 3]), [one(dog, "cat", seed=s) for dog, s in zip(dogs, (1, 2, 3))]),
        (translator.translate(cat, "dog", reference=dogs), [one(cat, "dog", reference=dog) for dog in dogs]),
        (translator.translate([cat], "dog", seed=4), [one(cat, "dog", seed=4)]),
        (translator.translate(cat, ["dog"], seed=4), [one(cat, "dog", seed=4)]),
    ]
    for got, want in cases:
        assert isinstance(got, list)
        for a, b in zip(got, want, strict=True):
            assert_same(a, b)


@torch.no_grad()
def test_any_size_goes_in_and_any_size_comes_out(translator, cat):
    large = cat.resize((96, 96), Image.Resampling.NEAREST)
    wide = Image.new("RGB", (160, 96), "red")
    wide.paste(large, (32, 0))
    assert_same(translator.translate(wide, "dog", seed=1), translator.translate(large, "dog", seed=1), 0)
    small = translator.translate(cat, "dog", seed=1)
    for size, wanted in ((100, (100, 100)), ((80, 60), (80, 60)), ([20, 40], (20, 40)), (SIZE, (SIZE, SIZE))):
        got = translator.translate(cat, "dog", seed=1, size=size)
        assert got.size == wanted
        assert_same(got, small.resize(wanted, Image.Resampling.BICUBIC), 0)
    s = translator.styles("dog", seed=1)
    stretched = wide.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    assert_same(translator.translate(wide, "dog", seed=1, fit="stretch"), levels(translator.nets.generator(as_input(stretched), s)))


def test_it_does_translate(translator, cat, dogs):
    """The shipped teacher makes dogs of cats, and a picture in its own style is nearly itself; judged by the network of the factors."""
    judge = load_factor_network()
    sources = [render(critter_at("cat", i, split="val", seed=5), SIZE) for i in range(8)]
    made = torch.cat([as_input(p) for p in translator.translate(sources, "dog", seed=range(8))])
    assert (judge(made).species_logits.argmax(1) == DOMAINS.index("dog")).all()
    rebuilt = translator.translate(cat, "cat", reference=cat)
    other = translator.translate(cat, "dog", seed=2)
    error = lambda a: np.abs(np.asarray(a, float) - np.asarray(cat, float)).mean()  # noqa: E731
    assert error(rebuilt) < 0.5 * error(other)


@torch.no_grad()
def test_styles_and_render_are_tensors_for_who_wants_them(translator, cat, dogs):
    styles = translator.styles(["dog", "dog", "fox"], reference=dogs)
    assert styles.shape == (3, 64)
    want = [translator.nets.style_encoder(as_input(dog), torch.tensor([y]))[0] for dog, y in zip(dogs, (1, 1, 2))]
    torch.testing.assert_close(styles, torch.stack(want), atol=1e-4, rtol=1e-4)
    x = torch.cat([as_input(dog) for dog in dogs])
    outputs = translator.render(x, styles, ([0, 0, 2, 1], [2, 1, 0, 2]), batch_size=3)
    for got, (i, k) in zip(outputs, [(0, 2), (0, 1), (2, 0), (1, 2)], strict=True):
        torch.testing.assert_close(got, translator.nets.generator(x[i : i + 1], styles[k : k + 1])[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(translator.render(x, styles), translator.render(x, styles, (range(3), range(3))), atol=0, rtol=0)


# ---- interpolation


@torch.no_grad()
def test_frames_are_pictures_in_styles_on_a_straight_line(translator, cat, dogs):
    a, b = translator.styles("dog", reference=dogs[:2])
    frames = translator.interpolate(cat, "dog", reference=dogs[:2], frames=4)
    assert len(frames) == 5
    for i, frame in enumerate(frames):
        assert_same(frame, levels(translator.nets.generator(as_input(cat), (a + (b - a) * i / 4)[None])))
    assert_same(frames[0], translator.translate(cat, "dog", reference=dogs[0]))


def test_ways_between_seeds_latents_and_domains(translator, cat):
    by_seed = translator.interpolate(cat, "dog", seed=[1, 2, 3], frames=2, loop=True, size=40)
    assert len(by_seed) == 6 and by_seed[0].size == (40, 40)
    latents = torch.stack([translator.latent(seed) for seed in (1, 2, 3)])
    for a, b in zip(by_seed, translator.interpolate(cat, "dog", latent=latents, frames=2, loop=True, size=40), strict=True):
        assert_same(a, b, 0)
    through = translator.interpolate(cat, "dog", seed=[1, 2, 3], frames=2, loop=True, size=40, through="latents")
    for i, (a, b) in enumerate(zip(by_seed, through, strict=True)):
        if i % 2:
            assert np.abs(np.asarray(a, int) - np.asarray(b, int)).max() > 5  # another way between
        else:
            assert_same(a, b)  # the same stops
    species = translator.interpolate(cat, ["dog", "fox"], seed=1, frames=3)
    assert_same(species[-1], translator.translate(cat, "fox", seed=1))


# ---- models


def test_what_is_known_about_a_model(translator):
    with safe_open(SHIPPED / "weights.safetensors", "pt") as stored:
        count = sum(stored.get_tensor(key).numel() for key in stored.keys())
    assert translator.parameters == count
    assert translator.file_size == (SHIPPED / "weights.safetensors").stat().st_size
    assert (translator.domains, translator.image_size, translator.latent_dim, translator.name) == (DOMAINS, SIZE, 16, "mini/teacher")
    assert repr(translator) == f"<Translator mini/teacher: teacher, {SIZE} px, cat, dog, fox, {count:,} weights, on cpu>"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A runs folder of the reader's own with a finished run, one of another preset, and one that is not finished."""
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path / "runs"))
    for name in ("quick/only-here", "mine/teacher", "mine/alpha8"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        for file in ("settings.json", "weights.safetensors", "finished.json"):
            shutil.copy(SHIPPED / file, folder)
    (tmp_path / "runs/mine/alpha8/finished.json").unlink()
    (tmp_path / "runs/broken/x").mkdir(parents=True)
    return tmp_path / "runs"


def test_models_are_found_by_path_name_and_short_name(runs, monkeypatch):
    names = available_models()
    assert names.index("mine/teacher") < names.index("mini/teacher") < names.index("quick/only-here") and "mine/alpha8" not in names
    assert find_model("mini/teacher") == SHIPPED
    assert find_model("only-here") == find_model("quick/only-here") == runs / "quick" / "only-here"
    assert find_model(SHIPPED) == find_model("runs/reference/mini/teacher").resolve() == SHIPPED
    monkeypatch.chdir(runs)
    assert find_model("mine/alpha8") == Path("mine/alpha8")
    shutil.copytree(SHIPPED, runs / "mini" / "teacher")
    assert find_model("mini/teacher").resolve() == runs / "mini" / "teacher"  # one's own goes first


@pytest.mark.parametrize("name, message", [
    ("quick/nothing", r"^quick/nothing: no such model, folder or file; there are mine/teacher, .*mini/teacher.*; a run folder or a released"),
    ("teacher", "several models have this name; give one of mine/teacher, .*mini/teacher"),
    ("mine/alpha8", "not a finished run; train it to its end first"),
    ("weights.ckpt", "no such model"),
])  # fmt: skip
def test_a_model_that_is_not_there_is_answered_with_those_that_are(runs, name, message):
    with pytest.raises(InputError, match=message):
        kdlib.load(name, device="cpu")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "100000_nets_ema.ckpt"
    save_released(path, build_networks(8, 3, True, 0, SIZE, base_width=8, seed=0))
    return path


def test_a_released_checkpoint_has_numbers_for_domains_until_they_are_named(released, cat):
    plain = kdlib.load(released, device="cpu")
    named = kdlib.load(released, device="cpu", domains=("cat", "dog", "wild"))
    assert plain.domains == ("0", "1", "2") and named.domains == ("cat", "dog", "wild")
    assert plain.name == "100000_nets_ema.ckpt" and plain.file_size == released.stat().st_size
    assert_same(plain.translate(cat, "2", seed=1), named.translate(cat, "wild", seed=1), 0)
    with pytest.raises(InputError, match="domain 'wild': 100000_nets_ema.ckpt knows 0, 1, 2; its file has no names for them"):
        plain.translate(cat, "wild")
    for names in (("cat", "dog"), ("cat", "cat", "dog")):
        with pytest.raises(InputError, match="has 3 domains; name each once"):
            kdlib.load(released, device="cpu", domains=names)
    with pytest.raises(InputError, match="mini/teacher names its own, cat, dog, fox"):
        kdlib.load(SHIPPED, device="cpu", domains=("a", "b", "c"))


@torch.no_grad()
def test_faces_are_translated_with_their_masks(tmp_path):
    nets = release_faces(tmp_path / "faces.ckpt")
    translator = kdlib.load(tmp_path / "faces.ckpt", device="cpu", domains=("female", "male"))
    face = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    style = translator.styles("male", seed=1)
    content = nets.generator.content(as_input(face), nets.masks(as_input(face)))
    want = levels(nets.generator.render(content, style))
    assert np.abs(want - levels(nets.generator.render(content._replace(skips={}), style))).max() > 1  # the masks do matter here
    assert_same(translator.translate(face, "male", seed=1), want)


# ---- what is refused


@pytest.mark.parametrize("domain, options, message", [
    ("wolf", {}, "domain 'wolf': mini/teacher knows cat, dog, fox$"),
    (3, {}, "domain 3: mini/teacher knows"),
    (-1, {}, "domain -1: "),
    (True, {}, "domain True: "),
    (1.5, {}, "domain 1.5: "),
    ([], {}, "no domain given: mini/teacher knows cat, dog, fox"),
    ("dog", {"seed": 1, "reference": "ref.png"}, "seed and reference given: a style comes from one of seed, latent and reference"),
    ("dog", {"latent": [0.0] * 16, "reference": "ref.png"}, "latent and reference given"),
    ("dog", {"seed": -1}, "seed = -1: give a whole number of at least 0"),
    ("dog", {"seed": 1.5}, "seed = 1.5: "),
    ("dog", {"seed": "7"}, "seed = '7': "),
    ("dog", {"seed": []}, "no seed given"),
    ("dog", {"latent": [0.0] * 15}, r"latent of shape \[15\]: mini/teacher takes finite numbers \[16\] or \[N 16\]"),
    ("dog", {"latent": [float("nan")] * 16}, "finite numbers"),
    ("dog", {"latent": "random"}, "latent: not numbers"),
    ("dog", {"reference": "no.png"}, r"no\.png: the file cannot be opened \(No such file"),
    ("dog", {"size": 0}, "size = 0: give pixels a side"),
    ("dog", {"size": (10, 20, 30)}, "size = "),
    ("dog", {"size": 100_000}, "no more than 89 million pixels"),
    ("dog", {"fit": "squeeze"}, "fit = 'squeeze': choose one of crop, pad, stretch"),
    ("dog", {"batch_size": 0}, "batch_size = 0"),
    (["cat", "dog"], {"seed": [1, 2, 3]}, "2 domains and 3 styles: give one of either, or equally many"),
])  # fmt: skip
def test_what_cannot_be_translated_says_why_in_one_line(translator, cat, domain, options, message):
    with pytest.raises(InputError, match=message) as caught:
        translator.translate(cat, domain, **options)
    assert "\n" not in str(caught.value)


def test_pictures_and_styles_that_do_not_pair_are_refused(translator, cat):
    with pytest.raises(InputError, match="2 pictures and 3 styles: give one of either"):
        translator.translate([cat, cat], "dog", seed=[1, 2, 3])


@pytest.mark.parametrize("options, message", [
    ({"seed": [1, 2], "frames": 0}, "frames = 0: at least 1"),
    ({"seed": [1]}, "1 style to interpolate between"),
    ({"seed": 1}, "1 style to interpolate between"),
    ({"seed": [1, 2], "through": "pixels"}, "through = 'pixels': choose one of styles, latents"),
    ({"reference": "cats", "through": "latents"}, "references have no latents"),
    ({"seed": [1, 2], "domain": ["cat", "dog"], "through": "latents"}, "latents are mapped into one domain"),
    ({"seed": [1, 2], "picture": "two"}, "2 pictures to interpolate: give one at a time"),
])  # fmt: skip
def test_what_cannot_be_interpolated_is_refused(translator, cat, options, message):
    picture, domain = [cat, cat] if options.pop("picture", None) else cat, options.pop("domain", "dog")
    with pytest.raises(InputError, match=message):
        translator.interpolate(picture, domain, **options)


def test_weights_that_have_diverged_are_named(released, cat):
    translator = kdlib.load(released, device="cpu")
    translator.nets.generator.to_rgb.bias.data.fill_(float("nan"))
    with pytest.raises(InputError, match="its output holds NaN or infinite values; these weights have diverged"):
        translator.translate(cat, "0")


def test_the_settings_of_a_run_decide_its_domains(runs):
    """Names come from the folder's own settings, not from whatever preset has its name."""
    settings = json.loads((runs / "mine/teacher/settings.json").read_text())
    settings["domains"] = ["a", "b", "c"]
    (runs / "mine/teacher/settings.json").write_text(json.dumps(settings))
    assert kdlib.load(runs / "mine/teacher", device="cpu").domains == ("a", "b", "c")

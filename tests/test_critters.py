"""Critters: what is drawn, measured on the pixels without the drawing code, against the factors that were asked for."""

import colorsys
import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from kdlib import critters
from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS, Critter, critter_at, factor_sweep, generate, render
from kdlib.errors import InputError

SIZE = 128  # of the measured pictures, where a pixel is 1/30 to 1/40 of a head
FACE = {"x": 0.5, "y": 0.55, "size": 0.25, "tilt": 0.0, "gaze": 0.0, "mouth": 0.0}

GOLDEN = """{
 "cat": {
  "sampled": [0.550646, 0.460763, 0.280651, 10.865557, -0.89952, 0.710215, -78.860031, 0.561776, 0.052743, 192.872856, 0.50136, 8.532847, 0.783749],
  "tiles": [[193.0, 169.32, 182.75, 182.32], [189.48, 132.88, 132.61, 171.37], [179.58, 155.65, 145.42, 166.51], [166.81, 166.81, 166.81, 166.81]]},
 "dog": {
  "sampled": [0.477022, 0.527288, 0.305769, 29.740349, -0.544482, 0.613151, 40.347458, 0.783539, 0.034845, 186.59219, 0.491925, 112.539044, 0.756616],
  "tiles": [[183.12, 170.35, 184.27, 185.33], [161.16, 150.26, 176.96, 175.03], [178.64, 157.78, 167.74, 162.77], [160.17, 172.73, 160.08, 157.84]]},
 "fox": {
  "sampled": [0.590428, 0.584113, 0.279635, 2.695847, 0.664159, 0.163183, -6.145647, 0.490638, 0.79112, 39.335484, 0.483885, 174.796861, 0.543803],
  "tiles": [[155.0, 139.15, 154.83, 143.31], [155.0, 99.63, 114.95, 113.88], [146.72, 142.43, 103.37, 134.82], [134.1, 139.91, 153.05, 134.46]]}
}"""  # sampled: in the order of SAMPLED_FACTORS; tiles: mean grey levels of the 64 px picture


def critter(species="cat", **changes):
    return replace(critter_at(species, 0, split="train", seed=0), **(FACE | changes))


def pixels(animal, size=SIZE):
    return np.asarray(render(animal, size)).astype(float)


def coverage(animal, size=SIZE):
    """How much of each pixel is animal, [H W] in [0, 1], by matting: the same animal before a white and a black background."""
    white = pixels(replace(animal, background_lightness=1.0), size).mean(2)
    black = pixels(replace(animal, background_lightness=0.0), size).mean(2)
    backdrop = white[:, 0]  # the leftmost column shows nothing else
    return 1 - (white - black) / backdrop[:, None]


def centroid(weight):
    rows, columns = np.indices(weight.shape)
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def digests(root):
    return {p.relative_to(root).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("critters") / "small", image_size=32, train_per_domain=3, val_per_domain=2, seed=5)


@pytest.mark.parametrize("species", SPECIES)
def test_position_and_size_are_what_is_drawn(species):
    start = coverage(critter(species))
    moved = coverage(critter(species, x=0.55, y=0.50))
    # 0.3 px of 128: polygon corners fall on a grid of half a pixel (two samples a pixel and side besides averaging).
    np.testing.assert_allclose(centroid(moved) - centroid(start), [0.05 * SIZE, -0.05 * SIZE], atol=0.3)
    grown = coverage(critter(species, size=0.30))
    # An area grows with the square; 3 % for outlines and whiskers, whose widths are whole samples.
    assert grown.sum() / start.sum() == pytest.approx((0.30 / 0.25) ** 2, rel=0.03)


@pytest.mark.parametrize("species", SPECIES)
def test_tilt_is_a_clockwise_turn_about_the_head(species):
    upright = Image.fromarray((255 * coverage(critter(species, y=0.5))).astype(np.uint8))
    turned = np.asarray(upright.rotate(-25, resample=Image.Resampling.BICUBIC)) / 255  # Pillow turns counter-clockwise
    drawn = coverage(critter(species, y=0.5, tilt=25.0))
    # Only edges may differ, by how two samplers soften them; a turn the other way differs by more than 0.1.
    assert np.abs(drawn - turned).mean() < 0.01
    assert np.abs(drawn - turned[:, ::-1]).mean() > 0.05


@pytest.mark.parametrize("species", SPECIES)
def test_a_flipped_picture_is_the_mirrored_critter(species):
    animal = critter(species, x=0.44, tilt=18.0, gaze=0.7, mouth=0.6)
    flipped = pixels(animal, 256)[:, ::-1]

    def difference(gaze):
        return np.abs(pixels(replace(animal, x=0.56, tilt=-18.0, gaze=gaze), 256) - flipped).mean()

    # 1 of 255 in the mean: polygons own only one of their two borders, so edges move by up to a sample (0.5 to 0.75 measured).
    assert difference(gaze=-0.7) < 1
    assert difference(gaze=0.7) > 1.5  # pupils that look the wrong way are enough to be noticed


@pytest.mark.parametrize("species", SPECIES)
def test_gaze_moves_the_pupils(species):
    left, right = pixels(critter(species, gaze=-1.0)).mean(2), pixels(critter(species, gaze=1.0)).mean(2)
    travel = centroid(np.clip(left - right, 0, None))[0] - centroid(np.clip(right - left, 0, None))[0]
    # Both pupils go from one end to the other: a quarter to half a head radius, 8 to 16 px here.
    assert 0.2 * 0.25 * SIZE < travel < 0.5 * 0.25 * SIZE


@pytest.mark.parametrize("species", SPECIES)
def test_mouth_opens(species):
    def red(mouth):  # throat and tongue, the only pixels this much redder than the blue-grey fur
        r, g, b = np.moveaxis(pixels(critter(species, mouth=mouth, fur_hue=-150.0, background_hue=220.0)), 2, 0)
        return (r - np.maximum(g, b) > 60).sum()

    areas = [red(mouth) for mouth in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert np.all(np.diff(areas) > 5), areas


@pytest.mark.parametrize("species", SPECIES)
def test_gaze_and_mouth_are_visible_at_32_pixels(species):
    """The smallest pictures studied: a whole swing of either must change several pixels by a tenth of the range or more."""
    for factor, ends in (("gaze", (-1.0, 1.0)), ("mouth", (0.0, 1.0))):
        first, last = (pixels(critter(species, **{factor: end}), 32) for end in ends)
        assert (np.abs(first - last).max(2) > 25).sum() >= 8, factor


@pytest.mark.parametrize("species", SPECIES)
def test_colours_are_the_stored_ones(species):
    animal = critter(species, markings=0.0)
    factors, picture = animal.factors(), np.asarray(render(animal, 256))

    def stored(part):
        return [round(255 * factors[f"{part}_{channel}"]) for channel in ("red", "green", "blue")]

    assert picture[0, 0].tolist() == picture[0, -1].tolist() == stored("background")
    assert (picture == stored("fur")).all(2).sum() > 0.03 * 256**2
    assert (picture == stored("eye")).all(2).sum() > 0.003 * 256**2
    # Hue and lightness are HSL's; a grey has no hue, and 8 bits shift that of a faint colour by a degree or two.
    hue, lightness, _ = colorsys.rgb_to_hls(*(factors[f"background_{channel}"] for channel in ("red", "green", "blue")))
    assert lightness == pytest.approx(animal.background_lightness, abs=1 / 255)
    assert abs((360 * hue - animal.background_hue + 180) % 360 - 180) < 2


@pytest.mark.parametrize("species", SPECIES)
def test_markings_change_the_coat_alone(species):
    plain, marked = (pixels(critter(species, markings=amount)) for amount in (0.0, 1.0))
    changed = np.abs(plain - marked).max(2) > 8
    assert 0.01 < changed.mean() < 0.2
    assert not (changed & (coverage(critter(species)) < 0.01)).any()
    assert (marked.sum(2) <= plain.sum(2) + 3).all()  # they are darker; 3: a level a channel by rounding


def test_same_picture_at_every_size():
    """Sizes show one drawing: a large picture averaged down is the small one, but for outline widths in whole samples."""
    for species in SPECIES:
        animal = critter(species, tilt=10.0, mouth=0.5)
        large = np.asarray(render(animal, 512).reduce(8)).astype(float)
        assert np.abs(pixels(animal, 64) - large).mean() < 2.5  # of 255; a shift of one sample of 256 alone gives about 1.5


def test_golden_critters():
    """Pins sampling and drawing to GENERATOR_VERSION: whoever changes a picture must raise it, or folders and networks made
    by two drawings would pass for one."""
    assert critters.GENERATOR_VERSION == 1
    golden = json.loads(GOLDEN)
    for species in SPECIES:
        animal = critter_at(species, 7, split="val", seed=3)
        sampled = [getattr(animal, name) for name in critters.SAMPLED_FACTORS]
        assert sampled == golden[species]["sampled"]
        # Means over a 4 x 4 grid of tiles; 0.5 of 255 leaves room for another Pillow's edges, not for another shape.
        tiles = pixels(animal, 64).reshape(4, 16, 4, 16, 3).mean((1, 3, 4))
        np.testing.assert_allclose(tiles, golden[species]["tiles"], atol=0.5)


def test_same_seed_same_bytes(small, tmp_path):
    again = generate(tmp_path / "again", image_size=32, train_per_domain=3, val_per_domain=2, seed=5)
    assert digests(again) == digests(small)
    other = generate(tmp_path / "other", image_size=32, train_per_domain=3, val_per_domain=2, seed=6)
    assert not set(digests(other).values()) & set(digests(small).values())


def test_more_pictures_leave_the_first_ones_alone(small, tmp_path):
    more = digests(generate(tmp_path / "more", image_size=32, train_per_domain=5, val_per_domain=2, seed=5))
    few = {name: digest for name, digest in digests(small).items() if name.endswith(".png")}
    assert few.items() <= more.items()
    assert len(set(few.values())) == len(few)  # no two pictures, of train or val, are the same


def test_table_describes_the_pictures(small):
    for folder in sorted(small.glob("*/*")):
        table = pd.read_csv(folder / "factors.csv")
        assert list(table["file"]) == sorted(p.name for p in folder.glob("*.png"))
        assert list(table.columns[1:17]) == [*CONTENT_FACTORS, *STYLE_FACTORS]
        for row in table.to_dict("records"):
            animal = Critter(folder.name, **{name: row[name] for name in critters.SAMPLED_FACTORS})
            with Image.open(folder / row["file"]) as picture:
                assert picture.mode == "RGB" and not picture.info
                np.testing.assert_array_equal(np.asarray(picture), np.asarray(render(animal, 32)))
            assert {name: row[name] for name in animal.factors()} == pytest.approx(animal.factors(), abs=5e-7)  # 6 decimals


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full")])
def test_interruption_leaves_nothing(tmp_path, monkeypatch, error):
    drawn = []

    def interrupted(animal, size):
        if len(drawn) == 4:
            raise error
        drawn.append(animal)
        return render(animal, size)

    monkeypatch.setattr(critters, "render", interrupted)
    with pytest.raises(type(error)):
        generate(tmp_path / "half", image_size=32, train_per_domain=2, val_per_domain=1, seed=0)
    assert len(drawn) == 4
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(small, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    assert generate(small, image_size=32, train_per_domain=3, val_per_domain=2, seed=5) == small
    with pytest.raises(InputError, match=r"other settings \(seed: there 5, asked 9\)"):
        generate(small, image_size=32, train_per_domain=3, val_per_domain=2, seed=9)
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before
    mine = tmp_path / "mine" / "holiday.jpg"
    mine.parent.mkdir()
    mine.write_bytes(b"x")
    with pytest.raises(InputError, match="mine exists but has no readable manifest.json"):
        generate(mine.parent, image_size=32, train_per_domain=1, val_per_domain=1, seed=0)
    assert mine.read_bytes() == b"x"


def test_sweep_varies_one_factor():
    pictures = factor_sweep("fox", "tilt", [-30, 0, 30], 256)
    assert [picture.size for picture in pictures] == [(256, 256)] * 3
    first, _, last = (np.asarray(picture).astype(float) for picture in pictures)
    assert np.abs(first - last[:, ::-1]).mean() < 1  # mirror images but for the edges, as above: x and gaze are centred
    assert np.abs(first - last).mean() > 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: critter_at("wolf", 0, split="train", seed=0), "wolf"),
        (lambda: critter_at("cat", 0, split="test", seed=0), "test"),
        (lambda: critter("cat", mouth=1.5), "mouth"),
        (lambda: critter("cat", size=0.0), "size"),
        (lambda: render(critter(), 16), "image_size=16"),
        (lambda: factor_sweep("cat", "fur_red", [0.5], 64), "fur_red"),
        (lambda: generate("unused", image_size=1024), "1024"),
        (lambda: generate("unused", train_per_domain=0), "train_per_domain"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()

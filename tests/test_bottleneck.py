"""The page of what set distances miss: its fragments from made-up results, and what is said of results that are not there."""

import base64
import io
import json
import re
import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from made_up_translation import COPY_STYLE, TRANSLATE, FakeFactorNetwork, data, networks
from PIL import Image

from kdlib import bottleneck, runs, session
from kdlib.__main__ import parser
from kdlib.book.bottleneck_report import FREE, fragments
from kdlib.bottleneck import MODELS, NARROW, WIDE, load_results
from kdlib.config import load_preset
from kdlib.critters import CONTENT_FACTORS, SPECIES, STYLE_FACTORS
from kdlib.errors import InputError
from kdlib.overrides import parse_overrides
from kdlib.paths import REPOSITORY
from kdlib.runs import TEACHER, RunSettings

CELL, GAP = 64, 2
IGNORES = {"frechet": 25.0, "kernel": 3.0, "content": 0.05, "leak": 0.9, "reconstruction": 0.06}
KEEPS = {"frechet": 30.0, "kernel": 4.0, "content": 0.91, "leak": 0.03, "reconstruction": 0.14}
SOURCE = {"frechet": 200.0, "kernel": 80.0, "content": 1.0, "leak": 0.02, "reconstruction": 0.0, "species": 0.0}
RANDOM = {"frechet": 1.5, "kernel": -0.2, "content": -0.01, "leak": 0.04, "reconstruction": 0.4, "diversity": 16.0}


def metrics(frechet, kernel, content, leak, reconstruction, species=1.0, diversity=12.0):
    latent = {"frechet_factor_network": frechet, "kernel_factor_network": kernel, "diversity_factor_network": diversity, "domain_accuracy": species}
    latent |= {f"content_correlation_{name}": content for name in CONTENT_FACTORS} | {"content_correlation": content, "detail_correlation": content / 2}
    followed = {f"leak_correlation_{name}": leak for name in CONTENT_FACTORS} | {"leak_correlation": leak, "style_correlation": 0.8}
    return {
        "cost": {"parameters": 765_432, "macs": 45_600_000}, "latent": {"mean": latent}, "reference": {"mean": latent | followed},
        "reconstruction": {"mean": {"reconstruction_l1": reconstruction}},
    }  # fmt: skip


def write(folder, models, free=None, codes=None):
    """Kept results; ``models``: scores by model."""
    folder.mkdir(exist_ok=True)
    for shade, (model, scores) in enumerate(models.items()):
        run, preset = folder / model.run, load_preset("bottleneck", **model.settings)
        (run / "samples").mkdir(parents=True)
        settings = RunSettings(preset, TEACHER, 64, False, SPECIES, "pictures")
        files = {"settings": settings.as_dict(), "metrics": metrics(**scores), "finished": {"step": 2500, "seconds": 1500.0}}
        for name, content in files.items():
            (run / f"{name}.json").write_text(json.dumps(content))
        for guide, lines in (("latent", 6), ("reference", 7)):
            canvas = np.zeros(((CELL + GAP) * lines - GAP, (CELL + GAP) * 7 - GAP, 3), np.uint8)
            for i in range(lines):
                for j in range(7):
                    canvas[i * (CELL + GAP) :, j * (CELL + GAP) :][:CELL, :CELL] = (50 * shade, 30 * i, 30 * j)
            Image.fromarray(canvas).save(run / "samples" / f"{guide}_0002500.png")
    for name, key, content in ((bottleneck.MODEL_FREE, "translators", free), (bottleneck.STYLE_CODES, "runs", codes)):
        if content:
            (folder / name).write_text(json.dumps({"environment": {}, key: content}))
    return folder


FREE_RESULTS = {"source": metrics(**SOURCE), "random": metrics(**RANDOM), "reference": metrics(**RANDOM | {"leak": 1.0})}


def code(held, from_code, from_source):
    """Pose as given, colours held and followed."""
    pose = {"held": held, "from_code": from_code, "from_source": from_source}
    colours = {"held": 0.9, "from_code": 0.9, "from_source": 0.0}
    return {kind: {n: pose[kind] for n in CONTENT_FACTORS} | {n: colours[kind] for n in STYLE_FACTORS} for kind in pose}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    models = {WIDE: KEEPS, NARROW: IGNORES, MODELS[2]: KEEPS | {"content": 0.93}, MODELS[3]: KEEPS | {"content": 0.3, "leak": 0.1}}
    return fragments(write(tmp_path_factory.mktemp("kept"), models, FREE_RESULTS, {"teacher": code(0.7, 0.1, 0.8), "teacher-8x8": code(0.95, 0.9, 0.05)}))


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("setup", ["| `teacher-8x8` | 8×8 | no | 0.77\N{NO-BREAK SPACE}M | 46\N{NO-BREAK SPACE}M | 2,500 | 25\N{NO-BREAK SPACE}min |", "| `teacher-warped` | 16×16 | yes |"]),
        ("summary", ["a Fréchet distance of 1.5 latent- and 1.5 reference-guided; its pose correlates with the source's at −0.01.",
                     "No trained model's is as low: their lowest are 25.0 (8×8) and 25.0 (8×8).",
                     "The 16×16 model keeps `x` (0.91), `y` (0.91), `size` (0.91) and `tilt` (0.91) of its source.",
                     "The 8×8 model ignores its source's pose: `x` (0.05), `y` (0.05), `size` (0.05) and `tilt` (0.05).",
                     "Every distance prefers the 8×8 model to the 16×16 one, although it keeps less of its source."]),
        ("table", ["| the source itself | a random training picture | the reference itself | **16×16** | **8×8** |",
                   "| Fréchet distance (low) | 200.0 / 200.0 | 1.5 / 1.5 | 1.5 / 1.5 | 30.0 / 30.0 | 25.0 / 25.0 |", "| style followed (high) | 0.80 | 0.80 |",
                   "| kernel distance (low) | 80.00 / 80.00 | −0.20 / −0.20 |", "| reconstruction L1 (low) | 0.000 | 0.400 | 0.400 | 0.140 | 0.060 |",
                   "the 16×16 model is clearly better in content kept, details kept and leak; the 8×8 model is clearly better in Fréchet distance and kernel distance."]),
        ("codes", ["| model | pose held by the code | pose from the code | pose from the source | colours held by the code | colours from the code | colours from the source |",
                   "| 16×16 | 0.70 | 0.10 | 0.80 | 0.90 | 0.90 | 0.00 |", "16×16: the code holds the pose, but pictures do not take theirs from it.",
                   "8×8: the code holds the pose, and pictures are drawn from it; the source is not used."]),
        ("warp", ["| latent- / reference-guided | 16×16 | 16×16, warped | 8×8 | 8×8, warped |",
                  "8×8: content kept 0.05 → 0.30, leak 0.90 → 0.10 with the warp.",
                  "The 8×8 model with the warp keeps no part of its source's pose well, little of `x` (0.30), `y` (0.30), `size` (0.30) and `tilt` (0.30)."]),
    ],
)  # fmt: skip
def test_what_a_part_says(made, part, said):
    for words in said:
        assert words in made[part], made[part]


NEITHER = "as the factor scores do; what is lost they do not say."


@pytest.mark.parametrize(
    ("narrow", "said"),
    [
        ({"frechet": 31.0}, "Of 4 distances, 2 prefer the 8×8 model to the 16×16 one, although it keeps less of its source."),
        ({"frechet": 31.0, "kernel": 5.0}, f"Every distance prefers the 16×16 model to the 8×8 one, {NEITHER}"),
        ({"content": 0.95}, f"Every distance prefers the 8×8 model to the 16×16 one, {NEITHER}"),
        ({"content": 0.95, "frechet": 31.0, "kernel": 5.0}, "Every distance prefers the 16×16 model to the 8×8 one, although it keeps less of its source."),
        ({"content": 0.3}, "The 8×8 model keeps no part of its source's pose well, little of `x` (0.30), `y`"),
    ],
)
def test_other_outcomes_are_told_as_they_are(tmp_path, narrow, said):
    assert said in fragments(write(tmp_path, {WIDE: KEEPS, NARROW: IGNORES | narrow}, FREE_RESULTS))["summary"]


def test_factors_that_are_kept_and_lost_are_named(tmp_path):
    folder = write(tmp_path, {WIDE: KEEPS, NARROW: IGNORES})
    path = folder / NARROW.run / "metrics.json"
    content = json.loads(path.read_text())
    content["reference"]["mean"] |= {"content_correlation_x": 0.97, "content_correlation_y": 0.94, "content_correlation_tilt": 0.46, "content_correlation_size": 0.13}
    path.write_text(json.dumps(content))
    said = "The 8×8 model keeps `x` (0.97) and `y` (0.94) of its source, little of `tilt` (0.46) and nothing of `size` (0.13)."
    assert said in fragments(folder)["summary"]


@pytest.mark.parametrize(("narrow", "said"), [(IGNORES, "The source is ignored here: outputs of the 8×8 model follow it at 0.05."), (KEEPS, "The source is not ignored here: outputs of the 8×8 model follow it at 0.91.")])
def test_whether_the_source_was_ignored(tmp_path, narrow, said):
    assert fragments(write(tmp_path, {NARROW: narrow}))["repeated"] == said + "\n"


def test_a_random_picture_that_is_not_the_best_is_not_called_so(tmp_path):
    drawn = {**FREE_RESULTS, "random": metrics(**RANDOM | {"frechet": 28.0})}
    said = fragments(write(tmp_path, {WIDE: KEEPS, NARROW: IGNORES}, drawn))["summary"]
    assert "Trained models have lower ones: their lowest are 25.0 (8×8)" in said
    drawn["random"]["latent"] = FREE_RESULTS["random"]["latent"]
    assert "with one of the two guides" in fragments(write(tmp_path, {}, drawn))["summary"]


def figure(text):
    return json.loads(re.search(r'<script type="application/json">(.*)</script>', text)[1])


def test_the_common_scale(made):
    """Fréchet distance 25 of 200 that the source itself has: 0.875 of the way; diversity 12 of 16; no leak 0.9: 0.1."""
    traces = {(t["name"], t["xaxis"]): dict(zip(t["y"], t["x"])) for t in figure(made["figure"])["data"] if t.get("name")}
    first, second = traces["bottleneck 8×8", "x"], traces["bottleneck 8×8", "x2"]
    assert first == pytest.approx({
        "Fréchet, latent": 0.875, "Fréchet, reference": 0.875, "kernel, latent": 1 - 3 / 80, "kernel, reference": 1 - 3 / 80,
        "diversity, latent": 0.75, "diversity, reference": 0.75, "species, latent": 1, "species, reference": 1,
    })  # fmt: skip
    assert second == pytest.approx({
        "content, latent": 0.05, "content, reference": 0.05, "details, latent": 0.025, "details, reference": 0.025,
        "style, reference": 0.8, "no leak, reference": 0.1,
    })  # fmt: skip
    assert traces["a random training picture", "x"]["Fréchet, latent"] == pytest.approx(1 - 1.5 / 200)


def test_the_factors_figure_has_every_model_and_factor(made):
    data = figure(made["factors"])["data"]
    assert sorted(t["name"] for t in data) == sorted([m.label for m in MODELS] * 2)
    assert all(t["text"] == list(CONTENT_FACTORS) for t in data)
    assert data[1]["x"] == [0.05] * 6 and data[5]["x"] == [0.9] * 6  # 8×8, with the source and with the reference


def test_pictures_are_the_cells_that_their_headings_name(made):
    """The first grid is in the first reference of the last domain, column 5 of the samples: blue 30 * 5 in every output."""
    grids = made["pictures"].split("</figure>")
    cells = [Image.open(io.BytesIO(base64.b64decode(found))).getpixel((0, 0)) for found in re.findall(r"base64,([^\"]+)", grids[0])]
    sources, models = cells[:6], np.array(cells[6:]).reshape(4, 7, 3)
    assert sources == [(0, 30 * i, 0) for i in range(1, 7)]
    for shade, line in enumerate(models):
        assert line.tolist() == [[50 * shade, 30 * i, 150] for i in range(7)]  # its reference, then the six outputs
    cells = [Image.open(io.BytesIO(base64.b64decode(found))).getpixel((0, 0)) for found in re.findall(r"base64,([^\"]+)", grids[1])]
    assert cells[:6] == [(0, 0, 30 * j) for j in range(1, 7)]
    assert np.array(cells[6:]).reshape(4, 7, 3)[2].tolist() == [[100, 30, 30 * j] for j in range(7)]


def test_any_part_may_be_missing(tmp_path):
    empty = fragments(tmp_path)
    assert "*Not kept here yet: the models 16×16 and 8×8.*" in empty["summary"] and f"`{NARROW.command}`" in empty["setup"]
    assert all("yet" in empty[part] for part in ("table", "figure", "factors", "codes", "warp", "pictures"))
    one = fragments(write(tmp_path / "one", {NARROW: IGNORES}))
    assert "| latent- / reference-guided | **8×8** |" in one["table"] and "*Not kept here yet: the model 16×16.*" in one["table"]
    assert "Not kept here yet" in one["summary"] and "kdplot" in one["factors"] and "Every distance" not in one["summary"]
    two = fragments(write(tmp_path / "two", {WIDE: KEEPS, NARROW: IGNORES}))
    shares = [t["x"] for t in figure(two["figure"])["data"] if t.get("name") == "bottleneck 8×8"]
    assert shares[0] == [None] * 6 + [1, 1]  # no translator to hold distances and diversity against
    assert "Every distance prefers the 8×8 model" in two["summary"] and "the models 16×16, warped and 8×8, warped" in two["warp"]
    without = fragments(write(tmp_path / "free", {}, FREE_RESULTS))
    assert "as low" not in without["summary"] and "| the source itself |" in without["table"]


def test_every_command_is_one_and_makes_the_model_it_names(made):
    commands = made["commands"].splitlines()[1:-1]
    for command in commands:
        words = shlex.split(command)
        assert words[:2] == ["python", "-m"]
        if words[2] == "kdlib":
            options = parser().parse_args(words[3:])
            if words[3] == "train":
                model = next(m for m in MODELS if m.run == options.name)
                preset = load_preset(options.preset, **parse_overrides(options.overrides))
                architecture = preset.architecture(3, alpha=64, student=False)
                assert architecture.image_size >> architecture.generator_down_blocks == model.side
                assert bool(preset.training.style_warp) == model.warped
    assert len(commands) == 2 * len(MODELS) + 1


def test_the_page_has_every_part_and_no_other(made):
    page = (REPOSITORY / "book" / "what_distances_miss.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\{include\} _generated/bottleneck_(\w+)\.md", page)) == sorted(made)


def test_results_in_git_are_of_the_models_they_are_shown_as():
    results = load_results()
    for model in results.metrics:
        preset = results.run(model).settings().preset
        architecture = preset.architecture(3, alpha=64, student=False)
        assert (architecture.image_size >> architecture.generator_down_blocks, bool(preset.training.style_warp)) == (model.side, model.warped)
    assert set(results.free) in (set(), set(FREE))
    lowest = {g: min((m[g]["mean"]["frechet_factor_network"] for m in results.metrics.values()), default=float("inf")) for g in ("latent", "reference")}
    for guide, distance in lowest.items():  # the page says that no trained model has a smaller one
        assert not results.free or results.free["random"][guide]["mean"]["frechet_factor_network"] < distance
    for name, text in fragments().items():
        assert "nan" not in text.lower().split() and "None" not in text, name


def test_what_is_measured_is_kept_and_not_measured_again(tmp_path, monkeypatch):
    """Model 8×8 is trained and the other three are not; networks that translate, on made-up pictures."""
    dataset, scored, weights = data(), [], ["w1"]
    judges = SimpleNamespace(hashes={"fake": "0"}, factor_network=FakeFactorNetwork())

    def evaluate_run(preset, name, progress):
        if name != NARROW.run:
            raise InputError(f"no finished run {name!r}")

    monkeypatch.setattr(session, "open_data", lambda *_: dataset)
    monkeypatch.setattr(session, "judges_of", lambda *_: judges)
    monkeypatch.setattr(session, "evaluate_run", evaluate_run)
    monkeypatch.setattr(session, "evaluated_networks", lambda *_: networks(TRANSLATE))
    monkeypatch.setattr(session, "score", lambda preset, nets, *_, **__: scored.append(nets) or metrics(**RANDOM))
    monkeypatch.setattr(runs, "find_run", lambda *_: SimpleNamespace(weights_hash=lambda: weights[0]))
    said = bottleneck.measure(tmp_path, progress=False)
    assert "teacher-8x8: evaluated" in said and "teacher: left out; no finished run 'teacher'" in said and len(scored) == 3
    found = load_results(tmp_path)
    assert set(found.free) == set(FREE) and list(found.codes) == [NARROW] and found.codes[NARROW]["from_source"]["x"] == pytest.approx(1, abs=1e-4)
    before = (tmp_path / bottleneck.STYLE_CODES).read_text()
    monkeypatch.setattr(session, "evaluated_networks", lambda *_: networks(COPY_STYLE))
    bottleneck.measure(tmp_path, progress=False)
    assert len(scored) == 3 and (tmp_path / bottleneck.STYLE_CODES).read_text() == before
    weights[0], judges.hashes["fake"] = "w2", "1"
    bottleneck.measure(tmp_path, progress=False)
    assert len(scored) == 6 and load_results(tmp_path).codes[NARROW]["from_code"]["x"] == pytest.approx(1, abs=1e-4)

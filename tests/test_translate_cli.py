"""The commands that use a model, run as a user would, in a folder of pictures; what is written is compared with calls in Python."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

import kdlib
from kdlib.__main__ import main
from kdlib.critters import critter_at, render
from kdlib.landmarks import LandmarkMasks
from kdlib.networks import build_networks
from kdlib.paths import reference_folder
from kdlib.released import save_released
from kdlib.use import face_alignment, model_comparison
from kdlib.use.model_comparison import compare_models

SHIPPED = str(reference_folder() / "mini" / "teacher")
SIZE = 64  # its pictures


@pytest.fixture(scope="module")
def translator():
    return kdlib.load(SHIPPED, device="cpu")


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    path = tmp_path_factory.mktemp("student") / "student.ckpt"
    save_released(path, build_networks(8, 3, True, 0, SIZE, base_width=8, seed=0))
    return str(path)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder with a few pictures to work in."""
    monkeypatch.chdir(tmp_path)
    for name, species, index in (("photo", "cat", 4), ("dog", "dog", 1), ("dog2", "dog", 2)):
        render(critter_at(species, index, split="val", seed=5), 48).save(f"{name}.png")
    return tmp_path


def run(*arguments):
    assert main([str(argument) for argument in arguments]) == 0


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_photo_is_translated_into_a_file(translator, here, capsys):
    run("translate", "photo.png", "--model", SHIPPED, "--to", "dog", "--seed", 7, "-o", "out/dog.png")
    assert capsys.readouterr().out == "out/dog.png\n"
    want = translator.translate("photo.png", "dog", seed=7)
    np.testing.assert_array_equal(Image.open("out/dog.png"), want)
    run("translate", "photo.png", "--model", SHIPPED, "--to", "dog", "--reference", "dog.png", "--size", "80x60", "--fit", "stretch", "-o", "ref.bmp")
    want = translator.translate("photo.png", "dog", reference="dog.png", size=(80, 60), fit="stretch")
    np.testing.assert_array_equal(Image.open("ref.bmp"), want)


@pytest.mark.parametrize("name, form", [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP"), ("a.bmp", "BMP")])
def test_the_ending_decides_the_format(name, form):
    run("translate", "photo.png", "--model", SHIPPED, "--to", "fox", "-o", name)
    with Image.open(name) as picture:
        assert (picture.format, picture.size, picture.mode) == (form, (SIZE, SIZE), "RGB")


def test_several_pictures_domains_and_styles_go_into_a_folder(translator, here):
    (here / "in").mkdir()
    for name in ("a.png", "a.jpg", "b.png"):
        Image.open("photo.png").save(here / "in" / name)
    run("translate", "in", "dog.png", "--model", SHIPPED, "--to", "dog", "--to", "fox", "--seed", 1, 2, "-o", "out")
    stems = ("a.jpg", "a.png", "b", "dog")
    assert files(here / "out") == sorted(f"{s}_to_{d}_seed{i}.png" for s in stems for d in ("dog", "fox") for i in (1, 2))
    got = np.asarray(Image.open("out/dog_to_fox_seed2.png"), int)
    assert np.abs(got - np.asarray(translator.translate("dog.png", "fox", seed=2), int)).max() <= 1  # in another batch
    run("translate", "photo.png", "--model", SHIPPED, "--to", "dog", "--reference", "dog.png", "dog2.png", "-o", "out2")
    assert files(here / "out2") == ["photo_to_dog_dog.png", "photo_to_dog_dog2.png"]


def test_a_damaged_picture_does_not_stop_the_others(here, monkeypatch, capsys):
    monkeypatch.setattr("kdlib.use.translate_cli.TOGETHER", 2)  # so that the folder is read in several parts
    (here / "in").mkdir()
    for i in range(5):
        Image.open("photo.png").save(here / "in" / f"{i}.png")
    (here / "in/2.png").write_bytes(b"")
    assert main(["translate", "in", "--model", SHIPPED, "--to", "dog", "-o", "out"]) == 2
    captured = capsys.readouterr()
    assert captured.out.split() == [f"out/{i}_to_dog_seed0.png" for i in (0, 1, 3, 4)] and len(files(here / "out")) == 4
    assert captured.err == "kdlib translate: in/2.png: the file is empty (0 bytes)\n"


def test_a_gif_and_an_mp4_between_styles(translator, here):
    run("interpolate", "photo.png", "--model", SHIPPED, "--to", "dog", "--seed", 1, 2, 3, "--frames", 4, "--loop", "--fps", 10, "-o", "a.gif")
    with Image.open("a.gif") as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"]) == (12, 100, 0)
        frames = [np.asarray(frame.convert("RGB"), float) for frame in ImageSequence.Iterator(gif)]
    want = translator.interpolate("photo.png", "dog", seed=[1, 2, 3], frames=4, loop=True)
    assert np.mean([np.abs(a - np.asarray(b)).mean() for a, b in zip(frames, want, strict=True)]) < 3  # 256 colours
    import imageio_ffmpeg

    two = ("--reference", "dog.png", "dog2.png")
    run("interpolate", "photo.png", "--model", SHIPPED, "--to", "dog", *two, "--frames", 5, "--size", 64, "-o", "a.mp4")
    assert imageio_ffmpeg.count_frames_and_secs("a.mp4")[0] == 6


# ---- models side by side


def test_the_comparison_shows_every_model_s_own_pictures(translator, student, here, capsys):
    arguments = ("--model", SHIPPED, "--to", "1", "--seed", 4, "--compare", student, "--domains", "cat,dog,fox")
    run("translate", "photo.png", "dog.png", *(a if a != "1" else "dog" for a in arguments), "-o", "both.png")
    out = capsys.readouterr().out.splitlines()
    parameters = {name: t.parameters for name, t in (("mini/teacher", translator), ("student.ckpt", kdlib.load(student, device="cpu")))}
    for line, (name, count) in zip(out, parameters.items()):
        assert line.startswith(name) and f" ms, {count / 1e6:.3f} M weights, " in line
    assert f"{parameters['mini/teacher'] / parameters['student.ckpt']:.1f}x fewer weights" in out[1] and out[2] == "both.png"
    assert Image.open("both.png").width > 3 * 256


def test_cells_of_the_comparison_are_the_models_outputs(translator, student, monkeypatch):
    other = kdlib.load(student, device="cpu", domains=("cat", "dog", "fox"))
    seen = {}
    monkeypatch.setattr(model_comparison, "_figure", lambda columns, heads, caption: seen.update(columns=columns, heads=heads, caption=caption))
    found = compare_models([translator, other], ["photo.png", "dog.png"], "dog", reference="dog2.png", repeats=3)
    sources, references, *outputs = seen["columns"]
    want = [np.asarray(Image.open(name).resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for name in ("photo.png", "dog.png", "dog2.png")]
    np.testing.assert_array_equal(sources, want[:2])
    np.testing.assert_array_equal(references, [want[2]] * 2)
    for model, column in zip((translator, other), outputs, strict=True):
        made = model.translate(["photo.png", "dog.png"], "dog", reference="dog2.png")
        np.testing.assert_array_equal(column, [np.asarray(picture) for picture in made])
    assert seen["caption"].startswith("To dog. Time of one picture: median of 3, cpu, ")
    assert [head[0] for head in seen["heads"]] == ["source", "reference", "teacher", "student, alpha = 8"]
    assert all(0 < m.milliseconds < 60_000 for m in found.models)


def test_time_is_the_median_of_the_counted_turns(translator, monkeypatch):
    """With a clock that is told what each translation takes: the first ones, which are slow, do not count; one outlier does not either."""
    taken = iter([50, 50, 50, 50, 50, 50, 1, 2, 1, 2, 9, 2, 1, 2, 1, 99])  # three warm-up turns and five counted ones, of two models
    now = [0.0]
    monkeypatch.setattr(model_comparison.time, "perf_counter", lambda: now[0])

    class Clocked:
        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def render(self, *_):
            now[0] += next(taken)

    found = model_comparison._time([Clocked(translator), Clocked(translator)], torch.zeros(1, 3, 32, 32), "dog", 5, {"seed": 0})
    assert found == [1, 2] and next(taken, None) is None


# ---- alignment


class Corners(torch.nn.Module):
    """Stands for the landmark network: an upright face in the middle of any picture that is not all of one colour."""

    def forward(self, x):
        maps = torch.zeros(len(x), 99, 64, 64)
        if x.std() > 0.01:
            for part, row, column in (([*range(60, 68), 96], 24, 20), ([*range(68, 76), 97], 24, 43), ([76], 44, 24), ([82], 44, 39)):
                maps[:, part, row, column] = 1
        return maps


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(face_alignment, "load_landmarks", lambda path: LandmarkMasks(Corners()))


def test_portraits_are_aligned_and_those_without_a_face_are_named(stand_in, here, capsys):
    run("align", "photo.png", "--landmarks", "wing.ckpt", "--size", 64, "-o", "face.png")
    np.testing.assert_array_equal(Image.open("face.png"), face_alignment.FaceAligner("wing.ckpt", size=64).align("photo.png"))
    Image.new("RGB", (40, 40)).save("wall.png")
    capsys.readouterr()
    assert main(["align", "photo.png", "wall.png", "dog.png", "--landmarks", "wing.ckpt", "-o", "faces"]) == 2
    assert files(here / "faces") == ["dog.png", "photo.png"]
    assert capsys.readouterr().err.startswith("kdlib align: wall.png: no face found; crop")
    assert main(["align", "no.png", "wall.png", "--landmarks", "wing.ckpt", "-o", "faces"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "kdlib align: 2 of 2 pictures are not aligned:" and lines[1].startswith("- no.png: ") and lines[2].startswith("- wall.png: ")


def test_the_landmark_network_of_a_run_is_found(stand_in, here, monkeypatch, capsys):
    monkeypatch.setenv("KDLIB_RUNS", str(here / "runs"))
    assert main(["align", "photo.png", "-o", "face.png"]) == 2
    assert "--landmarks: name wing.ckpt, the face-landmark network released with StarGAN-v2" in capsys.readouterr().err
    (here / "runs/celeba_hq/teacher").mkdir(parents=True)
    (here / "runs/celeba_hq/teacher/wing.ckpt").write_bytes(b"")
    run("align", "photo.png", "-o", "face.png")
    assert Image.open("face.png").size == (256, 256)


# ---- bad input


@pytest.mark.parametrize("arguments, message", [
    ("translate no.png --to dog -o out.png", "no.png: the file cannot be opened (No such file or directory)"),
    ("translate text.png --to dog -o out.png", "text.png: the content is not a JPEG, PNG, WebP or BMP picture, or damaged at its beginning"),
    ("translate photo.png --to wolf -o out.png", "domain 'wolf': mini/teacher knows cat, dog, fox"),
    ("translate photo.png --to dog --seed 1 --reference dog.png -o out.png", "--seed and --reference: a style comes from one of them"),
    ("translate photo.png --to dog --seed 1 --reference dog.png --compare mini/teacher -o out.png", "seed and reference given: "),
    ("translate photo.png --to dog --reference no.png -o out.png", "no.png: the file cannot be opened"),
    ("translate photo.png --to dog --seed -1 -o out.png", "seed = -1: give a whole number of at least 0"),
    ("translate photo.png --to dog -o out.tiff", "out.tiff: pictures are written as .png, .jpg, .jpeg, .webp, .bmp; end the name in one of them"),
    ("translate photo.png dog.png --to dog -o out.png", "out.png: 2 pictures do not fit into one file; name a folder"),
    ("translate photo.png --to dog --model none/such -o out.png", "none/such: no such model, folder or file; there "),
    ("translate photo.png --to dog --model data.txt -o out.png", "data.txt: "),
    ("translate photo.png --to dog --device tpu9 -o out.png", "device = 'tpu9': not available here"),
    ("translate photo.png --to dog --size 0 -o out.png", "size = 0: "),
    ("translate photo.png --to dog --domains a,b -o out.png", "domains = a, b: mini/teacher names its own, cat, dog, fox"),
    ("translate photo.png --to dog -o photo.png", "photo.png: this is one of the pictures that are read; give the result another name"),
    ("translate photo.png --to dog --reference dog.png -o ./dog.png", "dog.png: this is one of the pictures that are read"),
    ("translate photo.png --to dog -o text.png/out.png", "text.png/out.png: cannot be written ("),
    ("translate photo.png again/photo.png --to dog -o out", "photo.png and again/photo.png: their results would have the same name"),
    ("translate . --to dog --compare mini/teacher --size 9 -o out.png", "--size: a comparison shows every model's own pixels; leave it out"),
    ("translate empty --to dog -o out", "empty: no pictures in this folder"),
    ("interpolate photo.png --to dog --seed 1 2 --frames 0 -o a.gif", "frames = 0: at least 1 from one style to the next"),
    ("interpolate photo.png --to dog --seed 1 -o a.gif", "1 style to interpolate between: give at least two"),
    ("interpolate photo.png --to dog --seed 1 2 -o a.avi", "a.avi: animations are written as .gif or .mp4; end the name in one of them"),
    ("interpolate photo.png --to dog --seed 1 2 --fps 0 -o a.gif", "fps = 0.0: from 0.1 to 50 frames a second"),
    ("interpolate photo.png --to dog --seed 1 2 --size 33 -o a.mp4", "a.mp4: frames of 33x33; an MP4 needs an even width and height"),
    ("interpolate photo.png --to dog --reference dog.png dog2.png --through latents -o a.gif", "through = 'latents': references have no latents"),
    ("interpolate photo.png --to dog --reference dog.png no.png -o a.gif", "no.png: the file cannot be opened"),
    ("align photo.png --landmarks wing.ckpt -o out.png", "wing.ckpt: "),
    ("align photo.png --landmarks data.txt -o out.png", "data.txt: "),
    ("align photo.png --landmarks data.txt -o out.gif", "out.gif: pictures are written as"),
])  # fmt: skip
def test_bad_input_gets_one_line_and_writes_nothing(here, capsys, arguments, message):
    (here / "text.png").write_text("hello")
    (here / "data.txt").write_text("hello")
    (here / "again").mkdir()
    Image.open("photo.png").save(here / "again/photo.png")
    (here / "empty").mkdir()
    before = {name: (here / name).read_bytes() for name in files(here)}
    arguments = arguments.split()
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"kdlib {arguments[0]}: ") and captured.err.count("\n") == 1 and message in captured.err
    assert {name: (here / name).read_bytes() for name in files(here)} == before


@pytest.mark.parametrize("arguments", ["translate photo.png -o o.png", "translate photo.png --to dog --size big -o o.png", "interpolate a.png --to dog"])
def test_what_the_parser_refuses_has_no_traceback(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2 and "kdlib" in capsys.readouterr().err


def test_a_preset_without_students_has_nothing_to_compare(here, monkeypatch, capsys):
    monkeypatch.setenv("KDLIB_RUNS", str(here / "runs"))
    monkeypatch.setattr("kdlib.use.model_names.available_models", lambda: ["mini/teacher", "mine/alpha8-kd"])
    assert main(["translate", "photo.png", "--to", "dog", "--compare", "-o", "out.png"]) == 2
    assert "there is no finished model beside mini/teacher yet; name one, or train some" in capsys.readouterr().err

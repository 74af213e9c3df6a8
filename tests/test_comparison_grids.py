"""Grids of models side by side: every cell of the files written against an output computed here, one at a time."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from faces_model import release_faces
from PIL import Image
from safetensors.torch import load_file

from kdlib.__main__ import main
from kdlib.config import load_preset
from kdlib.data import step_rng
from kdlib.errors import InputError
from kdlib.labelled_grid import LabelledGrid
from kdlib.networks import build_networks
from kdlib.released import save_released
from kdlib.use.models import load_model
from kdlib.views import comparison_grids
from kdlib.views.comparison_grids import compare, load_models, read_pictures, save_grids, val_pictures
from kdlib.views.plotting import image_grid

REPOSITORY = Path(__file__).resolve().parents[1]
DOMAINS = ("cat", "dog", "fox")
SIZE = 32


def write_pictures(folder, names, seed=0, size=(40, 36)):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A teacher, a student, and folders of sources and references of three domains."""
    folder = tmp_path_factory.mktemp("models")
    for name, alpha, student, seed in (("teacher", 16, False, 1), ("student", 8, True, 2)):
        save_released(folder / f"{name}.ckpt", build_networks(alpha, len(DOMAINS), student, 0, SIZE, base_width=8, seed=seed))
    for i, domain in enumerate(DOMAINS):
        write_pictures(folder / "src" / domain, ["b.png", "a.jpg", "c.png"], seed=i)
        write_pictures(folder / "ref" / domain, ["r1.png", "r0.png"], seed=10 + i)
    return folder


def picture(path):
    """A file as the networks see it [1 3 H W], by Pillow and numpy alone."""
    rgb = Image.open(path).convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(rgb, np.float32).transpose(2, 0, 1)[None] / 127.5 - 1)


def levels(output):
    """[1 3 H W] in [-1, 1] -> [H W 3] in 0..255 as int."""
    scaled = np.clip(output[0].numpy().transpose(1, 2, 0) * 127.5 + 127.5, 0, 255)
    return np.floor(scaled + 0.5).astype(int)


def assert_same_picture(got, want):
    # Sums of a convolution come in another order in another batch size, which can move a value over a rounding edge.
    assert np.abs(got.astype(int) - want).max() <= 1


def cells_of(path, grid):
    """Read a written file back: cell (i, j) of its layout, reduced to its own pixels."""
    png, layout = np.asarray(Image.open(path)), grid.labelled()

    def cell(i, j):
        left, upper, right, lower = layout.box(i, j)
        big = png[upper:lower, left:right]
        assert big.shape == (SIZE * layout.scale, SIZE * layout.scale, 3)
        small = big[:: layout.scale, :: layout.scale]
        assert (np.repeat(np.repeat(small, layout.scale, 0), layout.scale, 1) == big).all()  # enlarged pixel by pixel
        return small

    return cell


@torch.no_grad()
def test_every_cell_is_the_generator_s_output_for_its_source_and_style(files, tmp_path):
    models = load_models([files / "teacher.ckpt", files / "student.ckpt"], device="cpu")
    grids = compare(models, files / "src", files / "ref", latents=2, seed=5, limit=2, batch_size=4)
    reference_path, latent_path = save_grids(grids, tmp_path / "out")
    assert (reference_path.name, latent_path.name) == ("reference_guided.png", "latent_guided.png")
    sources = [files / "src" / d / name for d in DOMAINS for name in ("a.jpg", "b.png")]
    references = [(y, files / "ref" / d / name) for y, d in enumerate(DOMAINS) for name in ("r0.png", "r1.png")]

    cell = cells_of(reference_path, grids[0])
    for i, source in enumerate(sources):
        assert_same_picture(cell(i + 1, 0), levels(picture(source)))
        for m, model in enumerate(models):
            for j, (y, reference) in enumerate(references):
                column = 1 + m * len(references) + j
                assert_same_picture(cell(0, column), levels(picture(reference)))
                style = model.nets.style_encoder(picture(reference), torch.tensor([y]))
                assert_same_picture(cell(i + 1, column), levels(model.nets.generator(picture(source), style)))

    cell = cells_of(latent_path, grids[1])
    z = torch.from_numpy(step_rng(5, 0, "grids").standard_normal((2, 16), dtype=np.float32))
    for i, source in enumerate(sources):
        assert_same_picture(cell(i, 0), levels(picture(source)))
        for m, model in enumerate(models):
            for y in range(len(DOMAINS)):
                for k in range(2):
                    style = model.nets.mapping_network(z[k : k + 1], torch.tensor([y]))
                    assert_same_picture(cell(i, 1 + m * 6 + y * 2 + k), levels(model.nets.generator(picture(source), style)))


def test_models_get_the_same_latents_and_the_seed_alone_decides_them(files):
    shutil.copy(files / "teacher.ckpt", files / "twin.ckpt")
    models = load_models([files / "teacher.ckpt", files / "twin.ckpt", files / "student.ckpt"], device="cpu")
    _, latent = compare(models, files / "src", files / "ref", limit=1, seed=3)
    teacher, twin, student = latent.outputs
    np.testing.assert_array_equal(teacher, twin)
    assert (np.array(teacher) != np.array(student)).any()
    (alone,) = compare(models[2:], files / "src" / "dog", files / "ref", limit=1, seed=3)[1].outputs
    np.testing.assert_array_equal(alone[0], student[1])  # whoever else is in the picture, whichever sources
    (other,) = compare(models[2:], files / "src" / "dog", files / "ref", limit=1, seed=4)[1].outputs
    assert (np.array(other) != np.array(alone)).any()
    assert latent.headings == ("teacher (teacher.ckpt)", "teacher (twin.ckpt)", "student, alpha = 8")


@torch.no_grad()
def test_faces_are_translated_with_the_masks_of_their_own_source(tmp_path):
    nets = release_faces(tmp_path / "faces.ckpt")
    for domain in ("female", "male"):
        write_pictures(tmp_path / "ref" / domain, ["0.png"])
    write_pictures(tmp_path / "src", ["0.png", "1.png"], size=(256, 256))
    model = load_model(tmp_path / "faces.ckpt")
    grid, _ = compare([model], tmp_path / "src", tmp_path / "ref", latents=1)
    sources = read_pictures(tmp_path / "src", 256, 4).images / 127.5 - 1
    style = model.nets.style_encoder(read_pictures(tmp_path / "ref", 256, 4).images[1:] / 127.5 - 1, torch.tensor([1]))
    outputs = [model.nets.generator(x[None], style, model.nets.masks(x[None])) for x in sources]
    swapped = model.nets.generator(sources[1:], style, model.nets.masks(sources[:1]))
    assert np.abs(levels(outputs[1]) - levels(swapped)).max() > 1  # the mask does matter here
    for row, output in zip(grid.outputs[0], outputs, strict=True):
        assert_same_picture(row[1], levels(output))


# ---- what is shown where no folder is named


def test_references_are_the_pictures_after_the_sources_in_one_folder(files):
    (model,) = load_models([files / "teacher.ckpt"], device="cpu")
    grid, _ = compare([model], files / "src", limit=1)
    want = [levels(picture(files / "src" / d / "b.png")) for d in DOMAINS]
    for got, wanted in zip(grid.references, want, strict=True):
        assert_same_picture(got, wanted)
    everything, _ = compare([model], files / "src", files / "src", limit=5)  # none are left: the same again
    np.testing.assert_array_equal(everything.references, everything.sources)


def test_val_pictures_of_a_preset(files):
    (model,) = load_models([files / "teacher.ckpt"], device="cpu")
    with pytest.raises(InputError, match="teacher.ckpt: a released checkpoint does not say which pictures"):
        val_pictures(model)
    preset = load_preset("faces64", data_root=str(files))
    assert val_pictures(model, preset) == files / "val"


# ---- models


def test_a_run_is_found_by_name_and_by_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("KDLIB_RUNS", str(tmp_path))  # no run of the reader's own
    weights = load_file(REPOSITORY / "runs/reference/mini/teacher/weights.safetensors")
    for model in (load_model("mini/teacher"), load_model("runs/reference/mini/teacher")):
        assert (model.name, model.label, model.domains) == ("mini/teacher", "teacher", DOMAINS)
        found = {f"{name}.{key}": tensor for name, network in model.nets.modules() for key, tensor in network.state_dict().items()}
        assert found.keys() == weights.keys() and all(torch.equal(found[key], weights[key].float()) for key in found)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("quick/no-such-run", "no finished run 'no-such-run' of preset 'quick'"),
        ("no/such/file.ckpt", "no such file or folder; give a run folder, a run's name"),
        ("kdlib", "kdlib: a folder without a settings.json"),
        ("runs/reference/mini/teacher/weights.safetensors", "give the folder that holds it"),
        ("README.md", "README.md: not a"),
    ],
)
def test_what_is_no_model_is_refused(path, says):
    with pytest.raises(InputError, match=says):
        load_model(path)


def test_a_run_that_is_not_finished_is_refused(tmp_path):
    shutil.copy(REPOSITORY / "runs/reference/mini/teacher/settings.json", tmp_path)
    with pytest.raises(InputError, match="not a finished run"):
        load_model(tmp_path)


def test_models_that_do_not_fit_each_other_are_refused(files, tmp_path):
    save_released(tmp_path / "two.ckpt", build_networks(8, 2, True, 0, SIZE, base_width=8, seed=0))
    save_released(tmp_path / "large.ckpt", build_networks(8, 3, True, 0, 64, base_width=8, seed=0))
    for name, says in (("two.ckpt", "domains 3 and 2"), ("large.ckpt", "image size 32 and 64")):
        models = load_models([files / "teacher.ckpt", tmp_path / name], device="cpu")
        with pytest.raises(InputError, match=f"teacher.ckpt and {name} cannot stand side by side: {says}"):
            compare(models, files / "src", files / "ref")


# ---- pictures


def test_pictures_are_taken_by_name_up_to_the_limit(files, tmp_path):
    found = read_pictures(files / "src", SIZE, 2)
    assert [(d, p.name) for d, p in zip(found.domains, found.files)] == [(d, name) for d in DOMAINS for name in ("a.jpg", "b.png")]
    assert found.images.shape == (6, 3, SIZE, SIZE) and found.images.dtype == torch.uint8
    write_pictures(tmp_path, ["2.png", "1.PNG", ".hidden.png"])
    (tmp_path / "notes.txt").write_text("x")
    flat = read_pictures(tmp_path, SIZE, 9)
    assert [p.name for p in flat.files] == ["1.PNG", "2.png"] and flat.domains == ("", "")


def test_folders_and_files_that_do_not_serve_are_named(files, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_pictures(tmp_path / "nowhere", SIZE, 2)
    with pytest.raises(InputError, match="no pictures in it"):
        read_pictures(tmp_path, SIZE, 2)
    write_pictures(tmp_path / "flat", ["0.png"])
    with pytest.raises(InputError, match="references need their domain"):
        read_pictures(tmp_path / "flat", SIZE, 2, by_domain=True)
    with pytest.raises(InputError, match="limit = 0"):
        read_pictures(tmp_path / "flat", SIZE, 0)
    write_pictures(tmp_path / "flat" / "cat", ["0.png"])
    with pytest.raises(InputError, match="both in itself and in cat"):
        read_pictures(tmp_path / "flat", SIZE, 2)
    (tmp_path / "flat" / "cat" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"cat/0\.png: the content is not a JPEG.*replace or remove the file"):
        read_pictures(tmp_path / "flat" / "cat", SIZE, 2)


def test_domains_of_references_must_be_the_models_own(files, tmp_path):
    models = load_models([files / "teacher.ckpt"], device="cpu")
    with pytest.raises(InputError, match="holds 2 folders of pictures .cat, dog., the models have 3 domains"):
        shutil.copytree(files / "ref", tmp_path / "ref")
        shutil.rmtree(tmp_path / "ref" / "fox")
        compare(models, files / "src", tmp_path / "ref")
    known = [load_model("runs/reference/mini/teacher")]  # names its domains: some of them are enough
    grid, latent = compare(known, files / "src" / "cat", tmp_path / "ref", limit=1, latents=1)
    assert grid.columns == ("cat", "dog") and latent.columns == DOMAINS
    (tmp_path / "ref" / "dog").rename(tmp_path / "ref" / "wolf")
    with pytest.raises(InputError, match="wolf is no domain of the models, which know cat, dog, fox"):
        compare(known, files / "src", tmp_path / "ref")


# ---- the command


def test_command_writes_whole_files_or_none(files, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    command = ["grids", "--teacher", str(files / "teacher.ckpt"), "--student", str(files / "student.ckpt"), "--sources", str(files / "src")]
    command += ["--references", str(files / "ref"), "--out", str(out), "--limit", "1", "--latents", "1", "--device", "cpu"]
    assert main(command) == 0
    paths = [out / "reference_guided.png", out / "latent_guided.png"]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    before = [path.read_bytes() for path in paths]

    def half(self, path, *_, **__):
        Path(path).write_bytes(b"half a picture")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", half)
    grids = compare(load_models([files / "teacher.ckpt"], device="cpu"), files / "src", files / "ref", limit=1)
    with pytest.raises(OSError, match="no space"):
        save_grids(grids, out)
    assert [path.read_bytes() for path in paths] == before and len(list(out.iterdir())) == 2

    assert main([*command, "--references", str(tmp_path / "gone")]) == 2
    assert "gone: no such folder of pictures" in capsys.readouterr().err
    assert main([*command, "--out", str(files / "teacher.ckpt" / "out")]) == 2
    assert "no folder can be made there" in capsys.readouterr().err


def test_page_shows_one_grid_a_model_reduced_where_large(files, monkeypatch):
    grids = compare(load_models([files / "teacher.ckpt", files / "student.ckpt"], device="cpu"), files / "src", files / "ref", limit=2)
    shown = []
    monkeypatch.setattr(comparison_grids, "image_grid", lambda *a, **k: shown.append((a, k)) or image_grid(*a, **k))
    monkeypatch.setattr(comparison_grids, "PAGE_PIXELS", 16)
    page = grids[0].html(1).data
    (rows, heads, labels), options = shown[0]
    assert heads == ["source", "cat", "", "dog", "", "fox", ""] and labels == ["reference", *(d for d in DOMAINS for _ in range(2))]
    assert rows[0][0] is None and rows[3][2].shape == (16, 16, 3)
    want = grids[0].outputs[1][2][1].reshape(16, 2, 16, 2, 3).mean((1, 3))  # the mean of each 2 x 2 pixels
    assert np.abs(rows[3][2] - want).max() <= 1  # rounded once a direction, half a level each
    assert options["caption"] == "Reference-guided: student, alpha = 8" and page.count("<img") == 6 * 7 + 6


# ---- the layout


def grid_of(columns, blocks=(("", 3),), rows=(("", 2),), side=64, caption=""):
    cell = np.full((side, side, 3), 200, np.uint8)
    return LabelledGrid([[cell] * 3] * 2, blocks, columns, rows, caption)


def ink(picture, box):
    """Whether anything is drawn in the box."""
    return (np.asarray(picture.crop(box)) < 190).any()


def test_cells_are_aligned_apart_and_labelled():
    layout = grid_of([("source", 1), ("a", 2)], [("", 1), ("model", 2)], [("x", 1), ("y", 1)], caption="one two three four five six seven")
    picture = layout.picture()
    boxes = [[layout.box(i, j) for j in range(3)] for i in range(2)]
    assert all(boxes[0][j][0] == boxes[1][j][0] for j in range(3)) and all(boxes[i][0][1] == boxes[i][j][1] for i in range(2) for j in range(3))
    assert boxes[0][0][2] < boxes[0][1][0] and boxes[0][1][2] < boxes[0][2][0] and boxes[0][0][3] < boxes[1][0][1]
    assert boxes[0][1][0] - boxes[0][0][2] > boxes[0][2][0] - boxes[0][1][2]  # groups stand further apart than cells
    pixels = np.asarray(picture)
    for row in boxes:
        for left, upper, right, lower in row:
            assert (pixels[upper:lower, left:right] == 200).all()
    top, left = boxes[0][0][1], boxes[0][0][0]
    assert ink(picture, (boxes[0][1][0], 0, boxes[0][2][2], top // 2))  # model
    assert not ink(picture, (0, 0, boxes[0][0][2], top // 2))
    assert ink(picture, (boxes[0][0][0], top // 2, boxes[0][0][2], top))  # source
    assert all(ink(picture, (0, boxes[i][0][1], left, boxes[i][0][3])) for i in range(2))  # x and y
    assert ink(picture, (left, boxes[1][0][3], picture.width, picture.height))  # caption


def test_labels_that_are_too_long_stay_within_their_columns():
    layout = grid_of([("a name that is far longer than any column is wide", 1), ("", 2)])
    picture = layout.picture()
    first, second = layout.box(0, 0), layout.box(0, 1)
    assert ink(picture, (0, 0, second[0], first[1])) and not ink(picture, (second[0], 0, picture.width, first[1]))


@pytest.mark.parametrize(("side", "scale"), [(16, 4), (32, 2), (48, 2), (64, 1), (256, 1)])
def test_small_cells_are_enlarged_to_64_pixels_at_least(side, scale):
    assert grid_of([("", 3)], side=side).scale == scale


def test_a_layout_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"columns span \[1, 1\], where there are 3"):
        grid_of([("a", 1), ("b", 1)])
    with pytest.raises(InputError, match="cells of one shape"):
        LabelledGrid([[np.zeros((8, 8, 3), np.uint8), np.zeros((9, 8, 3), np.uint8)]], [("", 2)], [("", 2)], [("", 1)])

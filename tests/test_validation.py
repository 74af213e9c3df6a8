"""The check of a data set: counts against folders made here, every problem against the message a person reads."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image

from kdlib import session
from kdlib.analysis import thesis
from kdlib.config import load_preset
from kdlib.data import open_dataset
from kdlib.errors import InputError
from kdlib.validation import inspect_dataset


def write_pictures(folder, count, size=(16, 16), suffix=".png", mode="RGB", first=0):
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([*folder.as_posix().encode(), first])
    for i in range(first, first + count):
        pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{i:03d}{suffix}")


@pytest.fixture
def root(tmp_path):
    """Three domains in two splits without a fault: 4 pictures each in train, 2 in val."""
    for domain in ("cat", "dog", "fox"):
        write_pictures(tmp_path / "train" / domain, 4)
        write_pictures(tmp_path / "val" / domain, 2)
    return tmp_path


def test_a_sound_data_set(root):
    report = inspect_dataset(root, image_size=16, batch_size=8)
    assert report.problems == [] and report.warnings == [] and report.bad == [] and report.ignored == ()
    report.raise_if_unusable()
    table = report.table()
    assert table[["split", "domain", "pictures", "unreadable"]].values.tolist() == [
        [split, domain, count, 0] for split, count in (("train", 4), ("val", 2)) for domain in ("cat", "dog", "fox")
    ]
    assert "No problem found." in str(report) and "PNG 4" in str(report)


def test_sizes_formats_and_modes_are_tabulated(root):
    write_pictures(root / "train" / "cat", 1, (40, 30), ".jpg", first=10)
    write_pictures(root / "train" / "cat", 2, (20, 50), ".png", "L", first=11)
    row = inspect_dataset(root).table().query("split == 'train' and domain == 'cat'").iloc[0]
    sides = sorted([16] * 4 + [30] + [20] * 2)  # the shorter side of each
    assert (row.side_min, row.side_median, row.side_max) == (min(sides), sides[len(sides) // 2], max(sides))
    assert row.formats == "PNG 6, JPEG 1" and row.modes == "RGB 5, L 2"


def test_files_beside_the_pictures(root):
    cat = root / "train" / "cat"
    for name in ("factors.csv", "notes.TXT", "labels.json", ".DS_Store", ".hidden.png"):
        (cat / name).write_text("x")
    (root / "train" / "README.txt").write_text("x")
    (root / "train" / ".ipynb_checkpoints").mkdir()
    assert inspect_dataset(root).ignored == ()
    (cat / "clip.gif").write_bytes(b"GIF89a")
    (cat / "album.png").mkdir()
    (cat / "more").mkdir()
    write_pictures(cat / "more", 1)
    write_pictures(root / "train", 1)
    report = inspect_dataset(root, 16, 8)
    assert sorted(report.ignored) == sorted(
        [cat / "album.png", cat / "clip.gif", cat / "more", root / "train" / "000.png"]
    )
    assert report.problems == [] and len(report.readable("train", "cat")) == 4
    assert "Ignored:" in str(report) and "clip.gif" in str(report)


def problem(root, pattern, **settings):
    """The report names the problem, and training refuses with the same words."""
    report = inspect_dataset(root, **settings)
    assert any(re.search(pattern, line) for line in report.problems), report.problems
    assert re.search(pattern, str(report))
    with pytest.raises(InputError, match=pattern):
        report.raise_if_unusable()
    return report


def test_root_missing_or_a_file(tmp_path):
    report = problem(tmp_path / "nowhere", r"nowhere is not a folder: give the folder that holds train/ and val/")
    assert len(report.problems) == 1 and report.table().empty
    (tmp_path / "file").write_text("x")
    problem(tmp_path / "file", "file is not a folder")


@pytest.mark.parametrize("split", ["train", "val"])
def test_missing_split(root, split):
    shutil.rmtree(root / split)
    report = problem(root, rf"{split} is missing: put pictures into {split}/<domain>/")
    assert len(report.problems) == 1


def test_pictures_without_a_domain(tmp_path):
    write_pictures(tmp_path / "train", 4)
    write_pictures(tmp_path / "val" / "cat", 2)
    report = problem(tmp_path, r"train needs at least two domain folders to translate between, found none")
    assert len(report.ignored) == 4


def test_one_domain_only(root):
    for split in ("train", "val"):
        for domain in ("dog", "fox"):
            shutil.rmtree(root / split / domain)
    report = problem(root, "train needs at least two domain folders .* found cat")
    assert len(report.problems) == 2


def test_domains_that_differ(root):
    shutil.rmtree(root / "val" / "fox")
    write_pictures(root / "val" / "wolf", 2)
    report = problem(root, r"Domain fox is in train but not in val: make .*val/fox or remove train/fox")
    assert any("Domain wolf is in val but not in train" in line for line in report.problems) and len(report.problems) == 2


def test_empty_domain(root):
    for path in (root / "val" / "dog").iterdir():
        path.unlink()
    (root / "val" / "dog" / "factors.csv").write_text("x")
    report = problem(root, r"val/dog holds no readable picture .*\.png.*: add some or remove the folder")
    row = report.table().query("split == 'val' and domain == 'dog'").iloc[0]
    assert row.pictures == 0 and np.isnan(row.side_min)


def test_too_few_for_a_pair_or_a_batch(root):
    for i in (1, 2, 3):
        (root / "train" / "dog" / f"{i:03d}.png").unlink()
    report = problem(root, "train/dog holds 1 readable picture; a pair of references needs 2", batch_size=9)
    assert report.problems == [report.problems[0]]  # 9 pictures are enough for a batch of 9
    problem(root, "holds 9 readable pictures, fewer than a batch of 10: add pictures or lower batch_size", batch_size=10)
    (root / "val" / "dog" / "001.png").unlink()
    assert any("val/dog holds 1 readable picture; an evaluation needs 2" in line for line in inspect_dataset(root).problems)


# ---- how many pictures there should be

TABLE_5_1 = {  # as the thesis prints it; StarGAN-v2's notes have 16,130 pictures of AFHQ, and CelebA-HQ has 30,000
    "afhq": ({"cat": 5153, "dog": 4739, "wild": 4738}, {"cat": 500, "dog": 500, "wild": 500}, 16_130),
    "celeba_hq": ({"male": 10057, "female": 17943}, {"male": 1000, "female": 1000}, 30_000),
}


@pytest.mark.parametrize("name", TABLE_5_1)
def test_presets_of_the_thesis_expect_its_splits(name):
    train, val, total = TABLE_5_1[name]
    expected = load_preset(name).data.expected
    assert expected == {"train": train, "val": val}
    printed = [row[1:] for row in thesis.printed_tables()["5.1"]["rows"] if row[0] == {"afhq": "AFHQ", "celeba_hq": "CelebA-HQ"}[name]]
    assert printed == [[d.capitalize().replace("Wild", "Wildlife"), train[d], val[d]] for d in train]
    assert sum(sum(counts.values()) for counts in expected.values()) == total


def test_counts_as_expected_say_nothing(root):
    expected = {"train": {"cat": 4, "dog": 4, "fox": 4}, "val": {"cat": 2, "dog": 2, "fox": 2}}
    report = inspect_dataset(root, expected=expected)
    assert report.warnings == [] and report.problems == []
    assert report.table()["expected"].tolist() == [4, 4, 4, 2, 2, 2]
    assert "expected" not in inspect_dataset(root).table()


def test_counts_and_domains_that_differ_are_one_warning(root):
    (root / "train" / "dog" / "000.png").write_bytes(b"")  # unreadable: not counted
    expected = {"train": {"cat": 5, "dog": 4, "wild": 4738}, "val": {"cat": 2, "dog": 2, "fox": 2}}
    report = inspect_dataset(root, expected=expected)
    assert report.warnings == [
        "Other pictures than expected: train/cat expected 5 pictures, found 4; train/dog expected 4 pictures, found 3; train/fox is "
        "not expected, found 4 pictures; train/wild is not there, expected 4,738 pictures. These are not the thesis's splits "
        "(Table 5.1), so scores on them do not compare with its Table 5.2."
    ]
    table = report.table()
    shown = table[table.split == "train"][["domain", "pictures", "expected"]].values.tolist()
    assert shown == [["cat", 4, 5], ["dog", 3, 4], ["fox", 4, ""], ["wild", 0, 4738]]
    assert "Other pictures than expected" in str(report)
    report.raise_if_unusable(skip_bad=True)  # a warning stops nothing
    with pytest.warns(UserWarning, match="not the thesis's splits"):
        open_dataset(root, 16, skip_bad=True, expected=expected)


def test_only_what_is_expected_is_compared(root):
    assert inspect_dataset(root, expected={"val": {"cat": 2, "dog": 2, "fox": 2}}).warnings == []
    shutil.rmtree(root / "val")
    report = inspect_dataset(root, expected={"val": {"cat": 2, "dog": 2, "fox": 2}})
    assert report.warnings == [] and len(report.problems) == 1  # that there is no val is said once


def test_a_preset_s_expectation_reaches_validator_and_training(root, tmp_path):
    text = f"[data]\nsource = 'folder'\ndata_root = '{root}'\nimage_size = 16\nexpected_val = {{ cat = 3, dog = 2, fox = 2 }}\n"
    (tmp_path / "own.toml").write_text(text + "[evaluation]\nfeature_networks = ['squeezenet']\n")
    preset = load_preset(tmp_path / "own.toml")
    found = [w for w in session.inspect_data(preset).warnings if "val/cat expected 3 pictures, found 2" in w]
    assert len(found) == 1
    with pytest.warns(UserWarning, match="val/cat expected 3 pictures, found 2"):
        session.open_data(preset)


def break_files(root):
    whole = (root / "train" / "cat" / "000.png").read_bytes()
    broken = {
        root / "train" / "cat" / "001.png": (whole[: len(whole) // 2], "truncated or damaged"),
        root / "train" / "dog" / "900.jpg": (b"", r"empty \(0 bytes\)"),
        root / "val" / "fox" / "900.JPEG": (b"<html>404</html>", "not a JPEG, PNG, WebP or BMP"),
    }
    for path, (data, _) in broken.items():
        path.write_bytes(data)
    return {path: reason for path, (_, reason) in broken.items()}


def test_every_unreadable_file_is_named(root):
    broken = break_files(root)
    report = inspect_dataset(root)
    assert {p.path for p in report.bad} == set(broken)
    for path, reason in broken.items():
        problem(root, f"{re.escape(str(path))}: .*{reason}")
    with pytest.raises(InputError, match="leave them out with skip_bad=True"):
        report.raise_if_unusable()
    assert report.table()["unreadable"].tolist() == [1, 1, 0, 0, 0, 1]
    assert report.table()["pictures"].tolist() == [3, 4, 4, 2, 2, 2]


def test_unreadable_files_can_be_left_out(root):
    break_files(root)
    inspect_dataset(root, batch_size=11).raise_if_unusable(skip_bad=True)
    with pytest.raises(InputError, match="holds 11 readable pictures, fewer than a batch of 12") as error:
        inspect_dataset(root, batch_size=12).raise_if_unusable(skip_bad=True)
    assert "001.png" not in str(error.value)


def test_a_long_list_of_unreadable_files_is_cut_in_the_error_only(root):
    for i in range(100, 160):
        (root / "train" / "cat" / f"{i}.png").write_bytes(b"")
    report = inspect_dataset(root)
    with pytest.raises(InputError, match="and 10 more unreadable files") as error:
        report.raise_if_unusable()
    assert str(error.value).count("0 bytes") == 50 and str(report).count("0 bytes") == 60


def test_warnings_about_size_and_shape(root):
    write_pictures(root / "train" / "fox", 1, (12, 20), first=10)
    report = inspect_dataset(root, image_size=16)
    assert report.problems == []
    assert report.warnings == [
        "1 of 5 pictures in train/fox are smaller than 16 px (the smallest is 12x20) and are enlarged, which blurs them: "
        "consider a smaller image_size.",
        "1 of 5 pictures in train/fox are far from square (such as 010.png, 12x20) and are squeezed into a square: "
        "crop them first.",
    ]
    assert len(inspect_dataset(root).warnings) == 1  # without an image_size nothing can be too small


def test_warnings_about_the_same_file_twice(root):
    shutil.copy(root / "train" / "cat" / "000.png", root / "val" / "cat" / "900.png")
    shutil.copy(root / "train" / "cat" / "001.png", root / "train" / "dog" / "900.png")
    shutil.copy(root / "train" / "fox" / "001.png", root / "train" / "fox" / "900.png")  # harmless
    leak, label = inspect_dataset(root).warnings
    assert leak == (
        "Pictures that are byte for byte in both train and val: 1 (such as train/cat/000.png and val/cat/900.png); "
        "scores on val are then flattered."
    )
    assert label == (
        "Pictures that are byte for byte in more than one domain: 1 (such as train/cat/001.png and train/dog/900.png); "
        "their label is then ambiguous."
    )

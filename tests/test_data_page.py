"""The page on data sets and weights says what the code knows: weight files, counts, sizes of checkpoints, words of the validator."""

import re

import pytest
from sample_book import REPOSITORY

from kdlib.analysis import thesis
from kdlib.config import load_preset
from kdlib.landmark_network import LandmarkNetwork
from kdlib.profiling import landmark_costs, network_costs
from kdlib.scoring import published_weights
from kdlib.scoring.published_weights import WeightFile
from kdlib.validation import DataReport, PictureRecord

PAGE = (REPOSITORY / "book/data_and_weights.md").read_text(encoding="utf-8")
FILES = [value for value in vars(published_weights).values() if isinstance(value, WeightFile)]


def test_every_published_file_is_listed_with_address_and_hash():
    listed = re.split(r"\n`([^`\n]+)`\n: ", PAGE.split("(metric-weights)=")[1])[1:]
    entries = dict(zip(listed[::2], listed[1::2]))
    assert FILES and set(entries) == {file.name for file in FILES}
    for file in FILES:
        assert re.findall(r"SHA-256 `(\w+)`", entries[file.name]) == [file.sha256]
        assert re.findall(r"From `([^`]+)`", entries[file.name]) == ([file.url] if file.url else [])
        assert file.url or "by hand" in entries[file.name]


@pytest.mark.parametrize(("name", "row"), [("afhq", "AFHQ"), ("celeba_hq", "CelebA-HQ")])
def test_counts_are_those_the_preset_expects(name, row):
    expected = load_preset(name).data.expected
    line = next(line for line in PAGE.splitlines() if line.startswith(f"| {row} |"))
    cells = [cell.strip() for cell in line.split("|")]
    assert cells[2] == ", ".join(f"{domain} {count:,}" for domain, count in expected["train"].items())
    (each,) = set(expected["val"].values())
    assert cells[3] == f"{each:,} each"
    assert cells[4] == f"{sum(map(sum, (counts.values() for counts in expected.values()))):,}"
    layout = PAGE.split("```text")[1].split("```")[0]
    assert {f"{split}/{domain}/*" for split in expected for domain in expected[split]} <= set(layout.split())


def test_sizes_of_checkpoints_are_counted():
    for data_set in thesis.DATA_SETS:
        for alpha in ("original", thesis.STUDENT_ALPHA):
            weights = int(network_costs(thesis.architecture(data_set, alpha)).loc["total", "parameters"])
            assert PAGE.count(f"{weights:,} weights") == 1
    assert f"{landmark_costs(LandmarkNetwork())['parameters']:,} weights" in PAGE


def test_the_warning_shown_is_the_validator_s(tmp_path):
    """A data set of AFHQ's counts less one picture, made of records without files."""
    expected = load_preset("afhq").data.expected
    found = {**expected, "train": {**expected["train"], "cat": 5_152}}
    pictures = tuple(
        PictureRecord(tmp_path / split / domain / f"{i}.png", split, domain, "", 256, 256, "PNG", "RGB", f"{split}{domain}{i}")
        for split, counts in found.items()
        for domain, count in counts.items()
        for i in range(count)
    )
    domains = {split: tuple(counts) for split, counts in found.items()}
    (warning,) = DataReport(tmp_path, 256, 8, domains, pictures, (), expected).warnings
    shown = PAGE.split("```text")[2].split("```")[0]
    assert warning == " ".join(shown.split())

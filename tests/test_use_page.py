"""The page on using a model, held to what it says: its commands, its transcripts and its Python."""

import re
import shlex
from pathlib import Path

import pytest

from kdlib.__main__ import main, parser
from kdlib.paths import REPOSITORY

PAGE = (REPOSITORY / "book" / "use.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> list[str]:
    """Every command of the page, transcripts included."""
    text = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [line for line in text if line.strip()] + [line[2:] for line in "\n".join(blocks("text")).splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with the pictures that the page draws, and the names its Python has made."""
    folder, names = tmp_path_factory.mktemp("use"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in blocks("python"):
            exec(block, names)  # noqa: S102
    return folder, names


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one(command):
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "kdlib"]
    parser().parse_args(words[3:])


def test_transcripts_are_what_is_printed(here, monkeypatch, capsys):
    monkeypatch.chdir(here[0])
    for block in blocks("text"):
        for command, printed in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            main(shlex.split(command)[3:])
            captured = capsys.readouterr()
            assert captured.out + captured.err == printed


def test_the_python_runs_and_gives_what_it_says(here):
    folder, names = here
    assert sorted(path.name for path in Path(folder).glob("*.png")) == ["dog.png", "fox.png", "photo.png"]
    assert names["one"].size == names["like"].size == (64, 64) and names["styles"][3].size == (128, 128)
    assert [len(names[name]) for name in ("many", "styles", "species", "frames")] == [2, 4, 3, 18]
    assert names["x"].shape == names["outputs"].shape == (2, 3, 64, 64) and names["s"].shape == (2, 64)
    assert (folder / "styles.gif").is_file()


def test_pictures_of_the_page_exist():
    shown = re.findall(r"\]\((figures/[^)]+)\)", PAGE)
    assert shown and all((REPOSITORY / "book" / name).is_file() for name in shown)

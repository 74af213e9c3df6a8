"""Papermill reads and runs the percent-format notebooks."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from kdlib.errors import InputError
from kdlib.papermill_io import HANDLER

NOTEBOOK = """\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A title
#
# With $x^2$.

# %% tags=["parameters"]
alpha = 1  # width cap

# %%
print(6 * alpha)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_x.py").write_text(NOTEBOOK)
    return tmp_path


def test_percent_source_becomes_a_valid_notebook(folder):
    notebook = nbformat.reads(HANDLER.read(str(folder / "notebooks/01_x.py")), as_version=4)
    nbformat.validate(notebook)
    assert [(c.cell_type, c.source, c.metadata.get("tags")) for c in notebook.cells] == [
        ("markdown", "# A title\n\nWith $x^2$.", None),
        ("code", "alpha = 1  # width cap", ["parameters"]),
        ("code", "print(6 * alpha)", None),
    ]
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info.name == "python"


def test_kernel_is_filled_in_where_the_source_names_none(folder):
    bare = folder / "bare.py"
    bare.write_text("# %%\n1 + 1\n")
    metadata = nbformat.reads(HANDLER.read(str(bare)), as_version=4).metadata
    assert (metadata.kernelspec.name, metadata.language_info.name) == ("python3", "python")


def test_ipynb_and_yaml_pass_unchanged(folder):
    for name, text in (("a.ipynb", '{"cells": []}'), ("parameters.yaml", "alpha: 3\n")):
        (folder / name).write_text(text)
        assert HANDLER.read(str(folder / name)) == text


@pytest.mark.parametrize(
    ("name", "text", "says"), [("gone.py", None, "no such notebook"), ("module.py", "x = 1\n", "not a percent-format")]
)
def test_what_is_no_notebook_is_named(folder, name, text, says):
    if text is not None:
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=says) as error:
        HANDLER.read(str(folder / name))
    assert name in str(error.value)


def test_interrupted_write_keeps_the_previous_notebook(folder, monkeypatch):
    target = folder / "runs" / "a" / "x.ipynb"
    HANDLER.write("first", str(target))  # makes the folders

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space"):
        HANDLER.write("second", str(target))
    assert target.read_text() == "first"
    assert os.listdir(target.parent) == ["x.ipynb"]


def test_registered_for_every_way_to_write_a_path():
    from papermill.iorw import papermill_io

    for path in ("notebooks/01_x.py", "./notebooks/01_x.py", "../x.py", "/tmp/x.ipynb", "01_x.py", "runs/a/x.ipynb"):
        assert papermill_io.get_handler(path) is HANDLER, path
    for path in ("s3://bucket/x.ipynb", "https://host/x.ipynb", "gs://bucket/x.ipynb"):
        assert papermill_io.get_handler(path) is not HANDLER, path


def test_papermill_command_runs_a_percent_notebook(folder):
    output = folder / "runs" / "new" / "01_x.ipynb"  # its folder does not exist: papermill alone would refuse
    command = [sys.executable, "-m", "papermill", "notebooks/01_x.py", "runs/new/01_x.ipynb", "-p", "alpha", "7"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "does not end in" not in done.stderr
    assert not list(folder.rglob("*.part"))
    cells = nbformat.read(output, as_version=4).cells
    assert [c.metadata.tags for c in cells] == [[], ["parameters"], ["injected-parameters"], []]
    assert cells[-1].outputs[0].text == "42\n"

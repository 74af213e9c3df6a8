"""Builds the HTML book out of the prose in book/ and the executed notebooks of one preset: ``python -m kdlib.book.bookbuild``.

The root ``_toc.yml`` names the notebooks of preset quick. This module puts the asked preset and its students in their place,
takes each notebook from runs/<preset> or, where the study used a shipped result, from runs/reference/<preset>, and hands the
rest to Jupyter Book with every warning an error. The book is built beside the old one and takes its place only when it is
whole and `bookcheck` finds no fault in it. A book whose sources have not changed is left alone.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from kdlib.book.bookcheck import check_book
from kdlib.book.report import write_fragments
from kdlib.config import load_preset
from kdlib.deploy.browser_runtime import place_runtime
from kdlib.errors import InputError
from kdlib.paths import REPOSITORY, runs_folder, shown
from kdlib.runs import run_folders
from kdlib.study import Student
from kdlib.study import students as students_of

TOC_PRESET = "quick"  # the preset whose folders _toc.yml names
_STUDENT = re.compile(rf"^runs/{TOC_PRESET}/alpha(\d+)[^/]*/")
_SHOWN = (".md", ".bib", ".py", ".toml", ".ipynb", ".json", ".csv", ".png", ".svg", ".css", ".js", ".mjs", ".wasm", ".onnx")
_TOOLS = ("jupyter-book", "sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme", "plotly")


def book_toc(toc: dict[str, Any], preset: str, students: Sequence[Student] | None = None, root: Path = REPOSITORY, teacher: str = "") -> dict[str, Any]:
    """The table of contents of ``preset``'s book.

    ``toc``: the parsed _toc.yml. ``students``: those of the preset's study, which take the place of those that _toc.yml
    names; None keeps these. Each notebook is looked for in runs/<preset>, then in runs/reference/<preset>; the teacher's also in
    ``teacher``, the run that the preset's setting of that name gives by its folder or its name. Raises `InputError` that lists every
    page not found and the command that makes the notebooks.
    """
    toc = copy.deepcopy(toc)
    missing: list[str] = []

    def resolve(entry: dict[str, Any]) -> None:
        file = entry["file"]
        if file.startswith(f"runs/{TOC_PRESET}/"):
            rest = file.removeprefix(f"runs/{TOC_PRESET}/")
            places = [f"runs/{preset}/{rest}", f"runs/reference/{preset}/{rest}"]
            if teacher and rest.startswith("teacher/"):
                elsewhere = [shown(folder) for folder in run_folders(teacher)]
                places += [f"{folder}/{rest.removeprefix('teacher/')}" for folder in elsewhere if not Path(folder).is_absolute()]
            found = [place for place in places if (root / f"{place}.ipynb").is_file()]
            if found:
                entry["file"] = found[0]
            else:
                missing.append(f"{places[0]}.ipynb")
        else:
            suffix = ".ipynb" if file.startswith("runs/") else ".md"  # a notebook executed once and kept in git, or a page of prose
            if not (root / f"{file}{suffix}").is_file():
                missing.append(f"{file}{suffix}")
        for section in entry.get("sections", ()):
            resolve(section)

    resolve({"file": toc["root"]})
    for part in toc["parts"]:
        if students is not None:
            part["chapters"] = _with_students(part["chapters"], students)
        for chapter in part["chapters"]:
            resolve(chapter)
    if missing:
        message = f"the book of preset {preset!r} lacks\n  " + "\n  ".join(missing)
        if any(file.endswith(".ipynb") for file in missing):
            message += f"\nThe notebooks are made by `python -m kdlib study --preset {preset}` (or `make book PRESET={preset}`)."
        if runs_folder() != REPOSITORY / "runs":
            message += f"\nKDLIB_RUNS is set, but a book is made of {root / 'runs'} only."
        raise InputError(message)
    return toc


def _with_students(chapters: list[dict[str, Any]], students: Sequence[Student]) -> list[dict[str, Any]]:
    """Chapters with that of the first student, which is trained alone, repeated for every one of ``students`` in place of all that are there."""
    old = [c for c in chapters if _STUDENT.match(c["file"])]
    if not old:
        return chapters
    first = _STUDENT.match(old[0]["file"])[1]
    template, made = yaml.safe_dump(old[0], width=10_000), []
    for student in sorted(students, key=lambda s: (s.variant, s.alpha, s.seed or 0, s.distill)):
        text = template.replace(f"/alpha{first}/", f"/{student.name}/")
        made.append(yaml.safe_load(re.sub(rf"\balpha = {first}\b", _title(student), text)))
    at = chapters.index(old[0])
    return chapters[:at] + made + [c for c in chapters[at:] if c not in old]


def _title(student: Student) -> str:
    """What a student is, in a chapter's title: 'alpha = 24, distilled, no_source, seed 778'."""
    parts = (f"alpha = {student.alpha}", student.distill and "distilled", student.variant, student.seed is not None and f"seed {student.seed}")
    return ", ".join(part for part in parts if part)


def build_book(preset: str = TOC_PRESET, *, root: Path = REPOSITORY, force: bool = False, verbose: bool = False) -> Path:
    """Build the book of ``preset`` (a shipped name or a .toml file) into ``root``/_build/html; returns its index.html.

    ``force`` builds even if nothing changed; ``verbose`` shows what Sphinx says. Raises `InputError` when pages are missing,
    when a page has a warning, or when a link of the built book is broken.
    """
    if not (root / "_config.yml").is_file():
        raise InputError(f"{root} holds no _config.yml: the book is built in a clone of the repository (pip install -e .)")
    settings = load_preset(preset)
    name, students = settings.name, None if preset == TOC_PRESET else students_of(settings)  # of its own preset _toc.yml says it all
    toc = book_toc(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8")), name, students, root, settings.machine.teacher)
    copy_plotly(root / "book" / "_static")
    if root == REPOSITORY:  # the numbers in the prose come from the run folders, the same as the notebooks
        if runs_folder() != root / "runs":
            raise InputError(f"KDLIB_RUNS is set, but a book is made of {root / 'runs'} only: unset it")
        write_fragments(name)
        _place_demo_runtime(root / "book" / "_static" / "ort")

    build = root / "_build"
    html, stamp = build / "html", build / "fingerprint"
    fingerprint = _fingerprint(root, toc)
    if not force and (html / "index.html").is_file() and stamp.is_file() and stamp.read_text() == fingerprint:
        print(f"book: up to date with preset {name}")
        return html / "index.html"

    work = build / "work"
    shutil.rmtree(work, ignore_errors=True)  # a clean build: Sphinx reports a page's warnings only when it reads the page
    work.mkdir(parents=True)
    (work / "toc.yml").write_text(yaml.safe_dump(toc, sort_keys=False), encoding="utf-8")
    _run_jupyter_book(root, work, verbose)
    built = work / "_build" / "html"
    faults = check_book(built)
    if faults:
        raise InputError("the built book has faults:\n  " + "\n  ".join(faults))

    stamp.unlink(missing_ok=True)
    if html.exists():
        os.replace(html, work / "previous")
    os.replace(built, html)
    stamp.write_text(fingerprint)
    shutil.rmtree(work)
    return html / "index.html"


def copy_plotly(static: Path) -> None:
    """Put the plotly.js of the installed plotly wheel, the one its figures are written for, beside kdplot.js."""
    import plotly

    source = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    target = static / "plotly.min.js"
    if target.is_file() and target.read_bytes() == source.read_bytes():
        return
    partial = target.with_suffix(".part")
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def _place_demo_runtime(folder: Path) -> None:
    """What the live demo runs on. A book without it is whole all the same: the demo's page says what is missing."""
    try:
        place_runtime(folder)
    except InputError as error:
        print(f"book: the live demo will not run. {error}", file=sys.stderr)


def _fingerprint(root: Path, toc: dict[str, Any]) -> str:
    """SHA-256 over all that a page may show or link: settings, prose, sources, text and pictures of runs, tool versions."""
    digest = hashlib.sha256(yaml.safe_dump(toc).encode())
    for tool in _TOOLS:
        try:
            digest.update(f"{tool} {importlib.metadata.version(tool)}\n".encode())
        except importlib.metadata.PackageNotFoundError as error:
            raise InputError(f"{tool} is not installed: make environment, or pip install -e '.[book]'") from error
    files = [root / "_config.yml"]
    for folder in ("benchmarks", "book", "examples", "kdlib", "notebooks", "runs"):
        files += [f for f in (root / folder).rglob("*") if f.suffix in _SHOWN and f.is_file()]
    for file in sorted(files):
        digest.update(f"{file.relative_to(root)}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _run_jupyter_book(root: Path, work: Path, verbose: bool) -> None:
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(root)]
    command += ["--path-output", str(work), "--toc", str(work / "toc.yml"), "-W", "--keep-going"]
    if verbose:
        code, log = subprocess.run(command, cwd=root).returncode, ""
    else:
        done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        code, log = done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    if code:
        said = [line for line in log.splitlines() if re.search(r"WARNING|ERROR|CRITICAL|Error:|Exception", line)]
        raise InputError("Jupyter Book reports:\n  " + "\n  ".join(said or log.splitlines()[-20:] or ["see above"]))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m kdlib.book.bookbuild", description="Build the HTML book of one preset.")
    parser.add_argument("--preset", default=TOC_PRESET, help="a shipped preset or a .toml file (default: %(default)s)")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    parser.add_argument("--verbose", action="store_true", help="show what Sphinx says")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        index = build_book(options.preset, force=options.force, verbose=options.verbose)
    except InputError as error:
        print(f"book: {error}", file=sys.stderr)
        return 1
    print(f"book: {index} ({time.perf_counter() - start:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())

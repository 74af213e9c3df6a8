"""The book's settings and pages, its table of contents per preset, its build, and the checker that a built book must pass."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml
from sample_book import REPOSITORY, TOC, executed_notebook, write_notebook, write_sample

from kdlib.book import bookbuild
from kdlib.book.bookcheck import check_book
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.study import Student, students, study_jobs

REAL_TOC = yaml.safe_load((REPOSITORY / "_toc.yml").read_text())


def files_of(toc: dict) -> list[str]:
    found = [toc["root"]]
    queue = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    while queue:
        entry = queue.pop(0)
        found.append(entry["file"])
        queue = entry.get("sections", []) + queue
    return found


# ---- settings and table of contents of the real book


def test_every_page_of_the_book_has_its_source():
    for file in files_of(REAL_TOC):
        if file.startswith("runs/"):
            assert re.fullmatch(r"runs/(quick|reference/\w+)/[a-z0-9-]+/(\d\d_\w+|grids)", file)
            source = REPOSITORY / "notebooks" / f"{Path(file).name}.py"
        else:
            source = REPOSITORY / f"{file}.md"
        assert source.is_file(), f"_toc.yml names {file}, but {source.relative_to(REPOSITORY)} is missing"


def test_toc_names_the_students_of_preset_quick():
    import tomllib

    preset = tomllib.loads((REPOSITORY / "kdlib/presets/quick.toml").read_text())
    wanted = [f"runs/quick/alpha{a}{kind}/04_student" for a in preset["study"]["alphas"] for kind in ("", "-kd")]
    assert [file for file in files_of(REAL_TOC) if file.endswith("04_student")] == wanted


def test_config_is_valid_and_its_files_exist():
    from jupyter_book.config import validate_yaml

    config = yaml.safe_load((REPOSITORY / "_config.yml").read_text())
    validate_yaml(config, raise_on_errors=True)
    settings = config["sphinx"]["config"]
    static = REPOSITORY / settings["html_static_path"][0]
    for file in (*settings["html_css_files"], *settings["html_js_files"], settings["mathjax_path"]):
        assert (static / file).is_file()
    for file in (config["logo"], config["html"]["favicon"], *config["bibtex_bibfiles"]):
        assert (REPOSITORY / file).is_file()


def test_bibliography_entries_are_complete():
    from pybtex.database import parse_file

    needed = {
        "article": {"title", "journal", "year"},
        "inproceedings": {"title", "booktitle", "year"},
        "mastersthesis": {"title", "school", "year"},
        "misc": {"title", "year"},
    }
    entries = parse_file(REPOSITORY / "book" / "references.bib").entries
    assert list(entries) == sorted(entries)
    for key, entry in entries.items():
        assert needed[entry.type] <= set(entry.fields), key
        assert entry.persons["author"], key
        assert re.match(r"[a-z]+(\d{4})[a-z0-9]+$", key)[1] == entry.fields["year"], key
        if entry.type == "misc":
            assert {"eprint", "url", "howpublished"} & set(entry.fields), key


# ---- the table of contents of a preset


def test_toc_takes_own_runs_and_falls_back_on_shipped_ones(tmp_path):
    root = write_sample(tmp_path / "study")
    toc = yaml.safe_load(TOC)
    assert files_of(bookbuild.book_toc(toc, "quick", root=root))[2] == "runs/reference/quick/teacher/03_teacher"
    write_notebook(root / "runs/quick/teacher/03_teacher.ipynb", executed_notebook("Own teacher"))
    assert files_of(bookbuild.book_toc(toc, "quick", root=root))[2] == "runs/quick/teacher/03_teacher"
    assert toc == yaml.safe_load(TOC)


def test_toc_finds_the_notebooks_of_a_teacher_from_another_preset(tmp_path):
    root = write_sample(tmp_path / "study")
    (root / "runs/reference/quick").rename(root / "runs/reference/mini")
    toc = yaml.safe_load(TOC)
    for teacher in ("runs/reference/mini/teacher", "mini/teacher"):
        assert files_of(bookbuild.book_toc(toc, "quick", root=root, teacher=teacher))[2] == "runs/reference/mini/teacher/03_teacher"
    for teacher in ("", "runs/mini/teacher", str(root / "runs/reference/mini/teacher")):  # a page outside the repository is none
        with pytest.raises(InputError, match=r"lacks\n  runs/quick/teacher/03_teacher.ipynb"):
            bookbuild.book_toc(toc, "quick", root=root, teacher=teacher)


def test_toc_may_have_a_kept_notebook_of_another_preset(tmp_path):
    root = write_sample(tmp_path / "study")
    toc = yaml.safe_load(TOC)
    toc["parts"][1]["chapters"].append({"file": "runs/reference/mini/alpha48-kd/07_deployment"})
    with pytest.raises(InputError, match=r"lacks\n  runs/reference/mini/alpha48-kd/07_deployment.ipynb"):
        bookbuild.book_toc(toc, "quick", root=root)
    write_notebook(root / "runs/reference/mini/alpha48-kd/07_deployment.ipynb", executed_notebook("Deployment"))
    assert files_of(bookbuild.book_toc(toc, "quick", root=root))[-1] == "runs/reference/mini/alpha48-kd/07_deployment"


def test_toc_of_another_preset_has_that_preset_s_students(tmp_path):
    root = write_sample(tmp_path / "study", preset="smoke", alphas=(8, 16, 124))
    students = [Student(alpha, distill) for distill in (True, False) for alpha in (124, 8, 16)]
    toc = bookbuild.book_toc(yaml.safe_load(TOC), "smoke", students, root)
    chapters = toc["parts"][1]["chapters"]
    assert [(c["file"], c.get("title")) for c in chapters] == [
        ("runs/reference/smoke/teacher/03_teacher", None),
        ("runs/smoke/alpha8/04_student", "Student, alpha = 8"),
        ("runs/smoke/alpha8-kd/04_student", "Student, alpha = 8, distilled"),
        ("runs/smoke/alpha16/04_student", "Student, alpha = 16"),
        ("runs/smoke/alpha16-kd/04_student", "Student, alpha = 16, distilled"),
        ("runs/smoke/alpha124/04_student", "Student, alpha = 124"),
        ("runs/smoke/alpha124-kd/04_student", "Student, alpha = 124, distilled"),
    ]


@pytest.mark.parametrize("preset", ["mini", "beyond", "faces"])
def test_the_book_asks_for_the_students_that_the_study_trains_and_no_others(preset, tmp_path):
    with pytest.raises(InputError) as error:
        bookbuild.book_toc(REAL_TOC, preset, students(load_preset(preset)), write_sample(tmp_path / "study"))
    asked = re.findall(rf"runs/{preset}/(alpha\S+)/04_student", str(error.value))
    assert sorted(asked) == sorted(job.run for job in study_jobs(load_preset(preset), preset) if job.notebook == "04_student") and asked


def test_sections_follow_their_student():
    part = {"chapters": [dict(c) for c in REAL_TOC["parts"][1]["chapters"]]}
    chapters = bookbuild._with_students(part["chapters"], [Student(96, False), Student(96, True, "no_source", 778)])
    students = [c for c in chapters if c["file"].startswith("runs/quick/alpha")]
    assert [(s["file"], s["title"]) for c in students for s in c["sections"]] == [
        ("runs/quick/alpha96/05_evaluation", "Evaluation, alpha = 96"),
        ("runs/quick/alpha96-kd-no_source-seed778/05_evaluation", "Evaluation, alpha = 96, distilled, no_source, seed 778"),
    ]
    assert [c for c in chapters if c not in students] == [c for c in part["chapters"] if not c["file"].startswith("runs/quick/alpha")]


def test_missing_pages_are_all_named_with_the_command_that_makes_them(tmp_path):
    root = write_sample(tmp_path / "study")
    shutil.rmtree(root / "runs/quick/alpha24-kd")
    (root / "book/method.md").unlink()
    with pytest.raises(InputError) as error:
        bookbuild.build_book(root=root)
    for part in ("book/method.md", "runs/quick/alpha24-kd/04_student.ipynb", "python -m kdlib study --preset quick"):
        assert part in str(error.value)
    assert "alpha24/" not in str(error.value)


# ---- the build


def test_sample_book_is_sound_and_free_of_this_machine_s_paths(sample_root, sample_html):
    assert check_book(sample_html, forbidden=[str(sample_root), str(REPOSITORY), str(Path.home()) + os.sep]) == []


def test_sample_book_holds_figures_once_and_no_progress_bars(sample_html):
    page = (sample_html / "runs/quick/alpha24/04_student.html").read_text()
    assert page.count('class="kdplot"') == 2
    assert page.count('class="kdgrid"') == 1
    assert "400 iterations in 61 s" in page
    assert "progress bar, not for the book" not in page
    assert len(page) < 200_000
    import plotly

    wheel = Path(plotly.__file__).parent / "package_data/plotly.min.js"
    assert (sample_html / "_static/plotly.min.js").read_bytes() == wheel.read_bytes()


def test_a_book_is_built_again_only_when_something_changed(sample_root, tmp_path, monkeypatch, capsys):
    root = tmp_path / "study"
    shutil.copytree(sample_root, root)
    builds = []

    def stand_in(root, work, verbose):
        builds.append(1)
        (work / "_build/html").mkdir(parents=True)
        (work / "_build/html/index.html").write_text("<h1>new</h1>")

    monkeypatch.setattr(bookbuild, "_run_jupyter_book", stand_in)
    bookbuild.build_book(root=root)
    assert builds == []
    assert "up to date" in capsys.readouterr().out
    changes = ("book/method.md", "runs/quick/alpha24/04_student.ipynb", "book/_static/study.css", "_config.yml")
    for count, name in enumerate(changes, start=1):
        file = root / name
        file.write_text(file.read_text() + "\n")
        bookbuild.build_book(root=root)
        bookbuild.build_book(root=root)
        assert len(builds) == count, file
    bookbuild.build_book(root=root, force=True)
    assert len(builds) == len(changes) + 1


@pytest.mark.slow
def test_a_warning_fails_the_build_and_the_old_book_stays(sample_root, tmp_path):
    root = tmp_path / "study"
    shutil.copytree(sample_root, root)
    before = (root / "_build/html/book/method.html").read_text()
    (root / "book/method.md").write_text("# The method\n\nSee {doc}`/book/nowhere`.\n")
    for _ in range(2):  # a second try must not take the page, now read once, for a good one
        with pytest.raises(InputError, match=r"method\.md:3: WARNING: unknown document"):
            bookbuild.build_book(root=root)
        assert (root / "_build/html/book/method.html").read_text() == before


# ---- the checker

SOUND = {
    "index.html": '<a id="top" href="a/page.html#x">p</a><img src="a/p.png"><script src="s.js?v=1"></script>'
    '<link rel="stylesheet" href="s.css">',
    "a/page.html": '<h1 id="x">x</h1><a href="../index.html">up</a> <a href="#x">x</a> <a href="https://example.org/y#z">out</a>'
    '<img src="data:image/png;base64,AAAA"><link rel="canonical" href="https://example.org/">',
    "a/p.png": "",
    "s.js": "",
    "s.css": "body { background: url('a/p.png') } i { background: url(data:image/png;base64,AA) }",
    "_static/template.html": '<script src="{{ pathto() }}"></script>',
}


def site(folder: Path, **changes: str) -> Path:
    for name, text in {**SOUND, **changes}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_checker_passes_a_sound_book(tmp_path):
    assert check_book(site(tmp_path), forbidden=["/somewhere/else"]) == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        ('<a href="gone.html">x</a>', "link gone.html leads nowhere"),
        ('<a href="a/page.html#y">x</a>', "no such place on a/page.html"),
        ('<a href="#below">x</a>', "no such place on index.html"),
        ('<a href="../outside.html">x</a>', "leads nowhere"),
        ('<a href="file:///home/x.html">x</a>', "a file of the machine"),
        ('<meta http-equiv="Refresh" content="0; url=gone.html">', "leads nowhere"),
        ('<img src="a/q.png">', "resource a/q.png does not exist"),
        ('<img srcset="a/p.png 1x, a/q.png 2x">', "resource a/q.png does not exist"),
        ('<img src="https://example.org/p.png">', "from outside"),
        ('<script src="//cdn.example.org/x.js"></script>', "from outside"),
        ('<link rel="preconnect" href="https://fonts.example.org">', "from outside"),
        ('<link rel="stylesheet" href="https://example.org/x.css">', "from outside"),
        ('<iframe src="https://example.org"></iframe>', "from outside"),
        ('<p style="background:url(https://example.org/x.png)">x</p>', "from outside"),
        ("<style>@import 'https://example.org/x.css';</style>", "from outside"),
        ("<p>/machine/of/mine/x</p>", "contains '/machine/of/mine'"),
    ],
)
def test_checker_finds(tmp_path, page, fault):
    (found,) = check_book(site(tmp_path, **{"index.html": page}), forbidden=["/machine/of/mine"])
    assert found.startswith("index.html: ")
    assert fault in found


def test_checker_reads_style_sheets_and_refuses_an_empty_folder(tmp_path):
    (found,) = check_book(site(tmp_path / "a", **{"s.css": "@font-face { src: url(https://example.org/f.woff2) }"}))
    assert found == "s.css: loads https://example.org/f.woff2 from outside the book"
    (tmp_path / "empty").mkdir()
    assert "holds no HTML page" in check_book(tmp_path / "empty")[0]

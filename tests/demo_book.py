"""The book's demo page alone, and a way to look at it: its own text and static files, stub pages in place of those it links to, small
models, a plain web server; what Chromium shows, and what onnxruntime gives for the same files.
"""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from browsers import PATIENCE, served
from chromium_pages import DESK, HARMLESS
from demo_models import write_runs
from sample_book import REPOSITORY

from kdlib.book.bookbuild import build_book
from kdlib.deploy import demo_assets
from kdlib.deploy.browser_runtime import place_runtime
from kdlib.deploy.runtimes import onnxruntime
from kdlib.deploy.style_directions import QUANTITIES, Direction
from kdlib.errors import InputError

PAGE = "book/demo.html"


def build_demo_book(root: Path) -> Path:
    """Build it in ``root``; the folder of its HTML. onnxruntime-web is in it if it is in the repository's book."""
    static = root / "book" / "_static"
    shutil.copytree(REPOSITORY / "book" / "_static", static, ignore=shutil.ignore_patterns("models"))
    shutil.copy(REPOSITORY / "_config.yml", root)
    for name in ("demo.md", "references.bib"):
        shutil.copy(REPOSITORY / "book" / name, root / "book")
    linked = sorted(set(re.findall(r"\{doc\}`/book/(\w+)`", (root / "book" / "demo.md").read_text())))
    for name in linked:
        (root / "book" / f"{name}.md").write_text(f"# {name}\n")
    chapters = "".join(f"      - file: book/{name}\n" for name in linked)
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: book/demo\nparts:\n  - caption: Others\n    chapters:\n{chapters}")
    write_models(root / "runs", static / "models")
    return build_book(root=root).parent


def write_models(runs: Path, folder: Path) -> None:
    """Untrained models; one direction, which does something to every style."""
    def directions(nets, domains):
        vectors = {domain: nets.mapping_network.branches[0][-1].bias + 1.0 for domain in domains}
        return {q.name: Direction(q, vectors, 1.0 if q is QUANTITIES[0] else 0.0) for q in QUANTITIES}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_assets, "style_directions", directions)
        demo_assets.make_assets(*write_runs(runs), folder)


@pytest.fixture(scope="session")
def demo_html(tmp_path_factory) -> Path:
    try:
        place_runtime()
    except InputError as error:
        pytest.skip(str(error))
    return build_demo_book(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="session")
def site(demo_html):
    with served(demo_html) as address:
        yield address


@pytest.fixture
def visit(chromium, site):
    """visit(...) -> page; refuses what is outside the server, and checks in the end what the page said."""
    contexts, said, outside = [], [], []

    def open_page(name=PAGE, window=DESK, theme="light", address=site, lacking=None, wait=True, **options):
        context = chromium.new_context(viewport={"width": window[0], "height": window[1]}, color_scheme=theme, **options)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()

        harmless = (*HARMLESS, "Failed to load resource") if lacking else HARMLESS

        def route(route):
            if lacking and f"/_static/{lacking}/" in route.request.url:
                route.fulfill(status=404)
            elif route.request.url.startswith((address, "data:", "blob:")):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        context.route("**/*", route)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda line: said.append(line.text) if line.type == "error" and not line.text.startswith(harmless) else None)
        page.goto(f"{address}/{name}", wait_until="load")
        if wait:
            page.wait_for_selector('#demo[data-state="ready"]')
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert outside == [] and said == []


def pixels(page, selector):
    """What a canvas shows, uint8 [H W 3]."""
    values, width = page.evaluate(
        """(selector) => { const canvas = document.querySelector(selector);
          return [[...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data], canvas.width]; }""",
        selector,
    )
    return np.array(values, np.uint8).reshape(-1, width, 4)[..., :3]


def translations(page):
    return np.stack([pixels(page, f"#demo-{role} canvas") for role in ("teacher", "student")])


def changed(page, before, action):
    """Do something, wait until both translations have changed, and give them."""
    action()
    for _ in range(600):
        after = translations(page)
        if (after != before).any(axis=(1, 2, 3)).all():
            return after
        page.wait_for_timeout(100)
    raise AssertionError("the translations did not change")


def sessions(demo_html):
    """The files that the page loads, in onnxruntime's own hands: model and network -> function."""
    folder = demo_html / "_static" / "models"
    manifest = json.loads((folder / "manifest.json").read_text())
    return manifest, {(m["name"], n): onnxruntime(folder / e["file"], 1) for m in manifest["models"] for n, e in m["networks"].items()}

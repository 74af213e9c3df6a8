"""The book as a reader has it: opened from disk in Chromium with the network refused, in both themes, on a desk and on a phone.

Books tried: the sample of sample_book.py, and _build/html when there is one; with $KD_BOOK set, the book in that folder alone.
Chromium: $CHROMIUM, else chromium or google-chrome on the PATH (the playwright package here drives it, it brings no browser).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from browsers import PATIENCE
from chromium_pages import DESK, HARMLESS, LEGIBILITY, PHONE, TEXT_CONTRAST, sideways
from sample_book import REPOSITORY

from kdlib.book.bookcheck import check_book

pytestmark = pytest.mark.browser

GIVEN = os.environ.get("KD_BOOK")
BUILT = REPOSITORY / "_build" / "html"
BOOKS = ["given"] if GIVEN else ["sample", *(["built"] if (BUILT / "index.html").is_file() else [])]

# Plotly redraws a figure a moment after its frame has changed width.
FIGURES_FIT = """
() => [...document.querySelectorAll("div.kdplot svg.main-svg")].every(
  (svg) => svg.getBoundingClientRect().right <= window.innerWidth + 0.5,
)
"""

LOST_LEFT = "[...document.querySelectorAll('mjx-container > svg')].filter((svg) => svg.getBoundingClientRect().left < 0).length"


@dataclass
class Visit:
    """One page in one window, and what it said and asked for."""

    page: object
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@pytest.fixture(scope="session", params=BOOKS)
def book(request: pytest.FixtureRequest) -> Path:
    if request.param == "sample":
        return request.getfixturevalue("sample_html")
    return Path(GIVEN).resolve() if GIVEN else BUILT


@pytest.fixture
def visit(chromium, book) -> Iterator[object]:
    """visit(page, window, theme) -> Visit; the network is refused, and what the page said is checked when the test ends."""
    contexts, visits = {}, []

    def open_page(name: str, window: tuple[int, int] = DESK, theme: str = "light") -> Visit:
        if (window, theme) not in contexts:
            contexts[window, theme] = chromium.new_context(viewport={"width": window[0], "height": window[1]}, color_scheme=theme)
        contexts[window, theme].set_default_timeout(PATIENCE)
        seen = Visit(contexts[window, theme].new_page())
        visits.append((name, seen))

        def route(route):
            if route.request.url.split(":")[0] in ("file", "data", "blob"):
                route.continue_()
            else:
                seen.outside.append(route.request.url)
                route.abort()

        seen.page.route("**/*", route)
        seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
        seen.page.on("console", lambda line: seen.errors.append(line.text) if line.type == "error" else None)
        seen.page.goto(f"{book.as_uri()}/{name}", wait_until="load")
        return seen

    yield open_page
    for context in contexts.values():
        context.close()
    for name, seen in visits:
        assert seen.outside == [], f"{name} asks for something outside the book"
        assert [e for e in seen.errors if not e.startswith(HARMLESS)] == [], name


def pages(book: Path) -> list[str]:
    found = [f.relative_to(book) for f in sorted(book.rglob("*.html"))]
    return [str(f) for f in found if f.parts[0] in ("book", "runs")]


def draw_figures(page) -> int:
    """Bring every figure into view, wait until it is drawn, and return how many there are."""
    figures = page.locator("div.kdplot")
    for i in range(figures.count()):
        figures.nth(i).scroll_into_view_if_needed()
        figures.nth(i).locator("svg.main-svg").first.wait_for(state="visible", timeout=PATIENCE)
    return figures.count()


def test_files_are_sound_and_free_of_this_machine_s_paths(book):
    assert check_book(book, forbidden=[f"{REPOSITORY}{os.sep}"]) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_drawn_and_legible_on_a_desk_and_fits_a_phone(visit, book, theme):
    figures = 0
    for name in pages(book):
        page = visit(name, DESK, theme).page
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        stored = (book / name).read_text(encoding="utf-8").count('class="kdplot"')
        assert draw_figures(page) == stored, name
        figures += stored
        page.wait_for_function("[...document.images].every((image) => image.complete)")
        dead = page.evaluate("[...document.images].filter((i) => i.naturalWidth === 0).map((i) => i.src.slice(0, 80))")
        assert dead == [], name
        if page.locator(".bd-article .math").count():
            page.locator(".bd-article mjx-container").first.wait_for(timeout=PATIENCE)
            page.evaluate("window.MathJax.startup.promise")
            assert page.locator(".bd-article .math mjx-container").count() >= page.locator(".bd-article .math").count(), name
            assert page.locator("mjx-merror, [data-mjx-error]").count() == 0, name
        assert sideways(page) <= 0, name
        page.add_style_tag(content="* { transition: none !important }")  # no colour on its way from one theme to the other
        assert page.evaluate(LEGIBILITY, TEXT_CONTRAST) == [], f"{name}, {theme}"
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        page.wait_for_function(FIGURES_FIT)
        assert sideways(page) <= 0, f"{name} is wider than a phone"
        assert page.evaluate(LOST_LEFT) == 0, f"{name}: an equation begins left of the page, where no scrolling reaches"
        page.close()
    assert figures > 0, "no page of the book has a figure"


def test_figures_follow_the_theme_and_keep_the_reader_s_zoom(visit, book):
    name = next(n for n in pages(book) if 'class="kdplot"' in (book / n).read_text(encoding="utf-8"))
    page = visit(name).page
    draw_figures(page)
    plot = "document.querySelector('.kdplot .js-plotly-plot')"
    title = f"getComputedStyle({plot}.querySelector('.xtick text')).fill"
    light = page.evaluate(title)
    page.evaluate(f"Plotly.relayout({plot}, {{'xaxis.range': [1, 2]}})")
    page.locator(".theme-switch-button:visible").first.click()  # auto or light -> the next mode
    if page.evaluate("document.documentElement.dataset.theme") == "light":
        page.locator(".theme-switch-button:visible").first.click()
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.wait_for_function(f"{title} !== '{light}'")
    assert page.evaluate(f"{plot}.layout.xaxis.range") == [1, 2]


def test_front_page_leads_into_the_book_and_search_finds_words(visit, book):
    page = visit("index.html").page
    page.wait_for_url("**/book/*.html")
    assert page.locator(".bd-article h1").count() == 1
    page = visit("search.html?q=student").page
    page.locator("#search-results li a").first.wait_for(timeout=PATIENCE)

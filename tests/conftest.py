"""Fixtures shared by the tests of the book and by those in Chromium; `gpu` tests are skipped where there is no CUDA device."""

from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """runs/reference of a repository that keeps a made-up reference study, and no run of a preset that starts from it."""
    from made_up_study import write_study

    from kdlib import paths

    monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
    write_study(paths.reference_folder(), "mini", pictures=False)
    return paths.reference_folder()


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sources of the sample book, built once."""
    from sample_book import write_sample

    from kdlib.book.bookbuild import build_book

    root = write_sample(tmp_path_factory.mktemp("sample") / "study")
    build_book(root=root)
    return root


@pytest.fixture(scope="session")
def sample_html(sample_root: Path) -> Path:
    """The built sample book."""
    return sample_root / "_build" / "html"


@pytest.fixture(scope="session")
def chromium() -> Iterator[object]:
    """The browser, without a window."""
    from browsers import FLAGS, chromium_path
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    if path is None:
        pytest.fail("no Chromium: install it (Debian: apt-get install chromium) or set CHROMIUM=/path/to/it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests with a server on this machine: a proxy would be asked for 127.0.0.1 too."""
    for variable in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)

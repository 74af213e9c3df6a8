"""Checks a built book by reading its files: links, anchors, resources, and paths of the machine that built it.

A book must work from a folder on a disk without a network, so a picture, script, style sheet or font that comes from outside
is a fault, while a link that a reader may follow to the web is none. Uses Python's own HTML parser; what scripts do at run
time is for the browser test to see.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Attributes through which a page loads something by itself.
_RESOURCES = {
    "img": ("src",),
    "script": ("src",),
    "iframe": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "source": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "track": ("src",),
    "input": ("src",),
    "image": ("href", "xlink:href"),
    "use": ("href", "xlink:href"),
}
_LOADING_RELS = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "manifest", "preconnect", "dns-prefetch"}
_CSS_URL = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


@dataclass
class _Page:
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = _Page()
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        page = self.page
        page.anchors.update(v for v in (values.get("id"), values.get("name")) if v)
        if tag in ("a", "area") and values.get("href"):
            page.links.append(values["href"])
        if tag == "link" and values.get("href"):
            loads = _LOADING_RELS & set(values.get("rel", "").split())
            (page.resources if loads else page.links).append(values["href"])
        if tag == "meta" and values.get("http-equiv", "").lower() == "refresh":
            page.links.append(values.get("content", "").partition("url=")[2])
        page.resources.extend(values[name] for name in _RESOURCES.get(tag, ()) if values.get(name))
        page.resources.extend(part.split()[0] for part in values.get("srcset", "").split(",") if part.strip())
        page.resources.extend(css_urls(values.get("style", "")))
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        if tag == "style":
            self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self.page.resources.extend(css_urls(data))


def css_urls(css: str) -> list[str]:
    """Addresses that a piece of CSS loads by ``url(...)`` or ``@import``."""
    return [match[1] or match[2] for match in _CSS_URL.finditer(css)]


def check_book(folder: Path, forbidden: Iterable[str] = ()) -> list[str]:
    """Faults of the built book in ``folder``, one line each; an empty list says that it is sound.

    ``forbidden``: strings that no page may contain, such as the path of the repository. Files under ``_sources`` (copies of
    what was read) and HTML under ``_static`` (the theme's templates) are no pages of the book.
    """
    folder = folder.resolve()
    files = [f for f in sorted(folder.rglob("*")) if f.is_file() and f.relative_to(folder).parts[0] != "_sources"]
    pages = {f: _read_page(f) for f in files if f.suffix == ".html" and f.relative_to(folder).parts[0] != "_static"}
    if not pages:
        return [f"{folder}: holds no HTML page"]
    faults = []
    for file, page in pages.items():
        for address in page.resources:
            faults += _resource_fault(folder, file, address)
        for address in page.links:
            faults += _link_fault(folder, file, address, pages)
        text = file.read_text(encoding="utf-8")
        faults += [f"{file.relative_to(folder)}: contains {word!r}" for word in forbidden if word in text]
    for file in files:
        if file.suffix == ".css":
            for address in css_urls(file.read_text(encoding="utf-8")):
                faults += _resource_fault(folder, file, address)
    return faults


def _read_page(file: Path) -> _Page:
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    return reader.page


def _resource_fault(folder: Path, file: Path, address: str) -> list[str]:
    parts = urlsplit(address)
    where = file.relative_to(folder)
    if parts.scheme == "data" or address.startswith("#"):
        return []
    if parts.scheme or parts.netloc:
        return [f"{where}: loads {address} from outside the book"]
    if not _target(folder, file, parts.path).is_file():
        return [f"{where}: resource {address} does not exist"]
    return []


def _link_fault(folder: Path, file: Path, address: str, pages: dict[Path, _Page]) -> list[str]:
    parts = urlsplit(address)
    where = file.relative_to(folder)
    if parts.scheme == "file":
        return [f"{where}: links to {address}, a file of the machine that built it"]
    if parts.scheme or parts.netloc:
        return []
    target = _target(folder, file, parts.path) if parts.path else file
    if not target.is_file() or not target.is_relative_to(folder):
        return [f"{where}: link {address} leads nowhere"]
    anchor = unquote(parts.fragment)
    if anchor and target in pages and anchor not in pages[target].anchors:
        return [f"{where}: link {address}: no such place on {target.relative_to(folder)}"]
    return []


def _target(folder: Path, file: Path, path: str) -> Path:
    path = unquote(path)
    base = folder / path.lstrip("/") if path.startswith("/") else file.parent / path
    base = base.resolve()
    return base / "index.html" if base.is_dir() else base

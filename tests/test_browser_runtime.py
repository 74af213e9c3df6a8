"""onnxruntime-web for the live demo: unpacked from an archive that is what it should be, or a message that says what to do."""

import base64
import dataclasses
import hashlib
import io
import json
import re
import tarfile

import pytest

from kdlib.book import bookbuild
from kdlib.deploy import browser_runtime
from kdlib.deploy.browser_runtime import LIST, ONNXRUNTIME_WEB, Package, place_runtime
from kdlib.errors import InputError

CONTENT = {"a.mjs": b"export default 1;", "a.wasm": b"\0asm" * 1000}


def archive_of(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in {**{f"dist/{n}": c for n, c in files.items()}, "README.md": b"read me"}.items():
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def package_of(path, files=tuple(CONTENT), url="http://127.0.0.1:9/nothing-listens-here.tgz"):
    digest = base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    return Package("runtime", "1.2.3", url, f"sha512-{digest}", files)


@pytest.fixture
def data(tmp_path, monkeypatch, no_proxy):
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def test_only_the_named_files_are_taken_and_a_second_call_does_nothing(tmp_path):
    archive = archive_of(tmp_path / "x.tgz", CONTENT | {"other.wasm": b"not wanted"})
    package, folder = package_of(archive), tmp_path / "ort"
    assert place_runtime(folder, package, archive)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.name != LIST} == CONTENT
    listed = json.loads((folder / LIST).read_text())
    assert listed["files"] == {name: len(content) for name, content in CONTENT.items()}
    archive.unlink()
    assert not place_runtime(folder, package, archive)


@pytest.mark.parametrize("damage", ["a file is cut off", "a file is missing", "the list is missing", "another version"])
def test_what_is_not_whole_is_made_whole(tmp_path, damage):
    archive, folder = archive_of(tmp_path / "x.tgz", CONTENT), tmp_path / "ort"
    package = package_of(archive)
    place_runtime(folder, package, archive)
    if damage == "a file is cut off":
        (folder / "a.wasm").write_bytes(b"\0asm")
    elif damage == "a file is missing":
        (folder / "a.mjs").unlink()
    elif damage == "the list is missing":
        (folder / LIST).unlink()
    else:
        package = dataclasses.replace(package, version="1.2.4")
    assert place_runtime(folder, package, archive)
    assert {f.name: f.read_bytes() for f in folder.iterdir() if f.name != LIST} == CONTENT


def test_another_archive_is_refused_and_nothing_is_written(tmp_path):
    archive = archive_of(tmp_path / "x.tgz", CONTENT)
    package = package_of(archive)
    archive_of(archive, CONTENT | {"a.mjs": b"something else"})
    with pytest.raises(InputError, match="is not runtime-1.2.3.tgz or not whole"):
        place_runtime(tmp_path / "ort", package, archive)
    assert not (tmp_path / "ort").exists()


def test_an_archive_without_what_the_page_needs_is_refused(tmp_path):
    archive = archive_of(tmp_path / "x.tgz", {"a.mjs": CONTENT["a.mjs"]})
    with pytest.raises(InputError, match="lacks what the page needs"):
        place_runtime(tmp_path / "ort", package_of(archive), archive)
    assert not (tmp_path / "ort" / LIST).exists()


def test_an_archive_under_data_needs_no_network(tmp_path, data):
    (data / "runtime").mkdir(parents=True)
    archive = archive_of(data / "runtime" / "runtime-1.2.3.tgz", CONTENT)
    assert place_runtime(tmp_path / "ort", package_of(archive))


def test_without_a_network_the_message_says_what_to_do_and_the_book_is_built_all_the_same(tmp_path, data, monkeypatch, capsys):
    package = package_of(archive_of(tmp_path / "x.tgz", CONTENT))
    with pytest.raises(InputError) as error:
        place_runtime(tmp_path / "ort", package)
    for part in (package.url, "python -m kdlib.deploy.browser_runtime", "runtime-1.2.3.tgz could not be fetched"):
        assert part in str(error.value)
    assert not (tmp_path / "ort").exists() and not list(data.rglob("*.tgz"))
    monkeypatch.setattr(bookbuild, "place_runtime", lambda folder: place_runtime(folder, package))
    bookbuild._place_demo_runtime(tmp_path / "ort")
    assert "book: the live demo will not run. runtime-1.2.3.tgz could not be fetched" in capsys.readouterr().err


def test_an_archive_is_fetched_and_kept(tmp_path, data):
    archive = archive_of(tmp_path / "x.tgz", CONTENT)
    package = package_of(archive, url=archive.as_uri())
    assert place_runtime(tmp_path / "ort", package)
    assert (data / "runtime" / "runtime-1.2.3.tgz").read_bytes() == archive.read_bytes()


def test_the_page_loads_what_is_fetched():
    """runtime.js names the bundles and the beginnings of the names of their WebAssembly."""
    source = (browser_runtime.FOLDER.parent / "demo" / "runtime.js").read_text()
    named = set(re.findall(r'(?:bundle|wasm): "([^"]+)"', source))
    assert len(named) == 4
    needed = {n for n in named if n.endswith(".mjs")} | {f"{n}.{kind}" for n in named if not n.endswith(".mjs") for kind in ("wasm", "mjs")}
    assert needed == set(ONNXRUNTIME_WEB.files)

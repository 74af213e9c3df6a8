"""The program that runs the networks in the book's live demo, onnxruntime-web: fetched, verified, unpacked beside the page.

    python -m kdlib.deploy.browser_runtime

The published npm package holds every flavour of it, 140 MB; the page needs two: WebAssembly alone, and WebGPU with WebAssembly
beside it. They are too large to keep in git, so one pinned version is fetched when the book is built, used only if its SHA-512 is
the one that npm publishes, and kept under data/, so that later builds ask nothing of the network.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import sys
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdlib.downloads import download
from kdlib.errors import InputError
from kdlib.files import write_atomically, write_text
from kdlib.paths import REPOSITORY, data_folder, shown

LIST = "runtime.json"  # written last: a folder that has it is whole
COMMAND = "python -m kdlib.deploy.browser_runtime"


@dataclass(frozen=True)
class Package:
    """A published archive. ``integrity``: "sha512-" and the digest in base64, as in npm's registry; ``files``: what is taken out of it."""

    name: str
    version: str
    url: str
    integrity: str
    files: tuple[str, ...]

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tgz"


ONNXRUNTIME_WEB = Package(
    "onnxruntime-web",
    "1.30.0",
    "https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-1.30.0.tgz",
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    (
        *("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
        *("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
    ),
)
FOLDER = REPOSITORY / "book" / "_static" / "ort"


def place_runtime(folder: Path = FOLDER, package: Package = ONNXRUNTIME_WEB, archive: Path | None = None) -> bool:
    """Put the package's files and a list of them into ``folder``; whether anything had to be done.

    ``archive``: the .tgz, if it is at hand; otherwise it is looked for in data/runtime ($KDLIB_DATA/runtime) and fetched where it
    is missing. Raises InputError that says what to do by hand where it can not be fetched, or is another file.
    """
    if _listed(folder, package):
        return False
    _unpack(archive or _find_or_fetch(package), folder, package)
    return True


def _listed(folder: Path, package: Package) -> bool:
    """Whether ``folder`` holds this very version, every file at its full length."""
    try:
        found = json.loads((folder / LIST).read_text(encoding="utf-8"))
        lengths = {name: (folder / name).stat().st_size for name in package.files}
    except (OSError, ValueError):
        return False
    return found == _list(package, lengths)


def _list(package: Package, lengths: dict[str, int]) -> dict[str, object]:
    return {"package": package.name, "version": package.version, "integrity": package.integrity, "files": lengths}


def _find_or_fetch(package: Package) -> Path:
    path = data_folder() / "runtime" / package.archive
    if not path.is_file():
        try:
            _fetch(package, path)
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"{package.archive} could not be fetched ({error}). {_by_hand(package, path)}") from error
    return path


def _by_hand(package: Package, path: Path) -> str:
    return f"With a network, `{COMMAND}` fetches it; by hand: put {package.url} into {shown(path.parent)}, then give that command"


def _fetch(package: Package, path: Path) -> None:
    """Write the archive at ``path`` once all of it has come and is what it should be."""

    def write(temporary: Path) -> None:
        download(package.url, temporary, package.archive)
        _verify(temporary, package, path)

    write_atomically(path, write)


def _verify(archive: Path, package: Package, path: Path) -> None:
    with open(archive, "rb") as file:
        found = "sha512-" + base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != package.integrity:
        what = f"{shown(path)} is not {package.archive} or not whole: its digest is {found}, not {package.integrity}"
        raise InputError(f"{what}. Remove it. {_by_hand(package, path)}")


def _unpack(archive: Path, folder: Path, package: Package) -> None:
    """Take the package's files out of a verified archive; the list of them comes last."""
    if not archive.is_file():
        raise InputError(f"{archive}: no such file. {_by_hand(package, archive)}")
    _verify(archive, package, archive)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LIST).unlink(missing_ok=True)
    lengths = {}
    try:
        with tarfile.open(archive) as opened:
            for name in package.files:
                content = opened.extractfile(f"package/dist/{name}").read()
                write_atomically(folder / name, lambda temporary, content=content: temporary.write_bytes(content))
                lengths[name] = len(content)
    except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
        raise InputError(f"{shown(archive)}: lacks what the page needs ({error}); version {package.version} should have it") from error
    for file in folder.glob("ort*"):
        if file.name not in package.files:  # of another version
            file.unlink()
    write_text(folder / LIST, json.dumps(_list(package, lengths), indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m kdlib.deploy.browser_runtime`: fetch and unpack, unless it is there; the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=f"Fetch {ONNXRUNTIME_WEB.archive} for the book's live demo.")
    parser.add_argument("--archive", type=Path, help="the .tgz, if it is at hand")
    options = parser.parse_args(arguments)
    try:
        done = place_runtime(archive=options.archive)
    except InputError as error:
        print(f"browser_runtime: {error}", file=sys.stderr)
        return 1
    size = sum(os.path.getsize(FOLDER / name) for name in ONNXRUNTIME_WEB.files)
    print(f"{shown(FOLDER)}: {ONNXRUNTIME_WEB.name} {ONNXRUNTIME_WEB.version}, {size / 1e6:.0f} MB, {'now there' if done else 'there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

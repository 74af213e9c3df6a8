"""Weight files that others publish and the published metrics need: where they come from, and how they are known to be right.

The thesis's metrics (section 5.2) are defined by networks trained elsewhere, so their weights are part of the definition.
A file is looked for in one folder, fetched from its publisher on first use, and used only if its SHA-256 is the one below.
A file put there by hand serves as well, so nothing here needs a network.
"""

import hashlib
import http.client
from dataclasses import dataclass
from pathlib import Path

from kdlib.downloads import download
from kdlib.errors import InputError
from kdlib.files import write_atomically
from kdlib.paths import WEIGHTS_VARIABLE, shown, weights_folder



@dataclass(frozen=True)
class WeightFile:
    """A published file. ``what`` describes it; ``url`` is empty where no stable address is known: then it is put there by hand."""

    name: str
    what: str
    sha256: str
    url: str = ""


# torchvision and pytorch-fid put the first eight digits of a file's SHA-256 into its name.
INCEPTION_TORCHVISION = WeightFile(
    "inception_v3_google-0cc3c7bd.pth",
    "torchvision's ImageNet weights of Inception-v3",
    "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef",
    "https://download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth",
)
INCEPTION_PYTORCH_FID = WeightFile(
    "pt_inception-2015-12-05-6726825d.pth",
    "pytorch-fid's weights of TensorFlow's Inception",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
)
ALEXNET = WeightFile(
    "alexnet-owt-7be5be79.pth",
    "torchvision's ImageNet weights of AlexNet",
    "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
    "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
)
SQUEEZENET = WeightFile(
    "squeezenet1_0.pth",
    "SqueezeNet 1.0's ImageNet weights (the Caffe release converted to torchvision's squeezenet1_0)",
    "84da5d8bfdba027496e45e7fa9ed63a2a02f1d1fa21ebeb0666610a2abb148c7",
)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_weights(file: WeightFile, weights: str | Path | None = None) -> Path:
    """The local path of a weight file, unverified and never fetched.

    ``weights`` is that file or the folder that holds it; without it the folder is `weights_folder()`. Raises InputError that
    says which file to put where.
    """
    path = _place(file, weights)
    if not path.is_file():
        raise InputError(f"{shown(path)} does not exist: put {file.what} there (SHA-256 {file.sha256}), or name its folder in {WEIGHTS_VARIABLE}")
    return path


def find_or_fetch(file: WeightFile, weights: str | Path | None = None) -> Path:
    """The local path of a weight file whose SHA-256 is verified, fetched first where it is missing.

    ``weights``: see `find_weights`. Nothing half-written is left behind. Raises InputError that names the file, its address,
    the folder and the expected SHA-256 where it can not be fetched or is another file.
    """
    path = _place(file, weights)
    if not path.is_file():
        try:
            _fetch(file, path)
        except (OSError, http.client.HTTPException) as error:
            raise InputError(f"{file.what}, {file.name}, could not be fetched ({error}). {_by_hand(file, path)}") from error
    elif (found := sha256_of(path)) != file.sha256:
        raise InputError(f"{shown(path)} is not {file.what}: its SHA-256 is {found}. Remove it to have it fetched. {_by_hand(file, path)}")
    return path


def _place(file: WeightFile, weights: str | Path | None) -> Path:
    path = Path(weights) if weights else weights_folder()
    return path if path.is_file() else path / file.name


def _by_hand(file: WeightFile, path: Path) -> str:
    return (
        f"By hand: get {file.url} and put it into {shown(path.parent)} ({WEIGHTS_VARIABLE} names another folder) as {file.name}; "
        f"its SHA-256 must be {file.sha256}"
    )


def _fetch(file: WeightFile, path: Path) -> None:
    """Write the file at ``path`` once all of it has come and is what it should be. Raises OSError, HTTPException or InputError."""

    def write(temporary: Path) -> None:
        download(file.url, temporary, file.name)
        if (found := sha256_of(temporary)) != file.sha256:
            raise InputError(f"{file.name}, as fetched, is not whole or not {file.what}: its SHA-256 is {found}. {_by_hand(file, path)}")

    write_atomically(path, write)

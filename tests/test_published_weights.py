"""Published weight files: found, fetched from a local server, refused; nothing half-written is left."""

import dataclasses
import hashlib
import http.server
import socket

import pytest
import pytorch_fid.inception
import torchvision
from browsers import local_server

from kdlib.errors import InputError
from kdlib.paths import weights_folder
from kdlib.scoring import published_weights
from kdlib.scoring.published_weights import ALEXNET, INCEPTION_PYTORCH_FID, INCEPTION_TORCHVISION, SQUEEZENET, WeightFile, find_or_fetch, find_weights

CONTENT = b"weights, so to say" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Publisher(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        if self.path == "/missing":
            return self.send_error(404)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100] if self.path == "/torn" else CONTENT)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address():
    with local_server(Publisher) as url:
        yield url


@pytest.fixture
def folder(tmp_path, monkeypatch, no_proxy):
    """The weights folder: named in the environment, and not there yet."""
    monkeypatch.setenv("KDLIB_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def file_at(address, page="whole"):
    return WeightFile("net.pth", "a network's weights", SHA256, f"{address}/{page}")


def test_a_file_is_fetched_once(address, folder, capsys):
    Publisher.asked.clear()
    for _ in range(2):
        assert find_or_fetch(file_at(address)) == folder / "net.pth"
        assert (folder / "net.pth").read_bytes() == CONTENT
    assert Publisher.asked == ["/whole"]
    assert [p.name for p in folder.iterdir()] == ["net.pth"]
    printed = capsys.readouterr()
    assert printed.out == "" and "fetching net.pth" in printed.err


def test_a_file_put_there_by_hand_needs_no_network(folder, tmp_path):
    folder.mkdir()
    (folder / "net.pth").write_bytes(CONTENT)
    nowhere = WeightFile("net.pth", "a network's weights", SHA256, "http://no.such.host.invalid/net.pth")
    assert find_or_fetch(nowhere) == folder / "net.pth"
    elsewhere = tmp_path / "renamed"
    elsewhere.write_bytes(CONTENT)
    assert find_or_fetch(nowhere, elsewhere) == elsewhere  # the file itself, under any name


def test_no_network_says_what_to_put_where(folder):
    with socket.socket() as taken:  # a port that nobody listens on
        taken.bind(("127.0.0.1", 0))
        file = file_at(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(InputError) as caught:
            find_or_fetch(file)
    for part in ("a network's weights", "net.pth", file.url, str(folder), "KDLIB_WEIGHTS", SHA256):
        assert part in str(caught.value), part
    assert not list(folder.iterdir())


@pytest.mark.parametrize("page", ["torn", "missing"])
def test_a_broken_answer_leaves_nothing(address, folder, page):
    with pytest.raises(InputError, match="net.pth.*By hand"):
        find_or_fetch(file_at(address, page))
    assert not list(folder.iterdir())


def test_another_file_than_published_is_refused(address, folder):
    other = dataclasses.replace(file_at(address), sha256="0" * 64)
    with pytest.raises(InputError, match=f"net.pth, as fetched, is not.*{SHA256}.*{other.url}.*{other.sha256}"):
        find_or_fetch(other)
    assert not list(folder.iterdir())
    (folder / "net.pth").write_bytes(b"an error page, say")
    with pytest.raises(InputError, match=r"net.pth is not a network's weights.*Remove it"):
        find_or_fetch(file_at(address))
    assert (folder / "net.pth").read_bytes() == b"an error page, say"  # the reader's, so not removed


def test_an_interrupted_download_leaves_nothing(address, folder, monkeypatch):
    def stop(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(published_weights, "sha256_of", stop)
    with pytest.raises(KeyboardInterrupt):
        find_or_fetch(file_at(address))
    assert not list(folder.iterdir())


def test_the_folder_is_under_the_data_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("KDLIB_WEIGHTS", raising=False)
    monkeypatch.setenv("KDLIB_DATA", str(tmp_path))
    assert weights_folder() == tmp_path / "weights"
    with pytest.raises(InputError, match=f"{tmp_path}/weights/squeezenet1_0.pth does not exist.*KDLIB_WEIGHTS"):
        find_weights(SQUEEZENET)


def test_publishers_put_the_hash_into_the_name():
    for file in (ALEXNET, INCEPTION_TORCHVISION, INCEPTION_PYTORCH_FID):
        assert len(file.sha256) == 64 and file.url.endswith(f"/{file.name}")
        assert file.name.removesuffix(".pth").endswith(f"-{file.sha256[:8]}")


def test_addresses_are_those_that_the_packages_would_fetch_from():
    assert INCEPTION_TORCHVISION.url == torchvision.models.Inception_V3_Weights.IMAGENET1K_V1.url
    assert ALEXNET.url == torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url
    assert INCEPTION_PYTORCH_FID.url == pytorch_fid.inception.FID_WEIGHTS_URL

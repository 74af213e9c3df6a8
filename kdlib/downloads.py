"""Fetching one file from the network."""

import urllib.request
from pathlib import Path

from kdlib.progress import progress_bar

TIMEOUT = 20  # seconds without an answer, after which there is no network
CHUNK = 1 << 20  # bytes


def download(url: str, path: Path, name: str) -> None:
    """Write what ``url`` answers to ``path``, with a progress bar that says ``name``. Raises OSError or HTTPException.

    Nothing is verified: write to a temporary file, check that, then give it its name (`kdlib.files.write_atomically`).
    """
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(path, "wb") as out:
        total = int(answer.headers.get("Content-Length") or 0) or None
        with progress_bar(total=total, desc=f"fetching {name}", unit="B", unit_scale=True) as bar:
            while chunk := answer.read(CHUNK):
                out.write(chunk)
                bar.update(len(chunk))

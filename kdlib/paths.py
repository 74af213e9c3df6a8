"""Where things lie: run folders, data drawn by code, downloaded or local weights.

Everything stands under the repository unless an environment variable says otherwise, and relative paths start there, so
that notebooks find it from whatever folder they are started in.
"""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
WEIGHTS_VARIABLE = "KDLIB_WEIGHTS"


def runs_folder() -> Path:
    """Run folders: $KDLIB_RUNS, else runs/ in the repository."""
    return from_repository(os.environ.get("KDLIB_RUNS") or "runs")


def reference_folder() -> Path:
    """Runs that are kept in git: shipped weights and reference results."""
    return REPOSITORY / "runs" / "reference"


def data_folder() -> Path:
    """Data drawn by code: $KDLIB_DATA, else data/ in the repository."""
    return from_repository(os.environ.get("KDLIB_DATA") or "data")


def cache_folder() -> Path:
    """Cached statistics of real pictures: $KDLIB_CACHE, else cache/ beside the drawn data."""
    return from_repository(os.environ.get("KDLIB_CACHE") or data_folder() / "cache")


def weights_folder() -> Path:
    """Weights published by others (kdlib.scoring.published_weights): $KDLIB_WEIGHTS, else weights/ beside the drawn data."""
    return from_repository(os.environ.get(WEIGHTS_VARIABLE) or data_folder() / "weights")


def from_repository(path: str | Path) -> Path:
    """A path as given if absolute, else relative to the repository."""
    return REPOSITORY / Path(path).expanduser()


def from_here(path: str | Path) -> Path:
    """A path as given if something lies there, else relative to the repository."""
    return Path(path).expanduser() if Path(path).expanduser().exists() else from_repository(path)


def shown(path: Path) -> str:
    """A path as a reader should see it: relative to the repository where it lies inside it."""
    path = Path(path)
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)

"""Which scores a table shows, in what order, and what they are called there.

A distance is only ever compared with itself: its key names the feature network, and two networks never share a line. The
published metrics bear their own names, with the package or the features that define them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PUBLISHED = {
    "fid_torchvision": "FID (torchvision's Inception, the thesis's)",
    "fid_pytorch_fid": "FID (pytorch-fid)",
    "kid_pytorch_fid": "KID (pytorch-fid)",
    "lpips": "LPIPS",
}
KINDS = {"frechet": "Fréchet distance", "kernel": "kernel distance", "diversity": "feature diversity"}


@dataclass(frozen=True)
class Headline:
    """A score: its key among a run's means, its heading, digits after the point."""

    key: str
    heading: str
    lower_is_better: bool = False
    digits: int = 3


FACTORS = (
    Headline("domain_accuracy", "domain accuracy"),
    Headline("content_correlation", "content kept"),
    Headline("detail_correlation", "details kept"),
    Headline("style_correlation", "style followed"),
    Headline("leak_correlation", "leak", lower_is_better=True),
    Headline("style_diversity", "style diversity"),
)
TRANSLATION = tuple(h for h in FACTORS if h.key in ("domain_accuracy", "content_correlation", "style_correlation"))  # does it translate?
CRITTER_DISTANCE = Headline("frechet_factor_network", "Fréchet distance", lower_is_better=True, digits=1)  # where all pictures are Critters
FINE_DETAIL = Headline("fine_detail", "fine detail (dB)", digits=2)  # 0 is best: in no table where high or low is
LPIPS = Headline("lpips", PUBLISHED["lpips"])
SPECTRAL = Headline("spectral_distance", "spectral distance (dB)", lower_is_better=True, digits=2)


def name_of(key: str) -> str:
    """A score's name as a reader should see it."""
    return PUBLISHED.get(key, key.replace("_", " "))


def distances(rows: Iterable[dict[str, Any]], kind: str) -> list[Headline]:
    """The scores of one of ``KINDS``, one for every feature network that any of the rows of a results table was judged by."""
    networks = {name: scores[kind] for row in rows for name, scores in row.get("feature_networks", {}).items()}
    return [
        Headline(key, PUBLISHED.get(key, f"{KINDS[kind]} ({name.replace('_', ' ')})"), kind != "diversity", 4 if key.startswith("kid_") else 2)
        for name, key in sorted(networks.items())
    ]


def headlines(rows: Iterable[dict[str, Any]]) -> list[Headline]:
    """The scores that a table of these rows shows; not every row has every one."""
    rows = list(rows)
    others = [h for h in (LPIPS, SPECTRAL) if any(f"latent_{h.key}" in row for row in rows)]
    return [*distances(rows, "frechet"), *distances(rows, "kernel"), *others, *FACTORS, *distances(rows, "diversity")]

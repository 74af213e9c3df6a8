"""Scores on newly drawn pictures beside those on the pictures that models were chosen by, as Markdown; from benchmarks/new_pictures.py."""

import json
from pathlib import Path
from typing import Any

from kdlib.analysis.seeds import tidy
from kdlib.headlines import CRITTER_DISTANCE, SPECTRAL, TRANSLATION, Headline
from kdlib.paths import reference_folder
from kdlib.results import GUIDES, markdown_table, not_measured

FILE = "mini/new_pictures.json"
TOLD = (CRITTER_DISTANCE, SPECTRAL, *TRANSLATION)


def fragment(path: Path | None = None) -> str:
    """A line a model: every score as chosen by, then as new; ``path``: by default in runs/reference."""
    path = reference_folder() / FILE if path is None else path
    if not path.is_file():
        return not_measured(f"python benchmarks/new_pictures.py --model mini/teacher --model mini/alpha48-kd --json runs/reference/{FILE}") + "\n"
    result = json.loads(path.read_text(encoding="utf-8"))
    lines = []
    for row in result["rows"]:
        for guide in GUIDES:
            lines.append([f"`{row['model']}`", guide, *(_pair(row["scores"], guide, h) for h in TOLD)])
    about = f"Chosen by → new; the new data set is Critters of seed {result['seed']}, {result['outputs_per_source']} outputs a source."
    return f"{markdown_table(['', 'guided by', *(h.heading for h in TOLD)], lines)}\n\n{about}\n"


def _pair(scores: dict[str, Any], guide: str, headline: Headline) -> str:
    digits = min(headline.digits, 2)
    found = [scores[which][guide].get(headline.key) for which in ("chosen", "new")]
    return "–" if None in found else tidy(" → ".join(f"{value:.{digits}f}" for value in found))

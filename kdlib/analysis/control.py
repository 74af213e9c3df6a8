"""The recipe that variants are compared with, trained once more in other numbers: what a change of precision alone does.

A variant that was trained in float32 because its processor has no bfloat16 differs from a recipe in bfloat16 by more than its method.
benchmarks/moving_averages.py trains that recipe, too, and keeps the average that a run ships among others: so it is a run of it.
"""

import json
from typing import Any

from kdlib.paths import reference_folder
from kdlib.results import GUIDES
from kdlib.settings import Preset

RUN, FILE = "moving averages", "averages.json"


def control_rows(preset: Preset, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A result row for every training of a recipe among ``rows`` that a benchmark's result tells of, in other numbers than theirs.

    It has those scores that tables show, and the costs of the recipe's own row.
    """
    found = []
    for path in sorted(reference_folder().glob(f"*/{FILE}")):
        result = json.loads(path.read_text(encoding="utf-8"))
        kind = (result["preset"], result["alpha"], result["iterations"], True, "", result["seed"])
        own = [r for r in rows if (r["preset"], r["alpha"], r["iterations"], r["distilled"], r["variant"], r["seed"]) == kind]
        decay = (preset.training.ema_decay, preset.training.ema_ramp)
        shipped = [row for row in result["rows"] if (row["ema_decay"], row["ema_ramp"]) == decay]
        precision = result["environment"]["precision"]
        if not own or not shipped or own[0]["precision"] == precision:
            continue
        scores = {f"{guide}_{name}": value for guide in GUIDES for name, value in shipped[0]["scores"][guide].items()}
        costs = {name: value for name, value in own[0].items() if not name.startswith(tuple(f"{guide}_" for guide in GUIDES))}
        found.append({**costs, "run": RUN, "recipe": None, "precision": precision, "seconds_per_iteration": None, **scores})
    return found

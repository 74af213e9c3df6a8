"""Scores of finished models on pictures that nobody has chosen by: Critters of another seed, beside those of the pictures they were chosen on.

    python benchmarks/new_pictures.py --model mini/teacher --model mini/alpha48-kd --json runs/reference/mini/new_pictures.json

Settings, lengths and recipes were chosen by the scores of one set of validation pictures. Here the whole data set is drawn again from
another seed: sources, references, and the pictures that distances are taken to. Both sets are scored by the same protocol.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import torch
from common import options_of, preset_of, report

from kdlib import session
from kdlib.deploy.parity import headline_scores
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.progress import progress_bar
from kdlib.results import GUIDES
from kdlib.runs import describe_environment
from kdlib.settings import MachineSettings
from kdlib.use.models import load_model

SEED = 424_242  # no data set of the study was drawn from it before


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for models that are not there or whose pictures are not drawn."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    models = [load_model(name) for name in options.model]
    for model in models:
        if (data := preset_of(model).data).source != "critters":
            raise InputError(f"{model.name}: its pictures are files; only Critters can be drawn again")
        if data.data_seed == options.seed:
            raise InputError(f"--seed {options.seed}: the pictures of {model.name} are of that seed; give another one")
    rows = []
    for model in progress_bar(models, desc="models"):
        preset = preset_of(model)
        evaluation = dataclasses.replace(preset.evaluation, outputs_per_source=options.outputs)
        scores = {}
        for which, seed in (("chosen", preset.data.data_seed), ("new", options.seed)):
            drawn = dataclasses.replace(preset, evaluation=evaluation, data=dataclasses.replace(preset.data, data_seed=seed))
            dataset = session.open_data(drawn, progress=False)
            scores[which] = headline_scores(session.score(drawn, model.nets, dataset, session.judges_of(drawn), progress=False))
        rows.append({"model": model.name, "scores": scores})
    about = {"seed": options.seed, "outputs_per_source": options.outputs}
    return {**about, "rows": rows, "environment": describe_environment(torch.device("cpu"))}


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = ["chosen by -> new, latent- / reference-guided"]
    for row in result["rows"]:
        for name in row["scores"]["new"][GUIDES[-1]]:
            pairs = [[row["scores"][which][guide].get(name) for which in ("chosen", "new")] for guide in GUIDES]
            told = " / ".join("-" if None in pair else f"{pair[0]:.3g} -> {pair[1]:.3g}" for pair in pairs)
            lines.append(f"  {row['model']}, {name}: {told}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--model", action="append", required=True, help="a run folder or a run's name; may be given several times")
    parser.add_argument("--seed", type=int, default=SEED, help="of the new pictures (default: %(default)s)")
    parser.add_argument("--outputs", type=int, default=10, help="of each source, for each other domain (default: %(default)s)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())

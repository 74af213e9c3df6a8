"""What the length of the moving average does to a student: one training, of which several averages are kept and scored.

    python benchmarks/moving_averages.py --threads 1 --json runs/reference/methods/averages.json

The average takes no part in training: every one here is of the same weights on the same way, so that what differs is the average's doing
alone. Trained is the distilled student of a preset's main width. The last row but one is what a run of that preset ships.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import torch
from common import options_of, report, with_outputs

from kdlib import session
from kdlib.config import load_preset
from kdlib.data import Dataset, prefetch
from kdlib.deploy.parity import headline_scores
from kdlib.devices import computed_precision, prepare
from kdlib.learner import average_decay, make_learner, rate_share, set_rates, update_average
from kdlib.networks import Networks
from kdlib.progress import progress_bar
from kdlib.results import GUIDES
from kdlib.runs import STUDENT, RunSettings, describe_environment
from kdlib.settings import MachineSettings, Preset, TrainingSettings
from kdlib.trainer import batches_of
from kdlib.training_step import train_iteration

# Decay, and whether it rises to that from 0 (`ema_ramp`). An average of decay d is over about 1 / (1 - d) iterations.
AVERAGES = {
    "the last weights": (0.0, False),
    "over 10 iterations": (0.9, True),
    "over 30": (0.97, True),
    "over a ninth of the run so far, 1,000 at most": (0.999, True),
    "over 1,000, from the start": (0.999, False),
}


def trained(preset: Preset, dataset: Dataset, averages: dict[str, TrainingSettings]) -> dict[str, Networks]:
    """The moving averages, by name, of one distilled student of the preset's main width. Raises `InputError` where its teacher is missing."""
    teacher, teacher_hash = session.load_teacher(preset, dataset)
    settings = RunSettings(preset, STUDENT, preset.study.main, True, dataset.domains, dataset.train.content_hash, teacher_hash)
    training = preset.training
    learner = make_learner(settings.build(training.seed), training, preset.losses, settings.diversity_iterations, teacher)
    batches = batches_of(preset, dataset)
    kept = {name: learner.nets.averaged_copy() for name in averages}
    for step, batch in progress_bar(prefetch(batches, 0, settings.iterations), total=settings.iterations, desc="iterations"):
        set_rates(learner, rate_share(step, settings.iterations, settings.decay_iterations))
        losses = train_iteration(learner, batch)
        for name, how in averages.items():
            update_average(kept[name], learner.nets, average_decay(how, step))
    losses.read()  # raises where the weights were spoilt
    return kept


def measure(preset: Preset) -> dict[str, Any]:
    """A row an average with its ``scores`` by guide."""
    dataset, judges = session.open_data(preset), session.judges_of(preset)
    averages = {name: dataclasses.replace(preset.training, ema_decay=decay, ema_ramp=ramp) for name, (decay, ramp) in AVERAGES.items()}
    rows = []
    for name, nets in trained(preset, dataset, averages).items():
        scores = headline_scores(session.score(preset, nets, dataset, judges, progress=False))
        rows.append({"average": name, "ema_decay": averages[name].ema_decay, "ema_ramp": averages[name].ema_ramp, "scores": scores})
    training, cpu = preset.training, torch.device("cpu")
    environment = {**describe_environment(cpu), "precision": computed_precision(training.precision, cpu)}
    about = {"preset": preset.name, "alpha": preset.study.main, "iterations": training.student_iterations, "seed": training.seed}
    return {**about, "outputs_per_source": preset.evaluation.outputs_per_source, "rows": rows, "environment": environment}


def text(result: dict[str, Any]) -> str:
    """The result as a table."""
    lines = [f"{result['preset']}, alpha {result['alpha']}, distilled, {result['iterations']} iterations; latent- / reference-guided"]
    for row in result["rows"]:
        told = [" / ".join(f"{row['scores'][guide][key]:.3g}" for guide in GUIDES) for key in row["scores"]["latent"]]
        lines.append(f"  {row['average']}: {', '.join(f'{key} {value}' for key, value in zip(row['scores']['latent'], told))}")
    return "\n".join(lines)


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line asks for. Raises `InputError` for a preset that is not there."""
    prepare(MachineSettings(device="cpu", threads=options.threads))
    preset = load_preset(options.preset, student_iterations=options.iterations)
    return measure(with_outputs(preset, options.outputs) if options.outputs else preset)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__, device=False)
    parser.add_argument("--preset", default="ablation", help="(default: %(default)s, with which methods are compared)")
    parser.add_argument("--iterations", type=int, help="(default: the preset's)")
    parser.add_argument("--outputs", type=int, help="of each source, for each other domain (default: the preset's, with all its seeds)")
    options = parser.parse_args(arguments)
    return report(lambda: measured(options), text, options.json)


if __name__ == "__main__":
    sys.exit(main())

"""What lazy R1 does to quality: distilled students with the gradient penalty on every iteration, and on every 16th, 16 times as heavy.

    python benchmarks/lazy_r1.py --json runs/reference/cost/lazy_r1.json

StyleGAN2 (Karras et al. 2020, appendix B) takes every 16th for its discriminator. Preset quick's smallest student, three seeds
each, trained in runs/lazy_r1 and gone on with when interrupted. Scores at the end of so short a run are a
first look, no verdict on long ones. What an iteration without the penalty saves is in `training_step.py`, where variants take turns.
"""

import dataclasses
import json
import sys

import numpy as np
from common import options_of, write_result

from kdlib import session
from kdlib.config import load_preset
from kdlib.errors import InputError
from kdlib.results import GUIDES

SCORES = ("frechet_factor_network", "kernel_factor_network", "domain_accuracy", "content_correlation", "style_diversity")


def main() -> int:
    parser = options_of(__doc__, device=False, threads=False)
    parser.add_argument("--every", type=int, nargs="+", default=[1, 16], help="iterations from one penalty to the next (default: 1 16)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[777, 778, 779])
    parser.add_argument("--iterations", type=int, help="default: the preset's")
    options = parser.parse_args()
    try:
        result = {f"every {every}": measure(every, options.seeds, options.iterations) for every in options.every}
    except InputError as error:
        print(f"lazy_r1: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=1))
    write_result(result, options.json)
    return 0


def measure(every: int, seeds: list[int], iterations: int | None) -> dict:
    """Mean and deviation over seeds of every score."""
    rows = []
    for seed in seeds:
        preset = load_preset("quick", seed=seed, r1_every=every, student_iterations=iterations)
        preset = dataclasses.replace(preset, name="lazy_r1")
        run = session.train_student(preset, min(preset.study.alphas), True, f"every{every}-seed{seed}")
        rows.append(session.evaluate_run(preset, run.name))
    scores = {}
    for guide in GUIDES:
        for name in SCORES:
            values = [row[guide]["mean"][name] for row in rows]
            scores[f"{guide}_{name}"] = {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None}
    settings = run.settings()
    return {
        "alpha": settings.alpha,
        "image_size": settings.preset.data.image_size,
        "iterations": settings.iterations,
        "seeds": seeds,
        "scores": scores,
        "environment": run.json("environment.json")[-1],
    }


if __name__ == "__main__":
    sys.exit(main())

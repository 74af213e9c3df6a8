"""Which moment of a run is evaluated: its end, or, as in the thesis, the best of the checkpoints kept on the way.

Thesis 5.3.4: "the score of best scoring checkpoint is reported after evaluation of all the checkpoints for each alpha", ten of
them (5.3.1). Which score, of the four that it tabulates, it does not say. Our reading: the mean of the latent- and the
reference-guided Frechet distance in the preset's first feature network, with one evaluation seed; smallest is best.

A choice made on the pictures that it is scored on flatters: of ten equally good checkpoints the luckiest is shown. So the
scores of all of them, and of the last one, stand beside the result. Only students are chosen so, as in the thesis: a teacher is
scored at its end, from where its students learn.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdlib.errors import InputError
from kdlib.paths import shown
from kdlib.runs import Run
from kdlib.settings import EvaluationSettings, Preset

BEST, LAST = "best_candidate", "last"
RELEASED = "released"
GUIDES = ("latent", "reference")

Judge = Callable[[Preset, Path, str], dict[str, Any]]  # scores of weights by a preset's protocol, kept in a file of the run


def candidate_protocol(settings: EvaluationSettings) -> EvaluationSettings:
    """The protocol that candidates are compared by: the whole one, with one evaluation seed."""
    return dataclasses.replace(settings, selection=LAST, evaluation_seeds=1)


def choose(preset: Preset, run: Run, judge: Judge) -> dict[str, Any] | None:
    """The choice among the run's candidates, as ``selection`` in its metrics; None where there is nothing to choose.

    ``judge(preset, weights, record)`` gives the scores of ``weights`` by the preset's protocol and keeps them in the run's file
    ``record``, where it finds them again: an interrupted choice goes on. The result: ``score``, the name of the distance, and
    ``rule`` in words; ``candidates`` ({step, criterion, latent, reference} each); ``chosen`` and ``last``, two steps.
    Raises `InputError` for a run of one's own that kept no candidates.
    """
    if preset.evaluation.selection != BEST or run.imported:
        return None
    weights = run.candidates()
    if not weights:
        raise InputError(
            f"{shown(run.path)}: kept no candidates to choose the best of; train with candidate_every, or evaluate the end of the "
            f"run, -p selection {LAST}"
        )
    each = dataclasses.replace(preset, evaluation=candidate_protocol(preset.evaluation))
    candidates = []
    for step, path in weights.items():
        metrics = judge(each, path, f"candidates/{path.stem}.json")
        name = metrics["protocol"]["feature_networks"][0]["scores"]["frechet"]
        means = {guide: metrics[guide]["mean"] for guide in GUIDES}
        candidates.append({"step": step, "criterion": sum(means[g][name] for g in GUIDES) / len(GUIDES), **means})
    best = min(candidates, key=lambda c: (c["criterion"], c["step"]))
    return {
        "score": name,
        "rule": f"smallest mean of latent- and reference-guided {name}, evaluation seed {preset.evaluation.evaluation_seed}",
        "candidates": candidates,
        "chosen": best["step"],
        "last": candidates[-1]["step"],
    }


def evaluated_weights(run: Run) -> Path:
    """The weights that the run's metrics are about: the candidate chosen there, else those of its end."""
    selection = run.json("metrics.json").get("selection") if (run.path / "metrics.json").is_file() else None
    return run.candidate(selection["chosen"]) if selection else run.weights


def evaluated(run: Run, metrics: dict[str, Any]) -> str:
    """What of a run was evaluated, in words: 'last', 'best of 10: iteration 80,000', or 'released', whose choice was others'."""
    if run.imported:
        return RELEASED
    choice = metrics.get("selection")
    return f"best of {len(choice['candidates'])}: iteration {choice['chosen']:,}" if choice else LAST

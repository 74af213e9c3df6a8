"""How a run's scores went while it trained: those of the moving averages that it kept on the way, in its course.json.

A training has gone on for long enough when these stop improving. Scores of a set of pictures depend on how many there are, so
that a course made with fewer outputs a source is to be compared with itself only.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from kdlib.errors import InputError
from kdlib.paths import shown
from kdlib.runs import Run
from kdlib.scoring.selection import GUIDES, Judge, candidate_protocol
from kdlib.settings import Preset

COURSE = "course.json"


def course(preset: Preset, run: Run, judge: Judge, outputs_per_source: int, told: Callable[[str], None] = print) -> dict[str, Any]:
    """Mean scores of every candidate of a run, in order: {"protocol", "environment", "moments": [{"step", "latent", "reference"}]}.

    ``judge``: as in `kdlib.scoring.selection.choose`; what it has scored before is not scored again. ``told`` gets a line a candidate.
    Raises `InputError` for a run that kept no candidates.
    """
    if not run.candidates():
        raise InputError(f"{shown(run.path)}: kept no weights on the way; train with candidate_every, e.g. -p candidate_every 500")
    few = dataclasses.replace(candidate_protocol(preset.evaluation), outputs_per_source=outputs_per_source)
    settings = dataclasses.replace(preset, evaluation=few)
    moments: list[dict[str, Any]] = []
    metrics: dict[str, Any] = {}
    for step, path in run.candidates().items():
        metrics = judge(settings, path, f"{path.parent.name}/{path.stem}-{outputs_per_source}.json")
        moments.append({"step": step, **{guide: metrics[guide]["mean"] for guide in GUIDES}})
        told(f"{shown(path)}: scored")
    return {"protocol": metrics["protocol"], "environment": metrics["environment"], "moments": moments}


def course_of(run: Run) -> dict[str, Any] | None:
    """The course that the run's folder holds; None where it has none."""
    return run.json(COURSE) if (run.path / COURSE).is_file() else None

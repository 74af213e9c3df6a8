"""The study of what set distances miss: its models, and the measurements that belong to none of their run folders.

A further model is a line in ``MODELS``; tables, figures and sentences take it up.

`python -m kdlib.bottleneck` evaluates the trained models, looks into their style codes (kdlib.style_codes) and scores translators
without a model by the same protocol (kdlib.model_free). Its page is made by kdlib.book.bottleneck_report.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.paths import reference_folder, runs_folder, shown
from kdlib.runs import Run

PRESET = "bottleneck"
MODEL_FREE, STYLE_CODES = "model_free.json", "style_codes.json"


@dataclass(frozen=True)
class Model:
    """A teacher of the study: its run's name, the side of its bottleneck, and how its settings differ from the preset's."""

    run: str
    side: int
    settings: dict[str, int] = field(default_factory=dict, hash=False)

    @property
    def warped(self) -> bool:
        return "style_warp" in self.settings

    @property
    def label(self) -> str:
        return f"{self.side}×{self.side}{', warped' if self.warped else ''}"

    @property
    def named(self) -> str:
        """In a sentence."""
        return f"{self.side}×{self.side} model{' with the warp' if self.warped else ''}"

    @property
    def command(self) -> str:
        settings = "".join(f" -p {name} {value}" for name, value in self.settings.items())
        return f"python -m kdlib train --preset {PRESET} --name {self.run}{settings}"


WIDE, NARROW = Model("teacher", 16), Model("teacher-8x8", 8, {"generator_down_blocks": 2})
MODELS = (WIDE, NARROW, Model("teacher-warped", 16, {"style_warp": 1}), Model("teacher-8x8-warped", 8, {"generator_down_blocks": 2, "style_warp": 1}))


@dataclass(frozen=True)
class Results:
    """What there is of the study under ``folder``: evaluated runs by model, the scores of translators without a model by name (none
    if not measured), and what the style codes hold, by model."""

    folder: Path
    metrics: dict[Model, dict[str, Any]]
    free: dict[str, dict[str, Any]]
    codes: dict[Model, dict[str, Any]]

    @property
    def missing(self) -> tuple[Model, ...]:
        return tuple(model for model in MODELS if model not in self.metrics)

    def run(self, model: Model) -> Run:
        return Run(self.folder / model.run)


def load_results(folder: Path | None = None) -> Results:
    """What ``folder`` holds, by default runs/reference/bottleneck."""
    folder = reference_folder() / PRESET if folder is None else folder
    metrics = {m: Run(folder / m.run).json("metrics.json") for m in MODELS if (folder / m.run / "metrics.json").is_file()}
    codes = _read(folder / STYLE_CODES).get("runs", {})
    return Results(folder, metrics, _read(folder / MODEL_FREE).get("translators", {}), {m: codes[m.run] for m in MODELS if m.run in codes})


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def measure(out: Path, progress: bool = True) -> list[str]:
    """Evaluate every model that is trained, and write ``STYLE_CODES`` and ``MODEL_FREE`` to ``out``; what is there of the same weights,
    pictures and judges is not done again. Returns what was done and what was not, a line each."""
    import torch

    from kdlib import model_free, session
    from kdlib.config import load_preset
    from kdlib.runs import describe_environment, find_run
    from kdlib.style_codes import code_scores

    preset = load_preset(PRESET)
    dataset, judges, said = session.open_data(preset, progress), session.judges_of(preset), []
    seen = {"data": [dataset.train.content_hash, dataset.val.content_hash], "judges": judges.hashes}
    environment = describe_environment(torch.device("cpu"))
    codes = _read(out / STYLE_CODES).get("runs", {})
    for model in MODELS:
        try:
            session.evaluate_run(load_preset(PRESET, **model.settings), model.run, progress)
        except InputError as error:
            said.append(f"{model.run}: left out; {error}")
            continue
        key = {**seen, "weights": find_run(PRESET, model.run).weights_hash()}
        if codes.get(model.run, {}).get("key") != key:
            nets = session.evaluated_networks(preset, model.run)
            codes[model.run] = {"key": key, "environment": environment, **code_scores(nets, dataset, judges.factor_network)}
        said.append(f"{model.run}: evaluated")
    _write(out / STYLE_CODES, {"runs": codes}, said)
    key = {**seen, "evaluation": preset.as_dict()["evaluation"]}
    if _read(out / MODEL_FREE).get("key") != key:
        free = {}
        for name in model_free.TRANSLATORS:
            free[name] = session.score(preset, model_free.translator(name, dataset), dataset, judges, progress=progress)
        _write(out / MODEL_FREE, {"key": key, "environment": environment, "translators": free}, said)
    return said


def _write(path: Path, result: dict[str, Any], said: list[str]) -> None:
    write_text(path, json.dumps(result, indent=1) + "\n")
    said.append(f"written: {shown(path)}")


def main(arguments: Sequence[str] | None = None) -> int:
    about = "Evaluate the models of preset bottleneck, and translators without a model."
    parser = argparse.ArgumentParser(prog="python -m kdlib.bottleneck", description=about)
    parser.add_argument("--out", type=Path, default=runs_folder() / PRESET, help=f"folder for the results that are no run's (default: runs/{PRESET})")
    options = parser.parse_args(arguments)
    try:
        print("\n".join(measure(options.out)))
    except InputError as error:
        print(f"kdlib.bottleneck: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs kept in git: copies of a run's small files under runs/reference."""

import json
import shutil
from pathlib import Path

from kdlib.config import preset_names
from kdlib.errors import InputError
from kdlib.files import write_atomically, write_text
from kdlib.paths import REPOSITORY, reference_folder, shown
from kdlib.runs import Run
from kdlib.scoring.selection import evaluated_weights

KEPT = ("settings.json", "environment.json", "finished.json", "metrics.json", "log.jsonl", "timing.jsonl")
ALSO = ("course.json",)  # of a run that has it
SHIPPED = ("weights.safetensors", "discriminator.safetensors", "*.ipynb")  # besides, of a run that others start from
LARGEST = 8 * 2**20  # bytes of a single file that goes to git


def keep(path: Path, weights: bool = False) -> str:
    """Copy a finished run's text and last samples to runs/reference/<preset>/<name>; ``weights``: its weights and notebooks too.

    Of a run on pictures of one's own (a folder data set) numbers only: neither a picture nor weights that saw them.
    Returns where it went. Raises `InputError` if the run is not finished, has no scores, is of no shipped preset, names a path of this
    machine, or has a file too large for git.
    """
    run = Run(Path(path).resolve())
    if not run.finished:
        raise InputError(f"{shown(run.path)}: not a finished run; train it to its end first")
    settings = run.settings()
    if run.imported:
        raise InputError(f"{shown(run.path)}: weights released by others are not kept; only runs that were trained here are")
    if settings.preset.name not in preset_names():
        raise InputError(f"{shown(run.path)}: only runs of shipped presets are kept: nobody else could repeat it")
    ours = settings.preset.data.source == "critters"
    if weights and not ours:
        raise InputError(f"{shown(run.path)}: weights trained on pictures that are not ours are not kept; leave --weights out to keep the numbers")
    also = [name for name in ALSO if (run.path / name).is_file()]
    shipped = [path for pattern in SHIPPED for path in sorted(run.path.glob(pattern))] if weights else []
    if weights and (scored := evaluated_weights(run)) != run.weights:  # a candidate, whose scores the run's are
        shipped.append(scored)
    names = [*KEPT, *also, *(path.relative_to(run.path).as_posix() for path in shipped)]
    last = f"{run.json('finished.json')['step']:07d}"
    if ours:
        names += [f"samples/{guide}_{last}.png" for guide in ("latent", "reference")]
    for name in names:
        if not (run.path / name).is_file():
            raise InputError(f"{shown(run.path / name)}: missing; evaluate the run before keeping it")
        if (run.path / name).stat().st_size > LARGEST:
            raise InputError(f"{shown(run.path / name)}: larger than {LARGEST // 2**20} MiB, too large to keep in git")
    data, machine = settings.preset.data, settings.preset.machine
    for name, place in (("landmarks", machine.landmarks), ("teacher", machine.teacher), ("data_root", data.data_root)):
        if Path(place).is_absolute():
            raise InputError(f"{shown(run.path)}: its setting {name} is a path of this machine ({place}); train it with one in the repository")
    target = reference_folder() / settings.preset.name / run.name
    notebooks = {name: _portable_notebook(run.path / name, target / name) for name in names if name.endswith(".ipynb")}
    for name in names:  # nothing is copied before everything is known to be fit for it
        if name in notebooks:
            write_text(target / name, notebooks[name])
        else:
            write_atomically(target / name, lambda temporary, name=name: shutil.copyfile(run.path / name, temporary))
    return shown(target)


def _portable_notebook(source: Path, target: Path) -> str:
    """An executed notebook's text without progress bars, and without the paths of the machine it was executed on."""
    notebook = json.loads(source.read_text(encoding="utf-8"))
    notebook["metadata"].get("papermill", {}).update(output_path=shown(target))
    for cell in (c for c in notebook["cells"] if c["cell_type"] == "code"):
        cell["outputs"] = [output for output in cell["outputs"] if output.get("name") != "stderr"]
    text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    for place in (REPOSITORY, Path.home()):
        if str(place) in text:
            raise InputError(f"{shown(source)}: shows a path of this machine ({place}); run it again from the repository")
    return text

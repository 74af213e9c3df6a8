"""Which models there are, and what they are called: "preset/run", such as mini/teacher. No PyTorch."""

from pathlib import Path

from kdlib.errors import InputError
from kdlib.paths import from_here, reference_folder, runs_folder
from kdlib.runs import TEACHER, find_run, list_runs


def available_models() -> list[str]:
    """Names of all finished runs with weights, the reader's own and those shipped, each preset's teacher first."""
    folders = (runs_folder(), reference_folder())
    runs = [run for run in list_runs(*folders) if run.finished and run.weights.is_file() and run.path.parent.parent in folders]
    names = {(run.path.parent.name, run.name != TEACHER, run.name) for run in runs}
    return [f"{preset}/{run}" for preset, _, run in sorted(names)]


def find_model(path_or_name: str | Path) -> Path:
    """The run folder or file of a model: a path, in the working directory or the repository, or a name.

    Of a name "preset/run" the run alone will do where only one preset has it. A run of one's own goes before a shipped one.
    Raises `InputError`, naming the models that there are.
    """
    text = str(path_or_name)
    place = from_here(text)
    if place.exists():
        return place
    if (runs_folder() / text / "settings.json").is_file():
        return runs_folder() / text  # perhaps unfinished: whoever loads it says so
    names = available_models()
    matches = [name for name in names if text in (name, name.partition("/")[2])]
    if len(matches) == 1:
        return find_run(*matches[0].split("/")).path
    if matches:
        raise InputError(f"{text}: several models have this name; give one of {', '.join(matches)}")
    raise InputError(
        f"{text}: no such model, folder or file; there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}; "
        "a run folder or a released *_nets_ema.ckpt will do as well"
    )

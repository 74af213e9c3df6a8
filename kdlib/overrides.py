"""``-p name value`` on the command line of a study: settings that are given to every notebook with a parameter of that name."""

import ast
from collections.abc import Iterable, Sequence
from typing import Any, get_origin, get_type_hints

import jupytext

from kdlib.errors import InputError
from kdlib.paths import REPOSITORY, from_here, shown
from kdlib.runs import BINDING_SECTIONS
from kdlib.settings import SECTION_OF, SECTIONS

TRAINING = ("03_teacher", "04_student")
NOTEBOOKS = ("01_data", "02_architecture", *TRAINING, "05_evaluation", "06_comparison")
PATHS = ("data_root", "landmarks", "teacher")
STUDY_SETTINGS = tuple(SECTIONS["study"].__dataclass_fields__)  # what the grid itself obeys, not its notebooks
LISTS = tuple(name for name, kind in get_type_hints(SECTIONS["study"]).items() if get_origin(kind) is tuple)


def parse_overrides(pairs: Iterable[Sequence[str]]) -> dict[str, Any]:
    """[("seed", "778"), ...] -> {"seed": 778, ...}: True, False, None, whole and other numbers as in papermill, else text.

    The study's own lists are written with commas, ``alphas 64,128``. A path that exists where the command is given is
    named so that a notebook, which runs in the repository, finds it.
    """
    overrides: dict[str, Any] = {}
    for name, text in pairs:
        if name in overrides:
            raise InputError(f"-p {name}: given twice")
        overrides[name] = _parsed(name, text)
    return overrides


def _parsed(name: str, text: str) -> Any:
    if name in PATHS and text:
        path = from_here(text)
        return shown(path.resolve()) if path.exists() else text
    if name in LISTS:
        return [_literal(part) for part in text.split(",")]
    return _literal(text)


def _literal(text: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def notebook_parameters(notebook: str) -> frozenset[str]:
    """Names in the parameter cell of notebooks/``notebook``.py."""
    source = jupytext.read(REPOSITORY / "notebooks" / f"{notebook}.py")
    cells = [cell.source for cell in source.cells if "parameters" in cell.metadata.get("tags", ())]
    assignments = [node for cell in cells for node in ast.parse(cell).body if isinstance(node, ast.Assign)]
    return frozenset(target.id for node in assignments for target in node.targets if isinstance(target, ast.Name))


def given_to(notebook: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The part of ``overrides`` that a notebook takes."""
    names = notebook_parameters(notebook)
    return {name: value for name, value in overrides.items() if name in names and name not in STUDY_SETTINGS}


def check_taken(overrides: dict[str, Any]) -> None:
    """Raise `InputError` for an override that is no setting, or that no notebook of the study takes.

    What decides how a run ends must be taken by a notebook that trains: to others such a name may mean something else.
    """
    training, taken = (frozenset().union(*map(notebook_parameters, names)) for names in (TRAINING, NOTEBOOKS))
    taken = {n for n in taken & SECTION_OF.keys() if n in training or SECTION_OF[n] not in BINDING_SECTIONS} | set(STUDY_SETTINGS)
    for name in overrides:
        if name not in taken:
            raise InputError(f"-p {name}: no notebook of the study takes it; they take {', '.join(sorted(taken))}; for others write a preset")

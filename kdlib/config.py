"""Presets: settings filled from one file (kdlib/presets/*.toml), strictly.

A name that no dataclass of `kdlib.settings` knows, a value of the wrong type or out of range is an error; nothing is guessed.
`load_preset(name, lambda_ds=0)` reads a preset and changes a setting, whatever its section.
"""

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from kdlib.errors import InputError
from kdlib.paths import from_repository
from kdlib.settings import SECTION_OF, SECTIONS, Preset

PRESET_FOLDER = Path(__file__).parent / "presets"


def _coerce(name: str, value: Any, kind: type) -> Any:
    """Value as ``kind``, or an error: int stands for float, a list for a tuple, "a,b" for a tuple of names; "False" is no boolean."""
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...] and isinstance(value, str):  # as a papermill command line gives it
        value = [part.strip() for part in value.split(",")]
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_coerce(name, v, get_args(kind)[0]) for v in value)
    if get_origin(kind) is dict and isinstance(value, dict):
        key_kind, value_kind = get_args(kind)
        return {_coerce(f"{name}, key", k, key_kind): _coerce(f"{name}, {k}", v, value_kind) for k, v in value.items()}
    if isinstance(kind, type) and isinstance(value, kind) and not (kind is not bool and isinstance(value, bool)):
        return value
    hint = " (on a papermill command line write True or False, capitalised)" if kind is bool else ""
    raise InputError(f"{name} = {value!r}: must be {getattr(kind, '__name__', kind)}{hint}")


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"{where}: must be a section of settings, not {values!r}")
    hints = get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(f"{where}: unknown setting {', '.join(unknown)}; known: {', '.join(hints)}")
    return kind(**{name: _coerce(name, value, hints[name]) for name, value in values.items()})


def preset_names() -> list[str]:
    """Names of the shipped presets."""
    return sorted(p.stem for p in PRESET_FOLDER.glob("*.toml"))


def preset_from_dict(values: dict[str, Any], where: str = "settings") -> Preset:
    """A preset from nested plain values, e.g. a run folder's settings.json. Raises `InputError` on anything unknown."""
    values = dict(values)
    sections = {s: _build(kind, values.pop(s, {}), f"{where} [{s}]") for s, kind in SECTIONS.items()}
    unknown = sorted(set(values) - {"name", "description", "variant"})
    if unknown:
        raise InputError(f"{where}: unknown section or setting {', '.join(unknown)}; sections: {', '.join(SECTIONS)}")
    if "name" not in values:
        raise InputError(f"{where}: has no name")
    return Preset(**values, **sections)


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if value is not None}


def load_preset(name: str | Path, *, variant: str | None = None, **overrides: Any) -> Preset:
    """Read a shipped preset by name, or a file ending in .toml, then apply ``variant``, one of its study's, and ``overrides``.

    An override of None leaves the preset's value, so that notebook parameters can default to None. Raises `InputError`
    for an unknown preset, variant or setting, a wrong type, or a value out of range.
    """
    path = PRESET_FOLDER / f"{name}.toml"
    if str(name).endswith(".toml"):
        path = Path(name) if Path(name).is_file() else from_repository(name)
    if not path.is_file():
        raise InputError(f"preset {str(name)!r}: no such preset; shipped: {', '.join(preset_names())}; or give a .toml file")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name}: not valid TOML: {error}") from error
    values.setdefault("name", path.stem)
    if variant:
        values["variant"] = variant
        known = values.get("study", {}).get("variants", {})
        overrides = {**(known[variant] if isinstance(known, dict) and variant in known else {}), **_given(overrides)}
    for key, value in overrides.items():
        if key not in SECTION_OF:
            raise InputError(f"unknown setting {key!r}; known: {', '.join(sorted(SECTION_OF))}")
        if value is not None:
            values.setdefault(SECTION_OF[key], {})[key] = value
    return preset_from_dict(values, path.name)

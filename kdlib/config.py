"""Presets: settings filled from one file (kdlib/presets/*.toml), strictly.

A name that no dataclass of `kdlib.settings` knows, a value of the wrong type or out of range is an error; nothing is guessed.
`load_preset(name, lambda_ds=0)` reads a preset and changes a setting, whatever its section.

A file with ``base = "mini"`` says only what differs from that shipped preset, which may have a base itself. It takes over the base's
sections setting by setting, all but [study]: which runs are made is for each preset to say. In the same way a variant with ``like = "other"`` says only what
differs from that other variant of its file, or of another shipped preset: ``like = "beyond/teacher_alone"``.
"""

import tomllib
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from kdlib.errors import InputError
from kdlib.paths import from_repository
from kdlib.ranges import VARIED
from kdlib.settings import SECTION_OF, SECTIONS, Preset

PRESET_FOLDER = Path(__file__).parent / "presets"


def _coerce(name: str, value: Any, kind: type) -> Any:
    """Value as ``kind``, or an error: int stands for float, a list for a tuple, "a,b" for a tuple of names, "1,2" of numbers.

    "False" is no boolean.
    """
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == tuple[str, ...] and isinstance(value, str):  # as a papermill command line gives it
        value = [part.strip() for part in value.split(",")]
    if kind == tuple[int, ...] and isinstance(value, str) and all(part.strip().isdigit() for part in value.split(",")):
        value = [int(part) for part in value.split(",")]
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
    unknown = sorted(set(values) - {"name", "description", "variant", "base"})
    if unknown:
        raise InputError(f"{where}: unknown section or setting {', '.join(unknown)}; sections: {', '.join(SECTIONS)}")
    if "name" not in values:
        raise InputError(f"{where}: has no name")
    return Preset(**values, **sections)


def with_variant(preset: Preset, name: str) -> Preset:
    """The preset with the settings of one of its study's variants in force."""
    values = preset.as_dict() | {"variant": name}
    for key, value in preset.study.variants[name].items():
        values[SECTION_OF[key]][key] = value
    return preset_from_dict(values, preset.name)


def _given(overrides: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if value is not None}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path.name}: not valid TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: not UTF-8, as TOML must be ({error})") from error


def _on_its_base(values: dict[str, Any], where: str, above: tuple[str, ...]) -> dict[str, Any]:
    """A file's values with those of its base where it says nothing; ``above``: names of presets that ask, this one's included.

    Raises `InputError` for a base that is not there, or that is one of those that ask.
    """
    base = values["base"]
    if base not in preset_names() or base in above:
        others = ", ".join(name for name in preset_names() if name not in above)
        raise InputError(f"{where}: base = {base!r}: must be a shipped preset, one of {others}")
    below = _read(PRESET_FOLDER / f"{base}.toml")
    if "base" in below:
        below = _on_its_base(below, f"{base}.toml", (*above, base))
    sections = [s for s in SECTIONS if s != "study" and (s in below or s in values)]
    own = {s: values.get(s, {}) for s in sections}
    study = values.get("study", {})
    if isinstance(study, dict) and study.get("variants_only") and (differing := [s for s in sections if own[s] and s != "machine"]):
        raise InputError(
            f"{where}: variants_only with settings of its own in [{'], ['.join(differing)}]: the base's students would be no start for its variants"
        )
    merged = {s: {**below.get(s, {}), **own[s]} if isinstance(own[s], dict) else own[s] for s in sections}
    return {**values, **merged}


def _spelled_out(variants: dict[str, Any], where: str) -> dict[str, Any]:
    """Variants with the settings of those that they are ``like``. Raises `InputError` for one that is not there, or is like itself."""
    return {name: _whole(variants, name, where, ()) for name in variants}


def _whole(variants: dict[str, Any], name: str, where: str, above: tuple[tuple[str, str], ...]) -> Any:
    """A variant spelled out; ``above``: files and names of those that are like it."""
    values, asking = variants[name], (*above, (where, name))
    if not isinstance(values, dict) or "like" not in values:
        return values
    like, own = values["like"], {key: value for key, value in values.items() if key != "like"}
    preset, _, elsewhere = str(like).rpartition("/")
    file = f"{preset}.toml"
    if preset in preset_names() and file != where and (file, elsewhere) not in asking:
        theirs = _read(PRESET_FOLDER / file).get("study", {}).get("variants", {})
        if elsewhere in theirs:
            return {**_whole(theirs, elsewhere, file, asking), **own}
    if like not in variants or (where, like) in asking:
        others = ", ".join(other for other in variants if (where, other) not in asking)
        raise InputError(f"{where}: variant {name}: like = {like!r}: must be another variant, one of {others}; or PRESET/VARIANT of a shipped preset")
    return {**_whole(variants, like, where, asking), **own}


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
    values = _read(path)
    values.setdefault("name", path.stem)
    if "base" in values:
        values = _on_its_base(values, path.name, (values["name"],))
    study = values.get("study", {})
    known = study.get("variants", {}) if isinstance(study, dict) else {}
    if isinstance(known, dict) and known:
        known = _spelled_out(known, path.name)
        values["study"] = {**study, "variants": known}
    for key in overrides:
        if key not in SECTION_OF:
            raise InputError(f"unknown setting {key!r}; known: {', '.join(sorted(SECTION_OF))}")
    given, own = _given(overrides), known[variant] if variant and isinstance(known, dict) and variant in known else {}
    preset = preset_from_dict(_changed({**values, **({"variant": variant} if variant else {})}, {**own, **given}), path.name)
    if preset.study.variants:  # all of them now, and not hours into a study
        plain = preset_from_dict(_changed(values, {key: value for key, value in given.items() if SECTION_OF[key] not in VARIED}), path.name)
        for each in plain.study.variants:
            try:
                with_variant(plain, each)
            except InputError as error:
                raise InputError(f"{path.name}: variant {each}: {error}") from error
    return preset


def _changed(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Nested values of a preset with settings of any section changed; a section that is none stays, to be refused."""
    changed = {**values, **{name: dict(section) for name, section in values.items() if isinstance(section, dict)}}
    for key, value in overrides.items():
        if isinstance(section := changed.setdefault(SECTION_OF[key], {}), dict):
            section[key] = value
    return changed

"""What a study would do, before it does it: settings, check of the data, sizes of the networks, memory and hours.

Nothing is written under runs/. Hours and memory come from a few real iterations (`kdlib.step_cost`). Where an iteration at the
preset's batch size would take long, as at 256 px without a GPU, smaller batches are measured and a straight line through them,
cost = a + b * batch, is read off at the preset's. The output says which of the two a number is.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.optimize import nnls

from kdlib import session
from kdlib.architecture import Architecture
from kdlib.config import load_preset, with_variant
from kdlib.critters import SPECIES
from kdlib.data import CACHE_BYTES
from kdlib.devices import computed_precision, prepare
from kdlib.errors import InputError
from kdlib.overrides import check_taken
from kdlib.paths import from_repository, runs_folder
from kdlib.profiling import KINDS, TRANSLATING, meta_network
from kdlib.progress import progress_bar
from kdlib.results import recipe
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings, differing_settings, find_run
from kdlib.settings import SECTIONS, Preset
from kdlib.step_cost import DoesNotFit, StepCost, measure
from kdlib.study import students
from kdlib.validation import list_pictures

TO_TRAIN, TAKEN = "to train", "name taken"
SMALL_BATCHES = (1, 2)
UNEVEN = 1.3  # times proportional: more than that is noise
QUICK = 10.0  # seconds: an iteration no longer than this is measured at the preset's batch size


@dataclass(frozen=True)
class Estimate:
    """Cost of an iteration at the preset's batch size, and the measurements that it comes from."""

    seconds: float
    bytes: float
    measured: tuple[StepCost, ...]
    extrapolated: bool

    @property
    def doubtful(self) -> bool:
        """Whether an iteration took less time, or far more than in proportion, with a larger batch than with a smaller one."""
        pairs = zip(self.measured, self.measured[1:])
        return any(not a.seconds <= b.seconds <= UNEVEN * a.seconds * b.batch / a.batch for a, b in pairs)


def dry_run(preset_argument: str, overrides: dict[str, Any] | None = None, steps: int = 1, batches: Sequence[int] | None = None) -> None:
    """Print everything about the study of a preset to standard output. ``steps``, ``batches``: what is measured.

    Raises `InputError` for settings that are wrong; data that are missing or wrong are reported, and the rest still printed.
    """
    for option, values in (("--steps", [steps]), ("--batch", batches or [1])):
        if min(values) < 1:
            raise InputError(f"{option} {min(values)}: must be at least 1")
    check_taken(overrides or {})
    preset = load_preset(preset_argument, **(overrides or {}))
    print(settings_text(preset))
    print(data_text(preset))
    domains, remark = _domains(preset)
    print(networks_text(preset, len(domains), remark))
    print(cost_text(preset, domains, steps, batches), flush=True)


def settings_text(preset: Preset) -> str:
    """Every setting by section; a star marks those that differ from their defaults in kdlib/settings.py."""
    lines = [f"Preset {preset.name}: {preset.description}", "", "Settings (* differs from the default in kdlib/settings.py)"]
    for section, kind in SECTIONS.items():
        values, defaults = getattr(preset, section), kind()
        lines.append(f"  [{section}]")
        for field in dataclasses.fields(kind):
            value = getattr(values, field.name)
            star = "*" if value != getattr(defaults, field.name) else " "
            lines.append(f"  {star} {field.name} = {list(value) if isinstance(value, tuple) else value!r}")
    return "\n".join([*lines, ""])


def data_text(preset: Preset) -> str:
    """What the validator says of the preset's pictures, as they lie there; nothing is drawn."""
    if preset.data.source == "critters" and not session.data_place(preset.data).is_dir():
        d = preset.data
        return f"Data\n  Critters, not drawn yet: {d.train_per_domain} + {d.val_per_domain} pictures a species at {d.image_size} px, on first use.\n"
    return f"{session.inspect_data(preset)}\n"


def _domains(preset: Preset) -> tuple[tuple[str, ...], str]:
    """The domains, and what to remark on them."""
    try:
        return session.domain_names(preset), ""
    except InputError as error:
        return ("0", "1"), f"; with 2 domains, since there are {error}"


def networks_text(preset: Preset, domains: int, remark: str = "") -> str:
    """Parameters of every network: G, E, F, which translate, then D and, of students that are distilled, D^s."""
    architectures = {TEACHER: preset.architecture(domains, alpha=preset.networks.teacher_alpha, student=False)}
    architectures |= {f"student, alpha = {a}": preset.architecture(domains, alpha=a, student=True, distilled=True) for a in preset.study.alphas}
    rows = {name: parameters(arch) for name, arch in architectures.items()}
    frame = pd.DataFrame(rows).T
    frame.loc[TEACHER, "D^s"] = np.nan  # nothing to judge against
    text = frame.to_string(float_format=lambda v: f"{v:,.0f}", na_rep="-")
    return f"Networks, parameters ({domains} domains{remark})\n{text}\n"


def parameters(arch: Architecture) -> dict[str, float]:
    """Weights of every network of an architecture, and of G, E and F together."""
    each = {letter: sum(p.numel() for p in meta_network(letter, arch).parameters()) for letter in KINDS}
    found = {letter: each[letter] for letter in TRANSLATING}
    return {k: float(v) for k, v in (found | {"G + E + F": sum(found.values()), "D": each["D"], "D^s": each["Ds"]}).items()}


def study_runs(preset: Preset, domains: tuple[str, ...]) -> dict[str, RunSettings]:
    """Every training of the study by name, in its order: the teacher, then its students (`kdlib.study.students`)."""
    found = {TEACHER: RunSettings(preset, TEACHER, preset.networks.teacher_alpha, False, domains, "")}
    for student in students(preset):
        own = with_variant(preset, student.variant) if student.variant else preset
        if student.seed is not None:
            own = dataclasses.replace(own, training=dataclasses.replace(own.training, seed=student.seed))
        found[student.name] = RunSettings(own, STUDENT, student.alpha, student.distill, domains, "")
    return found


def cost_text(preset: Preset, domains: tuple[str, ...], steps: int, batches: Sequence[int] | None) -> str:
    """A table of every training's seconds an iteration, hours and memory, and the sum of what is still to be trained."""
    device = prepare(preset.machine, preset.training.allow_tf32)
    rows, seconds, unknown, doubtful, extrapolated = [], 0.0, [], [], False
    runs = study_runs(preset, domains)
    costs: dict[str, Estimate | DoesNotFit] = {}  # runs that differ in their seed only cost the same
    with progress_bar(total=len(runs), desc="measuring", unit="run") as bar:
        for name, settings in runs.items():
            bar.set_postfix_str(name)
            state = _state(name, settings)
            row = {"run": name, "state": state, "iterations": f"{settings.iterations:,}", "s/iteration": "?", "in all": "?", "GiB": "?"}
            rows.append(row)
            kind = recipe(settings)
            if kind not in costs:
                try:
                    costs[kind] = estimate(settings, device, steps, batches)
                except DoesNotFit as error:
                    costs[kind] = error
            cost = costs[kind]
            if isinstance(cost, DoesNotFit):
                row["measured"] = str(cost)
                unknown += [name] if state in (TO_TRAIN, TAKEN) else []
            else:
                own = settings.iterations * cost.seconds
                row |= {"s/iteration": f"{cost.seconds:.3g}", "in all": duration(own), "GiB": f"{cost.bytes / 2**30:.2f}"}
                row["measured"] = ", ".join(f"batch {m.batch}: {m.seconds:.3g} s" for m in cost.measured)
                doubtful += [name] if cost.doubtful else []
                seconds += own if state in (TO_TRAIN, TAKEN) else 0.0
                extrapolated |= cost.extrapolated
            bar.update()
    batch, size = preset.training.batch_size, preset.data.image_size
    lines = [
        f"Memory and time of training at batch {batch}, {size} px, {computed_precision(preset.training.precision, device)}, "
        f"one run at a time on {_machine(device)}",
        pd.DataFrame(rows).to_string(index=False),
        f"GiB: peak of {'GPU memory' if device.type == 'cuda' else 'the process'} in an iteration{_pictures_in_memory(preset)}. "
        "Time is that of the iterations alone: no reading of pictures, no samples, no evaluation.",
    ]
    if extrapolated:
        lines.append(
            f"Extrapolated: where other batch sizes were measured, the numbers are a straight line through them, read off at batch {batch}. "
            "Through a single one the line starts at 0, which overstates memory."
        )
    if doubtful:
        lines.append(
            f"Doubtful: {', '.join(doubtful)}. Time grew far from in step with the batch, as when other work shares the machine: "
            "measure again when it is idle, or with more --steps."
        )
    if any(row["state"] == TAKEN for row in rows):
        lines.append("Name taken: that run folder holds a run with other settings. The study will stop there, and list the differences.")
    lines.append(f"Total of what is to be trained: {duration(seconds)}" + (f", without {', '.join(unknown)}" if unknown else ""))
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: '42 s', '3.5 min', '61.2 h (2.6 days)'."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h" + (f" ({seconds / 86400:.1f} days)" if seconds > 86400 else "")


def estimate(
    settings: RunSettings, device: torch.device, steps: int = 1, batches: Sequence[int] | None = None,
    measure: Callable[[RunSettings, int, int], StepCost] = measure,
) -> Estimate:  # fmt: skip
    """Cost of an iteration at the preset's batch size, measured or extrapolated.

    ``batches`` None: the preset's batch size itself on a GPU, or where an iteration is quick; else `SMALL_BATCHES`.
    """
    full = settings.preset.training.batch_size
    if batches is None:
        if device.type != "cpu" or full <= min(SMALL_BATCHES):
            batches = [full]
        else:
            one = measure(settings, 1, steps)
            if one.seconds * full <= QUICK:
                return _at(full, [measure(settings, full, steps)])
            return _at(full, [one, *(measure(settings, b, steps) for b in SMALL_BATCHES if 1 < b < full)])
    return _at(full, [measure(settings, b, steps) for b in ([full] if full in batches else sorted(set(batches)))])


def _at(batch: int, measured: list[StepCost]) -> Estimate:
    """Read off at ``batch``: a straight line through the measurements, or through one of them and the origin.

    Neither start nor slope of the line is below 0, and relative errors count: a measurement that other work on the machine
    spoilt can then neither make a large batch cheaper than a small one nor dearer than as many small ones.
    """
    sizes = np.array([m.batch for m in measured], dtype=float)

    def read_off(values: list[float]) -> float:
        lines = [np.ones_like(sizes), sizes] if len(sizes) > 1 else [sizes]
        coefficients, _ = nnls(np.stack(lines, axis=1) / np.array(values)[:, None], np.ones_like(sizes))
        return float(coefficients @ [1.0, batch][-len(lines) :])

    costs = ([m.seconds for m in measured], [m.bytes for m in measured])
    return Estimate(*map(read_off, costs), tuple(measured), extrapolated=list(sizes) != [batch])


def _state(name: str, asked: RunSettings) -> str:
    """What will become of a run: "to train", a reason why it need not be trained, or `TAKEN`, by a run with other settings."""
    if asked.role == TEACHER and asked.preset.machine.teacher:
        return "given"
    own = Run(runs_folder() / asked.preset.name / name)
    if own.imported:
        return "released"
    if (own.path / "settings.json").is_file() and _differs(own, asked):
        return TAKEN
    try:
        found = find_run(asked.preset.name, name)
    except InputError:
        return TO_TRAIN
    trains_own = found.path != own.path and (asked.role == STUDENT or _differs(found, asked))
    return TO_TRAIN if trains_own else "finished"


def _differs(run: Run, asked: RunSettings) -> bool:
    """Whether the run's settings are others; which pictures, teacher and start is not looked at here."""
    here = run.settings()
    seen = {name: getattr(here, name) for name in ("domains", "data_hash", "teacher_hash", "start_hash")}
    return bool(differing_settings(run, dataclasses.replace(asked, **seen)))


def _machine(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads" if device.type == "cpu" else device.type


def _pictures_in_memory(preset: Preset) -> str:
    """What pictures that are kept in memory add, which is all of them if they fit."""
    d = preset.data
    if d.source == "critters":
        count = len(SPECIES) * (d.train_per_domain + d.val_per_domain)
    else:
        expected = sum(sum(counts.values()) for counts in d.expected.values())
        count = len(list_pictures(from_repository(d.data_root)).pictures) or expected
    size = count * 3 * d.image_size**2
    return f", and {size / 2**30:.2f} GiB of main memory more for {count:,} pictures" if 2**24 < size <= CACHE_BYTES else ""

"""Released weights as run folders: what was trained elsewhere is evaluated, compared and distilled from like a run of this study.

The thesis distils from the published StarGAN-v2 teachers (5.3.4). `import_released` puts such a file, or one of the author's
own students, into a finished run folder: weights, settings and `imported.json`, which says where they come from. Nothing is
made up: number of iterations, time, machine, pictures and seed of a released model are unknown, and stay so.

A face model's landmark network goes into a file of its own beside the weights, never into them. Students find it in their
teacher's folder.
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from kdlib.architecture import Architecture
from kdlib.checkpoints import save_weights
from kdlib.errors import InputError
from kdlib.networks import Networks
from kdlib.paths import from_repository, shown
from kdlib.released import load_released, save_landmarks
from kdlib.runs import IMPORTED, LANDMARKS_FILE, STUDENT, TEACHER, Run, RunSettings, run_name
from kdlib.settings import Preset

COMPARED = ("image_size", "domains", "w_hpf", "generator_down_blocks", "first_width", "style_dim", "latent_dim", "design")


def import_released(file: Path, preset: Preset, domains: tuple[str, ...], folder: Path, name: str | None = None) -> Run:
    """The run ``folder``/``name`` holding the released checkpoint ``file``, made if it is not there yet.

    ``name``: None calls a teacher `teacher`, and a student of alpha 128 `alpha128-kd-released`, since the name without the ending
    is that of a run of one's own. A student is taken to be distilled, as the author's are; its file does not say. ``domains``
    name those of the checkpoint, in its order. Preset's ``landmarks``: as in `load_released`. Interrupted, the same call goes on.

    Raises `InputError` for a file that is no released checkpoint or does not fit the preset, and for a folder that holds
    anything else.
    """
    if not file.is_file():
        raise InputError(f"{shown(file)}: no such file")
    with open(file, "rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    if name is not None and (done := _already(Run(folder / name), file, sha256)):
        return done
    nets = load_released(file, from_repository(preset.machine.landmarks) if preset.machine.landmarks else None)
    _check_fits(file, nets.arch, preset, len(domains))
    if name == TEACHER and nets.arch.student:
        raise InputError(f"{file}: holds a student of width cap {nets.arch.alpha}, not a teacher; import it under another name than {TEACHER}")
    run = Run(folder / (name or _default_name(nets.arch)))
    return _already(run, file, sha256) or _write(run, file, sha256, nets, preset, domains)


def _default_name(arch: Architecture) -> str:
    return f"{run_name(STUDENT, arch.alpha, True)}-released" if arch.student else TEACHER


def _already(run: Run, file: Path, sha256: str) -> Run | None:
    """The run if it holds just this file, whole; None if it holds nothing yet. Raises `InputError` if it holds anything else."""
    way_out = "give another name (--name), or remove the folder if nothing in it is needed"
    if run.imported:
        record = run.json(IMPORTED)
        if record["sha256"] != sha256:
            raise InputError(f"{shown(run.path)}: holds {record['file']} (SHA-256 {record['sha256'][:12]}...), not {file.name}; {way_out}")
        return run if run.finished else None
    if (run.path / "settings.json").is_file():
        raise InputError(f"{shown(run.path)}: holds a run that was trained here; {way_out}")
    return None


def _check_fits(file: Path, arch: Architecture, preset: Preset, domains: int) -> None:
    """Raise `InputError`, listing the differences, unless the preset would build such networks."""
    asked = preset.architecture(domains, alpha=arch.alpha, student=arch.student)
    differing = [f"{what}: {a} in the file, {b} in the preset" for what in COMPARED if (a := getattr(arch, what)) != (b := getattr(asked, what))]
    if not arch.student and arch.alpha != preset.networks.teacher_alpha:
        differing.append(f"teacher_alpha: {arch.alpha} in the file, {preset.networks.teacher_alpha} in the preset")
    if differing:
        kind = f"a {'student' if arch.student else 'teacher'} of width cap {arch.alpha}"
        raise InputError(f"{file}: {kind} that does not fit preset {preset.name}:\n  " + "\n  ".join(differing))


def _write(run: Run, file: Path, sha256: str, nets: Networks, preset: Preset, domains: tuple[str, ...]) -> Run:
    """Fill the folder; first the record that says whose it is, last the mark that it is complete."""
    arch = nets.arch
    record: dict[str, Any] = {"file": file.name, "bytes": file.stat().st_size, "sha256": sha256, "detected": dataclasses.asdict(arch)}
    run.write_json(IMPORTED, record)
    machine = dataclasses.replace(preset.machine, landmarks="", teacher="")  # of the one who imports, not of the model
    preset = dataclasses.replace(preset, machine=machine)
    role = STUDENT if arch.student else TEACHER
    settings = RunSettings(preset, role, arch.alpha, arch.student, domains, data_hash="")
    run.write_json("settings.json", settings.as_dict())
    if nets.landmarks is not None:
        save_landmarks(run.path / LANDMARKS_FILE, nets.landmarks)
    save_weights(run.weights, dict(nets.modules()), {"imported": record})
    unknown = dict.fromkeys(("step", "seconds", "seconds_per_iteration", "peak_memory_bytes"))
    run.write_json("finished.json", {**unknown, "role": f"released {role}"})
    return run

"""Run folders: everything that one training leaves behind, and the rule that a folder belongs to one set of settings.

    runs/<preset>/<name>/
      settings.json       what was trained: role, alpha, distillation, preset, content hashes of data and teacher
      environment.json    one entry a start: versions, machine, commit, device, threads, precision
      log.jsonl           losses, a JSON object a line; the same bytes however often the run was interrupted
      timing.jsonl        iterations/s (no part of the log: no two runs agree on them)
      checkpoints/        step_NNNNNNN.pt, the last few
      candidates/         step_NNNNNNN.safetensors, moving averages of G, E and F on the way (candidate_every), the last one being
                          the final weights; step_NNNNNNN.json, their scores (kdlib.scoring.selection)
      course.json         scores of the candidates one after another, where they were asked for (kdlib.scoring.course)
      samples/            grids of translations of a few val pictures
      weights.safetensors the moving average of G, E and F at the end
      discriminator.safetensors  a teacher's D at the end, for students that learn from it
      imported.json       instead of all above but settings and weights, where the weights were released by others
                          (kdlib.released_runs); wing.ckpt beside it: their face-landmark network, for models that need one
      finished.json       steps, seconds, peak memory: there only when the run is complete
      metrics.json        scores (kdlib.scoring.evaluation)
      *.ipynb             executed notebooks
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdlib.config import preset_from_dict
from kdlib.errors import InputError
from kdlib.files import write_text
from kdlib.paths import REPOSITORY, from_repository, reference_folder, runs_folder, shown
from kdlib.settings import Preset

if TYPE_CHECKING:  # the results table reads run folders without PyTorch
    import torch

    from kdlib.networks import Discriminator, Networks

TEACHER, STUDENT = "teacher", "student"
IMPORTED = "imported.json"
LANDMARKS_FILE = "wing.ckpt"
# What decides how a run ends. Evaluation, the study's grid and the machine do not: they may change under a run.
BINDING_SECTIONS = ("data", "networks", "student_generator", "training", "losses", "logging")
VERSIONED_PACKAGES = ("torch", "torchvision", "numpy", "pillow", "scipy", "papermill", "jupytext")


@dataclass(frozen=True)
class RunSettings:
    """What is trained. Hashes tie the run to the pictures, to the teacher it saw, and to the student that it began as, if any."""

    preset: Preset
    role: str  # TEACHER or STUDENT
    alpha: int
    distill: bool
    domains: tuple[str, ...]
    data_hash: str
    teacher_hash: str = ""
    start_hash: str = ""

    @property
    def iterations(self) -> int:
        training = self.preset.training
        return training.teacher_iterations if self.role == TEACHER else training.student_iterations

    @property
    def decay_iterations(self) -> int:
        """The last ones, over which learning rates fall to 0; 0: none."""
        training = self.preset.training
        return training.teacher_decay_iterations if self.role == TEACHER else training.student_decay_iterations

    @property
    def diversity_iterations(self) -> int:
        """Over which lambda_ds decays to 0."""
        training = self.preset.training
        own = training.teacher_diversity_iterations if self.role == TEACHER else training.student_diversity_iterations
        return own or self.iterations

    def as_dict(self) -> dict[str, Any]:
        own = {"role": self.role, "alpha": self.alpha, "distill": self.distill, "domains": list(self.domains)}
        return {**own, "data_hash": self.data_hash, "teacher_hash": self.teacher_hash, "start_hash": self.start_hash, "preset": self.preset.as_dict()}

    def build(self, seed: int | None = None) -> Networks:
        """The networks these settings describe, freshly initialised, with face masks where they have the high-pass skip.

        Raises `InputError` where those masks are needed and the landmark network's file is not named.
        """
        nets, w_hpf = self.without_masks(seed), self.preset.networks.w_hpf
        if w_hpf > 0:
            if not self.preset.machine.landmarks:
                raise InputError(f"w_hpf = {w_hpf}: needs face masks; name the landmark network's file, -p landmarks wing.ckpt")
            from kdlib.released import load_landmarks

            nets.landmarks = load_landmarks(from_repository(self.preset.machine.landmarks))
        return nets

    def without_masks(self, seed: int | None = None) -> Networks:
        """As ``build``, but without the landmark network."""
        from kdlib.networks import networks_of

        student = self.role == STUDENT
        return networks_of(self.preset.architecture(len(self.domains), alpha=self.alpha, student=student, distilled=self.distill), seed)


def settings_from_dict(values: dict[str, Any], where: str = "settings") -> RunSettings:
    """The inverse of `RunSettings.as_dict`. Raises `InputError`, naming ``where``, for anything else."""
    try:
        preset = preset_from_dict(values["preset"], where)
        return RunSettings(**{**values, "preset": preset, "domains": tuple(values["domains"])})
    except (KeyError, TypeError) as error:
        raise InputError(f"{where}: not the settings of a run ({error})") from error


def run_name(role: str, alpha: int, distill: bool, variant: str = "", seed: int | None = None) -> str:
    """Folder name of a run: teacher, alpha24, alpha24-kd, alpha24-kd-no_cycle-seed778; ``seed`` where it is not the preset's."""
    if role == TEACHER:
        return TEACHER
    return f"alpha{alpha}{'-kd' if distill else ''}{f'-{variant}' if variant else ''}{'' if seed is None else f'-seed{seed}'}"


@dataclass(frozen=True)
class Run:
    """A run folder. Construct it from a path to read; `open_run` to train."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def finished(self) -> bool:
        return (self.path / "finished.json").is_file()

    @property
    def imported(self) -> bool:
        """Whether the weights were released by others: nothing is known about their training."""
        return (self.path / IMPORTED).is_file()

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def discriminator(self) -> Path:
        return self.path / "discriminator.safetensors"

    @property
    def checkpoint_folder(self) -> Path:
        return self.path / "checkpoints"

    def candidate(self, step: int) -> Path:
        """Where the moving average of iteration ``step`` is kept, if it is."""
        return self.path / "candidates" / f"step_{step:07d}.safetensors"

    def candidates(self) -> dict[int, Path]:
        """The moving averages kept on the way, by iteration."""
        found = sorted((self.path / "candidates").glob("step_*.safetensors"))
        return {int(path.stem.removeprefix("step_")): path for path in found}

    def json(self, name: str) -> Any:
        """Content of one of the folder's JSON files. Raises `InputError` if it is not there or broken."""
        path = self.path / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"{shown(path)}: no such file; has this run been made?") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{shown(path)}: not valid JSON ({error})") from error

    def lines(self, name: str) -> list[dict[str, Any]]:
        """Rows of one of the folder's JSON-lines files; none if it is not there. Raises `InputError` if it is broken."""
        path = self.path / name
        if not path.is_file():
            return []
        try:
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
        except json.JSONDecodeError as error:
            raise InputError(f"{shown(path)}: not a JSON object a line ({error})") from error

    def write_json(self, name: str, content: Any) -> None:
        write_text(self.path / name, json.dumps(content, indent=1) + "\n")

    def settings(self) -> RunSettings:
        return settings_from_dict(self.json("settings.json"), shown(self.path / "settings.json"))

    def load_networks(
        self, device: torch.device | str = "cpu", landmarks: Path | None = None, weights: Path | None = None
    ) -> Networks:
        """G, E and F of a finished run, in eval mode.

        ``landmarks``: the landmark network's file, where it is neither what the run names nor in its folder or its teacher's.
        ``weights``: those of another moment than the end, one of `candidates`.
        """
        from kdlib.checkpoints import load_weights
        from kdlib.networks import Networks

        settings = self.settings()
        if landmarks is not None:
            preset = _naming_landmarks(settings.preset, landmarks.resolve())
        else:
            preset = with_landmarks(settings.preset, self.path, self.path.parent / TEACHER)
        nets = replace(settings, preset=preset).build(seed=0)
        nets = Networks(nets.arch, *(getattr(nets, name) for name in Networks.TRANSLATING), landmarks=nets.landmarks)
        load_weights(weights or self.weights, dict(nets.modules()))
        for _, module in nets.modules():
            module.eval().requires_grad_(False)
        return nets.to(device)

    def load_discriminator(self) -> Discriminator:
        """A teacher's D, frozen, on the CPU. Raises `InputError`, saying how to get it, where the folder has none."""
        from kdlib.checkpoints import load_weights

        if not self.discriminator.is_file():
            way_out = (
                "released weights come without one" if self.imported
                else f"if the run's last checkpoint is still there, `python -m kdlib discriminator {shown(self.path)}` writes it; else train it again"
            )  # fmt: skip
            asking = "filter_score or perceptual_network = 'discriminator', or discriminator_start = 'teacher'"
            raise InputError(f"{shown(self.discriminator)}: no such file, and {asking} asks for the teacher's discriminator; {way_out}")
        network = self.settings().without_masks(seed=0).discriminator
        load_weights(self.discriminator, {"discriminator": network})
        return network.eval().requires_grad_(False)

    def weights_hash(self, weights: Path | None = None) -> str:
        """SHA-256 of the weights' values (the end's, or those of one of `candidates`), independent of how the file is laid out."""
        from kdlib.checkpoints import read_weights

        digest = hashlib.sha256()
        tensors, _ = read_weights(weights or self.weights)
        for key in sorted(tensors):
            digest.update(key.encode() + tensors[key].numpy().tobytes())
        return digest.hexdigest()


def with_landmarks(preset: Preset, *folders: Path) -> Preset:
    """The preset with the file of its landmark network named, where it needs one.

    It is the file that the preset names, else that of the first of ``folders`` which has one. Where there is none the preset
    stays as it is, and building its networks says what to do.
    """
    named = preset.machine.landmarks
    if preset.networks.w_hpf == 0 or (named and from_repository(named).is_file()):
        return preset
    found = next((folder / LANDMARKS_FILE for folder in folders if (folder / LANDMARKS_FILE).is_file()), None)
    return preset if found is None else _naming_landmarks(preset, found)


def _naming_landmarks(preset: Preset, path: Path) -> Preset:
    return replace(preset, machine=replace(preset.machine, landmarks=shown(path)))


def differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """'a.b: old -> new' for every value that differs between two nested dicts of settings."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{path}{key}.")
        elif a != b:
            found.append(f"{path}{key}: {a!r} in the run folder, {b!r} asked for")
    return found


def binding(settings: dict[str, Any]) -> dict[str, Any]:
    """The part of a run's settings (`RunSettings.as_dict`) that decides how it ends."""
    preset = {section: dict(settings["preset"][section]) for section in BINDING_SECTIONS}
    for name in ("data_root", "expected_train", "expected_val"):  # the pictures' hash decides, not where they lie or how many were meant
        preset["data"].pop(name)
    for name in ("sample_every", "checkpoint_every", "keep_checkpoints", "candidate_every", "weights_precision"):
        preset["logging"].pop(name)
    if settings["role"] == TEACHER:
        preset["student_generator"] = {}
    other = TEACHER if settings["role"] == STUDENT else STUDENT
    preset["training"] = {k: v for k, v in preset["training"].items() if not k.startswith(f"{other}_")}
    preset["training"].pop("mapping_learning_rate" if settings["distill"] else "mapping_learning_rate_distilled")
    return {**{k: v for k, v in settings.items() if k != "preset"}, **preset}


def differing_settings(run: Run, settings: RunSettings) -> list[str]:
    """Every setting that decides how a run ends and that differs between the folder's and those asked for."""
    return differences(binding(run.settings().as_dict()), binding(settings.as_dict()))


def open_run(path: Path, settings: RunSettings) -> Run:
    """The run folder at ``path``, made if need be. Raises `InputError` listing the differences if it holds another run."""
    run = Run(Path(path))
    if (run.path / "settings.json").is_file():
        differing = differing_settings(run, settings)
        if differing:
            raise InputError(
                f"{shown(run.path)} holds a run with other settings; remove the folder or give another name:\n  "
                + "\n  ".join(differing)
            )
    else:
        run.write_json("settings.json", settings.as_dict())
    return run


def find_run(preset: str, name: str) -> Run:
    """The finished run of that name: the reader's own under runs/, else one kept in git with its weights. Raises `InputError`."""
    folders = [runs_folder() / preset / name, reference_folder() / preset / name]
    for folder in folders:
        if Run(folder).finished and Run(folder).weights.is_file():
            return Run(folder)
    looked = " nor ".join(shown(folder) for folder in folders)
    raise InputError(f"no finished run {name!r} of preset {preset!r}: neither {looked}; `python -m kdlib study --preset {preset}` makes it")


def named_run(text: str) -> tuple[str, str] | None:
    """("mini", "teacher") of "mini/teacher", a run's name with its preset's; None of anything else, and where there is such a path.

    A name with a dot is taken for a file's.
    """
    named = re.fullmatch(r"([\w-]+)/([\w-]+)", text)
    return (named[1], named[2]) if named and not from_repository(text).exists() else None


def run_folders(text: str) -> list[Path]:
    """Folders that a run's name or path may mean: for a name the reader's own first, then that of the run kept in git."""
    if named := named_run(text):
        return [folder.joinpath(*named) for folder in (runs_folder(), reference_folder())]
    return [from_repository(text)]


def finished_runs(text: str) -> list[Run]:
    """The finished ones of the runs that a name or a path may mean, in the order of `run_folders`."""
    return [run for run in map(Run, run_folders(text)) if run.finished]


def list_runs(*folders: Path) -> list[Run]:
    """Every run under the given folders (default: the reader's own and those kept in git), by preset and name."""
    folders = folders or (runs_folder(), reference_folder())
    found = {p.parent for folder in folders for p in folder.glob("**/settings.json")}
    return [Run(path) for path in sorted(found, key=lambda p: (p.parent.name, p.name != TEACHER, p.name, str(p)))]


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine, commit: what a reader needs to judge a number. No host name, no path."""
    import torch

    changes = "+changes" if _git("status", "--porcelain", "kdlib") else ""
    return {
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in VERSIONED_PACKAGES},
        "commit": (_git("rev-parse", "HEAD") or "unknown") + changes,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }


def _git(*arguments: str) -> str:
    """What git says of the repository; nothing where there is no git, or no repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _processor() -> str:
    return processor_says("model name") or platform.processor() or "unknown"


def processor_says(what: str) -> str:
    """What Linux tells of the first processor under this name, "model name" or "flags"; nothing on other systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(what)), "")

"""One way to name a trained model, whoever trained it: a run of this study, or a released checkpoint.

Not in the thesis, which evaluates its own checkpoints only; what compares models (grids of translations) takes any of them.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from kdlib.errors import InputError
from kdlib.networks import Networks
from kdlib.paths import from_here, shown
from kdlib.released import load_released
from kdlib.runs import STUDENT, Run, find_run
from kdlib.scoring.selection import evaluated_weights
from kdlib.settings import Preset


@dataclass(frozen=True)
class Model:
    """G, E and F in eval mode, and what is known about them.

    ``name`` is how it was asked for, short; ``domains`` and ``preset`` are None for a released checkpoint, whose file names
    neither: domain y is then the y-th of the names in alphabetical order, as StarGAN-v2 numbers its folders.
    """

    nets: Networks
    name: str
    distilled: bool | None
    domains: tuple[str, ...] | None
    preset: Preset | None

    @property
    def label(self) -> str:
        """'teacher', or 'student, alpha = 24, distilled'; plain ASCII, since not every font has more."""
        if not self.nets.arch.student:
            return "teacher"
        return f"student, alpha = {self.nets.arch.alpha}{', distilled' if self.distilled else ''}"


def load_model(path: str | Path, landmarks: str | Path | None = None, device: torch.device | str = "cpu") -> Model:
    """The model in a run folder, of a run named "preset/name", or in a released `*_nets_ema.ckpt`.

    A relative path is looked for in the working directory, then in the repository. Of a run, the weights that its scores are about
    are taken: those of its end, or the candidate chosen. ``landmarks``: file of the landmark network of a model with a high-pass
    skip (`wing.ckpt`); without it a run's own setting, or a checkpoint's own entry, is used.
    Raises `InputError` for a path that is none of the three, a run that is not finished, and whatever `load_released` refuses.
    """
    text = str(path)
    place = from_here(text)
    landmarks = None if landmarks is None else from_here(landmarks)
    if (place / "settings.json").is_file():
        return _from_run(Run(place.resolve()), landmarks, device)
    if place.is_file():
        if place.suffix in (".safetensors", ".json"):
            raise InputError(f"{text}: a file of a run folder, perhaps; give the folder that holds it")
        return Model(load_released(place, landmarks).to(device), place.name, None, None, None)
    if named := re.fullmatch(r"([\w.-]+)/([\w.-]+)", text):
        return _from_run(find_run(*named.groups()), landmarks, device)
    what = "a folder without a settings.json" if place.exists() else "no such file or folder"
    raise InputError(f"{text}: {what}; give a run folder, a run's name such as mini/teacher, or a released *_nets_ema.ckpt")


def common_domains(models: list[Model]) -> tuple[str, ...] | None:
    """The domain names that all models share; None if none of them knows any.

    Raises `InputError` if two models differ in picture size, number or names of domains, or length of the latent: the same
    sources and latents could not be given to both.
    """
    first = models[0]
    for model in models[1:]:
        for what in ("image_size", "domains", "latent_dim"):
            a, b = getattr(first.nets.arch, what), getattr(model.nets.arch, what)
            if a != b:
                raise InputError(f"{first.name} and {model.name} cannot stand side by side: {what.replace('_', ' ')} {a} and {b}")
    known = [(model, model.domains) for model in models if model.domains]
    for model, domains in known[1:]:
        if domains != known[0][1]:
            raise InputError(
                f"{known[0][0].name} and {model.name} cannot stand side by side: domains {', '.join(known[0][1])} and {', '.join(domains)}"
            )
    return known[0][1] if known else None


def _from_run(run: Run, landmarks: Path | None, device: torch.device | str) -> Model:
    if not run.finished:
        raise InputError(f"{shown(run.path)}: not a finished run; train it to its end first")
    settings = run.settings()
    nets = run.load_networks(device, landmarks, evaluated_weights(run))
    name = f"{settings.preset.name}/{run.name}"
    return Model(nets, name, settings.distill if settings.role == STUDENT else None, settings.domains, settings.preset)

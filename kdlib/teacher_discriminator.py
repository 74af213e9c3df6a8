"""A teacher's discriminator as a file of its run: what students learn from, or have their lessons chosen by.

What is evaluated and shipped are moving averages of G, E and F; the discriminator, which has none, is kept as it was at the end.
It is only written for teachers, and no part of a run's weights.
"""

from pathlib import Path

from kdlib.checkpoints import load_checkpoint, save_weights
from kdlib.errors import InputError
from kdlib.networks import Discriminator
from kdlib.paths import shown
from kdlib.runs import TEACHER, Run, RunSettings


def write_discriminator(run: Run, settings: RunSettings, discriminator: Discriminator, step: int) -> None:
    """Write a teacher's discriminator of iteration ``step``, in the precision of the run's weights."""
    about = {"settings": settings.as_dict(), "step": step}
    save_weights(run.discriminator, {"discriminator": discriminator}, about, settings.preset.logging.weights_precision)


def discriminator_from_checkpoint(path: Path) -> Path:
    """Write the discriminator of the finished teacher in folder ``path`` from its last checkpoint; returns the file.

    Raises `InputError` for any other run, and where the last checkpoint is not that of the end.
    """
    run = Run(Path(path).resolve())
    if not run.finished or run.settings().role != TEACHER:
        raise InputError(f"{shown(run.path)}: not the folder of a finished teacher; only a teacher's discriminator is kept, at its end")
    settings, end = run.settings(), run.json("finished.json")["step"]
    last = run.checkpoint_folder / f"step_{end or 0:07d}.pt"
    if not last.is_file():
        raise InputError(f"{shown(last)}: no such file; only the last checkpoint of the training holds the discriminator, and it is gone")
    network = settings.without_masks(seed=0).discriminator
    try:
        network.load_state_dict(load_checkpoint(last)["networks"]["discriminator"])
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{shown(last)}: does not fit this run's networks ({error})") from error
    write_discriminator(run, settings, network, end)
    return run.discriminator

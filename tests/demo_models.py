"""Two untrained models in run folders, small enough to export in seconds: what the tests of the live demo translate with."""

from pathlib import Path

from kdlib.checkpoints import save_weights
from kdlib.config import load_preset
from kdlib.critters import SPECIES
from kdlib.networks import Networks
from kdlib.runs import STUDENT, TEACHER, Run, RunSettings


def write_run(path: Path, role: str, alpha: int, seed: int) -> Path:
    """A finished run of preset smoke's kind with random weights."""
    settings = RunSettings(load_preset("smoke"), role, alpha, role == STUDENT, SPECIES, data_hash="0" * 64)
    nets = settings.build(seed=seed)
    run = Run(path)
    run.write_json("settings.json", settings.as_dict())
    save_weights(run.weights, {name: getattr(nets, name) for name in Networks.TRANSLATING}, {})
    run.write_json("finished.json", {"step": 1, "seconds": 1.0, "seconds_per_iteration": 1.0, "peak_memory_bytes": 1})
    return path


def write_runs(root: Path) -> tuple[Path, Path]:
    """A teacher and a student."""
    return write_run(root / "teacher", TEACHER, 16, seed=1), write_run(root / "alpha8-kd", STUDENT, 8, seed=2)

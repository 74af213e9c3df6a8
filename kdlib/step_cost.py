"""Time and memory of one training iteration, measured in a process of its own; its arithmetic, counted.

The iteration is the real one, `kdlib.training_step.train_iteration`, on untrained networks and pictures of noise: neither
changes how long it takes. A process of its own, because the peak of a process's memory never comes down again.

The networks' step alone is measured. Reading and augmenting the next pictures goes on beside it in a run, and pictures kept in
memory come on top.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from kdlib.data import Batch, step_rng
from kdlib.devices import prepare
from kdlib.errors import InputError
from kdlib.landmark_network import LandmarkNetwork
from kdlib.landmarks import LandmarkMasks
from kdlib.learner import Learner, asks_for_discriminator, make_learner
from kdlib.memory import peak_memory
from kdlib.networks import Networks
from kdlib.runs import TEACHER, RunSettings, run_name, settings_from_dict
from kdlib.training_step import train_iteration


class DoesNotFit(InputError):
    """The iteration needs more memory than there is."""


@dataclass(frozen=True)
class StepCost:
    """Median ``seconds`` of an iteration at batch size ``batch``, and the peak of memory in ``bytes``.

    On a GPU the peak is the GPU's, as reserved by PyTorch; else the process's, libraries included.
    """

    batch: int
    seconds: float
    bytes: int


def measure(settings: RunSettings, batch: int, steps: int = 1) -> StepCost:
    """Cost of one iteration of a run of these settings: ``steps`` are timed, after one at batch 1 that is not.

    On a GPU that first one is at ``batch`` too. Raises `DoesNotFit` where memory runs out.
    """
    task = {"settings": settings.as_dict(), "batch": batch, "steps": steps}
    done = subprocess.run([sys.executable, "-m", __name__], input=json.dumps(task), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return StepCost(**json.loads(done.stdout.splitlines()[-1]))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == -9 or "out of memory" in last.lower() or "can't allocate memory" in last.lower():
        raise DoesNotFit(f"{run_name(settings.role, settings.alpha, settings.distill)} at batch {batch} does not fit into memory")
    raise InputError(f"one iteration of {run_name(settings.role, settings.alpha, settings.distill)} at batch {batch} failed: {last}")


def measure_here(settings: RunSettings, batch: int, steps: int) -> StepCost:
    """``measure`` in this process, whose earlier peak of memory it cannot tell from its own."""
    preset = settings.preset
    device = prepare(preset.machine, preset.training.allow_tf32)
    learner = _learner(settings, device)
    train_iteration(learner, _noise(settings, batch if device.type != "cpu" else 1, 0).to(device)).read()
    seconds = []
    for step in range(1, steps + 1):
        pictures = _noise(settings, batch, step).to(device)
        start = time.perf_counter()
        train_iteration(learner, pictures).read()  # ends by reading its losses, so it waits for the device
        seconds.append(time.perf_counter() - start)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device)
    else:
        peak = peak_memory()
    return StepCost(batch, statistics.median(seconds), peak)


class _FlopCounter(TorchDispatchMode):
    """Adds up the operations that PyTorch's own rules give for convolutions and matrix products, forward and backward.

    `torch.utils.flop_counter.FlopCounterMode` does the same and attributes them to modules, by hooks that a gradient taken with
    respect to a picture (R1) does not pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        rule = flop_registry.get(function._overloadpacket)
        if rule is not None:
            self.total += rule(*args, **(kwargs or {}), out_val=out)
        return out


def count_flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of the convolutions and matrix products that ``work()`` makes; a multiply-accumulate is two."""
    with _FlopCounter() as counter:
        work()
    return counter.total


def iteration_flops(settings: RunSettings) -> int:
    """``count_flops`` of one iteration at batch 1, made on the CPU; at any batch it is so many times that."""
    learner, batch = _learner(settings, torch.device("cpu")), _noise(settings, 1, 0)
    return count_flops(lambda: train_iteration(learner, batch))


def _learner(settings: RunSettings, device: torch.device) -> Learner:
    preset = settings.preset
    nets = settings.without_masks(seed=0)
    if preset.networks.w_hpf > 0:
        nets.landmarks = LandmarkMasks(LandmarkNetwork())
    teacher = None
    if settings.distill:
        alpha = preset.networks.teacher_alpha
        built = dataclasses.replace(settings, role=TEACHER, alpha=alpha, distill=False).without_masks(seed=0)
        teacher = Networks(built.arch, *(getattr(built, name) for name in Networks.TRANSLATING))
        if asks_for_discriminator(preset.training, preset.losses):
            teacher.discriminator = built.discriminator
        teacher.to(device)
    return make_learner(nets.to(device), preset.training, preset.losses, settings.diversity_iterations, teacher)


def _noise(settings: RunSettings, batch: int, step: int) -> Batch:
    """A batch of noise in the form of pictures."""
    preset, rng = settings.preset, step_rng(settings.preset.training.seed, step, "step cost")
    size, domains = preset.data.image_size, len(settings.domains)
    x, x_ref, x_ref2 = torch.from_numpy(rng.uniform(-1, 1, (3, batch, 3, size, size)).astype(np.float32))
    y, y_ref = torch.from_numpy(rng.integers(domains, size=(2, batch)))
    z, z2 = torch.from_numpy(rng.standard_normal((2, batch, preset.networks.latent_dim), dtype=np.float32))
    return Batch(x, y, x_ref, x_ref2, y_ref, z, z2)


def main() -> int:
    """Measure what standard input asks for; one line of JSON on standard output."""
    task = json.load(sys.stdin)
    cost = measure_here(settings_from_dict(task["settings"]), task["batch"], task["steps"])
    print(json.dumps(dataclasses.asdict(cost)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

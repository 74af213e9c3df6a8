"""Seconds and memory of one distillation iteration: kdlib's against the same updates written straight down (`plain_step.py`).

    python benchmarks/training_step.py --size 64
    python benchmarks/training_step.py --size 256 --json runs/reference/cost/training_step_256.json

All variants take turns in one process, iteration by iteration, so that a noisy machine slows all of them; medians are shown, and
ratios to the plain step. Peak memory comes from a process of its own for each variant. Pictures are noise and networks untrained,
which changes no time. At 64 px the teacher is 24 to 192 wide and the student capped at 48; at 256 px they are the thesis's, 512
and 128, three domains.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import torch
from common import computable, options_of, write_result
from plain_step import PlainStep

from kdlib.data import Batch
from kdlib.devices import prepare
from kdlib.learner import make_learner
from kdlib.memory import peak_memory
from kdlib.networks import Networks, build_networks
from kdlib.progress import progress_bar
from kdlib.runs import describe_environment
from kdlib.settings import LossWeights, MachineSettings, TrainingSettings
from kdlib.training_step import train_iteration

DECAY = 100_000  # iterations over which the diversity weight falls, as in the thesis


@dataclasses.dataclass(frozen=True)
class Case:
    """What is trained: picture size, widths, batch."""

    size: int
    base_width: int | None
    teacher_alpha: int
    alpha: int
    batch: int

    def networks(self) -> tuple[Networks, Networks]:
        """Student and teacher, the same at every call."""
        options = {"domains": 3, "image_size": self.size, "base_width": self.base_width}
        return build_networks(self.alpha, student=True, seed=1, **options), build_networks(self.teacher_alpha, seed=2, **options)

    def noise(self, step: int) -> Batch:
        g = torch.Generator().manual_seed(step)
        x, x_ref, x_ref2 = torch.rand(3, self.batch, 3, self.size, self.size, generator=g) * 2 - 1
        y, y_ref = torch.randint(3, (2, self.batch), generator=g)
        z, z2 = torch.randn(2, self.batch, 16, generator=g)
        return Batch(x, y, x_ref, x_ref2, y_ref, z, z2)


CASES = {64: Case(64, 24, 192, 48, 8), 256: Case(256, None, 512, 128, 1)}


Variant = Callable[[Case, torch.device], Callable[[int], object]]  # makes what does iteration i of the case


def plain(case: Case, device: torch.device) -> Callable[[int], None]:
    student, teacher = case.networks()
    step = PlainStep(student.to(device), TrainingSettings(), LossWeights(), DECAY, teacher.to(device))
    return lambda i: step.iteration(case.noise(i).to(device), i)


def ours(precision: str, weights: LossWeights = LossWeights()) -> Variant:
    def make(case: Case, device: torch.device) -> Callable[[int], None]:
        student, teacher = case.networks()
        learner = make_learner(student.to(device), TrainingSettings(precision=precision), weights, DECAY, teacher.to(device))
        return lambda i: train_iteration(learner, case.noise(i).to(device)).read()

    return make


VARIANTS = {
    "plain, float32": plain,
    "kdlib, float32": ours("float32"),
    "kdlib, float32, without R1": ours("float32", LossWeights(lambda_r1=0.0)),  # fifteen of sixteen iterations under lazy R1
    "kdlib, bfloat16": ours("bfloat16"),
}


def memory_of(case: Case, variant: str, device: torch.device) -> dict[str, int]:
    """In this process: bytes before the first iteration, and at the peak of two; on a GPU the GPU's."""
    step = VARIANTS[variant](case, device)
    read = torch.cuda.max_memory_allocated if device.type == "cuda" else peak_memory
    before = read()
    for i in range(2):
        step(i)
    return {"before": before, "peak": read()}


def take_turns(variants: dict[str, Variant], case: Case, device: torch.device, rounds: int, warm_up: int) -> dict[str, list[float]]:
    """Seconds of every iteration of every variant, taken in turns."""
    steps = {name: make(case, device) for name, make in variants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for i in progress_bar(range(warm_up + rounds), desc=f"{case.size} px"):
        for name, step in steps.items():
            start = time.perf_counter()
            step(i)  # ends by reading the losses, so it waits for the device
            seconds[name].append(time.perf_counter() - start)
    return {name: [round(s, 4) for s in all_of[warm_up:]] for name, all_of in seconds.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = options_of(__doc__)
    parser.add_argument("--size", type=int, choices=tuple(CASES), default=64, help="pixels (default: %(default)s)")
    parser.add_argument("--batch", type=int, help="pictures an iteration (default: 8 at 64 px, 1 at 256 px)")
    parser.add_argument("--rounds", type=int, default=15, help="timed iterations of each variant (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=2, help="iterations before them (default: %(default)s)")
    parser.add_argument("--memory-of", choices=tuple(VARIANTS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    case = CASES[options.size]
    case = dataclasses.replace(case, batch=options.batch or case.batch)
    device = prepare(MachineSettings(device=options.device, threads=options.threads))
    if options.memory_of:
        print(json.dumps(memory_of(case, options.memory_of, device)))
        return 0

    memory, variants = {}, computable(VARIANTS, device)
    for name in variants:
        command = [sys.executable, __file__, *(sys.argv[1:] if arguments is None else arguments), "--memory-of", name]
        memory[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seconds = take_turns(variants, case, device, options.rounds, options.warm_up)
    medians = {name: statistics.median(s) for name, s in seconds.items()}
    baseline = medians["plain, float32"]
    rows = {
        name: {
            "median_seconds": round(medians[name], 4),
            "times_faster_than_plain": round(baseline / medians[name], 3),
            "peak_memory_bytes": memory[name]["peak"],
            "memory_of_the_iteration_bytes": memory[name]["peak"] - memory[name]["before"],
            "seconds": seconds[name],
        }
        for name in variants
    }
    result = {"case": dataclasses.asdict(case), "variants": rows, "environment": describe_environment(device)}
    print(f"{case.size} px, batch {case.batch}, teacher {case.teacher_alpha}, student {case.alpha} wide, {result['environment']['device']}")
    for name, row in rows.items():
        print(
            f"  {name:<26} {row['median_seconds']:8.3f} s  {row['times_faster_than_plain']:5.2f}x"
            f"  peak {row['peak_memory_bytes'] / 2**30:5.2f} GiB, of the iteration {row['memory_of_the_iteration_bytes'] / 2**30:5.2f} GiB"
        )
    write_result(result, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
